"""Where a local model runs, and the choice among what is installed."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path

from programs.lms.artifacts import Artifact
from programs.lms.backends.base import Backend

BACKENDS = ("auto", "transformers", "openvino")
DEVICES = ("auto", "cpu", "cuda", "mps")
logger = logging.getLogger(__name__)


def choose_backend(model: Artifact | Path | str, backend: str = "auto", device: str = "auto") -> Backend:
    """Load a model where it runs best.

    Args:
        model: An artifact, or the folder of a Hugging Face model.
        backend: `auto` takes openvino on CPUs for models that it can read, transformers otherwise.
            `$DIVIDE_OR_CONQUER_BACKEND` decides in place of `auto`.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ValueError: An unknown backend or device, or openvino asked for a model that it cannot read.
        ImportError: openvino asked for and not installed.
    """
    check_options(backend, device)
    if backend == "auto":
        backend = os.environ.get("DIVIDE_OR_CONQUER_BACKEND") or "auto"
        check_options(backend, device, "$DIVIDE_OR_CONQUER_BACKEND")
    if backend == "openvino":
        return _openvino(model)
    if backend == "auto" and _is_cpu(device) and _openvino_installed():
        try:
            return _openvino(model)
        except ValueError as error:
            logger.info("Using transformers: %s", error)
    from programs.lms.backends.transformers import TransformersBackend

    return TransformersBackend(model.folder if isinstance(model, Artifact) else model, device)


def check_options(backend: str, device: str, where: str = "backend") -> None:
    """Refuse names that do not exist.

    Raises:
        ValueError: Names those that do.
    """
    if backend not in BACKENDS:
        raise ValueError(f"Unknown {where} {backend!r}; expected one of {BACKENDS}.")
    if device not in DEVICES:
        raise ValueError(f"Unknown device {device!r}; expected one of {DEVICES}.")


def _is_cpu(device: str) -> bool:
    from programs.lms.devices import device_and_dtype

    return device_and_dtype(device)[0] == "cpu"


def _openvino_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("openvino_genai", "gguf"))


def _openvino(model: Artifact | Path | str) -> Backend:
    if not isinstance(model, Artifact):
        raise ValueError(f"openvino reads artifacts of this project, not {str(model)!r}; use backend 'transformers'.")
    if not _openvino_installed():
        raise ImportError("Backend 'openvino' is not installed: pip install openvino-genai gguf, or use backend 'transformers'.")
    from programs.lms.backends.openvino import OpenVinoBackend
    from programs.lms.gguf import gguf_of

    return OpenVinoBackend(model.folder, gguf_of(model))
