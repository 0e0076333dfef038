"""The paper's whole experiment: conditions x training tasks x test tasks x solvers x students, in one folder.

Every training task is labelled once, every student trained once, every call made once, whatever the number of
conditions that need it; a killed experiment goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dspy

from optimizers.conditions import Condition, expand_conditions, parse_condition, students_of
from optimizers.evaluation.leakage import Leak, find_leaks, keep_out
from optimizers.experiments.cascades import check_cascades, choice_on_file
from optimizers.experiments.distillation import Distillation
from optimizers.experiments.roles import Roles
from optimizers.experiments.run_folder import naming_places, open_folder
from optimizers.experiments.setup import Setup, check_before_payment
from optimizers.experiments.variants import Variant, is_measured, variants
from optimizers.finetune.augment import check_augment
from optimizers.jobs.progress import Progress, no_progress
from optimizers.settings.run import RunConfig, configured_for
from optimizers.settings.splits import configured_task, loaded, refuse_shown, refuse_traces
from programs.lms.ledger import Prices
from programs.tasks.base import Task

Journaled = Callable[..., dspy.LM]
"""Puts the journal around an LM; see `optimizers.labelling.journaled_lm.journaled`."""

_log = logging.getLogger("divide_or_conquer")


def without_journal(lm: dspy.LM, **_: object) -> dspy.LM:
    """A `Journaled` for a program whose calls are kept nowhere."""
    return lm


@dataclass
class NamedTask:
    """A task of the grid with its questions.

    Attributes:
        config: The run's configuration with this task and its numbers of questions.
        splits: Questions by split; `train` for tasks that students are trained on, `test` for those tested on.
        leaks: Test questions that also stand in a training split, by the name of its task. They are kept out.
    """

    name: str
    config: RunConfig
    task: Task
    splits: dict[str, list[dspy.Example]]
    leaks: dict[str, list[Leak]]


@dataclass(frozen=True)
class Cell:
    """One condition on one test task, with students of one training task and variant (None without students)."""

    test: str
    condition: Condition
    train: str | None
    variant: Variant

    @property
    def path(self) -> Path:
        """Its lines, under the folder `predictions`."""
        parts = [self.test, self.train, self.variant.name]
        return Path(*(part for part in parts if part), f"{self.condition.name}.jsonl")

    @property
    def choice(self) -> str:
        """Where the threshold of a cascade stands: one for all test tasks."""
        parts = [self.train, self.variant.name, self.condition.name]
        return "/".join(part for part in parts if part)


class Grid:
    """One experiment folder and the stages that fill it.

    Args:
        config: What to do; its section `experiment` spans the grid.
        progress: See `optimizers.jobs.progress.Progress`.
        reading: Whether the folder is only read: nothing is asked, trained or written.

    Raises:
        ValueError: Before any work: unknown task, condition, model; a task without a training split to train on; a
            folder of another configuration.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None, *, reading: bool = False) -> None:
        self.config, self.progress = config, progress or no_progress
        refuse_traces(config.labelling, "experiment")
        self.folder = Path(config.out)
        experiment = config.experiment
        self.conditions = self._parsed(experiment.conditions)
        self.train = experiment.train or [config.task.name]
        self.test = experiment.test or self.train
        with naming_places(config, self.folder):
            self.tasks = {name: self._task(name) for name in dict.fromkeys([*self.train, *self.test])}
        self._keep_out_leaks()
        self._parsed([*experiment.variant_conditions, *experiment.student_conditions, *experiment.rows_conditions])
        self.variants = variants(config)
        measured = [condition for variant in self.variants for condition in self.conditions_of(variant)]
        self._check_transfer(measured)
        for name in self.train:
            check_cascades(config, measured, len(self.tasks[name].splits.get("dev", [])))
        self.skipped: dict[str, str] = {}
        self.prices = Prices(config.cost.local_usd_per_hour, config.cost.prices)
        self._roles: dict[tuple[str, str], Roles] = {}
        with naming_places(config, self.folder):
            roles = self.roles(self.train[0], self.variants[0])
        refuse_shown(roles.teacher_program, {f"{name} test": self.tasks[name].splits["test"] for name in self.test})
        if not reading:
            self._check_before_payment()
            open_folder(config, experiment=True)

    def _check_before_payment(self) -> None:
        for train in self.train:
            # Every variant, as a bad value in the last one would be found when the others are paid.
            for variant in self.variants:
                students = students_of(self.conditions_of(variant))
                check_before_payment(self.configured(train, variant)[0], self.roles(train, variant), students)

    def _parsed(self, names: list[str]) -> list[Condition]:
        solvers = self.config.experiment.solvers
        return [parse_condition(name, solvers) for name in expand_conditions(names, solvers)]

    def _check_transfer(self, measured: list[Condition]) -> None:
        known = list(dict.fromkeys(condition.name for condition in measured))
        for condition in self._parsed(self.config.experiment.transfer_conditions):
            if condition.name not in known and "all" not in self.config.experiment.transfer_conditions:
                raise ValueError(
                    f"experiment.transfer_conditions: {condition.name!r} is none of the conditions that are measured; expected some of "
                    f"{known}, or add it to experiment.conditions."
                )

    def conditions_of(self, variant: Variant) -> list[Condition]:
        """What a variant is measured by."""
        return self.conditions if variant.conditions is None else self._parsed(list(variant.conditions))

    def _task(self, name: str) -> NamedTask:
        config = configured_for(self.config, name)
        task = configured_task(config.task, config.seed)
        if name in self.train:
            check_augment(config.augment, task)
        wanted = {split: count for split, count in config.data.model_dump().items() if count and self._is_used(name, split)}
        return NamedTask(name, config, task, {split: loaded(task, split, count) for split, count in wanted.items()}, {})

    def _is_used(self, name: str, split: str) -> bool:
        return name in (self.test if split == "test" else self.train)

    def _keep_out_leaks(self) -> None:
        for test in self.test:
            named = self.tasks[test]
            for train in self.train:
                rows = [example for split in ("train", "dev") for example in self.tasks[train].splits.get(split, [])]
                leaks = find_leaks(rows, named.splits["test"], share=self.config.experiment.near_duplicates)
                if leaks:
                    named.leaks[train] = leaks
            for leaks in named.leaks.values():
                named.splits["test"] = keep_out(named.splits["test"], leaks)
            if not named.splits["test"]:
                raise ValueError(f"All test questions of {test!r} also stand among the training questions; give it other data.")

    def configured(self, train: str, variant: Variant) -> tuple[RunConfig, Task]:
        """The configuration of a variant on a training task, and that task under it."""
        config = variant.apply(self.tasks[train].config)
        if variant.settings.get("task"):
            return config, configured_task(config.task, config.seed)
        return config, self.tasks[train].task

    def roles(self, train: str, variant: Variant) -> Roles:
        """The models of a variant on a training task."""
        key = (train, variant.students_name)
        if key not in self._roles:
            folder = self.folder / "students" / train / (variant.students_name or "main")
            self._roles[key] = Roles(self.configured(train, variant)[0], folder, demos=lambda: self.distillation(train, variant).demos())
        return self._roles[key]

    def distillation(self, train: str, variant: Variant) -> Distillation:
        """The students of a variant on a training task."""
        config, task = self.configured(train, variant)
        roles = self.roles(train, variant)
        return Distillation(
            Setup(config, task, self.tasks[train].splits, roles),
            labels=self.folder / "labels" / train,
            notes=roles.folder_of("notes"),
            students=students_of(self.conditions_of(variant)),
            reported=[
                *self.tasks[train].splits.get("dev", []),
                *(example for name in self.test for example in self.tasks[name].splits["test"]),
            ],
            progress=lambda stage, *rest: self.progress(self.shown_as(stage, train, variant), *rest),
        )

    def shown_as(self, stage: str, train: str, variant: Variant) -> str:
        """How the progress names a stage of `distillation`."""
        return " ".join([stage, train, variant.students_name]).strip()

    def trainings(self) -> Iterator[tuple[str, Variant]]:
        """Every training task and variant that makes students of its own."""
        seen = set()
        for train in self.train:
            for variant in self.variants:
                key = (train, variant.students_name)
                if key not in seen and students_of(self.conditions_of(variant)):
                    seen.add(key)
                    yield train, variant

    def shown_cells(self) -> Iterator[tuple[str, Cell]]:
        """Every cell behind the name that the progress gives it."""
        cells = list(self.cells())
        yield from ((f"evaluate {number}/{len(cells)} {cell.path.with_suffix('')}", cell) for number, cell in enumerate(cells, 1))

    def cells(self) -> Iterator[Cell]:
        """Everything that is measured, students of the same name together."""
        for condition in self.conditions:
            if not condition.students and "fewshot" not in condition.roles:
                yield from (
                    Cell(test, condition, None, self.variants[0]) for test in self.test if is_measured(self.config, condition, test)
                )
        for train in self.train:
            for variant in self.variants:
                for condition in self.conditions_of(variant):
                    if condition.students or "fewshot" in condition.roles or variant.conditions is not None:
                        tests = self.test if variant.everywhere else [test for test in self.test if test == train]
                        yield from (Cell(test, condition, train, variant) for test in tests if is_measured(self.config, condition, test))

    def program(self, cell: Cell, journal: Journaled = without_journal) -> tuple[dspy.Module, Task]:
        """The program that a cell asks, with the task that judges its answers."""
        named, train = self.tasks[cell.test], cell.train or self.train[0]
        task = self.configured(train, cell.variant)[1] if cell.variant.settings.get("task") else named.task
        roles = self.roles(train, cell.variant)
        program = roles.program(cell.condition, task, named.splits["test"], self._sampled(cell.variant, journal))
        if cell.condition.parts:
            program.threshold = choice_on_file(self.folder / "predictions", cell.choice).get("threshold", program.threshold)
        return program, task

    def _sampled(self, variant: Variant, journal: Journaled) -> Journaled:
        if variant.seeds is None or not self.config.experiment.sampling_seeds:
            return journal
        sample, temperature = variant.seeds[2], self.config.experiment.sampling_temperature
        return lambda lm: journal(lm.copy(temperature=temperature), sample=sample)
