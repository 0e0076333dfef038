"""JSON that survives a kill: lines appended with a flush each, a torn last line cut off, whole files put in place at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


def append_line(file: TextIO, record: dict[str, Any]) -> None:
    """Write one record and hand it to the operating system, so that SIGKILL cannot take it back."""
    file.write(json.dumps(record, ensure_ascii=False) + "\n")
    file.flush()


def read_lines(path: Path, *, repair: bool = False) -> Iterator[dict[str, Any]]:
    """Records of a file, none if there is no file.

    Args:
        path: A JSONL file.
        repair: Cut a torn last line (a process killed while writing) off the file; without it, it is passed over.

    Raises:
        ValueError: A line that is no JSON and not the last one; names it.
    """
    if not path.exists():
        return
    whole = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                if file.read(1):
                    raise ValueError(
                        f"{path}, line {number}, is no JSON ({error}); delete that line or the file, and run again."
                    ) from error
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            yield record
    if repair and whole < path.stat().st_size:
        os.truncate(path, whole)


def write_json(path: Path, value: Any) -> None:
    """Write a whole file at once: whoever reads it sees the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False))
    os.replace(partial, path)


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; empty if there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}
