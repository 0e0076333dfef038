"""Costs of a question in all, by condition, and when a student has paid for itself: for runs and experiments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optimizers.conditions import stages_in
from optimizers.reports.blocks import Table, Text, count_text, is_number, percent, usd_text
from optimizers.reports.read import REFERENCE, RunFiles, part
from optimizers.reports.tokens import LOCAL, PAID, UNKNOWN, kind_of


def scorer_text(costs: Mapping[str, Mapping[str, Any]]) -> list[Text]:
    """What the scorer has asked of LMs, by model; nothing where it asks none."""
    asked = [
        f"{model} {count_text(usage.get('calls'))} times, of which a cache answered {count_text(usage.get('cache_hits'))} "
        f"and {count_text(usage.get('failed'))} failed "
        f"({count_text(usage.get('input_tokens'))} tokens read, {count_text(usage.get('output_tokens'))} written, "
        f"{usd_text(usage.get('usd'))})"
        for model, usage in costs.items()
    ]
    return [Text(f"To judge answers the scorer asked {' and '.join(asked)} in all; this is in no condition's cost.")] if asked else []


def cost_table(run: RunFiles, records: Sequence[Mapping[str, Any]]) -> Table:
    """A line a record of `cost`, per 1,000 questions: paid and local tokens, dollars, and paying back."""
    columns = [
        "Condition",
        "Trained on",
        "Tested on",
        "Paid input tokens",
        "Paid output tokens",
        "Local input tokens",
        "Local output tokens",
    ]
    columns += ["Of all these the teacher's", "Seconds", "US dollars", "US dollars, output only"]
    columns += [
        "One-off dollars",
        "One-off seconds",
        "Break-even, dollars",
        "Break-even, seconds",
        "Break-even, input tokens",
        "Why not in dollars",
    ]
    return Table(columns, [_total_row(run, record) for record in records], frozenset({0, 1, 2, 16}))


def _total_row(run: RunFiles, record: Mapping[str, Any]) -> list[str]:
    each, once, even = (part(record, key) for key in ("per_question", "one_off", "break_even"))
    words = [str(record.get(key) or "-") for key in ("condition", "train", "test")]
    counts = [count_text(thousand(_tokens_of(record, kind, key))) for kind in (PAID, LOCAL) for key in ("input_tokens", "output_tokens")]
    counts += [count_text(thousand(_teacher_tokens(run, record))), count_text(thousand(each.get("seconds")))]
    dollars = [usd_text(thousand(each.get(key))) for key in ("usd", "output_only_usd")]
    if not once and not even:
        return [*words, *counts, *dollars, *["-"] * 6]
    spent = [usd_text(_sum(once, "usd")), count_text(_sum(once, "seconds"))]
    questions = [count_text(even.get(f"questions_{key}")) for key in ("usd", "seconds", "input_tokens")]
    if once.get("traced"):
        spent, questions = _at_least(spent), _at_least(questions)
    return [*words, *counts, *dollars, *spent, *questions, str(even.get("reason") or "-")]


def _at_least(amounts: Sequence[str]) -> list[str]:
    """Amounts that are known, as parts of larger ones."""
    return [f"at least {amount}" if any(map(str.isdigit, amount)) else amount for amount in amounts]


def traced_words(records: Iterable[Mapping[str, Any]]) -> str:
    """That labels from traces are in none of the one-off figures, with a blank before it; empty without such labels."""
    counts: list[Any] = [part(record, "one_off").get("traced") for record in records]
    traced = max(filter(is_number, counts), default=0)
    if not traced:
        return ""
    return (
        f" {count_text(traced)} labels came with traces: what others paid for these is not known and not in the one-off figures, so these "
        "and the break-even are least amounts ('at least')."
    )


def _tokens_of(record: Mapping[str, Any], kind: str, key: str) -> float | None:
    """Tokens a question of the paid or the local models; None where they were not counted, or by which model is not known."""
    stages = list(part(record, "stages").values())
    if not stages or UNKNOWN in {kind_of(stage.get("model")) for stage in stages}:
        return None
    return _counted(stage.get(key) for stage in stages if kind_of(stage.get("model")) == kind)


def _teacher_tokens(run: RunFiles, record: Mapping[str, Any]) -> float | None:
    """Tokens a question of the teacher's model; None where they were not counted."""
    teacher, stages = run.part("models").get("teacher"), part(record, "stages").values()
    own = (stage.get(key) for stage in stages if stage.get("model") == teacher for key in ("input_tokens", "output_tokens"))
    return _counted(own) if stages else None


def _counted(values: Iterable[Any]) -> float | None:
    found = list(values)
    return math.fsum(found) if all(map(is_number, found)) else None


def _sum(once: Mapping[str, Any], unit: str) -> float | None:
    """Labelling and training; None where one of them is not known."""
    parts: list[Any] = [once.get(f"{stage}_{unit}") for stage in ("labelling", "training")]
    return sum(parts) if all(map(is_number, parts)) else None


def saving_words(records: list[Mapping[str, Any]]) -> str:
    """The cheapest student against the teacher in both stages, in dollars or, without prices, in seconds."""
    for key, unit in (("usd", "dollars"), ("seconds", "seconds")):
        known = [(r, part(r, "per_question")[key]) for r in records if is_number(part(r, "per_question").get(key))]
        full = {record.get("test"): cost for record, cost in known if record.get("condition") == REFERENCE}
        own = [(r, cost) for r, cost in known if (stages_in(str(r.get("condition"))) or ("",))[0].startswith("S_D")]
        shares = [(cost / full[r.get("test")], r) for r, cost in own if full.get(r.get("test"))]
        if shares:
            share, record = min(shares, key=lambda pair: pair[0])
            name = f"{record['condition']} on {record['test']}" if record.get("test") else str(record["condition"])
            return f"The cheapest decomposer student, {name}, takes {percent(share)} of the {unit} of {REFERENCE}."
    return f"There is no decomposer student and {REFERENCE} with a known cost to compare."


def thousand(value: Any, questions: float = 1) -> float | None:
    """A sum over `questions` as that of 1,000; None where it is not known."""
    return 1000 * value / questions if is_number(value) else None
