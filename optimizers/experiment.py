"""The main job: label, screen, distil, evaluate, compare, report. Every stage reads files and does what is missing."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy

from optimizers.config import ModelConfig, RunConfig
from optimizers.distill import BootstrapDistill, Distilled, two_stage
from optimizers.evaluation import evaluate
from optimizers.jsonlines import read_json, write_json
from optimizers.metrics import build_metrics
from optimizers.report import write_report
from optimizers.run_folder import Run, open_folder
from optimizers.traces import Collected, Journal, Limits, journaled
from programs.conditions import STUDENTS, Condition, parse_condition
from programs.lms.artifacts import open_artifact, register
from programs.lms.catalog import lm as make_lm
from programs.lms.catalog import missing_key
from programs.lms.engine import unload, unload_all
from programs.lms.ledger import Ledger, Prices, Usage, recording
from programs.modules import SingleStage, TwoStage
from programs.tasks.base import load_task, overlapping, task_class

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, note)."""

_log = logging.getLogger("divide_or_conquer")
_lm_log = logging.getLogger("dspy.clients.lm")


class LabellingStoppedError(RuntimeError):
    """A limit or too many failures ended labelling before its time; what was paid for is kept."""


class Experiment:
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
        self.progress = progress or (lambda stage, done, total, note: None)
        self.conditions = [parse_condition(name) for name in config.conditions()]
        self.task_options = _task_options(config)
        self.task = load_task(config.task.name, **self.task_options)
        self._check_keys()
        self.splits = {split: self.task.load(split, count) for split, count in self._sizes().items() if count}
        self._check_overlap()
        self._models: dict[str, dspy.LM] = {}
        for role in self._roles():
            self.model(role)
        self.folder = open_folder(config)
        self.prices = Prices(config.cost.local_usd_per_hour)

    def _sizes(self) -> dict[str, int]:
        return self.config.data.model_dump()

    def _roles(self) -> dict[str, ModelConfig]:
        config = self.config
        return {"teacher": config.teacher, "student0": config.student.in_process(), "solver": config.solver or config.teacher}

    def _check_keys(self) -> None:
        for role, model in self._roles().items():
            key = None if model.api_base else missing_key(model.model)
            if key:
                raise ValueError(
                    f"{role} {model.model!r} needs the environment variable {key}. Set it, or name a model that runs here, "
                    f"such as 'embedded/teacher' or 'hf/<org>/<name>'."
                )

    def _check_overlap(self) -> None:
        shared = overlapping(self.splits)
        if shared:
            first, second, question = shared[0]
            raise ValueError(
                f"{len(shared)} questions stand both in {first} and in {second}, the first: {question!r}. Take them out of one."
            )

    def model(self, role: str) -> dspy.LM:
        """The LM of `teacher`, `solver`, `student0`, or of a distilled student such as `S_D-R`."""
        if role not in self._models:
            if role in STUDENTS:
                artifact = open_artifact(self.student_folder(role))
                register(artifact)
                self._models[role] = make_lm(artifact.model_string, **self.config.student.options())
            else:
                model = self._roles()[role]
                self._models[role] = make_lm(model.model, **model.options())
        return self._models[role]

    def student_folder(self, student: str) -> Path:
        return self.folder / "student" / student

    def students(self) -> list[str]:
        """The distilled students that the conditions ask for, in the paper's order."""
        wanted = {condition.decomposer for condition in self.conditions}
        return [student for student in STUDENTS if student in wanted]

    def label(self) -> Distilled:
        """Teacher decompositions of the training questions, each solved by the teacher: `traces.jsonl`, `samples.jsonl`."""
        distilled = self._distiller("none").prepare(self._student(), trainset=self.splits["train"], teacher=self._teacher())
        collected = distilled.collected
        if collected is not None:
            self._note_labelling(collected)
            self._check_complete(collected)
        return distilled

    def _note_labelling(self, collected: Collected) -> None:
        usage = sum(collected.usage.values(), Usage())
        noted = {"questions": len(collected), "samples": collected.done, "failed": sum(collected.failed.values()), **usage.to_dict()}
        noted["failures"] = dict(collected.failed)
        if collected.stopped:
            noted["stopped"] = collected.stopped
        write_json(self.folder / "labelling.json", noted)

    def _check_complete(self, collected: Collected) -> None:
        if not collected.stopped or self.config.labelling.partial:
            return
        raise LabellingStoppedError(
            f"Labelling stopped: {collected.stopped}. {collected.done} teacher runs are kept in {self.folder / 'samples.jsonl'}. The same "
            f"command continues once the cause is gone; to go on with what there is, add --labelling.partial true."
        )

    def screen(self) -> dict[str, Distilled]:
        """Rows of every student under its policy, kept or with the reason why not: `rows.jsonl`."""
        prepared = {}
        for student in self.students():
            distiller = self._distiller(STUDENTS[student], student)
            prepared[student] = distiller.prepare(self._student(), trainset=self.splits["train"], teacher=self._teacher())
        self._write_rows(prepared)
        return prepared

    def distill(self) -> None:
        """Train every student that has no artifact yet: `student/<name>/`, and the last one's program: `program.json`."""
        self.screen()
        unload_all()  # the trainer's process needs the memory more
        for student in self.students():
            distiller = self._distiller(STUDENTS[student], student)
            program = distiller.compile(
                self._student(), trainset=self.splits["train"], teacher=self._teacher(), valset=self.splits.get("dev")
            )
            program.save(self.folder / "program.json")

    def evaluate(self) -> None:
        """Ask every condition the same test questions: `predictions/<condition>.jsonl`."""
        with contextlib.closing(Journal(self.folder / "predictions" / "calls.jsonl")) as journal:
            for condition in self.conditions:
                evaluate(
                    self._program(condition, journal),
                    self.task,
                    self.splits["test"],
                    out=self.folder / "predictions" / f"{condition.name}.jsonl",
                    threads=self.config.evaluation.threads,
                    progress=functools.partial(self.progress, f"evaluate {condition.name}"),
                )
                if condition.decomposer not in (None, "teacher"):
                    unload(self.model(condition.decomposer).model)

    def report(self) -> Run:
        """Sum everything up: `metrics.json`, `report.md`, `report.html`, `figures/`."""
        write_json(self.folder / "metrics.json", build_metrics(self))
        write_report(self.folder)
        return Run(self.folder)

    def _distiller(self, policy: str, student: str = "S_D-T") -> BootstrapDistill:
        labelling, screening = self.config.labelling, self.config.screening
        return BootstrapDistill(
            metric=self.task.metric,
            policy=policy,
            samples=labelling.samples,
            keep=screening.keep,
            temperature=labelling.temperature,
            min_rows=screening.min_rows,
            training=self.config.training.model_copy(update={"seed": self.config.training.seed or self.config.seed}),
            folder=self.folder,
            threads=labelling.threads,
            limits=Limits(labelling.max_calls, labelling.max_tokens, labelling.max_usd, labelling.failure_share),
            artifact_names={"decompose": student},
            progress=self.progress,
        )

    def _two_stage(self, decomposer: str, solver: str, wrap: Callable[[dspy.LM], dspy.LM] = lambda lm: lm) -> TwoStage:
        formats = {"decompose": self._format(decomposer), "solve": self._format(solver)}
        adapters = {stage: name for stage, name in formats.items() if name}
        return two_stage(self.task, wrap(self.model(decomposer)), wrap(self.model(solver)), adapters)

    def _format(self, role: str) -> str | None:
        """The prompt format that the configuration sets for a role; students have theirs in the artifact."""
        return None if role in STUDENTS else self._roles()[role].adapter

    def _teacher(self) -> TwoStage:
        return self._two_stage("teacher", "teacher")

    def _student(self) -> TwoStage:
        return self._two_stage("student0", "solver")

    def _program(self, condition: Condition, journal: Journal) -> dspy.Module:
        wrap = functools.partial(journaled, journal=journal)
        if condition.decomposer is not None:
            return self._two_stage(condition.decomposer, condition.solver, wrap)
        fixed = self._format(condition.solver)
        program = SingleStage(chain_of_thought=condition.name.endswith("-cot"), adapters={"answer": fixed} if fixed else None)
        program.set_lm(wrap(self.model(condition.solver)))
        return program

    def _write_rows(self, prepared: dict[str, Distilled]) -> None:
        questions = {example.id: example.question for example in self.splits["train"]}
        partial = self.folder / "rows.jsonl.partial"
        with partial.open("w") as file:
            for student, distilled in prepared.items():
                for line in _row_lines(distilled, STUDENTS[student], questions):
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
        os.replace(partial, self.folder / "rows.jsonl")


