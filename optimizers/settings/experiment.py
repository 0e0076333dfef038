"""The grid of an experiment: the section `experiment`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from optimizers.conditions import SOLVERS
from optimizers.settings.models import ModelConfig
from optimizers.settings.section import Counts, Names, Section, Seeds, no_entries
from optimizers.settings.task import TaskConfig
from programs.tasks.registry import task_class

ABLATIONS = ("rows", "limit", "screening", "method", "format", "few-shot")


class ExperimentConfig(Section):
    """The grid of `divide-or-conquer experiment`; `run` does not read it."""

    train: Names = []
    """Tasks to train students on, by their names in `experiment.tasks` or in `divide-or-conquer tasks`; by default the run's own task."""
    test: Names = []
    """Tasks to test on, named in the same way; by default those trained on."""
    tasks: dict[str, TaskConfig] = {}
    """Tasks under names of your own: `[experiment.tasks.books] name = "multihop", schema = "books"`."""
    data: dict[str, dict[Literal["train", "dev", "test"], int]] = Field({}, json_schema_extra={"unit": "questions"})
    """Numbers of questions of a task where they are other than in `data`: `[experiment.data.bamboogle] test = 125`."""
    training: dict[str, Any] = {}
    """Settings of `training` that are other than the run's: `[experiment.training] batch_size = 2`."""
    conditions: Names = Field(["all"], min_length=1)
    """Names of the conditions to compare, or `all`; see docs/paper.md."""
    solvers: dict[str, ModelConfig] = {}
    """Further solvers under names of your own, for conditions such as S_D-R+gpt4."""
    students: dict[str, ModelConfig] = {}
    """Further models to distil into, under names of your own. `--experiment.students ''` drops those of a recipe, as with `solvers`."""
    ablations: Names = []
    """Which settings to vary one at a time: any of `rows`, `limit`, `screening`, `method`, `format` and `few-shot`; see docs/paper.md."""
    rows: Counts = Field([25, 50, 100], min_length=1, json_schema_extra={"unit": "rows"})
    """Numbers of training rows on the learning curve (ablation `rows`)."""
    limits: Names = Field(["none", "4", "3", "2"], min_length=1)
    """Limits on subquestions (ablation `limit`, the paper's Table 10); `none` sets no limit."""
    screenings: Names = []
    """What the ablation `screening` tries: policies by name, and `first`, `all` and `fewest` of four samples; by default all of these."""
    training_seeds: Seeds = []
    """Further seeds of the training. With `data_seeds` they split the variance of a student's score by where it comes from."""
    data_seeds: Seeds = []
    """Seeds of further draws of the training rows; each draw has `seed_rows` rows."""
    sampling_seeds: Seeds = []
    """Seeds of the students' decoding at `sampling_temperature`. Without any, decoding is greedy and adds no variance."""
    sampling_temperature: float = Field(0.7, gt=0)
    """Temperature of the decoding by `sampling_seeds`."""
    seed_rows: int | None = Field(None, ge=2, json_schema_extra={"unit": "rows"})
    """Rows of each draw by `data_seeds`; by default half as many as the smallest training task has questions."""
    variant_conditions: Names = Field(["S_D-R+teacher"], min_length=1)
    """Conditions by which further students, seeds and ablations of the training are measured."""
    student_conditions: Names = []
    """Those for further students of `students` alone; by default `variant_conditions`."""
    rows_conditions: Names = []
    """Those for the learning curve (ablation `rows`) alone; by default `variant_conditions`."""
    transfer_conditions: Names = []
    """Which of all these are also measured on tasks of `test` that no student is trained on; by default all."""
    near_duplicates: float = Field(0.5, gt=0, le=1, json_schema_extra={"unit": "share of the sequences"})
    """A test question is left out if one training question has at least this share of its sequences of 8 words."""

    _may_be_dropped = field_validator("tasks", "data", "training", "solvers", "students", mode="before")(no_entries)

    @field_validator("ablations")
    @classmethod
    def _known_ablations(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in ABLATIONS:
                raise ValueError(f"unknown ablation {name!r}; expected some of {list(ABLATIONS)}")
        return names

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, limits: list[str]) -> list[str]:
        for limit in limits:
            if limit != "none" and not (limit.isdecimal() and int(limit) > 0):
                raise ValueError(f"limit {limit!r} must be 'none' or a number from 1")
        return limits

    @field_validator("solvers")
    @classmethod
    def _free_names(cls, solvers: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        for name in solvers:
            if name in SOLVERS or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise ValueError(f"solver name {name!r} must be of letters, digits, '.', '-', '_', and none of {list(SOLVERS)}")
        return solvers

    def measured_by(self, variants: str) -> list[str]:
        """The conditions of further `students`, or of an ablation or `seeds`, by its name."""
        own = {"students": self.student_conditions, "rows": self.rows_conditions, "limit": ["teacher+teacher"], "few-shot": self.conditions}
        return own.get(variants) or self.variant_conditions

    def task(self, name: str, default: TaskConfig) -> TaskConfig:
        """The task of a name: of `tasks`, the run's own, or one of the package.

        Raises:
            ValueError: No such task.
        """
        if name in self.tasks:
            return self.tasks[name]
        if name == default.name:
            return default
        try:
            task_class(name)
        except ValueError as error:
            raise ValueError(f"{error} Names of your own go under [experiment.tasks.<name>]; there are {sorted(self.tasks)}.") from None
        return TaskConfig(name=name)
