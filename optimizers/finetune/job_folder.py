"""The files of a training job that its trainer and its caller share: progress, lock, and how the trainer's process ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_progress(folder: Path) -> list[dict[str, Any]]:
    """Lines of a job's or an artifact's `progress.jsonl`, one a step; a half-written last line is left out."""
    path = folder / "progress.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


EXIT_STOPPED = 130

EXIT_LIMIT = 3


def lock_of(folder: Path) -> Path:
    """The lock that a trainer holds on its job, so that one whose caller was killed is waited for, not doubled."""
    return folder.with_name(folder.name + ".lock")
