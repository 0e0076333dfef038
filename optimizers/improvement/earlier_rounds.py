"""Rounds that were done under other settings: moved aside, never deleted, and taken back where they are asked for again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from optimizers.jobs.folder import FillIn, JobFolder, Settings, changed_settings, free
from programs.lms.artifacts import open_artifact, register

_EARLIER, _ROUNDS = "earlier", "rounds"
_RESULTS = ("improve.json", "improve.md", "improve.html", "figures/improve.png")

Changed = Callable[[Settings], list[str]]
"""The settings of a folder that make its rounds others than those that are asked for, a line each."""

_log = logging.getLogger("divide_or_conquer")


def changes(now: Settings, may_differ: Collection[str], fill_in: FillIn) -> Changed:
    """What of a folder's settings is another now; more or other test questions leave the rounds as they are."""

    def changed(there: Settings) -> list[str]:
        return changed_settings(fill_in(there), now, may_differ, lambda key, both: key == "data.test")

    return changed


def redo_rounds(folder: Path, changed: Changed) -> None:
    """Move the rounds of other settings aside, and put those of these settings in place, if they were done before.

    Calls stay where they are, so that none is paid for twice, and those of the rounds that are moved still count for the limits.

    Args:
        folder: Of the job; its rounds and their `config.toml` are in `rounds/`.
        changed: See `Changed`.
    """
    there = _settings(folder / _ROUNDS)
    lines = changed(there) if there is not None else []
    if not lines:
        return
    target = _set_aside(folder)
    _log.warning("the rounds are done again, and the earlier ones are in %s, as these settings changed:\n%s", target, "\n".join(lines))
    for earlier in sorted((folder / _ROUNDS / _EARLIER).iterdir()):
        settings = _settings(earlier)
        if earlier != target and settings is not None and not changed(settings):
            _take_back(folder, earlier)
            return


def _settings(folder: Path) -> dict[str, Any] | None:
    return JobFolder(folder, _ROUNDS, flag="--improve.out").settings()


def _set_aside(folder: Path) -> Path:
    rounds = folder / _ROUNDS
    target = free(rounds / _EARLIER / _ROUNDS)
    for path in _numbered(rounds):
        _move(path, target / path.name)
    for name in _RESULTS:
        if (folder / name).exists():
            _move(folder / name, target / "results" / name)
    # Last, as the mark that all is there.
    _move(rounds / "config.toml", target / "config.toml")
    return target


def _take_back(folder: Path, earlier: Path) -> None:
    for path in _numbered(earlier):
        _move(path, folder / _ROUNDS / path.name)
    for name in _RESULTS:
        if (earlier / "results" / name).exists():
            _move(earlier / "results" / name, folder / name)
    _move(earlier / "config.toml", folder / _ROUNDS / "config.toml")
    shutil.rmtree(earlier)


def _numbered(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.name.isdecimal()]


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    if (target / "student" / "manifest.json").exists():
        # Under its name it can still be loaded.
        register(open_artifact(target / "student", verify=False))
