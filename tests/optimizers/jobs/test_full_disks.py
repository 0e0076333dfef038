"""A file that the system lets grow no further, as on a full disk: it is named, with the next step, and what was there stays."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from optimizers.errors import message
from optimizers.jobs.jsonlines import Lines, append_line, read_json, read_lines, write_json

resource = pytest.importorskip("resource")
LIMIT = 2048
LONG = {"text": "x" * LIMIT}


@contextlib.contextmanager
def limited():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def append(path: Path, record: dict) -> None:
    lines = Lines(path, lambda record, offset: None)
    try:
        lines.append(record)
    finally:
        lines.close()


@pytest.mark.parametrize("write", [append, write_json], ids=["lines", "whole"])
def test_the_file_is_named_and_keeps_what_it_had(tmp_path, write):
    path = tmp_path / "answers.json"
    write(path, {"kept": 1})
    with limited(), pytest.raises(OSError, match="File too large") as caught:
        write(path, LONG)
    assert list(read_lines(path)) == [{"kept": 1}] if write is append else read_json(path) == {"kept": 1}
    told = message(caught.value)
    assert told.startswith(f"{path}: File too large; raise the limit") and told.endswith("the same command then continues.")


def test_a_line_of_one_writer_names_its_file_too(tmp_path):
    path = tmp_path / "candidates.jsonl"
    file = path.open("a")
    with limited(), pytest.raises(OSError, match="File too large") as caught:
        append_line(file, LONG)
    assert caught.value.filename == str(path)
    with contextlib.suppress(OSError):
        file.close()


def test_a_full_disk_and_a_name_that_is_known_already(tmp_path):
    assert message(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.json")) == (
        "a.json: No space left on device; make room; the same command then continues."
    )
    with pytest.raises(FileNotFoundError) as caught:
        write_json(tmp_path / "none" / "a.json", {})
    assert caught.value.filename == str(tmp_path / "none" / "a.json.partial")
