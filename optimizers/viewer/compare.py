"""Two jobs side by side: settings that differ, and conditions question by question where both answered the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimizers.evaluation.statistics import Interval, holm, mean_interval, paired_comparison
from optimizers.reports.blocks import is_number, percent, plain_value
from optimizers.reports.verdicts import outcome_words
from optimizers.viewer.answer_file import Table
from optimizers.viewer.answer_sets import AnswerSet
from optimizers.viewer.summaries import Summary

_UNLIKE = ("out",)
"""Settings that differ between any two folders."""


@dataclass(frozen=True)
class Difference:
    """A setting or fact that is another in each of two jobs."""

    name: str
    first: str
    second: str


def settings_that_differ(first: Summary, second: Summary) -> list[Difference]:
    """Settings by their dotted names, and below them what the results say of code, machine and models."""
    return [*_differences(first.settings, second.settings, _UNLIKE), *_differences(_facts(first), _facts(second))]


def _differences(first: Mapping[str, Any], second: Mapping[str, Any], without: Sequence[str] = ()) -> list[Difference]:
    names = [name for name in dict.fromkeys([*first, *second]) if name not in without and first.get(name) != second.get(name)]
    return [Difference(name, _said(first, name), _said(second, name)) for name in names]


def _said(values: Mapping[str, Any], name: str) -> str:
    return said(values[name]) if name in values else "not set"


def said(value: Any) -> str:
    """A setting as a reader would write it."""
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _facts(job: Summary) -> dict[str, str]:
    found = {key: job.metrics.get(key) for key in ("commit", "versions", "machine", "models", "formats", "scoring")}
    return {key: plain_value(value) for key, value in found.items() if value}


@dataclass(frozen=True)
class Scored:
    """The scores of a set of answers.

    Attributes:
        interval: Mean with its interval over the scored ones.
        n: Answers in all.
    """

    interval: Interval
    n: int

    @property
    def score(self) -> str:
        return percent(self.interval.estimate)

    @property
    def bounds(self) -> str:
        low, high = self.interval.low, self.interval.high
        return f"{percent(low)} to {percent(high)}" if is_number(low) and is_number(high) else ""


def scored(answers: AnswerSet) -> Scored:
    """Read a set and sum it up."""
    table = answers.file.refresh()
    places = answers.places(table)
    return Scored(mean_interval(table.scores[places].tolist(), passages=table.passages[places].tolist()), len(places))


@dataclass(frozen=True)
class Pair:
    """Two sets of answers against each other.

    Attributes:
        first: Of the one job.
        second: Of the other.
        record: As a comparison of `metrics.json`: `n`, `delta`, `ci95`, `p`, `p_holm`, `wins`, `losses`, `ties`.
    """

    first: AnswerSet
    second: AnswerSet
    record: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        return outcome_words(self.record)


def same_named(first: Iterable[AnswerSet], second: Iterable[AnswerSet]) -> list[Pair]:
    """The sets of the same condition in both, labels left out; p is corrected (Holm) over all of them."""
    others = [one for one in second if not one.is_labels]
    partners = [(one, _partner(one, others)) for one in first if not one.is_labels]
    pairs = [pair(one, other) for one, other in partners if other is not None]
    corrected = holm([one.record["p"] for one in pairs])
    return [Pair(one.first, one.second, {**one.record, "p_holm": p}) for one, p in zip(pairs, corrected, strict=True)]


def _partner(answers: AnswerSet, others: Sequence[AnswerSet]) -> AnswerSet | None:
    """The set of that name; else, as an experiment puts tasks and variants before it, the plainest of the same condition."""
    condition = answers.name.rsplit("/", 1)[-1]
    alike = [one for one in others if one.name.rsplit("/", 1)[-1] == condition]
    # Between two variants no guess is made.
    plain = [] if "=" in answers.name else [one for one in alike if "=" not in one.name]
    return next((one for one in others if one.name == answers.name), plain[0] if len(plain) == 1 else None)


def pair(first: AnswerSet, second: AnswerSet) -> Pair:
    """Two sets on the questions that both answered: of the same id, words, context and reference."""
    table = first.file.refresh()
    places = first.places(table)
    passages = dict(zip(map(str, table.keys[places].tolist()), table.passages[places].tolist(), strict=True))
    return Pair(first, second, paired_comparison(_scores(first), _scores(second), passages=passages).to_dict())


def _scores(answers: AnswerSet) -> dict[str, float | None]:
    table = answers.file.refresh()
    places = answers.places(table)
    return dict(zip(map(str, table.keys[places].tolist()), table.scores[places].tolist(), strict=True))


def places_by_key(answers: AnswerSet, table: Table) -> dict[int, int]:
    """Hash of a question -> the place of its answer."""
    places = answers.places(table)
    return dict(zip(table.keys[places].tolist(), places.tolist(), strict=True))
