"""What a study will do, said before it does anything: `--dry-run`."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from optimizers.experiments.plan import Step, plan_steps
from optimizers.reports.plans import minutes_text
from optimizers.settings.run import RunConfig
from optimizers.studies.search_space import Dimension
from optimizers.studies.study import StudyJob


def study_minutes(job: StudyJob) -> dict[str, float]:
    """Expected minutes of the labels, and of all trials without pruning, on `study.workers` workers that share the cores.

    A trial is counted with the middle of every dimension, at the speeds under `cost`.
    """
    settings = job.config.study
    steps = _steps(job.config)
    per_question = sum(step.minutes for step in steps if step.name.startswith("label")) / job.config.data.train
    labels = sum(
        per_question * config.labelling.samples * (config.data.train + config.data.dev) / job.config.labelling.samples
        for config in job.space.label_configs()
    )
    trial = sum(step.minutes for step in _steps(_middle(job)) if not step.name.startswith("label"))
    return {"labels": labels, "a trial": trial, "all": labels + trial * settings.trials}


def _middle(job: StudyJob) -> RunConfig:
    return job.space.apply({dimension.key: _middle_of(dimension) for dimension in job.space.dimensions})


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


def study_plan(config: RunConfig) -> Group:
    """Expected minutes, number of trials, and the dimensions in a table.

    Raises:
        ValueError: What `study` would refuse.
    """
    job = StudyJob(config, keys=False)
    table = Table("dimension", "values", "first trial", box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for dimension in job.space.dimensions:
        table.add_row(*map(Text, (dimension.key, str(dimension), str(job.space.defaults[dimension.key]))))
    settings, minutes = config.study, study_minutes(job)
    total = (
        f"In all {minutes_text(minutes['all'])} without pruning: labels {minutes_text(minutes['labels'])}, each trial "
        f"{minutes_text(minutes['a trial'])}."
    )
    words = (
        f"{settings.trials} trials of {config.data.train} training and {config.data.dev} dev questions by {settings.sampler}, "
        f"seed {settings.seed}; objective {settings.objective}, pruner {settings.pruning}, {settings.workers} workers."
    )
    return Group(Text(total, style="bold"), Text(words), table)
