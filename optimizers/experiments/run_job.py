"""One run: its folder, and the stages that fill it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from pathlib import Path

import dspy

from optimizers.conditions import Condition, parse_condition, students_of
from optimizers.distilled import TooFewRowsError
from optimizers.evaluation.evaluate import Asking, ask_all
from optimizers.experiments.answers import answering, check_students, refuse_untrained, students_in_memory
from optimizers.experiments.cascades import asking_both, check_cascades, choice_on_file, choose, path_of
from optimizers.experiments.distillation import Distillation
from optimizers.experiments.overlap import learned_from, refuse_trained_on
from optimizers.experiments.redo import chosen, folders_of, set_aside
from optimizers.experiments.roles import questions_at_once
from optimizers.experiments.run_folder import naming_places, open_folder
from optimizers.experiments.setup import check_before_payment, check_rows_to_come, set_up
from optimizers.jobs.jsonlines import write_json
from optimizers.jobs.progress import Progress, no_progress
from optimizers.labelling.journaled_lm import journaled
from optimizers.settings.run import RunConfig
from programs.lms.ledger import Prices


class MainJob:
    """One run folder and the stages that fill it.

    Args:
        config: What to do.
        progress: See `Progress`.
        stages: What is to be done.
        reading: Whether the folder is only read: nothing is asked, trained or written.

    Raises:
        ValueError: Before any work: unknown task, condition or model; a key that is missing; questions that stand in
            two splits, or too few to label for a training; a folder of another configuration.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None, stages: Collection[str] = (), *, reading: bool = False) -> None:
        self.config = config
        self.progress = progress or no_progress
        self.conditions = [parse_condition(name, config.experiment.solvers) for name in config.conditions()]
        check_cascades(config, self.conditions, config.data.dev)
        self.folder = Path(config.out)
        with naming_places(config, self.folder):
            setup = set_up(config, self.folder / "student", demos=lambda: self.distillation.demos())
        self.skipped: dict[str, str] = {}
        self.task, self.splits, self.roles = setup.task, setup.splits, setup.roles
        self.distillation = Distillation(setup, labels=self.folder, students=students_of(self.conditions), progress=self.progress)
        self.prices = Prices(config.cost.local_usd_per_hour, config.cost.prices)
        if reading:
            return
        check_before_payment(config, self.roles, self.distillation.students)
        if {"label", "distill"} <= {*stages} and self.distillation.students:
            check_rows_to_come(config, len(self.splits["train"]))
        open_folder(config)

    def redo(self, names: Collection[str]) -> None:
        """Move students aside with what they answered, so that they are made again; see `optimizers.experiments.redo`."""
        students = chosen(names, self.distillation.students)
        answered = [condition.name for condition in self.conditions if set(condition.students) & set(students)]
        predictions = self.folder / "predictions"
        files = [path for name in answered for path in (predictions / f"{name}.jsonl", path_of(predictions, name))]
        set_aside(self.folder, [*folders_of(self.roles, students), *files])

    def label(self) -> None:
        """Teacher decompositions of the training questions, each solved by the teacher: `traces.jsonl`, `samples.jsonl`."""
        self.distillation.label()

    def screen(self) -> None:
        """Rows of every student under its policy, kept or with the reason why not: `rows.jsonl`."""
        self.distillation.screen()

    def distill(self) -> None:
        """Train every student that has no artifact yet: `student/<name>/`, and a program with the last: `program.json`.

        One with too few rows is left out for now, as there may be conditions that need none: see `refuse_skipped`.
        """
        program, self.skipped = self.distillation.distill(skip=(TooFewRowsError,))
        if self.skipped or (self.folder / "skipped.json").exists():
            write_json(self.folder / "skipped.json", self.skipped)
        if program is not None:
            program.save(self.folder / "program.json")

    def refuse_skipped(self, report: Path | None) -> None:
        """End a job that could not make a student, once all else is done.

        Args:
            report: Of the conditions that need none of them; None where none was written.

        Raises:
            TooFewRowsError: For each of them, why.
        """
        if not self.skipped:
            return
        told = [f"{name} was not trained: {why}" for name, why in self.skipped.items()]
        told += [f"The conditions without it were asked all the same: {report}"] if report else []
        raise TooFewRowsError("\n".join(told))

    def evaluate(self) -> None:
        """Ask every condition the same test questions: `predictions/<condition>.jsonl`; none whose student was left out.

        Before that, the threshold of each cascade is chosen on the dev questions: `predictions/_cascades/<condition>.json`.

        Raises:
            ValueError: A student is not trained yet, or was trained on one of them; nothing was asked.
            EvaluationStoppedError: A limit of the job is reached.
        """
        predictions = self.folder / "predictions"
        conditions = [condition for condition in self.conditions if not set(condition.students) & set(self.skipped)]
        refuse_untrained(students_of(conditions), self.roles.folder_of)
        refuse_trained_on(self.roles, self.distillation.students, learned_from(self.splits, ()), self.splits["test"])
        with answering(self.config, predictions) as (journal, limits):
            wrap = functools.partial(journaled, journal=journal, limits=limits)
            self._choose_thresholds([condition for condition in conditions if condition.parts], predictions, wrap)
            ask_all((self._asking(condition, predictions, wrap) for condition in conditions), questions_at_once(self.config), stops=True)

    def _choose_thresholds(self, cascades: list[Condition], predictions: Path, wrap: Callable[[dspy.LM], dspy.LM]) -> None:
        """Ask both parts of each cascade the dev questions, and choose its threshold by them, unless one was given."""
        settings, dev = self.config.evaluation, self.splits.get("dev", [])
        if settings.cascade_threshold is None:
            asked = (asking_both(one, self.roles, self.task, dev, predictions, wrap, self.progress) for one in cascades)
            ask_all(asked, questions_at_once(self.config), stops=True)
        for one in cascades:
            choose(one, settings, self.task, dev, predictions)

    def program(self, condition: Condition, wrap: Callable[[dspy.LM], dspy.LM] = lambda lm: lm) -> dspy.Module:
        """The program of a condition; that of a cascade with the threshold that was chosen."""
        program = self.roles.program(condition, self.task, self.splits["test"], wrap)
        if condition.parts:
            program.threshold = choice_on_file(self.folder / "predictions", condition.name).get("threshold", program.threshold)
        return program

    def _asking(self, condition: Condition, predictions: Path, wrap: Callable[[dspy.LM], dspy.LM]) -> Asking:
        out = predictions / f"{condition.name}.jsonl"
        check_students(condition, self.roles, out, predictions)
        return Asking(
            self.program(condition, wrap),
            self.task,
            self.splits["test"],
            out,
            functools.partial(self.progress, f"evaluate {condition.name}"),
            students_in_memory(condition, self.roles),
        )
