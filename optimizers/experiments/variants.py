"""Variants of an experiment: further students, seeds and ablations, each a handful of changed settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from optimizers.conditions import Condition, expand_conditions
from optimizers.screening.policy import POLICIES
from optimizers.screening.screen import KEEP
from optimizers.settings.experiment import ABLATIONS
from optimizers.settings.run import RunConfig

_SAMPLES = 4

_TEMPERATURE = 0.7

# A tenth of LoRA's rate, the usual step down where all weights move.
_FULL_RATE_SHARE = 0.1


@dataclass(frozen=True)
class Variant:
    """One way to make the students.

    Attributes:
        name: Of its folder and in the report; empty for the experiment's own settings.
        settings: Section -> key -> value, over the experiment's.
        conditions: What it is measured by; None takes the experiment's.
        everywhere: Whether it is measured on all test tasks, or on the one that it was trained on.
        seeds: Number of the draw of rows, of the training, and of the sampling; None outside the study of variance.
    """

    name: str = ""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    conditions: tuple[str, ...] | None = None
    everywhere: bool = False
    seeds: tuple[int, int, int] | None = None

    @property
    def ablation(self) -> str | None:
        """The name under which the report lists it among the ablations."""
        return self.name if self.name.partition("=")[0] in ABLATIONS else None

    @property
    def students_name(self) -> str:
        """The name of the folder of its students, which variants of the sampling alone share."""
        return self.name if self.seeds is None else "seeds={},{}".format(*self.seeds[:2])

    def apply(self, config: RunConfig) -> RunConfig:
        """The configuration with the variant's settings."""
        settings = config.model_dump()
        for section, values in self.settings.items():
            settings[section] = {**settings[section], **values}
        return RunConfig.model_validate(settings)


def variants(config: RunConfig) -> list[Variant]:
    """The experiment's own settings first, then every variant that it asks for."""
    experiment = config.experiment
    found = [Variant(everywhere=True)]
    for name, model in experiment.students.items():
        found.append(
            Variant(f"student={name}", {"student": model.model_dump()}, tuple(experiment.measured_by("students")), everywhere=True)
        )
    builders = {"rows": _rows, "limit": _limits, "screening": _screening, "method": _method, "format": _format}
    # Few-shot against distilled is a condition of the experiment itself.
    for ablation in [name for name in experiment.ablations if name in builders]:
        found += [Variant(name, settings, tuple(experiment.measured_by(ablation))) for name, settings in builders[ablation](config)]
    return [*found, *_seeds(config, tuple(experiment.measured_by("seeds")))]


def is_measured(config: RunConfig, condition: Condition, test: str) -> bool:
    """Whether a condition is measured on a test task: any is where students are trained on it, elsewhere those of `transfer_conditions`."""
    experiment = config.experiment
    if not experiment.transfer_conditions or test in (experiment.train or [config.task.name]):
        return True
    return condition.name in expand_conditions(experiment.transfer_conditions, experiment.solvers)


Settings = tuple[str, dict[str, dict[str, Any]]]


def _rows(config: RunConfig) -> Iterator[Settings]:
    for count in config.experiment.rows:
        yield f"rows={count}", {"screening": {"max_rows": count}}


def _limits(config: RunConfig) -> Iterator[Settings]:
    for limit in config.experiment.limits:
        yield f"limit={limit}", {"task": {"max_subquestions": None if limit == "none" else int(limit)}}


def _screening(config: RunConfig) -> Iterator[Settings]:
    labelling = {"samples": _SAMPLES, "temperature": config.labelling.temperature or _TEMPERATURE}
    found: dict[str, Settings] = {keep: (f"{keep} of {_SAMPLES}", {"labelling": labelling, "screening": {"keep": keep}}) for keep in KEEP}
    # Unscreened rows are S_D-T's, which is a condition of its own.
    for policy in POLICIES.names():
        if policy not in ("none", config.screening.policy):
            found[policy] = (policy, {"screening": {"policy": policy}})
    for name in config.experiment.screenings or found:
        if name not in found:
            raise ValueError(f"experiment.screenings: {name!r} is none of the screenings that there are to try: {list(found)}.")
        yield f"screening={found[name][0]}", found[name][1]


def _method(config: RunConfig) -> Iterator[Settings]:
    yield "method=full", {"training": {"method": "full", "learning_rate": config.training.learning_rate * _FULL_RATE_SHARE}}


def _format(config: RunConfig) -> Iterator[Settings]:
    for adapter in ("line", "chat"):
        yield f"format={adapter}", {"student": {"adapter": adapter}, "training": {"max_length": max(1024, config.training.max_length)}}


def _seeds(config: RunConfig, conditions: tuple[str, ...]) -> Iterator[Variant]:
    """Every draw of rows with every seed of the training, and of the sampling if there are any."""
    experiment = config.experiment
    if not (experiment.data_seeds or experiment.training_seeds or experiment.sampling_seeds):
        return
    sizes = [experiment.data.get(name, {}).get("train", config.data.train) for name in experiment.train or [config.task.name]]
    rows = experiment.seed_rows or max(2, min(sizes) // 2)
    for draw in [0, *experiment.data_seeds]:
        for training in [0, *experiment.training_seeds]:
            settings = {"screening": {"max_rows": rows, "row_seed": draw}, "training": {"seed": config.seed + training}}
            for sampling in experiment.sampling_seeds or [0]:
                yield Variant(f"seeds={draw},{training},{sampling}", settings, conditions, seeds=(draw, training, sampling))
