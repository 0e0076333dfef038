"""Runs of W&B; it knows no nested ones, so that those of a job are a group."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimizers.settings.tracking import TrackingConfig
from optimizers.tracking.tracker import FINISHED, Figures

_SECONDS = 60.0
"""How long a server is waited for; by itself W&B waits for it at the end of a run for ever."""


class WandbRuns:
    """A `Tracker`.

    Args:
        settings: Its project.
        folder: Of the job; W&B puts its files there, which `wandb sync` uploads after a run offline.
    """

    def __init__(self, settings: TrackingConfig, folder: Path) -> None:
        import wandb

        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
            # It would ask for one in the terminal, and wait.
            raise ValueError("W&B has no key: run `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline")
        self._wandb, self._project, self._folder = wandb, settings.project, folder
        self.place = settings.project
        self._named: dict[str, Mapping[str, Any]] = {}
        self._open: dict[str, Any] = {}

    def begin(self, name: str, parent: str | None, known: str | None) -> str:
        """As of `Tracker`; the run itself is made when there is something to write, by this process or the trainer's."""
        run = known or secrets.token_hex(4)
        self._named[run] = {"name": name, "group": parent or run, "job_type": "student" if parent else "job"}
        return run

    def write(self, run: str, figures: Figures, step: int) -> None:
        """As of `Tracker`."""
        opened = self._opened(run)
        opened.config.update(dict(figures.params), allow_val_change=True)
        if figures.metrics:
            opened.log(dict(figures.metrics))
        if figures.files:
            # A copy; files that are only saved have to stay where they are.
            artifact = self._wandb.Artifact(f"files-{run}", type="report")
            for path in figures.files:
                artifact.add_file(str(path))
            opened.log_artifact(artifact)

    def _opened(self, run: str) -> Any:
        if run not in self._open:
            quiet = {"silent": True, "console": "off", "init_timeout": _SECONDS, "finish_timeout": _SECONDS}
            self._open[run] = self._wandb.init(
                project=self._project,
                id=run,
                resume="allow",
                # Beside a run of the user's own, and more than one at a time.
                reinit="create_new",
                dir=str(self._folder),
                settings=self._wandb.Settings(**quiet),
                **self._named[run],
            )
        return self._open[run]

    def end(self, run: str, status: str) -> None:
        """As of `Tracker`."""
        self._opened(run).finish(exit_code=0 if status == FINISHED else 1)
        del self._open[run]

    def for_training(self, run: str) -> dict[str, Any]:
        """As of `Tracker`."""
        named = self._named[run]
        told = {"WANDB_PROJECT": self._project, "WANDB_RUN_ID": run, "WANDB_RESUME": "allow", "WANDB_DIR": str(self._folder.resolve())}
        told |= {"WANDB_NAME": named["name"], "WANDB_RUN_GROUP": named["group"], "WANDB_JOB_TYPE": named["job_type"]}
        # Not by the service of this process, which may end before the trainer's.
        return {"environment": {**told, "WANDB_SERVICE": "", "WANDB_SILENT": "true"}}
