"""What the conditions of a run cost, by stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.evaluation.stages import stages_of
from optimizers.reports.blocks import Block, Section, Table, Text, count_text, is_number, missing_text, picture_or_text, usd_text
from optimizers.reports.cost_tables import cost_table, saving_words, scorer_text, traced_words
from optimizers.reports.read import RunFiles
from optimizers.reports.run_figures import token_figure
from optimizers.reports.tokens import MEANING, input_text, kind_of, kinds_text, models_of


def costs(run: RunFiles) -> list[Section]:
    """A line a stage of each condition, and of labelling; and the figure of tokens."""
    return [Section("Tokens, seconds and dollars", _usage(run))]


def _usage(run: RunFiles) -> list[Block]:
    teacher = run.part("models").get("teacher")
    lines = [line for name, condition in run.conditions.items() for line in _stage_lines(name, condition, teacher)]
    if labelling := run.part("labelling"):
        lines.insert(
            0, ["(labelling)", "teacher", kinds_text([teacher, run.part("models").get("solver", teacher)]), *_usage_row(labelling)]
        )
    if not lines:
        return [missing_text("No usage was recorded in this run.")]
    text = (
        f"Sums over all test questions of a condition. {MEANING} Local models cost seconds; dollars stand only where a price is known "
        "('no price' elsewhere). Seconds add up over calls that ran side by side, so they can exceed the time on the clock. A call that "
        "a cache answered has no tokens and no dollars: 'at least' stands where some were, 'cached' where all were."
    )
    columns = ["Condition", "Stage", "Tokens are", "Calls", "From cache", "Input tokens", "Output tokens", "Seconds", "US dollars"]
    alt = "Tokens a test question by condition, paid ones apart from local ones; dollars below where prices are known."
    figure = token_figure(run.conditions, teacher)
    picture = picture_or_text("tokens.png", figure, alt, "No tokens of a condition were counted, so there is no figure.")
    return [Text(text), Table(columns, lines, frozenset({0, 1, 2})), picture, *scorer_text(run.part("scorer")), *_paying_back(run)]


def _stage_lines(name: str, condition: Mapping[str, Any], teacher: Any) -> list[list[str]]:
    models = models_of(name, condition, teacher)
    return [[name, stage, kind_of(models[stage]), *_usage_row(usage)] for stage, usage in stages_of(condition).items()]


def _paying_back(run: RunFiles) -> list[Block]:
    records = run.records("cost")
    if not records:
        return [missing_text("Costs of a question in all and break-even were not computed in this run.")]
    text = (
        f"{saving_words(records)} All per 1,000 questions. One-off is what a student costs before its first question (labels and "
        f"training); break-even is the number of questions after which that is saved (tokens: the teacher's).{traced_words(records)}"
    )
    found = cost_table(run, records)
    # A run has one task to train and to test on.
    kept = [index for index in range(len(found.columns)) if index not in (1, 2)]
    rows = [[row[index] for index in kept] for row in found.rows]
    return [Text(text), Table([found.columns[index] for index in kept], rows, frozenset({0, len(kept) - 1}))]


def _usage_row(usage: Mapping[str, Any]) -> list[str]:
    calls = [count_text(usage.get(key)) for key in ("calls", "cache_hits")]
    tokens = [_beside_cache(usage, words) for words in (input_text(usage), count_text(usage.get("output_tokens")))]
    seconds = f"{usage['seconds']:,.1f}" if is_number(usage.get("seconds")) else "n/a"
    usd = usd_text(usage.get("usd"))
    return [*calls, *tokens, seconds, _beside_cache(usage, usd) if is_number(usage.get("usd")) else usd]


def _beside_cache(usage: Mapping[str, Any], amount: str) -> str:
    """An amount that calls answered by the cache add nothing to: of all of them it is not known, of some it is too low."""
    hits = usage.get("cache_hits")
    if not is_number(hits) or not hits:
        return amount
    return "cached" if hits == usage.get("calls") else f"at least {amount}"
