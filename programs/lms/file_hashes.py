"""Hashes of files that may be gigabytes long: paid once, and remembered as long as the file stays as it was."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from programs.lms.artifacts import folder_lock, home, read_index, sha256, write_json

_REMEMBERED_FROM = 2**24
"""Smaller files are read again in every process: that costs less than to remember them."""
_known: dict[tuple[str, int, int], str] = {}
_lock = threading.Lock()
logger = logging.getLogger(__name__)


def file_hash(path: Path) -> str:
    """The sha256 of a file in hex digits; read once, then remembered by path, size and time of change.

    Raises:
        OSError: The file cannot be read.
    """
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    with _lock:
        if key not in _known:
            _known[key] = _remembered(*key) if status.st_size >= _REMEMBERED_FROM else sha256(path)
        return _known[key]


def _remembered(path: str, size: int, mtime: int) -> str:
    table = home() / "hashes.json"
    entry = read_index(table).get(path)
    if isinstance(entry, list) and entry[:2] == [size, mtime]:
        return str(entry[2])
    logger.info("Hashing %s (%.1f GB), once", path, size / 1e9)
    found = sha256(Path(path))
    try:
        with folder_lock(table):
            write_json(table, read_index(table) | {path: [size, mtime, found]})
    except OSError as error:
        logger.info("The hash of %s is known to this process alone: %s cannot be written (%s)", path, table, error.strerror)
    return found
