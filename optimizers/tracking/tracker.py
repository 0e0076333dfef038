"""What a tracker of experiments has to do for a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
"""How a run ended: well, by an error, or stopped from outside."""


class Figures(NamedTuple):
    """What a tracker is told of a run.

    Attributes:
        params: Settings by dotted name.
        metrics: Finite numbers by name; parts of a name are joined by `/`.
        files: Files to upload.
    """

    params: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    files: Sequence[Path] = ()


class Tracker(Protocol):
    """One tracker, of which a job needs one run and runs nested in it.

    Attributes:
        place: Where its runs are; a run is known there alone.
    """

    place: str

    def begin(self, name: str, parent: str | None, known: str | None) -> str:
        """Go on with a run, or make one.

        Args:
            name: Name to show.
            parent: Id of the run that it is nested in.
            known: Id of the run to go on with, where there is one.

        Returns:
            Its id: another one than `known` where that is there no more.
        """

    def write(self, run: str, figures: Figures, step: int) -> None:
        """Tell what is new of a run that was begun; `step` counts how often that was done."""

    def end(self, run: str, status: str) -> None:
        """Note how a run ended."""

    def for_training(self, run: str) -> dict[str, Any]:
        """What transformers' own callback needs to write into a run: `environment`, and of its arguments `run_name` and `project`."""
