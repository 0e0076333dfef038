"""The program of a run's condition, made again from what its folder says."""

from __future__ import annotations

from pathlib import Path

import dspy

from optimizers.conditions import TRAINED, Condition
from optimizers.experiments.run_job import MainJob
from optimizers.settings.load import load_config


def program_of(folder: Path, condition: str | None = None) -> dspy.Module:
    """The program of a condition with its models, prompts, formats and limits; see `Run.program`."""
    if (folder / "students").is_dir():
        raise ValueError(
            f"{folder} is an experiment, with students of several kinds; build the program with one of its folders students/…."
        )
    job = MainJob(load_config(str(folder / "config.toml"), {"out": str(folder)}))
    known = {one.name: one for one in job.conditions}
    name = condition or min(job.conditions, key=_rank).name
    if name not in known:
        raise ValueError(f"{folder} has no condition {name!r}; it has {list(known)}.")
    return job.roles.program(known[name], job.task, job.splits["test"])


def _rank(condition: Condition) -> int:
    """The distilled decomposer is what a run is made for; after it comes whatever was trained."""
    return 0 if condition.decomposer == "S_D-R" else 1 if condition.decomposer in TRAINED else 2 if condition.students else 3
