"""Arms of `carry_over.py`: what is changed of the recipe, one thing at a time."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optimizers.conditions import DECOMPOSER_STUDENTS
from optimizers.experiments.variants import Variant
from optimizers.settings.run import RunConfig
from optimizers.settings.task import TaskConfig

PLAIN = "plain"


@dataclass(frozen=True)
class Arm:
    """One way to make the student.

    Attributes:
        name: Of its folders and in the tables.
        settings: Section -> key -> value, over the recipe's.
        task: What it is trained on: a name of [experiment.tasks], or a task's options; None for the recipe's.
        student: One of the decomposers; `S_D-R` is screened by the teacher's success, `S_D-T` is not.
    """

    name: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    task: str | dict[str, Any] | None = None
    student: str = "S_D-R"

    def to_dict(self) -> dict[str, Any]:
        rest = {"task": self.task, "student": self.student}
        return {**self.settings, **{key: value for key, value in rest.items() if value not in (None, "S_D-R")}}

    def config(self, base: RunConfig, seed: int) -> RunConfig:
        """The configuration of one seed; refuses what is no setting."""
        unknown = [section for section in self.settings if section not in RunConfig.model_fields]
        if unknown:
            raise ValueError(f"Arm {self.name!r}: unknown section {unknown[0]!r}; expected some of {sorted(RunConfig.model_fields)}.")
        drawn = {"training": {"seed": seed}, "screening": {"row_seed": seed}, "augment": {"seed": seed}}
        settings = {name: {**drawn.get(name, {}), **self.settings.get(name, {})} for name in {**drawn, **self.settings}}
        try:
            config = Variant(self.name, settings).apply(base).model_copy(update={"seed": seed})
        except ValueError as error:
            raise ValueError(f"Arm {self.name!r}: {error}") from error
        return config.model_copy(update={"task": self._task(base)})

    def _task(self, base: RunConfig) -> TaskConfig:
        if isinstance(self.task, str):
            return base.experiment.task(self.task, base.task)
        return TaskConfig.model_validate(self.task).with_parts_of(base.experiment.tasks) if self.task else base.task


def builtin_arms(config: RunConfig) -> list[Arm]:
    """One change each; those that change nothing of this recipe are left out."""
    training = config.training
    alpha = training.lora_alpha / training.lora_rank
    arms = [Arm(PLAIN)]
    steps = {factor: {"epochs": factor * training.epochs, "min_steps": int(factor * training.min_steps)} for factor in (0.5, 2)}
    arms += [Arm(f"steps x{factor}", {"training": settings}) for factor, settings in steps.items()]
    arms += [Arm(f"rate x{factor}", {"training": {"learning_rate": factor * training.learning_rate}}) for factor in (0.3, 2)]
    arms += [Arm(f"rank={rank}", {"training": {"lora_rank": rank, "lora_alpha": max(1, round(alpha * rank))}}) for rank in (4, 16, 64)]
    arms += [
        Arm("adapter_scale=0.7", {"training": {"adapter_scale": 0.7}}),
        Arm("neftune=5", {"training": {"neftune_noise": 5.0}}),
        Arm("kl=0.1", {"training": {"kl_weight": 0.1}}),
        Arm("mask_entities", {"augment": {"mask_entities": 1}}),
        Arm("mask_synthetic", {"augment": {"mask_entities": 1, "names": "synthetic"}}),
        Arm("compose", {"augment": {"compose": 1.0}}),
        Arm("samples=4", {"labelling": {"samples": 4, "temperature": config.labelling.temperature or 0.7}, "screening": {"keep": "all"}}),
        Arm("unscreened", student="S_D-T"),
    ]
    if len(config.experiment.train) > 1:
        arms.append(Arm("mixture", task={"name": "mixture", "parts": list(config.experiment.train)}))
    same = arms[0].config(config, 0)
    return [arm for arm in arms if arm.name == PLAIN or arm.student != "S_D-R" or arm.config(config, 0) != same]


def read_arms(path: Path) -> list[Arm]:
    """The arms of a TOML file, behind `plain`."""
    try:
        tables = tomllib.loads(path.read_text())["arms"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(f"{path} is no file of arms ({error!r}); see --help for what one looks like.") from error
    arms = {PLAIN: Arm(PLAIN)}
    for name, table in tables.items():
        rest = {key: value for key, value in table.items() if key not in ("task", "student")}
        if not all(isinstance(values, dict) for values in rest.values()):
            raise ValueError(f"Arm {name!r} of {path} must hold tables of settings, such as [arms.{name}.training], task and student.")
        arms[name] = Arm(name, rest, table.get("task"), table.get("student", "S_D-R"))
    return list(arms.values())


def check_arms(arms: Iterable[Arm]) -> None:
    for arm in arms:
        if arm.student not in DECOMPOSER_STUDENTS:
            raise ValueError(f"Arm {arm.name!r}: unknown student {arm.student!r}; expected one of {list(DECOMPOSER_STUDENTS)}.")
        if not arm.name.strip() or set(arm.name) & set('/\\:*?"<>|') or arm.name.startswith("."):
            raise ValueError(f"Arm {arm.name!r}: a name that a folder can have, please.")


def chosen_arms(arms: list[Arm], only: str) -> list[Arm]:
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in {arm.name for arm in arms}]
    if unknown:
        raise ValueError(f"Unknown arm {unknown[0]!r}; there are {[arm.name for arm in arms]}.")
    return [arm for arm in arms if not wanted or arm.name in (PLAIN, *wanted)]
