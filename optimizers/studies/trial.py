"""One trial of a study: screen, train, and ask the dev questions, in a folder of its own that a killed trial continues in."""

from __future__ import annotations

import contextlib
import functools
import math
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import dspy
from filelock import FileLock

from optimizers.evaluation.answers import is_to_retry
from optimizers.evaluation.evaluate import evaluate
from optimizers.evaluation.passages import passages_of
from optimizers.evaluation.statistics import mean_interval
from optimizers.experiments.distillation import Distillation
from optimizers.experiments.roles import Roles, questions_at_once, slug
from optimizers.experiments.setup import Setup
from optimizers.experiments.students import RECIPES
from optimizers.finetune.job_folder import read_progress
from optimizers.finetune.provider import base_folder
from optimizers.finetune.spec import defaults_since
from optimizers.finetune.train import TrainingStopped, train
from optimizers.jobs.folder import flat
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.jobs.progress import Progress, no_progress
from optimizers.labelling.journal import Budget, Journal, LimitReached, Limits, digest
from optimizers.labelling.journaled_lm import journaled
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import configured_task, load_splits
from optimizers.settings.views import MAY_DIFFER, REACH, run_settings
from optimizers.studies.guarded_task import METRIC_RAISED, GuardedTask
from programs.lms.artifacts import Artifact, open_artifact, register
from programs.lms.engine import unload, unload_all
from programs.lms.ledger import Ledger, Prices, Usage, recording

COMPLETE, PRUNED = "complete", "pruned"

RESULT = "trial.json"


QUESTION_STEPS = 100
"""Optuna step of the first dev question; the dev losses of the training stand at the steps below."""


class TrialError(RuntimeError):
    """A trial that has no score; the message says why."""


class TrialStopped(KeyboardInterrupt):
    """A trial was stopped before its end, and continues from what it has."""


class Watch(Protocol):
    """Gets a trial's values while it works, and says whether to go on."""

    def report(self, step: int, value: float) -> None:
        """Give a value to the pruner; higher is better."""

    def should_prune(self) -> bool:
        """Whether the trial is worse than others."""

    def stopped(self) -> bool:
        """Whether the trial must stop for a reason that is not its own."""


