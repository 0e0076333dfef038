"""The main job: label, screen, distil, evaluate, compare, report. Every stage reads files and does what is missing."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optimizers.cast import Cast
from optimizers.config import RunConfig
from optimizers.distillation import Distillation, Progress, load_splits, no_progress, students_of, task_options
from optimizers.evaluation import evaluate
from optimizers.jsonlines import read_json, write_json
from optimizers.metrics import build_metrics
from optimizers.report import write_report
from optimizers.run_folder import Run, open_folder
from optimizers.traces import Journal, journaled
from programs.conditions import TRAINED, parse_condition
from programs.lms.engine import unload
from programs.lms.ledger import Ledger, Prices, recording
from programs.tasks.base import load_task

_log = logging.getLogger("divide_or_conquer")
_lm_log = logging.getLogger("dspy.clients.lm")


class MainJob:
    """One run folder and the stages that fill it.

    Args:
        config: What to do.
        progress: See `Progress`.

    Raises:
        ValueError: Before any work: unknown task, condition or model; a key that is missing; questions that stand in
            two splits; a folder of another configuration.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None) -> None:
        self.config = config
        self.progress = progress or no_progress
        self.conditions = [parse_condition(name, config.experiment.solvers) for name in config.conditions()]
        self.task_options = task_options(config.task, config.seed)
        self.task = load_task(config.task.name, **self.task_options)
        self.folder = Path(config.out)
        self.cast = Cast(config, self.folder / "student", demos=lambda: self.distillation.demos())
        self.splits = load_splits(self.task, config.data)
        self.distillation = Distillation(
            config, self.cast, self.task, self.splits, labels=self.folder, students=students_of(self.conditions), progress=self.progress
        )
        open_folder(config)
        self.prices = Prices(config.cost.local_usd_per_hour)

    def label(self) -> None:
        """Teacher decompositions of the training questions, each solved by the teacher: `traces.jsonl`, `samples.jsonl`."""
        self.distillation.label()

    def screen(self) -> None:
        """Rows of every student under its policy, kept or with the reason why not: `rows.jsonl`."""
        self.distillation.screen()

    def distill(self) -> None:
        """Train every student that has no artifact yet: `student/<name>/`, and a program with the last: `program.json`."""
        program = self.distillation.distill()
        if program is not None:
            program.save(self.folder / "program.json")

    def evaluate(self) -> None:
        """Ask every condition the same test questions: `predictions/<condition>.jsonl`."""
        with contextlib.closing(Journal(self.folder / "predictions" / "calls.jsonl")) as journal:
            for condition in self.conditions:
                evaluate(
                    self.cast.program(condition, self.task, self.splits["test"], functools.partial(journaled, journal=journal)),
                    self.task,
                    self.splits["test"],
                    out=self.folder / "predictions" / f"{condition.name}.jsonl",
                    threads=self.config.evaluation.threads,
                    progress=functools.partial(self.progress, f"evaluate {condition.name}"),
                )
                for role in [role for role in ("student0", *TRAINED) if role in (condition.decomposer, condition.solver)]:
                    unload(self.cast.model(role).model)

    def report(self) -> Run:
        """Sum everything up: `metrics.json`, `report.md`, `report.html`, `figures/`."""
        write_json(self.folder / "metrics.json", build_metrics(self))
        write_report(self.folder)
        return Run(self.folder)


STAGES = ("label", "screen", "distill", "evaluate", "report")


def run(config: RunConfig | dict[str, Any], progress: Progress | None = None, stages: tuple[str, ...] = STAGES) -> Run:
    """Do the main job, or some of its stages, in the run folder `config.out`; the same call again continues.

    Args:
        config: A `RunConfig`, or its fields as nested dicts.
        progress: Called with (stage, done, total, note).
        stages: Of `STAGES`; each needs what the ones before it wrote.

    Raises:
        ValueError: A configuration that cannot work, said before any work.
        TooFewRowsError: Too few rows after screening; nothing was trained.
        TrainingError: Training failed.
    """
    job = MainJob(RunConfig.model_validate(config), progress)
    with logging_to(job.folder / "log.txt"), recording(Ledger(job.prices)):
        for stage in stages:
            with timed(job.folder, stage):
                getattr(job, stage)()
    return Run(job.folder)


@contextlib.contextmanager
def timed(folder: Path, stage: str) -> Iterator[None]:
    """Add to the wall-clock time of a stage in `timings.json`, over all the calls that it took, stopped ones too."""
    started = time.monotonic()
    _log.info("%s: start", stage)
    try:
        yield
    finally:
        seconds = time.monotonic() - started
        timings = read_json(folder / "timings.json")
        write_json(folder / "timings.json", {**timings, stage: round(timings.get(stage, 0.0) + seconds, 2)})
        _log.info("%s: ended after %.1f s", stage, seconds)


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write the package's log, and DSPy's warnings on LM calls, to a file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    # An untrained student is cut off at its limit again and again; the file is the place for it, not the screen.
    _lm_log.addHandler(handler)
    _lm_log.propagate = False
    try:
        yield
    except BaseException as error:
        _log.error("%s: %s", type(error).__name__, error)
        raise
    finally:
        _log.removeHandler(handler)
        _lm_log.removeHandler(handler)
        _lm_log.propagate = True
        handler.close()
