"""JSON that survives a kill: lines appended with a flush each, a torn last line cut off, whole files put in place at once."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO, overload

try:
    import fcntl
except ImportError:  # pragma: no cover - no such module on Windows, where two jobs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the enclosed writing say which file it was: the system names a file only where it is opened."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def append_line(file: TextIO, record: dict[str, Any]) -> None:
    """Write one record and hand it to the operating system, so that SIGKILL cannot take it back.

    For one writer; `Lines` is for many threads, and keeps other processes out.
    """
    with naming(Path(file.name)):
        file.write(line_of(record))
        file.flush()


def read_lines(path: Path, *, repair: bool = False) -> Iterator[dict[str, Any]]:
    """Records of a file, none if there is no file.

    Args:
        path: A JSONL file.
        repair: Cut a torn last line (a process killed while writing) off the file; without it, it is passed over.

    Raises:
        ValueError: A line that is no JSON object and not the last one; names it.
    """
    return (record for _, record in read_with_offsets(path, repair=repair))


def read_with_offsets(path: Path, *, repair: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read_lines`, each record with its offset in bytes."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            record = _parse_line(line)
            if record is None and file.read(1):
                raise ValueError(f"{path}, line {number}, is no JSON object; mend or remove that line, and run again.")
            if record is None:
                break
            yield offset, record
            offset += len(line)
    if repair and offset < path.stat().st_size:
        os.truncate(path, offset)


class RecordsOnFile(Sequence[dict[str, Any]]):
    """Some records of a JSONL file, each read when it is asked for: as long as one goes over them, one is in memory.

    Args:
        path: The file, which must not change meanwhile.
        offsets: Where their lines start, in bytes, in the order wanted.
    """

    def __init__(self, path: Path, offsets: array[int]) -> None:
        self._path, self._offsets = path, offsets

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> RecordsOnFile: ...

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            part = copy.copy(self)
            part._offsets = self._offsets[place]
            return part
        return next(self._read([self._offsets[place]]))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._read(self._offsets)

    def _read(self, offsets: Sequence[int]) -> Iterator[dict[str, Any]]:
        if not offsets:
            return
        with self._path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                yield json.loads(file.readline())


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and line.endswith(b"\n") else None


class Lines:
    """An append-only JSONL file that survives SIGKILL and a full disk, for one process at a time.

    Args:
        path: The file; made with its folders if missing.
        visit: Called with every record already there and its offset in bytes.

    Raises:
        RuntimeError: Another process has the file open.
        ValueError: A line before the last is not a JSON object. A last line that was cut short is removed.
    """

    def __init__(self, path: Path, visit: Callable[[dict[str, Any], int], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        # Unbuffered: a line is with the kernel, and so safe from SIGKILL, when `append` returns.
        self._file = path.open("ab", buffering=0)
        self._reader: BinaryIO | None = None
        try:
            self._take_lock()
            self._end = self._load(visit)
        except BaseException:
            self._file.close()
            raise

    def _take_lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError(f"{self.path} is being written by another job; wait for it to end, or use another folder.") from error

    def _load(self, visit: Callable[[dict[str, Any], int], None]) -> int:
        for number, (offset, record) in enumerate(read_with_offsets(self.path, repair=True), 1):
            try:
                visit(record, offset)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{self.path}, line {number}: not a line of such a file ({error!r}); use another folder.") from error
        return self.path.stat().st_size

    def append(self, record: Mapping[str, Any]) -> int:
        """Write one line; returns its offset in bytes.

        Raises:
            OSError: The disk refused it; nothing of the line is left behind.
        """
        data = (as_json(record, separators=(",", ":")) + "\n").encode("utf-8", "surrogatepass")
        with self._lock:
            self._write(data)
            offset, self._end = self._end, self._end + len(data)
        return offset

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            with naming(self.path):
                while rest:
                    rest = rest[self._file.write(rest) :]
        except BaseException:
            self._file.truncate(self._end)
            raise

    def read(self, offset: int) -> dict[str, Any]:
        """The record at an offset that `append` or `visit` gave."""
        with self._lock:
            if self._reader is None:
                self._reader = self.path.open("rb")
            self._reader.seek(offset)
            record: dict[str, Any] = json.loads(self._reader.readline())
        return record

    def close(self) -> None:
        """Release the file and its lock."""
        self._file.close()
        if self._reader is not None:
            self._reader.close()


def write_whole(path: Path, parts: str | Iterable[str]) -> None:
    """Write a whole file at once, its text or parts of it: whoever reads it sees the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    with naming(path), partial.open("w") as file:
        file.writelines([parts] if isinstance(parts, str) else parts)
    os.replace(partial, path)


def write_json(path: Path, value: Any) -> None:
    """As `write_whole`."""
    write_whole(path, as_json(value, indent=1))


def line_of(record: Mapping[str, Any]) -> str:
    """A record as it stands in a JSONL file."""
    return as_json(record) + "\n"


def as_json(value: Any, **options: Any) -> str:
    """A value as JSON; NaN and the infinities, which JSON has no word for, as null.

    Args:
        value: What `json.dumps` takes.
        **options: Of `json.dumps`.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; empty if there is no file.

    Raises:
        ValueError: The file is torn, or holds something else; names it, and the next step.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}). {_WRITTEN_ANEW}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object but {str(found)[:40]!r}. {_WRITTEN_ANEW}")
    return found


_WRITTEN_ANEW = "Restore it, or move it away and run the same command again: it is written anew from the other files."
