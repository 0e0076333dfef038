"""How far a job is, read from its log and from who writes it."""

from __future__ import annotations

import contextlib
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
"""Seconds without a change after which a job whose log nobody has open counts as stopped."""

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
    lines = log_tail(place)
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
    changed = said[:16] or _date_of(place.folder)
    if not opened:
        return History(changed, stopped=failed, stages=tuple(stages))
    if is_alive(place):
        return History(changed, running=opened, stages=tuple(stages))
    return History(changed, stopped=f"left in the stage {opened}, and no process is at work there", stages=tuple(stages))


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
    latest = max(_changes(folder, deep=False), default=None)
    return "" if latest is None else datetime.fromtimestamp(latest).strftime("%Y-%m-%d %H:%M")


def is_alive(place: Place) -> bool:
    """Whether somebody works in a folder: a process writes its log, or a file changed just now.

    Locks are not tried: to try one would keep out the job that wants it.
    """
    log, now = inside(place, "log.txt"), time.time()
    return (log is not None and _is_written(log.resolve())) or any(now - changed < _STILL for changed in _changes(place.folder))


def _is_written(path: Path) -> bool:
    """Whether a process of this machine has a file open to write it, where the system tells (Linux)."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(path):
                flags = (link.parents[1] / "fdinfo" / link.name).read_text()
                if any(int(found, 8) & os.O_ACCMODE for found in re.findall(r"flags:\s*(\d+)", flags)):
                    return True
        except OSError:
            # Of another user, or gone meanwhile.
            continue
    return False


def _changes(folder: Path, deep: bool = True) -> Iterator[float]:
    """When the files of a folder changed last."""
    for root, folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(os.path.join(root, name)).st_mtime
        if not deep:
            folders.clear()
