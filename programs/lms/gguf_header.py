"""What stands at the head of a GGUF file: its settings and where its tensors lie.

The reader of the `gguf` package builds an array for every token of a vocabulary, which takes half a minute for 150,000;
this one takes a fraction of a second. Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True)
class Tensor:
    """A tensor's entry.

    Attributes:
        name: As llama.cpp names it, such as `blk.0.attn_q.weight`.
        shape: Sizes, the fastest-moving first.
        kind: Number of its type in ggml, such as 0 for F32 and 12 for Q4_K.
        offset: Where it begins, in bytes behind `Header.data_start`.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def kind_name(self) -> str:
        """The type's name, such as `Q4_K`; its number where `gguf` does not know it."""
        from gguf import GGMLQuantizationType

        try:
            return GGMLQuantizationType(self.kind).name
        except ValueError:
            return f"type {self.kind}"

    @property
    def size(self) -> int | None:
        """Bytes in the file; None for a type that `gguf` does not know."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            values, length = GGML_QUANT_SIZES[GGMLQuantizationType(self.kind)]
        except (ValueError, KeyError):
            return None
        return prod(self.shape) // values * length


@dataclass(frozen=True)
class Header:
    """A file's head.

    Attributes:
        path: The file.
        values: Settings by key, such as `general.architecture`.
        tensors: In the order of the file.
        spans: Where each setting begins and ends in the file, in bytes, key included.
        data_start: Where the tensors' data begins, in bytes.
    """

    path: Path
    values: dict[str, Any]
    tensors: tuple[Tensor, ...]
    spans: dict[str, tuple[int, int]]
    data_start: int

    @property
    def architecture(self) -> str:
        """Such as `llama` or `qwen2`; empty if the file does not say."""
        return str(self.values.get("general.architecture", ""))

    @property
    def alignment(self) -> int:
        """Every tensor begins at a multiple of this many bytes."""
        return int(self.values.get("general.alignment", _DEFAULT_ALIGNMENT))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(prod(tensor.shape) for tensor in self.tensors)


def read_header(path: Path) -> Header:
    """Read the head of a GGUF file.

    Raises:
        ValueError: No GGUF, one of a version or byte order that nobody reads, or one that ends too early.
        OSError: The file cannot be read.
    """
    if path.stat().st_size < struct.calcsize("<4sIQQ"):
        raise ValueError(f"{path} is no GGUF file: it has {path.stat().st_size} bytes. {_AGAIN}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check_start(path, data)
        try:
            header = _read(path, data)
        except (struct.error, UnicodeDecodeError, KeyError, OverflowError, MemoryError) as error:
            raise ValueError(f"{path} is cut off or damaged: its header cannot be read ({error!r}). {_AGAIN}") from None
        _check_length(header, len(data))
    return header


def is_whole(path: Path) -> bool:
    """Whether a file has a GGUF's head and all the bytes that it speaks of."""
    try:
        read_header(path)
    except (ValueError, OSError):
        return False
    return True


_AGAIN = "Download it again, as a whole."


def _check_start(path: Path, data: mmap.mmap) -> None:
    if data[:4] != b"GGUF":
        what = "a pointer of Git LFS, not the file itself (git lfs pull)" if data[:7] == b"version" else f"it begins with {data[:4]!r}"
        raise ValueError(f"{path} is no GGUF file: {what}. {_AGAIN}")
    (version,) = struct.unpack_from("<I", data, 4)
    if version not in (2, 3):
        found = "is written for big-endian machines" if version >= 1 << 16 else f"is GGUF version {version}"
        raise ValueError(f"{path} {found}; versions 2 and 3, little-endian, can be read. Convert the model again with a newer llama.cpp.")


def _read(path: Path, data: mmap.mmap) -> Header:
    cursor = _Cursor(data)
    tensors, count = cursor.scalars("Q", 2)
    values, spans = {}, {}
    for _ in range(count):
        start = cursor.place
        key = cursor.text()
        values[key] = cursor.value(*cursor.scalars("I"))
        spans[key] = (start, cursor.place)
    entries = tuple(cursor.tensor() for _ in range(tensors))
    alignment = int(values.get("general.alignment", _DEFAULT_ALIGNMENT)) or 1
    return Header(path, values, entries, spans, -(-cursor.place // alignment) * alignment)


def _check_length(header: Header, length: int) -> None:
    for tensor in header.tensors:
        end = header.data_start + tensor.offset + (tensor.size or 0)
        if end > length:
            raise ValueError(f"{header.path} is cut off: {tensor.name} ends at byte {end:,}, and the file has {length:,}. {_AGAIN}")


class _Cursor:
    """Reads one value after the other."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.place = 8

    def scalars(self, code: str, count: int = 1) -> tuple[Any, ...]:
        if count * struct.calcsize(f"<{code}") > len(self.data) - self.place:
            raise struct.error(f"{count} values at byte {self.place} go beyond the end")
        found = struct.unpack_from(f"<{count}{code}", self.data, self.place)
        self.place += struct.calcsize(f"<{count}{code}")
        return found

    def text(self) -> str:
        (length,) = self.scalars("Q")
        if length > len(self.data) - self.place:
            raise struct.error(f"a text of {length} bytes at byte {self.place} goes beyond the end")
        self.place += length
        # Vocabularies hold pieces of characters.
        return self.data[self.place - length : self.place].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.scalars(_SCALARS[kind])[0]
        (item,) = self.scalars("I")
        (count,) = self.scalars("Q")
        if item in (_STRING, _ARRAY):
            return [self.value(item) for _ in range(count)]
        return list(self.scalars(_SCALARS[item], count))

    def tensor(self) -> Tensor:
        name = self.text()
        (dimensions,) = self.scalars("I")
        shape = self.scalars("Q", dimensions)
        (kind,) = self.scalars("I")
        (offset,) = self.scalars("Q")
        return Tensor(name, shape, kind, offset)
