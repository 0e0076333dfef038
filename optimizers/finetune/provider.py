"""`TRLProvider`: makes DSPy's `LM.finetune` train with TRL, on a CPU as well as on GPUs.

DSPy's own `LocalProvider` imports names that TRL no longer has, and serves through SGLang only. This one trains in a
process of its own and returns the model string of an immutable artifact, which the in-process engine can run at once.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import dspy
from dspy.clients.provider import Provider, TrainingJob
from dspy.clients.utils_finetune import TrainDataFormat

from optimizers.finetune.spec import WITHOUT_EFFECT, TrainingSpec
from optimizers.finetune.train import Progress, train
from programs.lms.artifacts import home
from programs.lms.checkpoints import plain_name
from programs.lms.gguf_prepared import dequantized_at, weights_folder
from programs.lms.ledger import LOCAL_PREFIXES
from programs.lms.merged import merged_into, whole_folder
from programs.lms.model_strings import resolve, resolve_gguf, source

_one_training = threading.Semaphore(1)


class LocalTrainingJob(TrainingJob):
    """A training that can be cancelled, and whose failure is raised, never returned as if it were a model."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cancel_requested = threading.Event()

    def cancel(self) -> bool:
        """Stop at the next step, with a checkpoint; False if it has ended already."""
        if self.done():
            return False
        self.cancel_requested.set()
        return True

    def status(self) -> str:
        return "finished" if self.done() else "stopping" if self.cancel_requested.is_set() else "running"

    def set_result(self, result: Any) -> None:
        """DSPy hands a failed training's exception over as its result; waiting callers must see it raised."""
        if isinstance(result, BaseException):
            self.set_exception(result)
        else:
            super().set_result(result)


class TRLProvider(Provider):
    """Trains `embedded/...`, `local/...`, `gguf/...` and `hf/...` models with TRL.

    Args:
        folder: Where artifacts go; `$DIVIDE_OR_CONQUER_HOME/artifacts` by default.
        spec: Defaults for what `train_kwargs` does not say.
        adapter: Name of the prompt format of the rows, kept in the artifact ("chat" is what stock DSPy renders).
        progress: Called with (steps done, steps in all, last loss).
    """

    def __init__(
        self, folder: Path | str | None = None, spec: TrainingSpec | None = None, adapter: str = "chat", progress: Progress | None = None
    ) -> None:
        super().__init__()
        self.finetunable = True
        self.TrainingJob = LocalTrainingJob
        self.folder = Path(folder) if folder else None
        self.spec = spec or TrainingSpec()
        self.adapter = adapter
        self.progress = progress

    @staticmethod
    def is_provider_model(model: str) -> bool:
        return model.startswith(LOCAL_PREFIXES)

    @staticmethod
    def launch(lm: dspy.LM, launch_kwargs: dict[str, Any] | None = None) -> None:
        """Nothing to do: the engine loads weights at the first call."""

    @staticmethod
    def kill(lm: dspy.LM, launch_kwargs: dict[str, Any] | None = None) -> None:
        """Free the weights; the next call loads them again."""
        from programs.lms.engine import unload

        unload(lm.model)

    def finetune(
        self,
        job: TrainingJob,
        model: str,
        train_data: list[dict[str, Any]],
        train_data_format: TrainDataFormat | None,
        train_kwargs: dict[str, Any] | None = None,
    ) -> str:
        """Train, and return the new model string. One training at a time in a process.

        Args:
            job: The job to report to.
            model: Model string to start from.
            train_data: Chats: `{"messages": [{"role", "content"}, ...]}`.
            train_data_format: CHAT.
            train_kwargs: Fields of `TrainingSpec`.

        Raises:
            ValueError: Rows that are no chats, too few, or unknown settings.
            TrainingError: Training failed.
        """
        check_rows(train_data, train_data_format)
        spec = self.spec.model_copy(update={"base": base_folder(model)})
        spec = TrainingSpec.model_validate({**spec.model_dump(), **(train_kwargs or {})})
        cancelled = getattr(job, "cancel_requested", threading.Event()).is_set
        name = f"{plain_name(model.split('/')[-1].split('@')[0])}-{_digest(train_data, spec)}"
        target = (self.folder or home() / "artifacts") / name
        with _one_training:
            artifact = train(
                train_data,
                spec,
                target,
                name=name,
                adapter=self.adapter,
                base=model,
                prompts={},
                progress=self.progress,
                cancelled=cancelled,
            )
        return artifact.model_string


