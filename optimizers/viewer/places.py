"""Where the jobs below a folder are, and of which kind each is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RESULTS = {
    "run": "metrics.json",
    "experiment": "metrics.json",
    "compile": "compiled.json",
    "improve": "improve.json",
    "study": "study.json",
}
"""The file in which a job of each kind sums itself up."""

REPORTS = ("report.html", "improve.html", "compiled.html", "study.html")

_SIGNS = {
    "study": ("study.json", "study.journal", "trials"),
    "compile": ("compiled.json", "compile.toml"),
    "improve": ("improve.json", "rounds"),
    "run": ("metrics.json", "config.toml", "predictions"),
    "labels": ("samples.jsonl", "traces.jsonl"),
}

_DEEPEST = 5

_MOST_FOLDERS = 5000
"""Folders that are looked into: enough for any folder of runs, and an end where somebody names the root of a disk."""


@dataclass(frozen=True)
class Place:
    """A folder of a job.

    Attributes:
        name: Its path below the folder that is viewed, as text that a page can hold; this alone is what addresses name.
        folder: Where it is.
        kind: `run`, `experiment`, `compile`, `improve`, `study`, or `labels` for a teacher's answers alone.
    """

    name: str
    folder: Path
    kind: str


@dataclass
class Found:
    """What lies below a folder.

    Attributes:
        places: By name.
        others: Name of a folder without a job -> what is in it.
        cut: Whether the search ended before its time, as there are too many folders.
    """

    places: dict[str, Place] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def find(root: Path) -> Found:
    """The jobs in `root` and below it, and the folders directly in it that hold none."""
    found, seen = Found(), _Seen()
    is_job = _kind(root) is not None
    if not is_job:
        seen.take(root)
    for folder in [root] if is_job else _folders(root, found, ""):
        name = _shown(folder, root)
        before = len(found.places)
        if _look(folder, root, found, seen, 1) and len(found.places) == before and name not in found.others:
            found.others[name] = _what_is_in(folder)
    found.cut = seen.full
    return found


class _Seen:
    """Folders that were looked into, so that links in a circle have an end."""

    def __init__(self) -> None:
        self._folders: set[str] = set()

    @property
    def full(self) -> bool:
        return len(self._folders) >= _MOST_FOLDERS

    def take(self, folder: Path) -> bool:
        real = os.path.realpath(folder)
        if real in self._folders or self.full:
            return False
        self._folders.add(real)
        return True


def _look(folder: Path, root: Path, found: Found, seen: _Seen, depth: int) -> bool:
    """Note the jobs in a folder; False if it was looked into under another name."""
    if not seen.take(folder):
        return False
    kind = _kind(folder)
    name = _shown(folder, root)
    if kind:
        # Two names that are no UTF-8 may look the same.
        name = next(one for n in itertools.count(1) if (one := name if n == 1 else f"{name} ({n})") not in found.places)
        found.places[name] = Place(name, folder, kind)
    for child in _folders(folder, found, name) if depth < _DEEPEST else ():
        # Inside a job, what has results of its own: the run of a study's best trial, an improvement of a run.
        if not kind or any((child / result).is_file() for result in RESULTS.values()):
            _look(child, root, found, seen, depth + 1)
    return True


def _kind(folder: Path) -> str | None:
    signs = (kind for kind, names in _SIGNS.items() if any(_is_there(folder / name) for name in names))
    kind = next(signs, None)
    if kind == "improve" and (_is_there(folder / "metrics.json") or _is_there(folder / "predictions")):
        # By default the rounds stand in the folder of the run that they improve.
        kind = "run"
    return "experiment" if kind == "run" and any(_is_there(folder / name) for name in ("labels", "students")) else kind


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _folders(folder: Path, found: Found, name: str) -> Iterator[Path]:
    """The folders in one, in their order, links last; one that cannot be read is noted."""
    try:
        with os.scandir(folder) as entries:
            there = [(entry.is_symlink(), Path(entry.path)) for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
        yield from (path for _, path in sorted(there))
    except OSError as error:
        found.others[name or str(folder)] = f"cannot be read: {error.strerror}"


def _what_is_in(folder: Path) -> str:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if "manifest.json" in names:
        return "a model, no job"
    return "no job: it has no config.toml, metrics.json or other file of one" if names else "empty"


def _shown(folder: Path, root: Path) -> str:
    """A name that can stand in a page: what is no UTF-8 on disk has a sign in its place."""
    name = folder.name if folder == root else str(folder.relative_to(root))
    return os.fsencode(name or str(folder)).decode("utf-8", "replace")


def inside(place: Place, name: str) -> Path | None:
    """A file of a job's folder; None if it is not there, or a link leads out of the folder."""
    path = place.folder / name
    try:
        real = path.resolve(strict=True)
        return path if real.is_file() and real.is_relative_to(place.folder.resolve()) else None
    except OSError:
        return None
