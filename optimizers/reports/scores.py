"""Scores of the conditions of a run, with what came of their decompositions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.reports.blocks import (
    CONTINUE,
    Block,
    Section,
    Table,
    Text,
    count_text,
    missing_text,
    percent,
    percent_interval,
    picture_or_text,
    reasons_text,
)
from optimizers.reports.passages import passages_words
from optimizers.reports.read import RunFiles
from optimizers.reports.replies import endings_blocks, endings_of, replies_table
from optimizers.reports.run_figures import accuracy_figure

_STATES = ("ok", "none_needed", "unparseable", "over_limit")


def scores(run: RunFiles) -> list[Section]:
    """A line a condition: score, interval, states of decompositions, failures; and the figure."""
    return [Section("Scores", _scores(run))]


def _scores(run: RunFiles) -> list[Block]:
    if not run.conditions:
        return [missing_text(f"No condition has been evaluated. {CONTINUE}")]
    states = list(dict.fromkeys([*_STATES, *(state for c in run.conditions.values() for state in c.get("states") or {})]))
    columns = [
        "Condition",
        "Score",
        "95% interval",
        "Questions",
        "Scored",
        *(state.replace("_", " ") for state in states),
        "Failed",
        "Failures",
    ]
    rows = [[name, *_score_row(condition, states)] for name, condition in run.conditions.items()]
    text = (
        "Score is the mean over scored questions; a question that could not be scored counts neither as right nor as wrong. "
        f"The columns {', '.join(state.replace('_', ' ') for state in states)} count what came of the decomposition; failed questions "
        "gave no answer at all."
        f"{passages_words(run.conditions.values())}"
    )
    picture = picture_or_text(
        "accuracy.png", accuracy_figure(run.conditions), _score_alt(run.conditions), "No condition has a score to draw."
    )
    table = Table(columns, rows, frozenset({0, len(columns) - 1}))
    unread = Text(
        "Replies that could not be read, or ended at the limit of tokens, in any stage; each question counts once in the last column:"
    )
    endings = endings_blocks(endings_of(run.conditions.items(), run.part("labelling")))
    return [Text(text), table, picture, unread, replies_table(run.conditions.items()), *endings]


def _score_row(condition: Mapping[str, Any], states: Iterable[str]) -> list[str]:
    counted = condition.get("states") or {}
    cells = [
        percent(condition.get("score")),
        percent_interval(condition),
        count_text(condition.get("n")),
        count_text(condition.get("scored")),
    ]
    # A program with one stage has no decomposition to count; zero would say that there was one.
    cells += [count_text(counted.get(state, 0)) if counted else "n/a" for state in states]
    return [*cells, count_text(condition.get("failed")), reasons_text(condition.get("failures") or {})]


def _score_alt(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    return "Score by condition: " + "; ".join(f"{name} {percent(c.get('score'))} ({percent_interval(c)})" for name, c in conditions.items())
