"""Finds better settings: Optuna searches any setting of a configuration, on teacher traces that are collected once.

from optimizers import load_config, study

result = study(load_config("study", {"out": "runs/study"}))
run(load_config(str(result.best_config)))
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import dspy
import tomli_w

from optimizers.experiments.roles import Roles
from optimizers.experiments.setup import check_before_payment, set_up
from optimizers.jobs.display import showing
from optimizers.jobs.folder import free
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.jobs.processes import start_module
from optimizers.jobs.progress import Progress, Shown, expect, no_progress
from optimizers.jobs.work import do_stages
from optimizers.labelling.journal import digest
from optimizers.settings.load import for_job
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import refuse_traces
from optimizers.settings.study import studied_students
from optimizers.studies.minutes import study_minutes
from optimizers.studies.results import StudyResult, write_study
from optimizers.studies.search_space import Space
from optimizers.studies.storage import claims, open_study
from optimizers.studies.trial import TrialDistillation
from optimizers.studies.worker import Worker, show
from optimizers.tracking.job import Tracking
from programs.lms.devices import usable_cores
from programs.lms.engine import unload_all
from programs.lms.ledger import Ledger, Prices

_log = logging.getLogger("divide_or_conquer")

_POLL_SECONDS = 1.0

_STOP_SECONDS = 90


def study(config: RunConfig | dict[str, Any], progress: Shown = None) -> StudyResult:
    """Do a study in the folder `config.out`, or the rest of it; several such calls on one storage and folder share the work.

    Args:
        config: A `RunConfig`, or its fields as nested dicts; `study.space` names the dimensions.
        progress: As of `run`.

    Returns:
        All trials and the best; `complete` is False where a budget was spent before the last trial.

    Raises:
        ValueError: What cannot work, said before any work: the search space, a budget without a price, a pruner with two
            objectives, a study of that name with another definition, unknown tasks and models.
        LabellingStoppedError: Labelling ended before its time; no trial was started.
        RuntimeError: All workers ended without finishing the study.
    """
    with showing(progress) as shown:
        job = StudyJob(for_job(config), shown)
        expect(shown, lambda: study_outline(job))
        return job.run()


class StudyJob:
    """One study folder and the processes that fill it.

    Args:
        config: What to do.
        progress: See `Progress`.
        keys: Whether the keys of API models have to be there; a plan needs none.

    Raises:
        ValueError: See `study`.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None, keys: bool = True) -> None:
        self.config, self._keys = config, keys
        self.progress = progress or no_progress
        self.folder = Path(config.out)
        self.tracking = Tracking(config, "study", self.folder)
        check_settings(config)
        refuse_traces(config.labelling, "study")
        self.space = Space(config)
        setup = set_up(config, self.folder / "none", keys=keys)
        self.splits = setup.splits
        self._check_models()
        if config.study.max_usd is not None:
            setup.roles.check_prices("study.max_usd")
        check_before_payment(config, setup.roles)
        if (self.folder / "config.toml").exists():
            raise ValueError(f"{self.folder} holds a run or an experiment, not a study. Choose another folder: --out {self.folder}-study")

    def run(self) -> StudyResult:
        """Label, do the trials, and write what came of them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = open_study(self.config, self.space)
        self._check_questions()
        do_stages(
            self.folder,
            Ledger(Prices(self.config.cost.local_usd_per_hour, self.config.cost.prices)),
            {"label": self.label, "trials": self._trials},
            self.tracking,
        )
        return StudyResult(self.folder)

    def _trials(self) -> None:
        reason: str | None = "interrupted"
        try:
            reason = self._work()
        finally:
            with claims(self.folder):
                write_study(self.study, self.config, self.space, reason)

    def label(self) -> None:
        """Ask every teacher of the study all questions, as often as the largest trial wants."""
        for config in self.space.label_configs():
            labels = self.folder / "labels"
            labels.mkdir(exist_ok=True)
            setup = set_up(config, self.folder / "none")
            TrialDistillation(setup, labels=labels, students=[config.study.student], progress=self.progress).label_all()
        unload_all()

    def _work(self) -> str | None:
        minutes = self.config.study.max_minutes
        deadline = time.time() + 60 * minutes if minutes else None
        worker = Worker(self.config, self.study, self.space, self.progress, deadline)
        if self.config.study.workers == 1:
            return worker.run()
        _Pool(self, deadline).run()
        return worker.spent() or worker.run()

    def _check_questions(self) -> None:
        """Refuse questions that are others than those of the trials that there are: such scores cannot be compared."""
        path = self.folder / "questions.json"
        now = {split: digest([_asked(example) for example in self.splits[split]])[:16] for split in ("train", "dev")}
        known = read_json(path)
        changed = [split for split in now if known.get(split, now[split]) != now[split]]
        if changed:
            raise ValueError(
                f"The {' and '.join(changed)} questions are others than those that the trials in {self.folder} were done with. Restore the "
                f"data, or choose another folder: --out {free(self.folder)}"
            )
        write_json(path, now)

    def _check_models(self) -> None:
        for dimension in self.space.dimensions:
            for value in dimension.values or [] if dimension.key.endswith(".model") else []:
                try:
                    Roles(self.space.apply({dimension.key: value}), self.folder / "none", keys=self._keys)
                except ValueError as error:
                    raise ValueError(f"study.space: {dimension.key} cannot be {value!r}: {error}") from error


def check_settings(config: RunConfig) -> None:
    """Refuse settings of `[study]` that cannot work together.

    Raises:
        ValueError: Names the setting and what would do.
    """
    settings = config.study
    if config.data.dev < 1:
        raise ValueError("A study compares trials by dev questions, and data.dev is 0: set it, for example --data.dev 40.")
    if settings.objective == "score,cost" and settings.pruning != "none":
        raise ValueError(
            f"study.pruner={settings.pruner!r} with two objectives: Optuna cannot prune those. "
            "Set --study.pruner none, or --study.objective score."
        )
    if settings.student not in studied_students():
        raise ValueError(f"study.student={settings.student!r} cannot be studied; expected one of {studied_students()}.")


def study_outline(job: StudyJob) -> dict[str, float]:
    """About how many seconds the labels and all trials will take, under the names that the progress gives them."""
    minutes = study_minutes(job.config, job.space)
    questions = {split: len(job.splits[split]) for split in ("train", "dev")}
    labels = {f"label {split}": 60 * minutes["labels"] * count / sum(questions.values()) for split, count in questions.items()}
    return {**labels, "trials": 60 * (minutes["all"] - minutes["labels"])}


def _asked(example: dspy.Example) -> list[Any]:
    return [example.question, example.get("context") or "", example.get("answer")]


class _Pool:
    """Several workers on this machine, each with its share of the cores."""

    def __init__(self, job: StudyJob, deadline: float | None) -> None:
        self.job = job
        self.path = job.folder / "study.toml"
        self.path.write_text(study_toml(job.config))
        self.deadline = deadline

    def run(self) -> None:
        """Start them and wait; the study's storage says how far they are."""
        count = self.job.config.study.workers
        log = (self.job.folder / "workers.txt").open("ab")
        processes = [self._start(number, count, log) for number in range(count)]
        try:
            while any(process.poll() is None for process in processes):
                show(self.job.study, self.job.config, self.job.progress)
                time.sleep(_POLL_SECONDS)
        finally:
            _stop(processes)
            log.close()
        if all(process.returncode for process in processes):
            tail = "\n".join((self.job.folder / "workers.txt").read_text(errors="replace").splitlines()[-12:])
            raise RuntimeError(f"All workers ended before the study was done; the end of {self.job.folder / 'workers.txt'}:\n{tail}")

    def _start(self, number: int, count: int, log: Any) -> subprocess.Popen[bytes]:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
        share = cores[number % len(cores) :: count] or [cores[number % len(cores)]]
        words = [str(self.path), ",".join(map(str, share)), "none" if self.deadline is None else str(self.deadline)]
        return start_module("optimizers.studies.worker", *words, log=log, OMP_NUM_THREADS=str(len(share)))


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask the workers that still run to give their trials back."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def study_toml(config: RunConfig) -> str:
    """TOML of a configuration with its section of the study."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True, exclude={"training": {"base"}}))
