"""How long a study is expected to take."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from optimizers.experiments.plan import Step, plan_steps
from optimizers.settings.run import RunConfig
from optimizers.studies.search_space import Dimension, Space


def study_minutes(config: RunConfig, space: Space) -> dict[str, float]:
    """Expected minutes of the labels, and of all trials without pruning, on `study.workers` workers that share the cores.

    A trial is counted with the middle of every dimension, at the speeds under `cost`.
    """
    settings = config.study
    steps = _steps(config)
    per_question = sum(step.minutes for step in steps if step.name.startswith("label")) / max(1, config.data.train)
    labels = sum(
        per_question * labelled.labelling.samples * (labelled.data.train + labelled.data.dev) / config.labelling.samples
        for labelled in space.label_configs()
    )
    trial = sum(step.minutes for step in _steps(_middle(space)) if not step.name.startswith("label"))
    return {"labels": labels, "a trial": trial, "all": labels + trial * settings.trials}


def _middle(space: Space) -> RunConfig:
    return space.apply({dimension.key: _middle_of(dimension) for dimension in space.dimensions})


def _middle_of(dimension: Dimension) -> Any:
    values = dimension.extremes
    if "choices" in dimension.spec and not all(isinstance(value, int | float) for value in values):
        return values[0]
    middle = fmean(values) if "choices" in dimension.spec else (values[0] + values[-1]) / 2
    finite = dimension.values
    return min(finite, key=lambda value: abs(value - middle)) if finite else middle


def _steps(config: RunConfig) -> list[Step]:
    """Labels, one training and the dev questions, as `run` would count them for test questions."""
    evaluation = config.evaluation.model_copy(update={"conditions": [f"{config.study.student}+solver"]})
    data = config.data.model_copy(update={"test": config.data.dev})
    return plan_steps(config.model_copy(update={"evaluation": evaluation, "data": data}))
