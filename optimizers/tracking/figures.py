"""What trackers are told of a job: its settings, and numbers from the files of its folder alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optimizers.jobs.folder import flat
from optimizers.jobs.jsonlines import read_json
from optimizers.jobs.work import read_timings
from optimizers.labelling.journal import paid_beside
from optimizers.settings.run import RunConfig
from optimizers.settings.tracking import LOGIN
from optimizers.settings.views import View, compile_settings, experiment_settings, improve_settings, run_settings

Numbers = Mapping[str, Any]

_SECRET = re.compile(r"(key|token|secret|password|authorization|cookie)$", re.IGNORECASE)

_PAID = ("calls", "cache_hits", "failed", "input_tokens", "cached_tokens", "written_tokens", "output_tokens", "seconds", "usd")


class Kind(NamedTuple):
    """A kind of job, as trackers see it.

    Attributes:
        settings: Gives the settings that decide it.
        summary: The file that sums it up.
        numbers: Gives the numbers of the summary.
        report: The report.
    """

    settings: View
    summary: str
    numbers: Callable[[Numbers], Numbers]
    report: str


def settings_of(config: RunConfig, kind: str) -> dict[str, Any]:
    """The settings of a job without logins in addresses and without what is named as a secret."""
    found: dict[str, Any] = _without_secrets("", KINDS[kind].settings(config))
    return {name: value for name, value in found.items() if name != "tracking"}


def params_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings by dotted name, as texts."""
    return {name: _text(value) for name, value in flat(settings).items()}


def spent_on(folder: Path, kind: str) -> dict[str, float]:
    """Seconds by stage, and what all calls of the job's folder cost."""
    seconds = {f"seconds/{stage}": seconds for stage, seconds in read_timings(folder).items()}
    return finite(seconds | _picked("paid", paid_beside([folder], Path()).to_dict(), _PAID))


def summed_up(folder: Path, kind: str) -> dict[str, float]:
    """Scores and costs of the job's summary; none before there is one."""
    return finite(KINDS[kind].numbers(read_json(folder / KINDS[kind].summary)))


def finite(metrics: Numbers) -> dict[str, float]:
    """Those that are numbers; trackers differ in what they make of others."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def scored(name: str, found: Numbers) -> dict[str, Any]:
    """A score with the ends of its interval, and of how many questions it is.

    Args:
        name: Whose.
        found: With `score` or `dev`, `ci95` and `n`, as the summaries have them.
    """
    low, high = found.get("ci95") or (None, None)
    return {f"score/{name}": found.get("score"), f"score_low/{name}": low, f"score_high/{name}": high, f"questions/{name}": found.get("n")}


def _without_secrets(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(key, inner) for key, inner in value.items()}
    if isinstance(value, str):
        return "***" if _SECRET.search(name) else LOGIN.sub("", value)
    return value


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _picked(name: str, found: Any, keys: Sequence[str]) -> dict[str, Any]:
    return {f"{name}/{key}": found.get(key) for key in keys} if isinstance(found, Mapping) else {}


def _run(found: Numbers) -> dict[str, Any]:
    numbers = _labelling("labelling", found.get("labelling"))
    for name, summary in found.get("conditions", {}).items():
        numbers |= {**scored(name, summary), f"failed/{name}": summary.get("failed")}
    for row in found.get("cost", []):
        numbers |= _picked_cost(row["condition"], row)
    for name, training in found.get("students", {}).items():
        numbers |= _student(name, training)
    return numbers


def _experiment(found: Numbers) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for task, labelling in found.get("labelling", {}).items():
        numbers |= _labelling(f"labelling/{task}", labelling)
    for cell in found.get("cells", []):
        numbers |= {**scored(_place(cell), cell), f"failed/{_place(cell)}": cell.get("failed")}
    for row in found.get("cost", []):
        numbers |= _picked_cost(_place(row), row)
    for training in found.get("students", []):
        numbers |= _student("/".join(filter(None, (training["train"], training["variant"], training["name"]))), training)
    return numbers


def _place(cell: Numbers) -> str:
    """Where a cell of an experiment was tested and trained, and under which condition, as its file of answers is called."""
    return "/".join(filter(None, (cell["test"], cell["train"], cell["variant"], cell["condition"])))


def _labelling(name: str, found: Any) -> dict[str, Any]:
    return _picked(name, found, ("questions", "samples", "kept", *_PAID))


def _picked_cost(name: str, row: Numbers) -> dict[str, Any]:
    per_question = row.get("per_question", {})
    return {f"{key}_a_question/{name}": per_question.get(key) for key in ("usd", "input_tokens", "output_tokens", "seconds")}


def _student(name: str, training: Numbers) -> dict[str, Any]:
    return _picked(f"student/{name}", training, ("rows", "tokens", "seconds", "steps", "last_train_loss", "last_dev_loss"))


def _improve(found: Numbers) -> dict[str, Any]:
    numbers: dict[str, Any] = {"best_round": found.get("best"), **_picked("usage", found.get("usage"), _PAID)}
    for one in found.get("rounds", []):
        name = f"round-{one['round']}"
        numbers |= scored(f"dev/{name}", {**one, "score": one["dev"], "n": one["dev_questions"]})
        numbers |= _picked(name, one, ("rows", "new_rows", "tokens", "seconds", "usd", "training_seconds", "training_usd"))
    for test, rounds in found.get("tests", {}).items():
        for name, summary in rounds.items():
            numbers |= scored(f"{test}/{name.replace(' ', '-')}", summary) if "ci95" in summary and "score" in summary else {}
    return numbers


def _compile(found: Numbers) -> dict[str, Any]:
    numbers = _picked("usage", found.get("paid"), _PAID)
    for one in found.get("candidates", []):
        numbers |= scored(f"validation/candidate-{one['number']}", one.get("validation") or {})
    for name, summary in (found.get("dev") or {}).items():
        numbers |= scored(f"dev/{name}", summary) if name != "comparison" and summary else {}
    return numbers


def _study(found: Numbers) -> dict[str, Any]:
    trials = found.get("trials", [])
    best: Numbers = next((trial for trial in trials if trial["number"] in found.get("best", [])[:1]), {})
    usd = sum(trial["usd"] or 0.0 for trial in trials)
    numbers = {"trials": found.get("finished"), "best_trial": best.get("number"), "trials_usd": usd if trials else None}
    return numbers | (scored("best", best) if best else {})


def _everything(config: RunConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude_none=True)


KINDS = {
    "run": Kind(run_settings, "metrics.json", _run, "report.html"),
    "experiment": Kind(experiment_settings, "metrics.json", _experiment, "report.html"),
    "improve": Kind(improve_settings, "improve.json", _improve, "improve.html"),
    "compile": Kind(compile_settings, "compiled.json", _compile, "compiled.html"),
    "study": Kind(_everything, "study.json", _study, "study.html"),
}
"""Kinds of jobs, by their commands."""


def trial_numbers(result: Numbers) -> dict[str, Any]:
    """The numbers of a trial's `trial.json`."""
    return {**scored("dev", result), **{key: result.get(key) for key in ("cost", "training_seconds", "inference_seconds", "usd", "rows")}}
