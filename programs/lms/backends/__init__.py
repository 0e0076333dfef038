"""Where a local model runs, and the choice among what is installed."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from programs.lms.artifacts import Artifact
from programs.lms.backends.base import Backend
from programs.lms.devices import device_and_dtype
from programs.lms.gguf_models import GGUFModel
from programs.registry import Registry

DEVICES = ("auto", "cpu", "cuda", "mps")
Load = Callable[[Any, str], Backend]
BACKENDS: Registry[Load] = Registry(
    "backend",
    "divide_or_conquer.backends",
    {
        "transformers": "programs.lms.backends.transformers:load",
        "openvino": "programs.lms.backends.openvino:load",
        "openvino-int8": "programs.lms.backends.openvino:load_int8",
        "vllm": "programs.lms.backends.vllm:load",
        "transformers-continuous": "programs.lms.backends.continuous:load",
    },
    ", or auto",
)
"""The function that loads a model on each backend, by name: `load(model, device)` raises ValueError for a model that it cannot read.

`model` is an `Artifact`, a `GGUFModel`, or the folder of a Hugging Face model."""
_FASTER: dict[str, dict[str, tuple[str, ...]]] = {
    "cpu": {"openvino": ("openvino_genai", "gguf")},
    "cuda": {"vllm": ("vllm",), "transformers-continuous": ()},
}
"""What `auto` tries on a device before transformers, in this order, and the modules that it needs."""
logger = logging.getLogger(__name__)


def preferred(device: str) -> list[str]:
    """The backends that `auto` tries, in this order: those that are installed here and made for a device.

    Args:
        device: `cpu`, `cuda` or `mps`.
    """
    faster = _FASTER.get(device, {})
    return [name for name, needed in faster.items() if all(importlib.util.find_spec(module) for module in needed)] + ["transformers"]


def choose_backend(model: Artifact | GGUFModel | Path | str, backend: str = "auto", device: str = "auto") -> Backend:
    """Load a model where it runs best.

    Args:
        model: An artifact, a GGUF file, or the folder of a Hugging Face model.
        backend: A name in `BACKENDS`; `auto` takes the first of `preferred` that can load the model.
            `$DIVIDE_OR_CONQUER_BACKEND` decides in place of `auto`.
        device: A name in `DEVICES`.

    Raises:
        ValueError: An unknown backend or device, or a backend asked for that cannot read the model.
        ImportError: openvino or vllm asked for and not installed.
        OSError: openvino asked for, and its GGUF cannot be written.
        RuntimeError: vllm asked for, and its process did not start.
    """
    check_options(backend, device)
    if backend == "auto":
        backend = os.environ.get("DIVIDE_OR_CONQUER_BACKEND") or "auto"
        check_options(backend, device, "$DIVIDE_OR_CONQUER_BACKEND")
    if backend != "auto":
        return BACKENDS.get(backend)(model, device)
    *faster, last = preferred(device_and_dtype(device)[0])
    for name in faster:
        try:
            return BACKENDS.get(name)(model, device)
        except ValueError as error:
            logger.info("Using another backend than %s: %s", name, error)
        # Of another version, or without a library of the system, a faster one lacks names, cannot be imported, or ends in its own error.
        except Exception as error:
            logger.warning("Using a slower backend: %s cannot load the model (%s)", name, error)
    return BACKENDS.get(last)(model, device)


def check_options(backend: str, device: str, where: str = "backend") -> None:
    """Refuse names that do not exist.

    Raises:
        ValueError: Names those that do.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"Unknown {where} {backend!r}; expected one of {('auto', *BACKENDS.names())}.")
    if device not in DEVICES:
        raise ValueError(f"Unknown device {device!r}; expected one of {DEVICES}.")
