"""Runs of TensorBoard: a folder of event files each, below `tensorboard/` of the job's folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from optimizers.jobs.folder import free
from optimizers.tracking.tracker import Figures

JOB = "job"
"""Folder of the job's own run."""


class TensorBoardRuns:
    """A `Tracker`.

    Args:
        folder: Of the job.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter
        self._folder = folder / "tensorboard"
        self.place = "tensorboard"
        self._open: dict[str, Any] = {}

    def begin(self, name: str, parent: str | None, known: str | None) -> str:
        """As of `Tracker`."""
        if known is not None:
            return known
        folder = self._folder / (re.sub(r"[^\w.()=-]", "_", name) if parent else JOB)
        return free(folder).name if folder.exists() else folder.name

    def write(self, run: str, figures: Figures, step: int) -> None:
        """As of `Tracker`; TensorBoard takes no files."""
        writer = self._open[run] = self._open.get(run) or self._writer(log_dir=str(self._folder / run))
        if figures.params:
            rows = [f"| `{name}` | `{value}` |" for name, value in figures.params.items()]
            writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), step)
        for name, value in figures.metrics.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def end(self, run: str, status: str) -> None:
        """As of `Tracker`; TensorBoard knows no state of a run."""
        if (writer := self._open.pop(run, None)) is not None:
            writer.close()

    def for_training(self, run: str) -> dict[str, Any]:
        """As of `Tracker`."""
        return {"environment": {"TENSORBOARD_LOGGING_DIR": str((self._folder / run).resolve())}}
