"""Copies of GGUF files for readers that cannot take, or take long over, what the original holds."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, Any

from programs.lms.gguf_header import Header, Tensor

F16, Q8_0 = 1, 8
"""Numbers of types that others can be written in."""
_Q5_0_BYTES, _BLOCK = 22, 32
_VALUES_AT_ONCE = 2**24
_U32 = 4


def copy_gguf(
    header: Header,
    target: Path,
    *,
    left_out: Collection[str] = (),
    added: Mapping[str, int] | None = None,
    kind_of: Callable[[Tensor], int] = lambda tensor: tensor.kind,
    with_data: bool = True,
) -> None:
    """Write a GGUF file anew.

    Args:
        header: Of the original.
        target: The file to write.
        left_out: Keys of settings that the copy has not.
        added: Further settings, whole numbers.
        kind_of: Number of the type that each tensor gets: its own, F16 or Q8_0, which holds Q5_0 without loss.
        with_data: Whether the weights are written; without them the copy has a hole of their size.
    """
    spans = [span for key, span in header.spans.items() if key not in left_out]
    added = added or {}
    placed, length = _placed(header, kind_of)
    with header.path.open("rb") as source, target.open("wb") as written:
        written.write(source.read(8) + struct.pack("<QQ", len(placed), len(spans) + len(added)))
        for start, end in spans:
            source.seek(start)
            written.write(source.read(end - start))
        for key, number in added.items():
            written.write(_text(key) + struct.pack("<II", _U32, number))
        for tensor in placed:
            written.write(_entry(tensor))
        first = _aligned(written.tell(), header)
        for old, new in zip(header.tensors, placed, strict=True) if with_data else ():
            written.seek(first + new.offset)
            source.seek(header.data_start + old.offset)
            for piece in _data(source, old, new.kind):
                written.write(piece)
        written.truncate(first + length)


def _placed(header: Header, kind_of: Callable[[Tensor], int]) -> tuple[list[Tensor], int]:
    """The tensors with their new types and places, and where the last one ends."""
    place, placed = 0, []
    for tensor in header.tensors:
        new = replace(tensor, kind=kind_of(tensor), offset=place)
        placed.append(new)
        place = _aligned(place + (new.size or 0), header)
    return placed, place


def _aligned(place: int, header: Header) -> int:
    return -(-place // header.alignment) * header.alignment


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _entry(tensor: Tensor) -> bytes:
    sizes = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return _text(tensor.name) + sizes + struct.pack("<IQ", tensor.kind, tensor.offset)


def _data(source: IO[bytes], tensor: Tensor, wanted: int) -> Iterator[bytes]:
    """A tensor's bytes in another type or its own, piece by piece."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    kind = GGMLQuantizationType(tensor.kind)
    values, length = GGML_QUANT_SIZES[kind]
    blocks = prod(tensor.shape) // values
    at_once = _VALUES_AT_ONCE // values
    for first in range(0, blocks, at_once):
        raw = source.read(min(at_once, blocks - first) * length)
        if kind == wanted:
            yield raw
        elif (kind.name, wanted) == ("Q5_0", Q8_0):
            yield q8_0_of_q5_0(np.frombuffer(raw, np.uint8)).tobytes()
        elif wanted in (F16, Q8_0):
            plain = dequantize(np.frombuffer(raw, np.uint8).reshape(-1, length), kind)
            yield (plain.astype(np.float16) if wanted == F16 else quantize(plain, GGMLQuantizationType.Q8_0)).tobytes()
        else:
            raise ValueError(f"{tensor.name} cannot be turned from {kind.name} into type {wanted}.")


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