def _row_lines(distilled: Distilled, policy: str, questions: dict[str, str]) -> Iterator[dict[str, Any]]:
    messages = {(row["id"], row["sample"]): row["messages"] for rows in distilled.rows.values() for row in rows}
    for decision in distilled.decisions:
        yield {
            "id": decision.example_id,
            "sample": decision.sample,
            "question": questions[decision.example_id],
            "policy": policy,
            "kept": decision.kept,
            "reason": decision.reason,
            "messages": messages.get((decision.example_id, decision.sample)),
        }


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
    experiment = Experiment(RunConfig.model_validate(config), progress)
    with _logging_to(experiment.folder / "log.txt"), recording(Ledger(experiment.prices)):
        for stage in stages:
            started = time.monotonic()
            _log.info("%s: start", stage)
            getattr(experiment, stage)()
            _add_seconds(experiment.folder, stage, time.monotonic() - started)
            _log.info("%s: done in %.1f s", stage, time.monotonic() - started)
    return Run(experiment.folder)


def _add_seconds(folder: Path, stage: str, seconds: float) -> None:
    """Keep the wall-clock time of each stage, over all the calls that it took."""
    timings = read_json(folder / "timings.json")
    write_json(folder / "timings.json", {**timings, stage: round(timings.get(stage, 0.0) + seconds, 2)})


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
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


def _task_options(config: RunConfig) -> dict[str, Any]:
    """The task's options, with the run's seed where the task has one and is given none."""
    options = config.task.options()
    seeded = "seed" in inspect.signature(task_class(config.task.name)).parameters
    return {"seed": config.seed, **options} if seeded else options