def base_folder(model: str) -> str:
    """The folder or Hugging Face id that `model` stands for, to train from; a GGUF file is dequantized once, which takes minutes.

    Raises:
        ValueError: As `check_base`; or a GGUF file that cannot be dequantized here.
    """
    check_base(model)
    gguf, artifact = resolve_gguf(model), resolve(model)
    if artifact:
        return str(whole_folder(artifact))
    if gguf:
        return str(weights_folder(gguf))
    # transformers would take the newest revision where another one is named.
    return str(source(model)) if model.startswith("hf/") and "@" in model else _base_at_hand(model)


def check_base(model: str) -> None:
    """Refuse a model that cannot be trained, without making anything of it.

    Raises:
        ValueError: A model that only an API serves, that is not there, or whose weights are quantized and hold no gradients.
    """
    if resolve_gguf(model):
        return
    config = Path(_base_at_hand(model)) / "config.json"
    quantized = json.loads(config.read_text()).get("quantization_config") if config.exists() else None
    if quantized:
        method = quantized.get("quant_method", "quantization_config")
        raise ValueError(
            f"{model!r} cannot be trained here: its weights are quantized ({method}). Take the model that it was made from, or one in "
            "16-bit floats; a GGUF file can be trained, as gguf/<file>."
        )


def _base_at_hand(model: str) -> str:
    """The folder or Hugging Face id of a model whose weights need no preparation, or the folder where a GGUF file's will be."""
    gguf = resolve_gguf(model)
    if gguf is not None:
        return str(dequantized_at(gguf))
    artifact = resolve(model)
    if artifact is not None:
        return str(artifact.folder)
    if model.startswith("hf/"):
        return model.removeprefix("hf/").split("@")[0]
    raise ValueError(f"{model!r} cannot be trained here; expected 'embedded/base', 'hf/<org>/<name>', 'local/<folder>' or 'gguf/<file>'.")


def check_lora_targets(spec: TrainingSpec, model: str) -> None:
    """Refuse names of modules that a model on this disk does not have; one that is still to be downloaded is not looked at.

    Raises:
        ValueError: A name of `lora_targets` that no module of the model ends with.
    """
    artifact = resolve(model)
    if artifact and (base := merged_into(artifact)):
        return check_lora_targets(spec, base)
    folder = Path(_base_at_hand(model))
    if spec.method != "lora" or spec.lora_targets == "all-linear" or not folder.is_dir():
        return
    weights = [name for path in folder.glob("*.safetensors") for name in _weights(path)]
    modules = {name.removesuffix(".weight").rpartition(".")[2] for name in weights if name.endswith(".weight")}
    names = [name.strip() for name in spec.lora_targets.split(",")]
    unknown = [name for name in names if name.rpartition(".")[2] not in modules]
    if weights and unknown:
        raise ValueError(
            f"training.lora_targets: {model} has no module {unknown[0]!r}; expected 'all-linear', or some of {sorted(modules)} joined by "
            "commas."
        )


def _weights(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return list(file.keys())


def check_rows(rows: list[dict[str, Any]], data_format: TrainDataFormat | None) -> None:
    """Refuse what DSPy passes on unchecked: no rows, or rows that are no chats ending with the assistant."""
    if data_format not in (None, TrainDataFormat.CHAT):
        raise ValueError(f"train_data_format={data_format} cannot be trained; expected TrainDataFormat.CHAT (use a ChatAdapter subclass).")
    if not rows:
        raise ValueError("No rows to train on: every teacher trace was dropped. Look at the reasons, or loosen the screening.")
    for number, row in enumerate(rows):
        roles = [message.get("role") for message in row.get("messages", [])]
        if len(roles) < 2 or roles[-1] != "assistant":
            raise ValueError(f"Training row {number} has roles {roles}; expected messages that end with 'assistant'.")


def _digest(rows: list[dict[str, Any]], spec: TrainingSpec) -> str:
    settings = spec.model_dump(exclude={*WITHOUT_EFFECT, *spec.at_default_since("dtype")})
    text = json.dumps([rows, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
