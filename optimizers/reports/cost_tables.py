"""Costs of a question in all, by condition, and when a student has paid for itself: for runs and experiments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optimizers.reports.blocks import Table, count_text, is_number, percent, usd_text
from optimizers.reports.read import REFERENCE, RunFiles
from optimizers.reports.run_figures import LOCAL, TEACHER, owner_of


def cost_table(run: RunFiles, records: Sequence[Mapping[str, Any]]) -> Table:
    """A line a record of `cost`, per 1,000 questions: tokens by whose they are, dollars, and paying back."""
    columns = ["Condition", "Trained on", "Tested on", "Input tokens", "Output tokens", "Of these the teacher's", "Of other local models"]
    columns += ["Seconds", "US dollars", "US dollars, output only"]
    columns += [
        "One-off dollars",
        "One-off seconds",
        "Break-even, dollars",
        "Break-even, seconds",
        "Break-even, input tokens",
        "Why not in dollars",
    ]
    return Table(columns, [_total_row(run, record) for record in records], frozenset({0, 1, 2, 15}))


def _total_row(run: RunFiles, record: Mapping[str, Any]) -> list[str]:
    each, once, even = (part(record, key) for key in ("per_question", "one_off", "break_even"))
    words = [str(record.get(key) or "-") for key in ("condition", "train", "test")]
    counts = [count_text(thousand(each.get(key))) for key in ("input_tokens", "output_tokens")]
    counts += [count_text(thousand(_tokens_of(run, record, owner))) for owner in (TEACHER, LOCAL)]
    counts.append(count_text(thousand(each.get("seconds"))))
    dollars = [usd_text(thousand(each.get(key))) for key in ("usd", "output_only_usd")]
    if not once and not even:
        return [*words, *counts, *dollars, *["-"] * 6]
    spent = [usd_text(_sum(once, "usd")), count_text(_sum(once, "seconds"))]
    questions = [count_text(even.get(f"questions_{key}")) for key in ("usd", "seconds", "input_tokens")]
    return [*words, *counts, *dollars, *spent, *questions, str(even.get("reason") or "-")]


def _tokens_of(run: RunFiles, record: Mapping[str, Any], owner: str) -> float | None:
    """Tokens a question of one owner's models; None where they were not counted."""
    stages = [
        stage for stage in part(record, "stages").values() if owner_of(run.part("models").get("teacher"), stage.get("model")) == owner
    ]
    counts: list[Any] = [stage.get(key) for stage in stages for key in ("input_tokens", "output_tokens")]
    return math.fsum(counts) if record.get("stages") and all(map(is_number, counts)) else None


def part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """`record[key]`, or an empty mapping."""
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def _sum(once: Mapping[str, Any], unit: str) -> float | None:
    """Labelling and training; None where one of them is not known."""
    parts: list[Any] = [once.get(f"{stage}_{unit}") for stage in ("labelling", "training")]
    return sum(parts) if all(map(is_number, parts)) else None


def saving_words(records: list[Mapping[str, Any]]) -> str:
    """The cheapest student against the teacher in both stages, in dollars or, without prices, in seconds."""
    for key, unit in (("usd", "dollars"), ("seconds", "seconds")):
        known = [(r, part(r, "per_question")[key]) for r in records if is_number(part(r, "per_question").get(key))]
        full = {record.get("test"): cost for record, cost in known if record.get("condition") == REFERENCE}
        shares = [
            (cost / full[r.get("test")], r) for r, cost in known if full.get(r.get("test")) and str(r.get("condition")).startswith("S_D")
        ]
        if shares:
            share, record = min(shares, key=lambda pair: pair[0])
            name = f"{record['condition']} on {record['test']}" if record.get("test") else str(record["condition"])
            return f"The cheapest decomposer student, {name}, takes {percent(share)} of the {unit} of {REFERENCE}."
    return f"There is no decomposer student and {REFERENCE} with a known cost to compare."


def thousand(value: Any, questions: float = 1) -> float | None:
    """A sum over `questions` as that of 1,000; None where it is not known."""
    return 1000 * value / questions if is_number(value) else None
