"""What a list says of a job: task, models, state, key scores, and what is wrong with its folder."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optimizers.jobs.folder import flat
from optimizers.jobs.jsonlines import read_json
from optimizers.reports.blocks import is_number, percent, percent_interval
from optimizers.reports.cells import best_student, label, named, tests_of
from optimizers.reports.conditions import student_condition
from optimizers.reports.read import REFERENCE, WITHOUT, RunFiles, metrics_of, part
from optimizers.viewer.history import History, history_of
from optimizers.viewer.places import REPORTS, RESULTS, Place, inside

_MOST_SCORES = 4

_SECRET = re.compile(r"key|token|secret|password|authorization|credential", re.IGNORECASE)
_NO_SECRET = re.compile(r"max_tokens|tokens_per_second|budget_tokens", re.IGNORECASE)

_CONFIGS = ("config.toml", "compile.toml", "rounds/config.toml", "best.toml")


@dataclass(frozen=True)
class Score:
    """One of a job's scores: what of, and its share of right answers with the interval, in words."""

    what: str
    value: str
    interval: str


@dataclass(frozen=True)
class Summary:
    """A job in a line.

    Attributes:
        place: Where it is.
        kind: As the files say.
        state: `running`, `finished`, `incomplete`, `stopped`, `begun` or `damaged`.
        why: More on the state, in words; often empty.
        changed: Date and minute of its last word.
        task: Name of the task; empty where nothing says.
        teacher: Model string; empty where nothing says.
        student: The same.
        scores: Up to three.
        troubles: What is wrong with its files, a sentence each.
        metrics: What its file of results holds; empty without one.
        settings: Its configuration, by dotted names.
        reports: Names of its HTML reports.
    """

    place: Place
    kind: str
    state: str
    why: str
    changed: str
    task: str = ""
    teacher: str = ""
    student: str = ""
    scores: tuple[Score, ...] = ()
    troubles: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    reports: tuple[str, ...] = ()


def summary(place: Place) -> Summary:
    """Read a job's files; never fails, as what cannot be read is one of the `troubles`."""
    troubles: list[str] = []
    metrics = _tried(troubles, lambda: _metrics(place), {})
    nested = _tried(troubles, lambda: _settings(place), {})
    # A run has further solvers in that section, and no grid.
    grid = metrics.get("kind") == "experiment" or "conditions" in part(nested, "experiment")
    kind = "experiment" if place.kind == "run" and grid else place.kind
    scores = _tried(troubles, lambda: _SCORES.get(kind, _no_scores)(metrics), ())
    history = _tried(troubles, lambda: history_of(place), History(""))
    state, why = _state(history, metrics, bool(troubles))
    settings = {name: _public(name, value) for name, value in flat(nested).items()}
    troubles = [told.replace(f"{place.folder}/", "") for told in troubles]
    models = part(metrics, "models")
    reports = tuple(name for name in REPORTS if inside(place, name))
    return Summary(
        place, kind, state, why, history.changed, _task(metrics, settings), _model("teacher", metrics, models, settings),
        _model("student", metrics, models, settings), scores, tuple(troubles), metrics, settings, reports,
    )  # fmt: skip


def _tried(troubles: list[str], read: Callable[[], Any], otherwise: Any) -> Any:
    """What `read` gives; a file that somebody else wrote, or half of one, may break anything."""
    try:
        return read()
    except Exception as error:
        told = str(error) if isinstance(error, ValueError | OSError) else f"a file of results has another form than expected ({error!r})"
        troubles.append(told)
        return otherwise


def _metrics(place: Place) -> dict[str, Any]:
    name = RESULTS.get(place.kind)
    path = inside(place, name) if name else None
    if path is None:
        return {}
    stat = path.stat()
    return _read(path, name == "metrics.json", stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=512)
def _read(path: Path, with_schema: bool, changed: int, size: int) -> dict[str, Any]:
    return metrics_of(path) if with_schema else read_json(path)


def _settings(place: Place) -> dict[str, Any]:
    path = next((path for name in _CONFIGS if (path := inside(place, name))), None)
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no valid TOML: {error}") from error


def _public(name: str, value: Any) -> Any:
    """A setting as it may be shown: a key that somebody wrote among a model's options is not."""
    last = name.rsplit(".", 1)[-1]
    return "(not shown)" if isinstance(value, str) and _SECRET.search(last) and not _NO_SECRET.search(last) else value


