"""The device and the number format to use on this machine."""

from __future__ import annotations

import functools
import os
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may run on (its affinity, not the machine's total)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_whole_cores() -> int:
    """Cores that this process may run on, two threads of one core counted once; `usable_cores` where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return usable_cores()
    folders = (Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list") for number in os.sched_getaffinity(0))
    try:
        return len({folder.read_text() for folder in folders})
    except OSError:
        return usable_cores()


@functools.cache
def cpu_flags() -> frozenset[str]:
    """What the CPU can do, by Linux's names; empty where the system does not tell."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return frozenset()


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16, AMX or Arm BF16).

    Without it bfloat16 is emulated: measured on an AVX2 machine, 1 GFLOPS against 97 in float32.
    """
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())


def room_for_cache(device: str) -> int:
    """Bytes that a cache of keys and values may take: a third of what is free on a CUDA device, else an eighth of the memory.

    So a student and its solver, each with its weights, fit one device.

    Args:
        device: `cpu`, `cuda` or `mps`.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0]) // 3
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**34
    return memory // 8


def device_and_dtype(device: str = "auto") -> tuple[str, str]:
    """The device to use (`cuda`, `mps` or `cpu`) and the dtype to answer and train in (`bfloat16` or `float32`).

    In bfloat16 sums are rounded by the shape of the batch, so that a close choice may turn out differently beside other
    requests, at temperature 0 too. `$DIVIDE_OR_CONQUER_DTYPE=float32` keeps the batch out of the answers, at up to twice
    the time for reading the weights; `--evaluation.threads 1` fixes the batch instead, at one request. It also keeps openvino from
    rounding activations to 8 bits before weights of 4 and 8 bits, so that its texts are those of transformers, and lets trainings
    compute in float32.

    Measured with `embedded/base` on 24 test questions of `multihop`, 20 tokens, transformers, one thread of an AMD EPYC
    without bfloat16, 2026-11-26: batches of 8 and of 16 against one at a time changed 0 of 24 texts in float32, and 4 of
    24 where each layer's output was rounded to bfloat16, which stands in for the hardware.

    Args:
        device: `auto` takes the best there is.

    Raises:
        ValueError: A device that this machine does not have, or the variable is neither `auto` nor `float32`.
    """
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = next(name for name, there in found.items() if there) if device == "auto" else device
    if not found.get(chosen):
        raise ValueError(
            f"Device {device!r} is not usable here; expected one of {[name for name, there in found.items() if there]} or 'auto'."
        )
    bf16 = torch.cuda.is_bf16_supported() if chosen == "cuda" else chosen == "cpu" and cpu_has_bf16()
    return chosen, "bfloat16" if bf16 and not float32_asked_for() else "float32"


def float32_asked_for() -> bool:
    """Whether `$DIVIDE_OR_CONQUER_DTYPE` asks for float32, wherever the hardware would do something faster.

    Raises:
        ValueError: The variable is neither `auto` nor `float32`.
    """
    wanted = os.environ.get("DIVIDE_OR_CONQUER_DTYPE") or "auto"
    if wanted not in ("auto", "float32"):
        raise ValueError(f"Unknown $DIVIDE_OR_CONQUER_DTYPE {wanted!r}; expected 'auto' or 'float32'.")
    return wanted == "float32"
