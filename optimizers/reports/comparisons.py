"""Differences between the conditions of a run, question by question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.reports.blocks import (
    Block,
    Section,
    Table,
    Text,
    count_text,
    missing_text,
    p_text,
    percent,
    percent_interval,
    points_difference,
    points_interval,
)
from optimizers.reports.read import RunFiles
from optimizers.reports.verdicts import outcome_words


def comparisons(run: RunFiles) -> list[Section]:
    """Every pair of conditions, and how much of the teacher's score is kept."""
    return [Section("Differences between conditions", [*_differences(run), *_retention(run)])]


def _differences(run: RunFiles) -> list[Block]:
    records = run.records("comparisons")
    if not records:
        return [missing_text("No two conditions were compared in this run.")]
    text = (
        "Each line holds two conditions against each other on the questions that are scored in both: delta is the score of A less "
        "that of B in percentage points, so a positive delta speaks for A. A is called higher or lower where the interval leaves 0 out "
        "and p is below 0.05 after Holm's correction over all pairs; otherwise these questions do not show a difference, which is no "
        "proof of equality. Intervals are not corrected."
    )
    columns = ["A", "B", "Questions", "Delta, points", "95% interval", "p", "p after Holm", "A better", "B better", "Verdict on A"]
    return [Text(text), Table(columns, [_comparison_row(record) for record in records], frozenset({0, 1, 9}))]


def _retention(run: RunFiles) -> list[Block]:
    kept = [[str(r.get("a")), str(r.get("b")), percent(r.get("ratio")), percent_interval(r)] for r in run.records("retention")]
    if not kept:
        return []
    return [
        Text("Share of B's score that A keeps, on the same questions:"),
        Table(["A", "B", "Kept", "95% interval"], kept, frozenset({0, 1})),
    ]


def _comparison_row(record: Mapping[str, Any]) -> list[str]:
    tail = [p_text(record.get("p")), p_text(record.get("p_holm")), count_text(record.get("wins")), count_text(record.get("losses"))]
    return [
        str(record.get("a")),
        str(record.get("b")),
        count_text(record.get("n")),
        points_difference(record),
        points_interval(record),
        *tail,
        outcome_words(record),
    ]
