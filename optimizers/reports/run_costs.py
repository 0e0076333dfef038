"""What the conditions of a run cost, by stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.evaluation.stages import stages_of
from optimizers.reports.blocks import Block, Section, Table, Text, count_text, is_number, missing_text, picture_or_text, usd_text
from optimizers.reports.read import RunFiles
from optimizers.reports.run_figures import token_figure


def costs(run: RunFiles) -> list[Section]:
    """A line a stage of each condition, and of labelling; and the figure of tokens."""
    return [Section("Tokens, seconds and dollars", _usage(run))]


def _usage(run: RunFiles) -> list[Block]:
    lines = [[name, stage, *_usage_row(usage)] for name, c in run.conditions.items() for stage, usage in stages_of(c).items()]
    if labelling := run.part("labelling"):
        lines.insert(0, ["(labelling)", "teacher", *_usage_row(labelling)])
    if not lines:
        return [missing_text("No usage was recorded in this run.")]
    text = (
        "Sums over all test questions of a condition. Local models cost seconds; dollars stand only where a price is known "
        "('no price' elsewhere). Seconds add up over calls that ran side by side, so they can exceed the time on the clock."
    )
    columns = ["Condition", "Stage", "Calls", "From cache", "Input tokens", "Output tokens", "Seconds", "US dollars"]
    alt = "Tokens a test question by condition, stacked by stage; the numbers are in the table above."
    picture = picture_or_text(
        "tokens.png", token_figure(run.conditions), alt, "No tokens of a condition were counted, so there is no figure."
    )
    return [Text(text), Table(columns, lines, frozenset({0, 1})), picture]


def _usage_row(usage: Mapping[str, Any]) -> list[str]:
    counts = [count_text(usage.get(key)) for key in ("calls", "cache_hits", "input_tokens", "output_tokens")]
    seconds = f"{usage['seconds']:,.1f}" if is_number(usage.get("seconds")) else "n/a"
    return [*counts, seconds, usd_text(usage.get("usd"))]
