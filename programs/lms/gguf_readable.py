"""A GGUF file in types that openvino-genai reads: what it does not know is written in one that it does."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, Any

from programs.lms.artifacts import home
from programs.lms.gguf_header import Header, Tensor, read_header
from programs.lms.gguf_models import COMMON, GGUFModel
from programs.lms.made_once import made_once

READ = frozenset({"F32", "F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"})
"""Types that openvino-genai's reader knows."""
_F16, _Q8_0 = 1, 8
_Q5_0_BYTES, _BLOCK = 22, 32
_VALUES_AT_ONCE = 2**24
logger = logging.getLogger(__name__)


def readable_gguf(model: GGUFModel) -> Path:
    """The file itself if openvino-genai reads it, else one with the same weights in types that it reads; made once.

    Q5_0 becomes Q8_0 without any loss, as both are 32 whole numbers and a scale; all others become F16.

    Raises:
        ValueError: Another architecture, or no space.
    """
    if model.architecture not in COMMON:
        raise ValueError(
            f"openvino reads GGUF files of {sorted(COMMON)}, and {model.path} is {model.architecture}; use backend 'transformers'."
        )
    if model.kinds <= READ:
        return model.path
    target = home() / "gguf-readable" / f"{model.hash}.gguf"
    return made_once(target, lambda partial: _write(model, partial), bytes_needed=model.path.stat().st_size * 2)


def _write(model: GGUFModel, target: Path) -> None:
    logger.info("Writing %s for openvino, which does not read %s, once", model.model_string, sorted(model.kinds - READ))
    header = read_header(model.path)
    placed, length = _placed(header)
    with model.path.open("rb") as source, target.open("wb") as written:
        written.write(source.read(header.values_end))
        for tensor in placed:
            written.write(_entry(tensor))
        start = _aligned(written.tell(), header)
        for old, new in zip(header.tensors, placed, strict=True):
            _fill(written, start + new.offset)
            source.seek(header.data_start + old.offset)
            for piece in _data(source, old):
                written.write(piece)
        _fill(written, start + length)


def _placed(header: Header) -> tuple[list[Tensor], int]:
    """The tensors with their new types and places, and where the last one ends."""
    place, placed = 0, []
    for tensor in header.tensors:
        kind = tensor.kind if tensor.kind_name in READ else _Q8_0 if tensor.kind_name == "Q5_0" else _F16
        new = replace(tensor, kind=kind, offset=place)
        placed.append(new)
        place = _aligned(place + (new.size or 0), header)
    return placed, place


def _aligned(place: int, header: Header) -> int:
    return -(-place // header.alignment) * header.alignment


def _entry(tensor: Tensor) -> bytes:
    name = tensor.name.encode()
    sizes = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return struct.pack("<Q", len(name)) + name + sizes + struct.pack("<IQ", tensor.kind, tensor.offset)


def _fill(written: IO[bytes], end: int) -> None:
    written.write(b"\0" * (end - written.tell()))


def _data(source: IO[bytes], tensor: Tensor) -> Iterator[bytes]:
    """A tensor's bytes in its new type, piece by piece."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    kind = GGMLQuantizationType(tensor.kind)
    values, length = GGML_QUANT_SIZES[kind]
    blocks = prod(tensor.shape) // values
    at_once = _VALUES_AT_ONCE // values
    for first in range(0, blocks, at_once):
        raw = source.read(min(at_once, blocks - first) * length)
        if kind.name in READ:
            yield raw
        elif kind.name == "Q5_0":
            yield q8_0_of_q5_0(np.frombuffer(raw, np.uint8)).tobytes()
        else:
            yield dequantize(np.frombuffer(raw, np.uint8).reshape(-1, length), kind).astype(np.float16).tobytes()


def q8_0_of_q5_0(raw: Any) -> Any:
    """Blocks of Q5_0 as blocks of Q8_0: the same scale, and the same whole numbers in 8 bits each.

    Args:
        raw: Bytes of whole blocks of 22: scale (2), fifth bits (4), the lower four bits (16).

    Returns:
        Blocks of 34 bytes: scale (2), 32 signed numbers.
    """
    import numpy as np

    blocks = raw.reshape(-1, _Q5_0_BYTES)
    fifth = blocks[:, 2:6].copy().view("<u4") >> np.arange(_BLOCK, dtype=np.uint32) & 1
    low = np.concatenate([blocks[:, 6:] & 0xF, blocks[:, 6:] >> 4], axis=1)
    numbers = (low | (fifth << 4).astype(np.uint8)).astype(np.int8) - 16
    return np.concatenate([blocks[:, :2], numbers.astype(np.int8).view(np.uint8)], axis=1)
