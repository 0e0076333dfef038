"""The part of a configuration that decides a job, as the job's folder keeps it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from typing import Any

from optimizers.conditions import solvers_in
from optimizers.finetune.spec import WITHOUT_EFFECT
from optimizers.settings.evaluation import EvaluationConfig
from optimizers.settings.run import RunConfig
from optimizers.settings.tracking import TrackingConfig

View = Callable[[RunConfig], dict[str, Any]]

MAY_DIFFER = frozenset(
    {
        "out",
        "ray",
        *("max_calls", "max_tokens", "max_usd"),
        *(f"cost.{key}" for key in ("local_usd_per_hour", "prices", "local_calls_per_second", "trained_tokens_per_second")),
        *(f"labelling.{key}" for key in ("threads", "max_calls", "max_tokens", "max_usd", "failure_share", "partial", "calls_from")),
        *(f"evaluation.{key}" for key in EvaluationConfig.model_fields),
        *(f"training.{key}" for key in WITHOUT_EFFECT),
        "screening.measure",
        *(f"tracking.{key}" for key in TrackingConfig.model_fields),
    }
)
"""Settings that change how a run is done, not what comes out of the parts that stand already."""


def reach_of(models: Iterable[str]) -> frozenset[str]:
    """The settings of some models, named as in the configuration, that say how they are reached; what they say does not hang on it."""
    return frozenset(f"{model}.{key}" for model in models for key in ("timeout", "api_base", "batch", "requests_per_minute"))


REACH = reach_of(("teacher", "student", "solver", "screening.judge"))
"""Of the models of every job."""


def folder_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that a run's folder keeps: `run_settings`, and the solvers of `experiment` that its conditions name."""
    solvers = {role for name in config.conditions() for role in solvers_in(name)}
    named = {name: model.model_dump(exclude_none=True) for name, model in config.experiment.solvers.items() if name in solvers}
    return {**run_settings(config), **({"experiment": {"solvers": named}} if named else {})}


def run_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of a run: all but the sections of other jobs."""
    return tomllib.loads(config.to_toml())


def experiment_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of an experiment: those of a run, and its own section."""
    return tomllib.loads(config.to_toml(experiment=True))


def improve_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of `improve`: those of the run, and its own section."""
    return {**run_settings(config), "improve": config.improve.model_dump(exclude_none=True)}


def compile_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of `compile`: those that decide the teacher's prompts."""
    return {name: value for name, value in config.model_dump(exclude_none=True).items() if name in ("seed", "task", "teacher", "compile")}


def filled_in(view: View) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function that adds to a folder's settings the defaults of settings that are newer than the folder; see `JobFolder.check`."""

    def fill_in(stands: dict[str, Any]) -> dict[str, Any]:
        try:
            config = RunConfig.model_validate({name: value for name, value in stands.items() if name in RunConfig.model_fields})
        except ValueError:
            return stands
        return {**stands, **view(config)}

    return fill_in


def as_now(there: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Earlier settings; those before training.seed could be left out wrote 0 for the run's own."""
    training = there.get("training", {})
    if training.get("seed") == 0 and "seed" not in now["training"]:
        return {**there, "training": {key: value for key, value in training.items() if key != "seed"}}
    return there