class TrialDistillation(Distillation):
    """`Distillation` of one student on labels that are on file already, and that other processes read too."""

    def rows(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Training rows and dev rows of the student; the teacher is asked nothing.

        Raises:
            TooFewRowsError: Fewer than `screening.min_rows`.
        """
        name = self.students[0]
        target = RECIPES[name].stages[0]
        with FileLock(self.labels / "reading.lock"):
            distilled, dev = self.screen()[name], self.prepare(name, split="dev")
        self.check_rows(name, distilled)
        return distilled.rows[target], dev.rows[target]

    def label_all(self) -> None:
        """Ask the teacher the training and the dev questions, and make the calls that the screening policy needs."""
        with FileLock(self.labels / "reading.lock"):
            self.label()
            self.prepare(self.students[0])
            dev = self.prepare(self.students[0], split="dev")
            self.check_complete("Labelling", dev.collected)
            self.check_complete("Screening", getattr(dev.policy, "asked", None))


def frozen_labels(config: RunConfig) -> RunConfig:
    """A configuration that makes no further teacher call: what failed while labelling stays failed in every trial."""
    return config.model_copy(update={"labelling": config.labelling.model_copy(update={"max_calls": 0})})


# A model's address and the time it may take have counted since the first studies.
_NOT_COUNTED = MAY_DIFFER | {key for key in REACH if not key.endswith((".api_base", ".timeout"))}


def deciding_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that decide a trial's result, by dotted name, without those of the study."""
    # Before it could be left out it was 0, and a trial is known by its settings.
    settings = {"training.seed": 0, **flat(run_settings(config))}
    off = {f"training.{name}": default for name, default in defaults_since("processes").items()}
    counted = {key: value for key, value in settings.items() if key not in _NOT_COUNTED and not key.startswith(("evaluation.", "cost."))}
    return {key: value for key, value in counted.items() if key not in off or value != off[key]}


def trial_key(config: RunConfig) -> str:
    """Hash of all settings that decide a trial's result; trials with the same one are one trial."""
    return digest([deciding_settings(config), config.study.student, config.study.loss_checks])[:12]


class TrialRun:
    """The work of one trial.

    Args:
        config: The trial's configuration.
        folder: The trial's own; the work of the same trial that it holds is continued.
        labels: Where the teacher's traces are.
        progress: See `Progress`.

    Raises:
        ValueError: A model that does not exist, or a key that is missing.
    """

    def __init__(self, config: RunConfig, folder: Path, labels: Path, progress: Progress = no_progress) -> None:
        self.config, self.folder, self.labels, self.progress = config, folder, labels, progress
        self.student = config.study.student
        self.metric_errors: dict[str, str] = {}
        self.task = GuardedTask(configured_task(config.task, config.seed), self.metric_errors)
        self.roles = Roles(config, folder / "student")
        self.prices = Prices(config.cost.local_usd_per_hour, config.cost.prices)

    def run(self, watch: Watch) -> dict[str, Any]:
        """Do what is missing, and return what `trial.json` holds.

        Raises:
            TrialStopped: `watch` said so; the same call continues.
            TrialError: Dev questions that could not be asked.
            TrainingError: Training failed.
            TooFewRowsError: Screening left too few rows.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone(watch), recording(Ledger(self.prices)):
            done = read_json(self.folder / RESULT)
            if done:
                self._replay(done, watch)
                return done
            result = self._work(watch)
            write_json(self.folder / RESULT, result)
            return result

    @contextlib.contextmanager
    def _alone(self, watch: Watch) -> Iterator[None]:
        """Keep out another worker that drew the same parameters; it finds the result here afterwards."""
        lock = FileLock(self.folder / "trial.lock")
        while True:
            try:
                lock.acquire(timeout=0.5)
                break
            except TimeoutError:
                if watch.stopped():
                    raise TrialStopped("stopped while another worker has the same parameters") from None
        try:
            yield
        finally:
            lock.release()

    def _replay(self, done: Mapping[str, Any], watch: Watch) -> None:
        """Tell the pruner what the first trial of these parameters told it."""
        for step, value in done["reported"]:
            watch.report(step, _known(value))

    def _work(self, watch: Watch) -> dict[str, Any]:
        splits = load_splits(self.task, self.config.data)
        told = _Told(watch)
        artifact, rows = self._trained(splits, told)
        if artifact is None:
            return self._pruned(f"dev loss above percentile {self.config.study.pruner_percentile:g} of the trials before", rows, told)
        lines, pruned = self._evaluated(artifact, splits["dev"], told)
        found = self._result(artifact, rows, lines, told)
        return {**found, "state": PRUNED, "reason": "worse than the best by the Wilcoxon test"} if pruned else found

    def _trained(self, splits: Mapping[str, list[dspy.Example]], told: _Told) -> tuple[Artifact | None, int]:
        """The student and its number of rows; None if its training was pruned."""
        setup = Setup(frozen_labels(self.config), self.task, splits, self.roles)
        distillation = TrialDistillation(setup, labels=self.labels, students=[self.student], notes=self.folder)
        rows, dev = distillation.rows()
        unload_all()  # the trainer's process needs the memory more
        target = self.roles.folder_of(self.student)
        losses = _LossWatch(target.with_name(target.name + ".work"), self.config.study.loss_checks, told)
        spec = self._spec(len(rows))
        try:
            artifact = self._train(rows, dev, spec, target, losses)
        except TrainingStopped as stopped:
            if not losses.pruned:
                raise TrialStopped(str(stopped)) from stopped
            write_json(self.folder / "progress.json", {"steps": read_progress(losses.work)})
            shutil.rmtree(losses.work)
            return None, len(rows)
        losses.look(artifact.folder)  # what came after the last look, or before a kill
        return artifact, len(rows)

    def _spec(self, rows: int) -> Any:
        """Training settings, with the dev losses at the same shares of every training, so that trials can be compared there."""
        training = self.config.training
        save_steps = math.ceil(training.steps_of(rows) / self.config.study.loss_checks)
        base = base_folder(self.roles.configs["student0"].model)
        return training.seeded(self.config.seed).model_copy(update={"save_steps": save_steps, "base": base})

    def _train(self, rows: list[Any], dev: list[Any], spec: Any, target: Path, losses: _LossWatch) -> Artifact:
        def show(step: int, steps: int, loss: float | None) -> None:
            self.progress("train", step, steps, "" if loss is None else f"loss {loss:.3f}")

        return train(
            rows,
            spec,
            target,
            name=target.name,
            adapter=self.config.student.adapter or "line-terse",
            base=self.roles.configs["student0"].model,
            dev_rows=dev,
            progress=show,
            cancelled=losses,
        )

    def _evaluated(self, artifact: Artifact, examples: Sequence[dspy.Example], told: _Told) -> tuple[list[dict[str, Any]], bool]:
        """One line for each dev question, and whether the others were pruned."""
        order = list(enumerate(examples))
        # The best trial would win by the first questions alone if all trials met them in the same order.
        random.Random(artifact.hash).shuffle(order)
        batch = self.config.study.batch
        lines: list[dict[str, Any]] = []
        with contextlib.closing(Journal(self.folder / "calls.jsonl")) as journal:
            wrap = functools.partial(journaled, journal=journal, limits=self.budget(journal))
            program = self.roles.two_stage(self.task, self.student, "solver", wrap)
            for start in range(0, len(order), batch):
                try:
                    lines += self._asked(program, order[start : start + batch], start, len(order), told)
                except LimitReached as limit:
                    raise TrialStopped(str(limit)) from None
                if start + batch < len(order) and told.watch.should_prune():
                    break
        unload(self.roles.model(self.student).model)
        return lines, len(lines) < len(order)

    def budget(self, journal: Journal) -> Budget | None:
        """The limits of the whole study for the calls of this trial, with what other workers pay meanwhile; None without any."""
        whole = functools.partial(self.config.job_limits, journal.path, self.labels.parent)
        return Budget(Limits(), journal, whole) if whole() else None

    def _asked(
        self, program: dspy.Module, batch: Sequence[tuple[int, dspy.Example]], start: int, total: int, told: _Told
    ) -> list[dict[str, Any]]:
        if told.watch.stopped():
            raise TrialStopped("stopped between dev questions")
        ask = functools.partial(
            evaluate,
            program,
            self.task,
            [example for _, example in batch],
            out=self.folder / "predictions.jsonl",
            threads=questions_at_once(self.config),
            progress=lambda done, _, note: self.progress("dev questions", start + done, total, note),
        )
        lines = ask()
        if any(map(is_to_retry, lines)):
            lines = ask()
        failed = [line for line in lines if is_to_retry(line)]
        if failed:
            raise TrialError(f"{len(failed)} dev questions could not be asked, the first ({failed[0]['id']}): {failed[0]['error']}")
        for (index, _), line in zip(batch, lines, strict=True):
            if line["score"] is not None:
                told.report(QUESTION_STEPS + index, line["score"])
            if line["detail"].startswith(METRIC_RAISED):
                self.metric_errors[line["id"]] = line["detail"]
        return lines

    def _result(self, artifact: Artifact, rows: int, lines: Sequence[dict[str, Any]], told: _Told) -> dict[str, Any]:
        scores = {line["id"]: line["score"] for line in lines}
        judged, passages = [one for one, score in scores.items() if score is not None], passages_of(lines)
        if not judged:
            raise TrialError(f"none of {len(lines)} dev questions could be judged; the first: {lines[0]['detail']}")
        interval = mean_interval([scores[one] for one in judged], passages=[passages[one] for one in judged])
        metrics = artifact.manifest["metrics"]
        stages = [(stage, Usage.from_dict(used)) for line in lines for stage, used in line["usage"].items()]
        asking = sum(used.seconds for stage, used in stages if stage == "decompose")
        seconds = metrics["seconds"] + asking
        rate = self.config.cost.local_usd_per_hour
        usd = sum((used.usd for _, used in stages if used.usd is not None), metrics["seconds"] / 3600 * (rate or 0.0))
        return {
            "state": COMPLETE,
            "score": interval.estimate,
            "ci95": [interval.low, interval.high],
            "cost": seconds if rate is None else seconds / 3600 * rate,
            "training_seconds": metrics["seconds"],
            "inference_seconds": asking,
            "usd": usd,
            "rows": rows,
            "model": artifact.model_string,
            "scores": scores,
            "passages": passages,
            "metric_errors": self.metric_errors,
            "reported": told.values,
        }

    def _pruned(self, reason: str, rows: int, told: _Told) -> dict[str, Any]:
        steps = read_json(self.folder / "progress.json")["steps"]
        seconds = steps[-1]["seconds"] if steps else 0.0
        rate = self.config.cost.local_usd_per_hour
        return {
            "state": PRUNED,
            "reason": reason,
            "training_seconds": seconds,
            "usd": seconds / 3600 * (rate or 0.0),
            "rows": rows,
            "metric_errors": self.metric_errors,
            "reported": told.values,
        }


class _Told:
    """Passes values on to the watch, and keeps them for `trial.json`."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.values: list[tuple[int, float]] = []

    def report(self, step: int, value: float) -> None:
        self.values.append((step, value))
        self.watch.report(step, value)


class _LossWatch:
    """Asked by the training while it runs: reports each new dev loss, and says whether to stop."""

    def __init__(self, work: Path, checks: int, told: _Told) -> None:
        self.work, self.checks, self.told = work, checks, told
        self.pruned = False
        self._seen = 0

    def __call__(self) -> bool:
        if self.told.watch.stopped():
            return True
        if self.look(self.work):
            self.pruned = self._seen < self.checks and self.told.watch.should_prune()
        return self.pruned

    def look(self, folder: Path) -> bool:
        """Report the dev losses that are new; whether there were any."""
        before = self._seen
        for record in read_progress(folder):
            check = round(record["step"] / record["steps"] * self.checks)
            if "eval_loss" in record and check > self._seen:
                self._seen = check
                self.told.report(check, -_known(record["eval_loss"]))
        return self._seen > before


def _known(value: float | None) -> float:
    """A number on file; NaN, as a training that diverges has it, stands there as null."""
    return math.nan if value is None else value


def remove_weights(folder: Path) -> None:
    """Delete a trial's model; its progress, rows and predictions stay."""
    for progress in (folder / "student").glob("*/progress.jsonl"):
        shutil.move(progress, folder / "progress.jsonl")
    shutil.rmtree(folder / "student", ignore_errors=True)


def reopen(folder: Path, student: str) -> Artifact:
    """The model of a trial whose weights were kept."""
    artifact = open_artifact(folder / "student" / slug(student))
    register(artifact)
    return artifact
