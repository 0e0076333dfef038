"""What the conditions of an experiment cost: by stage, in all, when a student has paid for itself, and against the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.conditions import is_cascade
from optimizers.evaluation.costs import pareto_front
from optimizers.evaluation.stages import answered_in, stages_of
from optimizers.reports import experiment_figures as drawn
from optimizers.reports.blocks import Block, Table, Text, count_text, is_number, missing_text, picture_or_text, usd_text
from optimizers.reports.cells import Cell, in_domain, is_control, label, score_of, tests_of
from optimizers.reports.cost_tables import cost_table, saving_words, scorer_text, thousand, traced_words
from optimizers.reports.read import RunFiles, part
from optimizers.reports.tokens import MEANING, input_text, kind_of

_DOLLARS, _TOKENS, _SECONDS = "US dollars", "tokens of the teacher's model", "seconds"


def costs(run: RunFiles) -> list[Block]:
    """All of it, per 1,000 questions."""
    blocks = [*_totals(run), *_by_stage(run), *scorer_text(run.part("scorer"))]
    return [*_figures(run), *blocks] if blocks else [missing_text("No usage was recorded in this experiment.")]


def _by_stage(run: RunFiles) -> list[Block]:
    rows = []
    for cell in (cell for test in tests_of(run) for cell in in_domain(run, test)):
        if is_number(cell.get("n")) and answered_in(cell):
            where = [label(run, cell), str(cell.get("train") or "-"), str(cell.get("test"))]
            models = part(cell, "models")
            rows += [
                [*where, stage.replace("_", " "), kind_of(models.get(stage)), *_stage_row(usage, answered_in(cell))]
                for stage, usage in stages_of(cell).items()
            ]
    if not rows:
        return []
    text = (
        f"By stage, per 1,000 questions, students on the task that they were trained on. {MEANING} "
        "A call that a cache answered has no tokens and no dollars, so such rows are too low."
    )
    columns = [
        "Condition",
        "Trained on",
        "Tested on",
        "Stage",
        "Tokens are",
        "Calls",
        "From cache",
        "Input tokens",
        "Output tokens",
        "Seconds",
        "US dollars",
    ]
    return [Text(text), Table(columns, rows, frozenset(range(5)))]


def _stage_row(usage: Mapping[str, Any], questions: float) -> list[str]:
    calls, hits, tokens, seconds = (
        count_text(thousand(usage.get(key), questions)) for key in ("calls", "cache_hits", "output_tokens", "seconds")
    )
    return [calls, hits, input_text(usage, 1000 / questions), tokens, seconds, usd_text(thousand(usage.get("usd"), questions))]


# In all, and paying back
def _totals(run: RunFiles) -> list[Block]:
    records = [record for test in _tested(run) for record in in_domain(run, test, "cost")]
    if not records:
        return (
            [missing_text("Costs of a question in all and break-even were not computed in this experiment.")]
            if run.records("cells")
            else []
        )
    text = (
        f"{saving_words(records)} All per 1,000 questions; 'output only' counts output tokens alone, as the paper does. One-off is what a "
        "student costs before its first question; break-even is the number of questions after which that is saved (tokens: the teacher's)."
        f"{traced_words(records)}"
    )
    return [Text(text), cost_table(run, records)]


def _tested(run: RunFiles) -> list[Any]:
    return list(dict.fromkeys(record.get("test") for record in run.records("cost")))


# Against the score
def _figures(run: RunFiles) -> list[Block]:
    blocks: list[Block] = []
    for index, test in enumerate(tests_of(run), 1):
        unit, points = _points(run, test)
        front = pareto_front(points)
        names = ", ".join(front) or "none"
        unit = f"{kind_of(run.part('models').get('teacher'))} {unit}" if unit == _TOKENS else unit
        words = f"{test}, cost in {unit}, controls left out: what none beats in both cost and score, cheapest first: {names}."
        blocks.append(Text(words))
        alt = f"Score against {unit} for 1,000 questions on {test}; the Pareto front is joined and named."
        missing = f"No condition on {test} has both a score and a known cost."
        blocks.append(picture_or_text(f"costs-{index}.png", drawn.cost_figure(points, front, unit), alt, missing))
    return blocks


def _points(run: RunFiles, test: str) -> tuple[str, dict[str, tuple[float, float]]]:
    """The first unit in which most conditions have a cost: dollars, else the teacher's tokens, else seconds."""
    cells = [cell for cell in in_domain(run, test) if score_of(cell) is not None and not is_control(cell)]
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for unit in (_DOLLARS, _TOKENS, _SECONDS):
        pairs = ((label(run, cell), _cost(run, cell, unit), score_of(cell)) for cell in cells)
        found[unit] = {name: (cost, 100 * score) for name, cost, score in pairs if cost is not None and score is not None}
    unit = max(found, key=lambda unit: len(found[unit]))
    return unit, found[unit]


def _cost(run: RunFiles, cell: Cell, unit: str) -> float | None:
    """Of 1,000 questions; None where it is not known or a cache answered some of the calls."""
    usages = stages_of(cell)
    if not usages or not is_number(cell.get("n")) or not answered_in(cell) or any(usage.get("cache_hits") for usage in usages.values()):
        return None
    if unit == _TOKENS and _is_cascade_of_others(run, cell):
        return None
    if unit == _TOKENS:
        values: list[Any] = [_teacher_tokens(run, cell, stage, usage) for stage, usage in usages.items()]
    else:
        values = [usage.get("usd" if unit == _DOLLARS else "seconds") for usage in usages.values()]
    known = [value for value in values if is_number(value)]
    return 1000 * sum(known) / answered_in(cell) if len(known) == len(values) else None


def _is_cascade_of_others(run: RunFiles, cell: Cell) -> bool:
    """Whether the tokens of the teacher's model would leave out votes of a cascade, which another model gave."""
    others = set(part(cell, "models").values()) - {run.part("models").get("teacher")}
    return is_cascade(str(cell.get("condition"))) and bool(others)


def _teacher_tokens(run: RunFiles, cell: Cell, stage: str, usage: Mapping[str, Any]) -> float | None:
    model, teacher = part(cell, "models").get(stage), run.part("models").get("teacher")
    counts: list[Any] = [usage.get("input_tokens"), usage.get("output_tokens")]
    if model is None or teacher is None or not all(map(is_number, counts)):
        return None
    return sum(counts) if model == teacher else 0.0


# Costs
