"""The paper's whole experiment: conditions x training tasks x test tasks x solvers x students, in one folder.

Every training task is labelled once, every student trained once, every call made once, whatever the number of
conditions that need it; a killed experiment goes on where it was.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dspy

from optimizers.augment import check_augment
from optimizers.cast import Cast
from optimizers.config import RunConfig
from optimizers.distill import TooFewRowsError
from optimizers.distillation import Distillation, Progress, configured_for, no_progress, students_of, task_options
from optimizers.evaluation import evaluate
from optimizers.experiment_report import write_experiment_report
from optimizers.finetune.jobs import TrainingError
from optimizers.grid_metrics import build_grid_metrics
from optimizers.jsonlines import write_json
from optimizers.leakage import Leak, find_leaks, keep_out
from optimizers.main_job import logging_to, timed
from optimizers.run_folder import Run, open_folder
from optimizers.traces import Journal, journaled
from optimizers.variants import Variant, variants
from programs.conditions import STUDENTS, Condition, expand_conditions, parse_condition
from programs.lms.engine import unload
from programs.lms.ledger import Ledger, Prices, recording
from programs.tasks.base import Task, load_task

GRID_STAGES = ("label", "distill", "evaluate", "report")

_log = logging.getLogger("divide_or_conquer")


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


class Grid:
    """One experiment folder and the stages that fill it.

    Args:
        config: What to do; its section `experiment` spans the grid.
        progress: See `optimizers.distillation.Progress`.

    Raises:
        ValueError: Before any work: unknown task, condition, model; a task without a training split to train on; a
            folder of another configuration.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None) -> None:
        self.config, self.progress = config, progress or no_progress
        self.folder = Path(config.out)
        experiment = config.experiment
        self.conditions = self._parsed(experiment.conditions)
        self.train = experiment.train or [config.task.name]
        self.test = experiment.test or self.train
        self.tasks = {name: self._task(name) for name in dict.fromkeys([*self.train, *self.test])}
        self._keep_out_leaks()
        self.variants = variants(config)
        for variant in self.variants:
            self.conditions_of(variant)
        self.skipped: dict[str, str] = {}
        self.prices = Prices(config.cost.local_usd_per_hour)
        self._casts: dict[tuple[str, str], Cast] = {}
        self.cast(self.train[0], self.variants[0])
        open_folder(config, experiment=True)

    def _parsed(self, names: list[str]) -> list[Condition]:
        solvers = self.config.experiment.solvers
        return [parse_condition(name, solvers) for name in expand_conditions(names, solvers)]

    def conditions_of(self, variant: Variant) -> list[Condition]:
        """What a variant is measured by."""
        return self.conditions if variant.conditions is None else self._parsed(list(variant.conditions))

    def _task(self, name: str) -> NamedTask:
        config = configured_for(self.config, name)
        task = load_task(config.task.name, **task_options(config.task, config.seed))
        if name in self.train:
            check_augment(config.augment, task)
        wanted = {split: count for split, count in config.data.model_dump().items() if count and self._is_used(name, split)}
        return NamedTask(name, config, task, {split: task.load(split, count) for split, count in wanted.items()}, {})

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
            return config, load_task(config.task.name, **task_options(config.task, config.seed))
        return config, self.tasks[train].task

    def cast(self, train: str, variant: Variant) -> Cast:
        """The models of a variant on a training task."""
        key = (train, variant.students_name)
        if key not in self._casts:
            folder = self.folder / "students" / train / (variant.students_name or "main")
            self._casts[key] = Cast(self.configured(train, variant)[0], folder, demos=lambda: self.distillation(train, variant).demos())
        return self._casts[key]

    def distillation(self, train: str, variant: Variant) -> Distillation:
        """The students of a variant on a training task."""
        config, task = self.configured(train, variant)
        cast = self.cast(train, variant)
        return Distillation(
            config,
            cast,
            task,
            self.tasks[train].splits,
            labels=self.folder / "labels" / train,
            notes=cast.folder_of("notes"),
            students=students_of(self.conditions_of(variant)),
            progress=lambda stage, done, total, note: self.progress(
                " ".join([stage, train, variant.students_name]).strip(), done, total, note
            ),
        )

    def _report(self, place: str, stage: str, done: int, total: int, note: str) -> None:
        self.progress(f"{stage}, {place}", done, total, note)

    def makings(self) -> Iterator[tuple[str, Variant]]:
        """Every training task and variant that makes students of its own."""
        seen = set()
        for train in self.train:
            for variant in self.variants:
                key = (train, variant.students_name)
                if key not in seen and students_of(self.conditions_of(variant)):
                    seen.add(key)
                    yield train, variant

    def label(self) -> None:
        """The teacher's runs on the questions of every training task: `labels/<task>/`."""
        for train, variant in self.makings():
            self.distillation(train, variant).label()

    def distill(self) -> None:
        """Every student: `students/<task>/<variant>/<student>/`. One that cannot be trained is skipped, and reported."""
        for train, variant in self.makings():
            distillation = self.distillation(train, variant)
            prepared = distillation.screen()
            for name in distillation.students:
                try:
                    distillation.train(name, prepared[name])
                except (TooFewRowsError, TrainingError) as error:
                    _log.error("%s of %s %s: %s", name, train, variant.name, error)
                    self.skipped["/".join(filter(None, (train, variant.name, name)))] = str(error)
        write_json(self.folder / "skipped.json", self.skipped)

    def cells(self) -> Iterator[Cell]:
        """Everything that is measured, students of the same name together."""
        for condition in self.conditions:
            if not condition.students and condition.decomposer != "fewshot":
                yield from (Cell(test, condition, None, self.variants[0]) for test in self.test)
        for train in self.train:
            for variant in self.variants:
                for condition in self.conditions_of(variant):
                    if condition.students or condition.decomposer == "fewshot" or variant.conditions is not None:
                        tests = self.test if variant.everywhere else [test for test in self.test if test == train]
                        yield from (Cell(test, condition, train, variant) for test in tests)

    def evaluate(self) -> None:
        """Ask every cell the test questions: `predictions/<test>/[<train>/[<variant>/]]<condition>.jsonl`."""
        with contextlib.closing(Journal(self.folder / "predictions" / "calls.jsonl")) as journal:
            cells = list(self.cells())
            for number, cell in enumerate(cells):
                cast = self.cast(cell.train or self.train[0], cell.variant)
                if all((cast.folder_of(student) / "manifest.json").exists() for student in cell.condition.students):
                    self._evaluate(cell, cast, journal, f"{number + 1}/{len(cells)}")
                following = cells[number + 1] if number + 1 < len(cells) else None
                if following is None or (following.condition, following.train) != (cell.condition, cell.train):
                    _unload(cast, cell.condition)

    def _evaluate(self, cell: Cell, cast: Cast, journal: Journal, place: str) -> None:
        named = self.tasks[cell.test]
        task = self.configured(cell.train or self.train[0], cell.variant)[1] if cell.variant.settings.get("task") else named.task
        evaluate(
            cast.program(cell.condition, task, named.splits["test"], self._wrap(cell.variant, journal)),
            task,
            named.splits["test"],
            out=self.folder / "predictions" / cell.path,
            threads=self.config.evaluation.threads,
            progress=functools.partial(self.progress, f"evaluate {place} {cell.path.with_suffix('')}"),
        )

    def _wrap(self, variant: Variant, journal: Journal) -> Callable[[dspy.LM], dspy.LM]:
        if variant.seeds is None or not self.config.experiment.sampling_seeds:
            return functools.partial(journaled, journal=journal)
        sample, temperature = variant.seeds[2], self.config.experiment.sampling_temperature
        return lambda lm: journaled(lm.copy(temperature=temperature), journal, sample=sample)

    def report(self) -> Run:
        """Sum everything up: `metrics.json`, `report.md`, `report.html`, `figures/`."""
        write_json(self.folder / "metrics.json", build_grid_metrics(self))
        write_experiment_report(self.folder)
        return Run(self.folder)


def _unload(cast: Cast, condition: Condition) -> None:
    for role in ("student0", *STUDENTS):
        if role in (condition.decomposer, condition.solver):
            # A student that could not be trained has no model to unload.
            with contextlib.suppress(ValueError, OSError):
                unload(cast.model(role).model)


def run_experiment(config: RunConfig, progress: Progress | None = None, stages: tuple[str, ...] = GRID_STAGES) -> Run:
    """Do the whole experiment, or some of its stages, in `config.out`; the same call again continues.

    Args:
        config: Its section `experiment` spans the grid; all other sections are as in `run`.
        progress: Called with (stage, done, total, note).
        stages: Of `GRID_STAGES`; each needs what the ones before it wrote.

    Raises:
        ValueError: A configuration that cannot work, said before any work.
        LabellingStoppedError: A limit or too many failures ended labelling.
    """
    grid = Grid(RunConfig.model_validate(config), progress)
    with logging_to(grid.folder / "log.txt"), recording(Ledger(grid.prices)):
        for stage in stages:
            with timed(grid.folder, stage):
                getattr(grid, stage)()
    return Run(grid.folder)
