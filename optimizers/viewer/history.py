"""How far a job is, read from its log and from who holds its files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from optimizers.viewer.places import Place, inside

_TAIL = 2**16
"""Bytes of a log that are read, from its end."""

_STILL = 120.0
"""Seconds without a change after which a job that holds no lock counts as stopped."""

_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ (\w+) (\S+): (.*)$")
_STAGE = re.compile(r"^(.+): (start|ended after .*)$")
_OWN = "divide_or_conquer"


@dataclass(frozen=True)
class History:
    """What a log says of a job.

    Attributes:
        changed: When the job last said something, or its folder last changed, as `2026-11-29 13:17`.
        running: The stage that is under way; empty if none is.
        stopped: Why the job ended before its time, or in which stage it was left; empty if it did not.
        stages: Names of the stages that ended.
    """

    changed: str
    running: str = ""
    stopped: str = ""
    stages: tuple[str, ...] = ()


def history_of(place: Place) -> History:
    """Read `log.txt`; a folder without one has only a date."""
    folder, lines = place.folder, log_tail(place)
    opened, failed, said, stages = "", "", "", dict[str, None]()
    for found in filter(None, map(_LINE.match, lines)):
        said, level, logger, text = found.groups()
        if logger != _OWN:
            continue
        stage = _STAGE.match(text)
        if level == "ERROR":
            failed = text.removesuffix(": ") if text.startswith("KeyboardInterrupt") else text
        elif stage and stage[2] == "start":
            opened, failed = stage[1], ""
        elif stage:
            opened = ""
            stages[stage[1]] = None
    changed = said[:16] or _date_of(folder)
    if not opened:
        return History(changed, stopped=failed, stages=tuple(stages))
    if is_alive(folder):
        return History(changed, running=opened, stages=tuple(stages))
    return History(changed, stopped=f"left in the stage {opened}, and no process holds its files", stages=tuple(stages))


def log_tail(place: Place) -> list[str]:
    """The last lines of a job's log; none without one."""
    path = inside(place, "log.txt")
    if path is None:
        return []
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1:] if size > _TAIL else lines


def _date_of(folder: Path) -> str:
    times = [seconds for seconds, _ in _files(folder, deep=False)]
    return datetime.fromtimestamp(max(times)).strftime("%Y-%m-%d %H:%M") if times else ""


def is_alive(folder: Path) -> bool:
    """Whether somebody works in a folder: holds a lock on one of its files, or changed one just now.

    Locks are looked up, never tried: to try one would keep out the job that wants it.
    """
    locked, now = _locked(), time.time()
    return any(now - changed < _STILL or inode in locked for changed, inode in _files(folder))


def _locked() -> frozenset[int]:
    """The inodes with a lock, where the system tells (Linux)."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(int(inode) for inode in re.findall(r" [0-9a-f]+:[0-9a-f]+:(\d+) ", "\n".join(lines)))


def _files(folder: Path, deep: bool = True) -> Iterator[tuple[float, int]]:
    """Time of the last change, and inode, of the files of a folder."""
    for root, folders, names in os.walk(folder):
        for name in names:
            try:
                stat = os.lstat(os.path.join(root, name))
            except OSError:
                continue
            yield stat.st_mtime, stat.st_ino
        if not deep:
            folders.clear()
