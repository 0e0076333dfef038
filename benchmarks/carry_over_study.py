"""A study of carrying over: its arms and seeds in one folder, each student trained and tested once."""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
from carry_over_arms import Arm, check_arms
from frame import say

from optimizers.conditions import parse_condition
from optimizers.distilled import TooFewRowsError
from optimizers.evaluation.answers import answers
from optimizers.evaluation.evaluate import evaluate
from optimizers.evaluation.leakage import find_leaks
from optimizers.experiments.distillation import Distillation, noted_labelling
from optimizers.experiments.metrics import labelling_of, trained
from optimizers.experiments.roles import Roles
from optimizers.experiments.run_folder import open_folder
from optimizers.experiments.setup import Setup
from optimizers.finetune.train import TrainingError
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.labelling.journal import Journal
from optimizers.labelling.journaled_lm import journaled
from optimizers.settings.run import RunConfig, configured_for
from optimizers.settings.splits import configured_task
from programs.lms.engine import unload
from programs.tasks.base import Task

REFERENCE = "teacher+teacher"
"""The condition that students are measured against."""


class Study:
    """All arms and seeds in one folder.

    Args:
        config: The recipe with the experiment's tasks; `out` is the folder.
        arms: `plain` among them.
        seeds: From 0 on.

    Raises:
        ValueError: Before any work: an arm that cannot be, or a folder of another study.
    """

    def __init__(self, config: RunConfig, arms: list[Arm], seeds: list[int]) -> None:
        config = configured_for(config, (config.experiment.train or [config.task.name])[0])
        self.config, self.arms, self.seeds, self.folder = config, arms, seeds, Path(config.out)
        check_arms(arms)
        self.tests = {name: self._test(name) for name in config.experiment.test or [config.task.name]}
        self.configs = {(arm.name, seed): arm.config(config, seed) for arm in arms for seed in seeds}
        # Seeds draw questions from one split, as another seed of a task may divide the same questions otherwise.
        self.tasks = {arm.name: configured_task(self.configs[arm.name, seeds[0]].task, config.seed) for arm in arms}
        self._drawn: dict[tuple[str, int], dict[str, list[dspy.Example]]] = {}
        for arm in arms:
            for seed in seeds:
                self._roles_of(arm, seed)
                self._distillation(arm, seed)
        self._open()

    def _test(self, name: str) -> tuple[Task, list[dspy.Example]]:
        config = configured_for(self.config, name)
        task = configured_task(config.task, config.seed)
        return task, task.load("test", config.data.test)

    def _open(self) -> None:
        known = read_json(self.folder / "arms.json")
        for arm in self.arms:
            if known.get(arm.name, arm.to_dict()) != arm.to_dict():
                raise ValueError(
                    f"{self.folder} has an arm {arm.name!r} of other settings: {known[arm.name]}. Rename it, or take another --out."
                )
        # What seeds and arms share; their own settings stand in arms.json.
        open_folder(self.config, experiment=True)
        write_json(self.folder / "arms.json", {**known, **{arm.name: arm.to_dict() for arm in self.arms}})

    @functools.cached_property
    def leaked(self) -> set[tuple[str, str]]:
        """Test questions that stand in the training questions of any arm and seed, by test: they count for none."""
        trained_on = {id(splits): splits["train"] for splits in (self._splits(arm, seed) for arm, seed in self.cells())}
        share = self.config.experiment.near_duplicates
        return {
            (name, leak.test_id)
            for train in trained_on.values()
            for name, (_, examples) in self.tests.items()
            for leak in find_leaks(train, examples, share=share)
        }

    def _splits(self, arm: Arm, seed: int) -> dict[str, list[dspy.Example]]:
        """Questions of a seed; arms of the same task have the same ones."""
        key, task, data = (self._labels_of(arm), seed), self.tasks[arm.name], self.config.data
        if key not in self._drawn:
            dev = {"dev": task.load("dev", data.dev)} if data.dev else {}
            self._drawn[key] = {"train": drawn(task, data.train, seed), **dev}
        return self._drawn[key]

    def _labels_of(self, arm: Arm) -> str:
        """Folder of the labels that arms of the same training task share."""
        name = self.tasks[arm.name].name
        return name if arm.task is None else arm.task if isinstance(arm.task, str) else f"{name} of {arm.name}"

    def _roles_of(self, arm: Arm, seed: int) -> Roles:
        return Roles(self.configs[arm.name, seed], self.folder / "students" / arm.name / f"seed-{seed}")

    def _distillation(self, arm: Arm, seed: int, show: Any = None) -> Distillation:
        options: dict[str, Any] = {"progress": lambda stage, *rest: show(f"{stage} {arm.name} {seed}", *rest)} if show else {}
        return Distillation(
            Setup(self.configs[arm.name, seed], self.tasks[arm.name], self._splits(arm, seed), self._roles_of(arm, seed)),
            labels=self.folder / "labels" / self._labels_of(arm),
            notes=self.folder / "notes" / arm.name / f"seed-{seed}",
            students=[arm.student],
            **options,
        )

    def predictions(self, test: str, arm: Arm | None = None, seed: int = 0) -> Path:
        """The file of an arm's answers under a seed; the teacher's without an arm."""
        folder = self.folder / "predictions" / test
        return folder / arm.name / f"seed-{seed}.jsonl" if arm else folder / f"{REFERENCE}.jsonl"

    def note(self, arm: Arm, seed: int) -> Path:
        """What is known of a student, once it is trained and tested."""
        return self.folder / "notes" / arm.name / f"seed-{seed}" / "student.json"

    def scores(self, test: str, arm: Arm | None = None, seed: int = 0) -> dict[str, float]:
        """Score by question, of those that are asked and did not leak."""
        wanted = [example for example in self.tests[test][1] if (test, example.id) not in self.leaked]
        lines = answers(self.predictions(test, arm, seed), wanted)
        return {line["id"]: line["score"] for line in lines if line["score"] is not None}

    def is_done(self, arm: Arm, seed: int) -> bool:
        """Whether a student has answered all test questions."""
        return self.note(arm, seed).exists() and all(
            len(examples)
            == sum(line["score"] is not None or not line["error"] for line in answers(self.predictions(name, arm, seed), examples))
            for name, (_, examples) in self.tests.items()
        )

    def cells(self) -> Iterator[tuple[Arm, int]]:
        """Seed by seed, so that a study that is stopped has whole comparisons."""
        return ((arm, seed) for seed in self.seeds for arm in self.arms)

    def run(self, show: Any, keep: bool = True) -> None:
        """Do what is missing.

        Args:
            show: Called with (stage, done, total, note).
            keep: Keep the students' weights once they are tested.
        """
        with contextlib.closing(Journal(self.folder / "predictions" / "calls.jsonl")) as journal:
            self._evaluate(None, 0, journal, show)
            missing = [cell for cell in self.cells() if not self.is_done(*cell)]
            done, started, skipped = len(list(self.cells())) - len(missing), time.monotonic(), {}
            for number, (arm, seed) in enumerate(missing, 1):
                try:
                    self._cell(arm, seed, journal, show, keep)
                except (TooFewRowsError, TrainingError) as error:
                    say(f"{arm.name}, seed {seed}: {error}")
                    skipped[f"{arm.name}, seed {seed}"] = str(error)
                left = (time.monotonic() - started) / number * (len(missing) - number)
                show("study", done + number, done + len(missing), f"{arm.name}, seed {seed}")
                self._say(arm, seed, f"{done + number}/{done + len(missing)}, about {left / 60:.0f} min left")
            write_json(self.folder / "skipped.json", skipped)

    def _say(self, arm: Arm, seed: int, place: str) -> None:
        found = {name: list(self.scores(name, arm, seed).values()) for name in self.tests}
        line = ", ".join(f"{name} {sum(values) / len(values):.1%}" for name, values in found.items() if values)
        say(f"[{place}] {arm.name}, seed {seed}: {line or 'no student'}")

    def _cell(self, arm: Arm, seed: int, journal: Journal, show: Any, keep: bool) -> None:
        distillation = self._distillation(arm, seed, show)
        distillation.label()
        distillation.train(arm.student, distillation.screen()[arm.student])
        self._evaluate(arm, seed, journal, show)
        known = trained(distillation)[arm.student]
        unload(known["model"])
        policies = list(labelling_of(distillation.notes)["by_policy"].values())
        augmented = policies[0].get("augmented", {}) if policies else {}
        write_json(self.note(arm, seed), {**known, "augmented": augmented, "labelling": noted_labelling(distillation.notes)})
        if not keep:
            shutil.rmtree(distillation.roles.folder_of(arm.student))

    def _evaluate(self, arm: Arm | None, seed: int, journal: Journal, show: Any) -> None:
        config = self.configs[arm.name, seed] if arm else self.config
        roles = self._roles_of(arm, seed) if arm else Roles(config, self.folder / "students")
        condition = parse_condition(f"{arm.student}+teacher" if arm else REFERENCE)
        for name, (task, examples) in self.tests.items():
            evaluate(
                roles.program(condition, task, examples, functools.partial(journaled, journal=journal)),
                task,
                examples,
                out=self.predictions(name, arm, seed),
                threads=config.evaluation.threads,
                progress=functools.partial(show, f"test {name} {arm.name if arm else REFERENCE} {seed}"),
            )


def drawn(task: Task, count: int, seed: int) -> list[dspy.Example]:
    """The questions of a seed: another stretch of the training split, or a draw where it is too short for that."""
    try:
        return task.load("train", (seed + 1) * count)[seed * count :]
    except ValueError:
        everything = task.load("train")
        if len(everything) < count:
            raise
        return random.Random(f"carry-over/{seed}").sample(everything, count)
