"""The files of a training job that its trainer and its caller share: progress, lock, and how the trainer's process ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optimizers.jobs.jsonlines import read_lines


def read_progress(folder: Path) -> list[dict[str, Any]]:
    """Lines of a job's or an artifact's `progress.jsonl`, one a step; a half-written last line is left out."""
    return list(read_lines(folder / "progress.jsonl"))


EXIT_STOPPED = 130

EXIT_LIMIT = 3


def lock_of(folder: Path) -> Path:
    """The lock that a trainer holds on its job, so that one whose caller was killed is waited for, not doubled."""
    return folder.with_name(folder.name + ".lock")
