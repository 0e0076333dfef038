"""What is installed, which models and devices are usable, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from programs.lms.catalog import missing_key

_REQUIRED = ("dspy", "torch", "transformers", "trl", "peft", "datasets", "optuna")
_EXTRAS = {
    "openvino-genai": "fast",
    "fastapi": "serve",
    "uvicorn": "serve",
    "inspect-ai": "inspect",
    "bitsandbytes": "qlora",
    "vllm": "vllm",
}
_API_MODELS = ("openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash")
_DISK_GIB = 3


class Finding(NamedTuple):
    """One part that was looked at; `remedy` is empty where all is well."""

    part: str
    ok: bool
    found: str
    remedy: str = ""
    required: bool = False


def examine() -> list[Finding]:
    """Look at packages, devices, embedded models, keys and disk; nothing is downloaded or loaded."""
    return [*_packages(), *_devices(), *_embedded(), *_fetched(), *_keys(), _disk()]


def _packages() -> Iterator[Finding]:
    for name in _REQUIRED:
        yield _package(name, "pip install divide-or-conquer", True)
    for name, extra in _EXTRAS.items():
        yield _package(name, f"optional: pip install 'divide-or-conquer[{extra}]'", False)


def _package(name: str, remedy: str, required: bool) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name), required=required)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", remedy, required)


def _devices() -> Iterator[Finding]:
    from programs.lms.backends import preferred
    from programs.lms.devices import cpu_has_bf16, device_and_dtype, usable_cores

    device, dtype = device_and_dtype()
    yield Finding("device", True, f"{device} in {dtype}, {usable_cores()} CPU cores")
    yield Finding("backend", True, os.environ.get("DIVIDE_OR_CONQUER_BACKEND") or f"auto: {', else '.join(preferred(device))}")
    if device == "cpu" and not cpu_has_bf16():
        yield Finding("bfloat16", False, "the CPU has none in hardware", "nothing: float32 is used, at about half the speed")


def _embedded() -> Iterator[Finding]:
    from programs.lms.embedded import MODELS, adapter_folder

    found, remedy = _base()
    yield Finding("embedded/base", not remedy, found, remedy)
    for name in [name for name in MODELS if name != "base"]:
        shipped = (adapter_folder(name) / "adapter_model.safetensors").exists()
        if not shipped:
            yield Finding(f"embedded/{name}", False, "adapter missing", "reinstall the package")
        else:
            told = f"adapter shipped, {'but embedded/base is missing' if remedy else 'made from embedded/base'}"
            yield Finding(f"embedded/{name}", not remedy, told, "as for embedded/base" if remedy else "")


def _base() -> tuple[str, str]:
    """What is there of the embedded models' weights, and the remedy."""
    from programs.lms.embedded import found_gguf, is_prepared
    from programs.lms.known_weights import EMBEDDED, WEIGHTS

    if is_prepared():
        return "prepared", ""
    try:
        path = found_gguf()
    except ValueError as error:
        return "another file in its place", str(error)
    size = WEIGHTS[EMBEDDED].bytes / 10**6
    return (
        ("weights found", "")
        if path
        else ("not here yet", f"fetched at first use ({size:.0f} MB), or now: divide-or-conquer fetch {EMBEDDED}")
    )


def _fetched() -> Iterator[Finding]:
    from programs.lms.known_weights import EMBEDDED, WEIGHTS
    from programs.lms.weights import is_fetched

    for name in [name for name in WEIGHTS if name != EMBEDDED]:
        there = is_fetched(name)
        remedy = "" if there else f"optional: divide-or-conquer fetch {name}"
        yield Finding(f"gguf/{name}", there, "fetched" if there else "not fetched", remedy)


def _keys() -> Iterator[Finding]:
    for model in _API_MODELS:
        key = missing_key(model)
        yield Finding(
            model.split("/")[0], key is None, f"{key} not set" if key else "key set", f"export {key}=... to use such models" if key else ""
        )


def _disk() -> Finding:
    from programs.lms.artifacts import home

    folder = home()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    writable = os.access(folder, os.W_OK)
    remedy = "" if free >= _DISK_GIB and writable else f"{_DISK_GIB} GiB are needed; point DIVIDE_OR_CONQUER_HOME to another disk"
    return Finding("disk", not remedy, f"{free:.1f} GiB free in {folder}", remedy, True)
