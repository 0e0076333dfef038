"""Doing a stage again: what it made is moved aside, never deleted, and made anew from what the stages before it left."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from optimizers.experiments.roles import Roles

_log = logging.getLogger("divide_or_conquer")

DISTILL = "distill"
"""In place of a student's name: all students."""

ASIDE = "aside"


def chosen(redo: Collection[str], students: Iterable[str]) -> list[str]:
    """The students that are to be trained again.

    Args:
        redo: Names of students, or `distill` for all of them.
        students: Those of the job.

    Raises:
        ValueError: A name that is none of them.
    """
    known = list(dict.fromkeys(students))
    unknown = [name for name in redo if name not in (DISTILL, *known)]
    if unknown:
        raise ValueError(f"--redo {unknown[0]}: this job trains no such student; expected {DISTILL!r} for all, or some of {known}.")
    return known if DISTILL in redo else [name for name in known if name in redo]


def folders_of(roles: Roles, students: Iterable[str]) -> list[Path]:
    """What trainings of some students left: artifacts, and the work of those that did not end."""
    folders = [roles.folder_of(student) for student in students]
    return [path for folder in folders for path in (folder, folder.with_name(folder.name + ".work"))]


def set_aside(folder: Path, paths: Sequence[Path]) -> Path | None:
    """Move files and folders of a job to `aside/<number>/` in it, under the paths that they had.

    Returns:
        Where they are; None if there were none.
    """
    there = [path for path in dict.fromkeys(paths) if path.exists()]
    if not there:
        return None
    number = next(n for n in range(1, 100_000) if not (folder / ASIDE / str(n)).exists())
    for path in there:
        target = folder / ASIDE / str(number) / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    _log.info("moved aside to %s: %s", folder / ASIDE / str(number), ", ".join(str(path.relative_to(folder)) for path in there))
    return folder / ASIDE / str(number)
