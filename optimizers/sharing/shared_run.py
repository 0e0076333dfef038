"""A finished run or experiment as what can be handed on: its students with their test figures, each checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimizers.conditions import stages_in
from optimizers.experiments.roles import slug
from optimizers.experiments.run_folder import where_made
from optimizers.labelling.traces import TRACE_ID
from optimizers.reports.cells import Cell, cells_of, comparison, is_student, named, roles
from optimizers.reports.conditions import paired_comparison_of
from optimizers.reports.read import REFERENCE, RunFiles, metrics_of, text_of
from optimizers.settings.splits import configured_task
from optimizers.settings.task import TaskConfig
from programs.lms.artifacts import Artifact, open_artifact
from programs.tasks.base import Origin, Task

_PREFERRED = ("S_D-R", "S_D-T")
_AGAIN = "Give its command again; it does what is missing."
_OTHER_JOBS = {"improve.json": "an improvement", "compiled.json": "a compilation", "study.json": "a study"}


@dataclass(frozen=True)
class Figure:
    """What a condition came to on one task's test questions.

    Attributes:
        test: Name of the task.
        condition: Name of the condition.
        cell: Its counts: `n`, `scored`, `score` (0 to 1), `ci95`, ...
        difference: Its paired comparison with `teacher+teacher`; None where there is none.
        own: Whether the student has a part in it.
    """

    test: str
    condition: str
    cell: Cell
    difference: Mapping[str, Any] | None
    own: bool


@dataclass(frozen=True)
class SharedStudent:
    """A trained student of a run.

    Attributes:
        name: As in conditions: `S_D-R`.
        label: What tells it from the run's others: the name, in an experiment `<task>/<variant>/<name>`.
        train: Name of the task that it was trained on.
        variant: Of the experiment; empty for the main one, and in a run.
        folder: Of its artifact.
        record: What the run says of its training: `rows`, `steps`, `seconds`, `model`, ...
    """

    name: str
    label: str
    train: str
    variant: str
    folder: Path
    record: Mapping[str, Any]


@dataclass(frozen=True)
class SharedRun:
    """A finished run or experiment.

    Attributes:
        folder: Its folder.
        files: `metrics.json` and the text of `config.toml`.
    """

    folder: Path
    files: RunFiles

    @property
    def metrics(self) -> Mapping[str, Any]:
        """`metrics.json`."""
        return self.files.metrics

    @property
    def is_experiment(self) -> bool:
        """Whether it is an experiment, with a grid of cells."""
        return self.metrics.get("kind") == "experiment"

    def tasks(self) -> dict[str, Mapping[str, Any]]:
        """By the name that the run knows it under: `task`, `options`, `measure`, `scoring`, and `train`, how many questions it gave."""
        if self.is_experiment:
            return {name: value for name, value in self.files.part("tasks").items() if isinstance(value, Mapping)}
        metrics = self.metrics
        record = {
            "task": metrics.get("task"),
            "options": metrics.get("task_options"),
            "train": self.files.part("labelling").get("questions"),
        }
        return {str(metrics.get("task")): {**record, "measure": metrics.get("measure"), "scoring": metrics.get("scoring")}}

    def task(self, name: str) -> Task | None:
        """One of `tasks` itself; None where what it reads is no longer there."""
        record = self.tasks().get(name) or {}
        try:
            config = TaskConfig.model_validate({**(record.get("options") or {}), "name": record["task"]})
            with where_made(self.folder):
                return configured_task(config, int(self.metrics.get("seed") or 0))
        except (KeyError, ValueError, TypeError, OSError):
            return None

    def origin_of(self, task: Task | None, example_id: str) -> Origin:
        """Whose a question is; nothing where the task is not known, or where it came with a trace from elsewhere."""
        return task.origin_of(example_id) if task and not example_id.startswith(TRACE_ID) else Origin()

    def students(self) -> list[SharedStudent]:
        """Those that the figures speak of, the preferred one first."""
        found = sorted(self._students(), key=lambda one: (one.variant != "", _rank(one.name)))
        return [student for student in found if (student.folder / "manifest.json").exists()]

    def _students(self) -> Iterator[SharedStudent]:
        if self.is_experiment:
            for record in self.files.records("students"):
                name, train, variant = (str(record.get(key) or "") for key in ("name", "train", "variant"))
                label = f"{train}/{variant or 'main'}/{name}"
                folder = self.folder / "students" / train / (variant or "main") / slug(name)
                yield SharedStudent(name, label, train, variant, folder, record)
        else:
            for name, record in self.files.part("students").items():
                yield SharedStudent(name, name, str(self.metrics.get("task")), "", self.folder / "student" / slug(name), record)

    def student(self, name: str = "") -> SharedStudent:
        """A student by its name or label.

        Args:
            name: `S_D-R`, `student=qwen/S_D-R`, `gsm8k/main/S_D-R`; by default `S_D-R`, else `S_D-T`, else the only one.

        Raises:
            ValueError: No student, none of that name, or several; names those there are.
        """
        there = self.students()
        labels = [student.label for student in there]
        if not there:
            raise ValueError(f"{self.folder} holds no trained student. Do a run with one: evaluation.conditions S_D-R+teacher.")
        found = [s for s in there if s.label == name or s.label.endswith(f"/{name}")] if name else there
        if not found:
            raise ValueError(f"{self.folder} holds no student {name!r}; it has {', '.join(labels)}: --student NAME.")
        main = [student for student in found if not student.variant] or found
        preferred = not name and main[0].name in _PREFERRED
        meant = [student for student in main if student.name == main[0].name] if preferred else main
        if len(meant) > 1:
            raise ValueError(f"Several students could be meant: {', '.join(s.label for s in meant)}. Say which: --student NAME.")
        return meant[0]

    def artifact(self, student: SharedStudent) -> Artifact:
        """The model of a student, every file compared with its hash.

        Raises:
            ValueError: It is damaged, or another one than the figures are of; says the next step.
        """
        try:
            artifact = open_artifact(student.folder)
        except ValueError as error:
            raise ValueError(
                f"Student {student.label} is damaged: {error} To train it again from the labels on file, give the run's command with "
                f"--redo {student.name}."
            ) from error
        if artifact.model_string != student.record.get("model"):
            raise ValueError(
                f"The figures in {self.folder / 'metrics.json'} are of {student.record.get('model')}, and {student.folder} holds "
                f"{artifact.model_string}. Give the run's command again, so that they are of the same student."
            )
        return artifact

    def figures(self, student: SharedStudent | None = None) -> list[Figure]:
        """What is known of test questions: the conditions of a student, and those without any, to compare with.

        Args:
            student: Whose; None for all conditions.
        """
        return list(self._experiment_figures(student) if self.is_experiment else self._run_figures(student))

    def _run_figures(self, student: SharedStudent | None) -> Iterator[Figure]:
        for name, condition in self.files.conditions.items():
            difference = paired_comparison_of(self.files, name, REFERENCE)
            own = student is not None and student.name in _roles(name)
            yield Figure(str(self.metrics.get("task")), name, condition, difference, own)

    def _experiment_figures(self, student: SharedStudent | None) -> Iterator[Figure]:
        for cell in cells_of(self.files):
            name = str(cell.get("condition"))
            trained = [role for role in _roles(name) if is_student(role)]
            place = (cell.get("train") or "", cell.get("variant") or "")
            own = student is not None and student.name in trained and place == (student.train, student.variant)
            if own or student is None or not (trained or place[1] or _is_of_another_base(cell, student)):
                reference = named(self.files, cell.get("test"), REFERENCE)
                difference = comparison(self.files, cell, reference) if reference and reference is not cell else None
                yield Figure(str(cell.get("test")), name, cell, difference, own)


def _is_of_another_base(cell: Cell, student: SharedStudent) -> bool:
    """Whether an untrained student has a part in it that is not what this one was trained from."""
    untrained = any(role in ("student0", "fewshot") for role in _roles(str(cell.get("condition"))))
    return untrained and student.record.get("base") not in (cell.get("models") or {}).values()


def _roles(condition: str) -> tuple[str, str]:
    return stages_in(condition) or roles(condition)


def _rank(name: str) -> int:
    return _PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED)


def finished_run(folder: Path | str) -> SharedRun:
    """The run or experiment in a folder.

    Args:
        folder: The `--out` of `run` or `experiment`.

    Raises:
        ValueError: No run there, one that is not finished, or a file that cannot be read; says the next step.
    """
    folder = Path(folder)
    other = next((what for name, what in _OTHER_JOBS.items() if (folder / name).is_file()), None)
    if other:
        raise ValueError(f"{folder} holds {other}; what can be shared is a run or an experiment: give the --out folder of one.")
    if not (folder / "config.toml").is_file():
        raise ValueError(f"{folder} holds no run: it has no config.toml. Give the --out folder of `divide-or-conquer run`.")
    if not (folder / "metrics.json").is_file():
        raise ValueError(f"The run in {folder} is not finished: it has no metrics.json. {_AGAIN}")
    files = RunFiles(metrics_of(folder / "metrics.json"), text_of(folder / "config.toml"), {}, [], {})
    if not (files.part("conditions") or files.records("cells")):
        raise ValueError(f"The run in {folder} is not finished: no test question was asked. {_AGAIN}")
    return SharedRun(folder, files)
