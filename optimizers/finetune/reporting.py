"""Where trainings report to: what a tracked job says to the trainer's process, and hears from it.

A job that is tracked puts its `Reports` in place (`reporting_to`). `train` asks them which trackers a training reports to, and leaves
the answer beside the training's folder, where `tracker_callbacks` reads it in the trainer's process.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from optimizers.jobs.jsonlines import read_json, write_json

FAILED = "failed"
"""Entry of the file of `told_of`: tracker -> why it failed in the trainer's process."""


class Reports(Protocol):
    """Where the trainings of a job report to."""

    def training_begins(self, target: Path, identity: str) -> dict[str, Any]:
        """What the trainer's process is told: `report_to`, `run_name`, `project` and `environment`; empty without a tracker.

        Args:
            target: Folder of the artifact to come.
            identity: Hash of what decides it.
        """

    def training_ended(self, target: Path, status: str, metrics: Mapping[str, Any], failed: Mapping[str, str]) -> None:
        """Note how a training ended.

        Args:
            target: As in `training_begins`.
            status: FINISHED, FAILED or KILLED.
            metrics: Of the artifact; empty without one.
            failed: Trackers that failed in the trainer's process -> why.
        """


_reports: contextvars.ContextVar[Reports | None] = contextvars.ContextVar("divide_or_conquer_reports", default=None)


@contextlib.contextmanager
def reporting_to(reports: Reports) -> Iterator[None]:
    """Let the trainings inside report to the trackers of a job."""
    token = _reports.set(reports)
    try:
        yield
    finally:
        _reports.reset(token)


def told_of(work: Path) -> Path:
    """The file beside a training's folder that says where it reports to."""
    return work.with_name(f"{work.name}.reporting.json")


@contextlib.contextmanager
def reported(work: Path, target: Path, identity: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Tell the job's trackers of a training that is done inside; yields what takes the metrics of its artifact.

    Args:
        work: Folder of the training.
        target: Folder of the artifact to come.
        identity: Hash of what decides it.
    """
    reports, path, found = _reports.get(), told_of(work), dict[str, Any]()
    path.unlink(missing_ok=True)
    if reports is None:
        yield found.update
        return
    if told := reports.training_begins(target, identity):
        write_json(path, told)
    status = "FINISHED"
    try:
        yield found.update
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        raise
    finally:
        failed = read_json(path).get(FAILED, {})
        path.unlink(missing_ok=True)
        reports.training_ended(target, status, found, failed)
