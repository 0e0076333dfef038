"""The paper's whole experiment: conditions x training tasks x test tasks x solvers x students, in one folder.

Every training task is labelled once, every student trained once, every call made once, whatever the number of
conditions that need it; a killed experiment goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from pathlib import Path

import dspy

from optimizers.distilled import TooFewRowsError
from optimizers.evaluation.evaluate import Asking, ask_all
from optimizers.experiments.answers import answering, check_students, students_in_memory
from optimizers.experiments.cascades import asking_both, choose
from optimizers.experiments.experiment_metrics import build_grid_metrics
from optimizers.experiments.grid import Cell, Grid, Journaled
from optimizers.experiments.outline import grid_outline
from optimizers.experiments.overlap import learned_from, refuse_trained_on
from optimizers.experiments.redo import chosen, folders_of, set_aside
from optimizers.experiments.results import Run
from optimizers.experiments.roles import Roles, questions_at_once
from optimizers.experiments.run_folder import refuse_nothing_done
from optimizers.finetune.train import TrainingError
from optimizers.jobs.display import showing
from optimizers.jobs.jsonlines import write_json
from optimizers.jobs.progress import Shown, expect
from optimizers.jobs.work import do_stages
from optimizers.labelling.journaled_lm import journaled
from optimizers.reports.experiment_report import write_experiment_report
from optimizers.settings.load import for_job
from optimizers.settings.run import RunConfig
from optimizers.tracking.job import Tracking
from programs.lms.ledger import Ledger
from programs.tasks.base import Task

GRID_STAGES = ("label", "distill", "evaluate", "report")


class ExperimentJob(Grid):
    """The stages that fill the folder of an experiment. Arguments and errors as of `Grid`."""

    def redo(self, names: Collection[str]) -> None:
        """Move students aside with what they answered, so that they are made again; see `optimizers.experiments.redo`."""
        trainings = [(train, variant, self.distillation(train, variant)) for train, variant in self.trainings()]
        students = chosen(names, (student for _, _, distillation in trainings for student in distillation.students))
        folders = [path for _, _, distillation in trainings for path in folders_of(distillation.roles, students)]
        files = [self.folder / "predictions" / cell.path for cell in self.cells() if set(cell.condition.students) & set(students)]
        set_aside(self.folder, [*folders, *files])

    def label(self) -> None:
        """The teacher's runs on the questions of every training task: `labels/<task>/`."""
        for train, variant in self.trainings():
            self.distillation(train, variant).label()

    def distill(self) -> None:
        """Every student: `students/<task>/<variant>/<student>/`. One that cannot be trained is skipped, and reported."""
        for train, variant in self.trainings():
            _, skipped = self.distillation(train, variant).distill(skip=(TooFewRowsError, TrainingError))
            self.skipped |= {"/".join(filter(None, (train, variant.name, name))): why for name, why in skipped.items()}
        write_json(self.folder / "skipped.json", self.skipped)

    def evaluate(self) -> None:
        """Ask every cell the test questions: `predictions/<test>/[<train>/[<variant>/]]<condition>.jsonl`."""
        with answering(self.config, self.folder / "predictions") as (journal, limits):
            wrap = functools.partial(journaled, journal=journal, limits=limits)
            self._choose_thresholds(wrap)
            ask_all(self._askings(wrap), questions_at_once(self.config), stops=True)

    def _choose_thresholds(self, journal: Journaled) -> None:
        """Choose the threshold of each cascade on the dev questions of the task that its students were trained on, or of the first one."""
        cells = {cell.choice: cell for cell, _ in self._ready() if cell.condition.parts}
        if self.config.evaluation.cascade_threshold is None:
            ask_all((self._asking_both(cell, journal) for cell in cells.values()), questions_at_once(self.config), stops=True)
        for name, cell in cells.items():
            task, dev = self._dev(cell)
            choose(cell.condition, self.config.evaluation, task, dev, self.folder / "predictions", name)

    def _dev(self, cell: Cell) -> tuple[Task, list[dspy.Example]]:
        train = cell.train or self.train[0]
        return self.configured(train, cell.variant)[1], self.tasks[train].splits.get("dev", [])

    def _asking_both(self, cell: Cell, journal: Journaled) -> Asking:
        roles, wrap = self.roles(cell.train or self.train[0], cell.variant), self._sampled(cell.variant, journal)
        return asking_both(cell.condition, roles, *self._dev(cell), self.folder / "predictions", wrap, self.progress, cell.choice)

    def _ready(self) -> Iterator[tuple[Cell, str]]:
        """Cells whose students are there, and how the progress names them."""
        for name, cell in self.shown_cells():
            roles = self.roles(cell.train or self.train[0], cell.variant)
            if all((roles.folder_of(student) / "manifest.json").exists() for student in cell.condition.students):
                yield cell, name

    def _askings(self, journal: Journaled) -> Iterator[Asking]:
        for cell, name in self._ready():
            yield self._asking(cell, self.roles(cell.train or self.train[0], cell.variant), journal, name)

    def _asking(self, cell: Cell, roles: Roles, journal: Journaled, name: str) -> Asking:
        named, predictions = self.tasks[cell.test], self.folder / "predictions"
        check_students(cell.condition, roles, predictions / cell.path, predictions)
        splits = self.tasks[cell.train].splits if cell.train else {}
        refuse_trained_on(roles, cell.condition.students, learned_from(splits, ()), named.splits["test"])
        program, task = self.program(cell, journal)
        return Asking(
            program,
            task,
            named.splits["test"],
            predictions / cell.path,
            functools.partial(self.progress, name),
            students_in_memory(cell.condition, roles),
        )


def run_experiment(config: RunConfig, progress: Shown = None, stages: tuple[str, ...] = GRID_STAGES, redo: Collection[str] = ()) -> Run:
    """Do the whole experiment, or some of its stages, in `config.out`; the same call again continues.

    Args:
        config: Its section `experiment` spans the grid; all other sections are as in `run`.
        progress: As of `run`.
        stages: Of `GRID_STAGES`; each needs what the ones before it wrote.
        redo: As of `run`.

    Raises:
        ValueError: A configuration that cannot work, said before any work.
        LabellingStoppedError: A limit or too many failures ended labelling.
    """
    config = for_job(config)
    if tuple(stages) == ("report",):
        refuse_nothing_done(config)
    tracking = Tracking(config, "experiment", Path(config.out))
    with showing(progress) as shown:
        job = ExperimentJob(config, shown)
        job.redo(redo)
        expect(shown, lambda: grid_outline(job, stages))
        work = {"label": job.label, "distill": job.distill, "evaluate": job.evaluate, "report": lambda: report(job)}
        do_stages(job.folder, Ledger(job.prices), {stage: work[stage] for stage in stages}, tracking)
    return Run(job.folder)


def report(job: Grid) -> None:
    """Sum an experiment up: `metrics.json`, `report.md`, `report.html`, `figures/`."""
    write_json(job.folder / "metrics.json", build_grid_metrics(job))
    write_experiment_report(job.folder)
