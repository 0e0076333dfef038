"""Runs of trackio, each known by its name; one is open at a time."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import Any

from optimizers.settings.tracking import TrackingConfig
from optimizers.tracking.tracker import Figures


class TrackioRuns:
    """A `Tracker`.

    Args:
        settings: Its project. Where trackio keeps it is said by its own variables: `TRACKIO_DIR`, `TRACKIO_SPACE_ID`.
    """

    def __init__(self, settings: TrackingConfig) -> None:
        import trackio

        self._trackio, self._project = trackio, settings.project
        self.place = settings.project
        self._groups: dict[str, str] = {}

    def begin(self, name: str, parent: str | None, known: str | None) -> str:
        """As of `Tracker`; the run is made when there is something to write."""
        run = known or f"{name.replace('/', '-')}-{secrets.token_hex(3)}"
        self._groups[run] = parent or run
        return run

    def write(self, run: str, figures: Figures, step: int) -> None:
        """As of `Tracker`; trackio takes no files."""
        # It says on standard output, where results go, what it does.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            opened: Any = self._trackio.init(
                project=self._project,
                name=run,
                group=self._groups[run],
                config=dict(figures.params),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            if figures.metrics:
                opened.log(dict(figures.metrics))
            self._trackio.finish()

    def end(self, run: str, status: str) -> None:
        """As of `Tracker`; trackio knows no state of a run."""

    def for_training(self, run: str) -> dict[str, Any]:
        """As of `Tracker`."""
        return {"run_name": run, "project": self._project}
