"""One folder of rounds: its configuration, models and questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dspy

from optimizers.conditions import FEEDBACK
from optimizers.evaluation.leakage import find_leaks, keep_out
from optimizers.experiments.overlap import learned_from, overlap
from optimizers.experiments.run_folder import is_redone, naming_places, open_folder
from optimizers.experiments.setup import check_before_payment, set_up
from optimizers.finetune.provider import check_base
from optimizers.improvement.earlier_rounds import changes, redo_rounds
from optimizers.improvement.learn_from_success import check_hidden
from optimizers.jobs.folder import FillIn, JobFolder, Settings
from optimizers.jobs.progress import Progress, no_progress
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import load_splits, refuse_overlap, refuse_shown, task_options
from optimizers.settings.task import DataConfig, TaskConfig
from optimizers.settings.views import MAY_DIFFER, REACH, as_now, filled_in, improve_settings
from programs.lms.ledger import Prices
from programs.tasks.base import Task
from programs.tasks.registry import load_task

ROUNDS_MAY_DIFFER = MAY_DIFFER | REACH | {f"improve.{key}" for key in ("rounds", "patience", "max_calls", "max_tokens", "max_usd", "out")}


class ImproveJob:
    """One folder of rounds.

    Args:
        config: Of the run whose student is improved; its section `improve` says how.
        progress: See `Progress`.

    Raises:
        ValueError: Before any work: what cannot be trained or asked, questions in two splits, or a folder of other
            settings.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None) -> None:
        self.config, self.settings = config, config.improve
        self.progress = progress or no_progress
        self.name = self.settings.student + (FEEDBACK if self.settings.form == "feedback" else "")
        self.run_folder, self.folder = Path(config.out), Path(self.settings.out or config.out)
        with naming_places(config, self.run_folder):
            self.run = set_up(config, self.run_folder / "student")
        self.roles = self.run.roles
        check_base(config.student.in_process().model)
        self.task_config = _seeded(self.settings.task or config.task, config)
        self.task = load_task(self.task_config.name, **self.task_config.options())
        self._load()
        check_hidden(self.settings, self.splits["train"])
        self.rounds = JobFolder(self.folder, "rounds", "rounds/config.toml", "--improve.out")
        now = improve_settings(config)
        self.rounds.check(now, ROUNDS_MAY_DIFFER | {"round0"}, _filled_in(now), lambda key, both: _is_redone(key))
        if self.settings.max_usd is not None:
            self.roles.check_prices("improve.max_usd")
        check_before_payment(config, self.roles)
        open_folder(config)
        redo_rounds(self.folder, changes(now, ROUNDS_MAY_DIFFER | {"round0"}, _filled_in(now)))
        self.prices = Prices(config.cost.local_usd_per_hour, config.cost.prices)

    def begin(self) -> None:
        """Note what the rounds are done with, the student's model included; those of another student are moved aside."""
        settings = {**improve_settings(self.config), "round0": self.roles.model(self.name).model}
        redo_rounds(self.folder, changes(settings, ROUNDS_MAY_DIFFER, _filled_in(settings)))
        self.rounds.write(settings)

    def _load(self) -> None:
        """The questions: those of the run, those to improve on, and those to test on."""
        sizes = self.settings.data
        if not (sizes.train or self.config.data.train):
            raise ValueError("data.train=0 leaves no questions to improve on: set improve.data.train.")
        wanted = DataConfig(train=sizes.train or self.config.data.train, dev=sizes.dev, test=sizes.test or self.config.data.test)
        self.splits = load_splits(self.task, wanted)
        self.tests: dict[str, tuple[Task, list[dspy.Example]]] = {"test": (self.task, self.splits["test"])}
        if self.settings.task is not None:
            self.tests["own"] = (self.run.task, self.run.splits["test"])
        trained = [*self.run.splits["train"], *self.splits["train"]]
        tested = [example for _, examples in self.tests.values() for example in examples]
        refuse_overlap({"train": trained, "dev": self.splits["dev"], "test": tested})
        refuse_overlap({"dev": self.run.splits.get("dev", []), "test": tested})
        refuse_shown(self.roles.teacher_program, {"dev": self.splits["dev"], "test": tested})
        self.kept_out: dict[str, int] = {}

    def keep_out(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the test questions that further rows of the run's student repeat out of the tests."""
        further = learned_from({}, rows)
        for name, (task, examples) in self.tests.items():
            left = keep_out(examples, find_leaks(further, examples))
            if len(left) < len(examples):
                self.tests[name], self.kept_out[name] = (task, left), len(examples) - len(left)

    def overlap(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        """How many test questions were learned from, chosen by, or shown: by the run, or in a round."""
        learned = [*learned_from(self.run.splits, rows), *self.splits["train"], *self.splits["dev"]]
        return overlap(learned, self.roles.teacher_program, [example for _, examples in self.tests.values() for example in examples])


def _is_redone(key: str) -> bool:
    """Whether a changed setting does the rounds again; those of `improve` make it another improvement, which has a folder of its own."""
    return is_redone(key) and not key.startswith("improve.")


def _filled_in(now: Settings) -> FillIn:
    fill_in = filled_in(improve_settings)
    return lambda there: as_now(fill_in(there), now)


def _seeded(task: TaskConfig, config: RunConfig) -> TaskConfig:
    return TaskConfig(name=task.name, **task_options(task, config.seed))
