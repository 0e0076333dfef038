"""About how many seconds each stage of a run or an experiment will take, for the time left of the whole job."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from optimizers.experiments.plan import Step, grid_steps, plan_steps
from optimizers.experiments.roles import slug

if TYPE_CHECKING:
    from optimizers.experiments.grid import Grid
    from optimizers.experiments.run_job import MainJob

_KIND = re.compile(r"(?:^|, )(label|screen|train)[: ]")
"""Of a step of a plan, behind the name of its task; all others are tests."""

_STAGE_OF = {"label": "label", "screen": "screen", "train": "distill", "evaluate": "evaluate"}
"""Kind of stage that is shown -> the stage of the job that it belongs to."""


def run_outline(job: MainJob, stages: Collection[str]) -> dict[str, float]:
    """Of `run`; the names are those under which its progress is shown.

    Args:
        job: The run.
        stages: What of it is done.

    Raises:
        ValueError: What a plan refuses; see `plan_steps`.
    """
    seconds = seconds_by_kind(plan_steps(job.config))
    students = job.distillation.students
    weights = {
        **{f"label {split}": float(len(job.splits.get(split) or ())) for split in ("train", "dev")},
        "screen train": 1.0,
        **{f"train {slug(student)}": 1.0 for student in students},
        **{f"evaluate {condition.name}": 1.0 for condition in job.conditions},
        **{f"evaluate {condition.name} (dev)": 1.0 for condition in job.conditions if condition.parts},
    }
    return shared(weights, _chosen(seconds, stages))


def grid_outline(job: Grid, stages: Collection[str]) -> dict[str, float]:
    """Of `run_experiment`; as `run_outline`."""
    seconds = seconds_by_kind(grid_steps(job.config))
    weights: dict[str, float] = {}
    for train in dict.fromkeys(train for train, _ in job.trainings()):
        first = next(variant for name, variant in job.trainings() if name == train)
        for split in ("train", "dev"):
            weights[job.shown_as(f"label {split}", train, first)] = float(len(job.tasks[train].splits.get(split) or ()))
    for train, variant in job.trainings():
        students = job.distillation(train, variant).students
        weights[job.shown_as("screen train", train, variant)] = 1.0
        weights |= {job.shown_as(f"train {slug(student)}", train, variant): 1.0 for student in students}
    weights |= {name: float(len(job.tasks[cell.test].splits["test"])) for name, cell in job.shown_cells()}
    return shared(weights, _chosen(seconds, {*stages, "screen"} if "distill" in stages else stages))


def _chosen(seconds: Mapping[str, float], stages: Collection[str]) -> dict[str, float]:
    return {kind: value for kind, value in seconds.items() if _STAGE_OF[kind] in stages}


def seconds_by_kind(steps: Iterable[Step]) -> dict[str, float]:
    """The seconds of a plan by kind of stage: `label`, `screen`, `train`, `evaluate`."""
    found: dict[str, float] = defaultdict(float)
    for step in steps:
        kind = _KIND.search(step.name)
        found[kind[1] if kind else "evaluate"] += 60 * step.minutes
    return found


def shared(weights: Mapping[str, float], seconds: Mapping[str, float]) -> dict[str, float]:
    """The seconds of each kind of stage, dealt out to its stages by their weights; stages that take none are left out."""
    sums: dict[str, float] = defaultdict(float)
    for stage, weight in weights.items():
        sums[_kind(stage)] += weight
    found = {stage: seconds.get(_kind(stage), 0.0) * weight / sums[_kind(stage)] for stage, weight in weights.items() if weight}
    return {stage: value for stage, value in found.items() if value > 0}


def _kind(stage: str) -> str:
    return stage.partition(" ")[0]