def command_of(job: Summary) -> str:
    """The command that a job was given, as it may be shown."""
    words = str(job.metrics.get("command") or "").split(" ")
    names = ["", *(word.removeprefix("--") if word.startswith("--") else "" for word in words)]
    return " ".join(str(_public(name, word)) for name, word in zip(names, words, strict=False))


def _state(history: History, metrics: Mapping[str, Any], damaged: bool) -> tuple[str, str]:
    if history.running:
        return "running", f"stage {history.running}"
    if damaged:
        return "damaged", ""
    if history.stopped:
        return "stopped", history.stopped
    if metrics.get("incomplete"):
        return "incomplete", str(metrics["incomplete"])
    if metrics:
        return "finished", ""
    done = ", ".join(history.stages)
    return "begun", f"no results yet; done: {done}" if done else "no results yet"


def _task(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    tasks = part(metrics, "tasks")
    if tasks:
        return ", ".join(map(str, tasks))
    given = metrics.get("task")
    name = given.get("name") if isinstance(given, Mapping) else given
    return str(name or settings.get("task.name") or "")


def _model(role: str, metrics: Mapping[str, Any], models: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    # In a file of `improve`, `student` is a student's name.
    found = models.get(role) or settings.get(f"{role}.model") or (metrics.get(role) if role == "teacher" else None)
    return str(found or "")


def _score(what: str, record: Mapping[str, Any], key: str = "score") -> list[Score]:
    return [Score(what, percent(record[key]), percent_interval(record))] if is_number(record.get(key)) else []


def _no_scores(metrics: Mapping[str, Any]) -> tuple[Score, ...]:
    return ()


def _run_scores(metrics: Mapping[str, Any]) -> tuple[Score, ...]:
    conditions = RunFiles(metrics, "", {}, [], {}).conditions
    wanted = [REFERENCE, student_condition(conditions), WITHOUT, "single-stage-cot", *conditions]
    names = [name for name in dict.fromkeys(wanted) if name in conditions]
    return tuple([score for name in names if name for score in _score(name, conditions[name])][:_MOST_SCORES])


def _experiment_scores(metrics: Mapping[str, Any]) -> tuple[Score, ...]:
    run = RunFiles(metrics, "", {}, [], {})
    found: list[Score] = []
    for test in tests_of(run):
        cells = [named(run, test, REFERENCE), best_student(run, test, 0), named(run, test, WITHOUT), named(run, test, "single-stage-cot")]
        behind = f" on {test}" if len(tests_of(run)) > 1 else ""
        found += [score for cell in cells if cell for score in _score(f"{label(run, cell)}{behind}", cell)]
    return tuple(found[:_MOST_SCORES])


def _improve_scores(metrics: Mapping[str, Any]) -> tuple[Score, ...]:
    rounds, best = metrics.get("rounds") or [], metrics.get("best", 0)
    wanted = [one for one in rounds if one["round"] in (0, best)]
    found = [score for one in wanted for score in _score(f"round {one['round']}, dev", one, "dev")]
    for name, tested in part(metrics, "tests").items():
        found += _score(f"round {best}, {name}", part(tested, f"round {best}"))
    return tuple(found[:_MOST_SCORES])


def _study_scores(metrics: Mapping[str, Any]) -> tuple[Score, ...]:
    best = (metrics.get("best") or [None])[0]
    trials = [one for one in metrics.get("trials") or [] if one["number"] == best or one.get("recipe")]
    named_trials = [("the recipe" if one.get("recipe") else "best", one) for one in trials]
    return tuple(score for what, one in named_trials for score in _score(f"trial {one['number']}, {what}", one))


def _compile_scores(metrics: Mapping[str, Any]) -> tuple[Score, ...]:
    dev = part(metrics, "dev")
    return tuple(score for what in ("uncompiled", "compiled") for score in _score(f"{what}, dev", part(dev, what)))


_SCORES: dict[str, Callable[[Mapping[str, Any]], tuple[Score, ...]]] = {
    "run": _run_scores,
    "experiment": _experiment_scores,
    "improve": _improve_scores,
    "study": _study_scores,
    "compile": _compile_scores,
}
