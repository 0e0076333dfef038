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
    },
    ", or auto",
)
"""The function that loads a model on each backend, by name: `load(model, device)` raises ValueError for a model that it cannot read.

`model` is an `Artifact`, a `GGUFModel`, or the folder of a Hugging Face model."""
logger = logging.getLogger(__name__)


def choose_backend(model: Artifact | GGUFModel | Path | str, backend: str = "auto", device: str = "auto") -> Backend:
    """Load a model where it runs best.

    Args:
        model: An artifact, a GGUF file, or the folder of a Hugging Face model.
        backend: A name in `BACKENDS`; `auto` takes openvino on CPUs for models that it can read, transformers
            otherwise. `$DIVIDE_OR_CONQUER_BACKEND` decides in place of `auto`.
        device: A name in `DEVICES`.

    Raises:
        ValueError: An unknown backend or device, or a backend asked for that cannot read the model.
        ImportError: openvino asked for and not installed.
        OSError: openvino asked for, and its GGUF cannot be written.
    """
    check_options(backend, device)
    if backend == "auto":
        backend = os.environ.get("DIVIDE_OR_CONQUER_BACKEND") or "auto"
        check_options(backend, device, "$DIVIDE_OR_CONQUER_BACKEND")
    if backend != "auto":
        return BACKENDS.get(backend)(model, device)
    if device_and_dtype(device)[0] == "cpu" and _openvino_installed():
        try:
            return BACKENDS.get("openvino")(model, device)
        except ValueError as error:
            logger.info("Using transformers: %s", error)
        # Of another version, or without a library of the system, openvino-genai lacks names or cannot be imported.
        except (OSError, RuntimeError, ImportError, AttributeError, TypeError) as error:
            logger.warning("Using transformers, which is slower here: openvino cannot load the model (%s)", error)
    return BACKENDS.get("transformers")(model, device)


def check_options(backend: str, device: str, where: str = "backend") -> None:
    """Refuse names that do not exist.

    Raises:
        ValueError: Names those that do.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"Unknown {where} {backend!r}; expected one of {('auto', *BACKENDS.names())}.")
    if device not in DEVICES:
        raise ValueError(f"Unknown device {device!r}; expected one of {DEVICES}.")


def _openvino_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("openvino_genai", "gguf"))
