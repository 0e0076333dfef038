"""Cascades: how the threshold was chosen, how often the dear part was asked, and what that gained over both parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optimizers.conditions import is_cascade, parts_in
from optimizers.reports.blocks import (
    Block,
    Section,
    Table,
    Text,
    count_text,
    is_number,
    p_text,
    percent,
    percent_interval,
    picture_or_text,
    points_difference,
    points_interval,
    reasons_text,
    usd_text,
)
from optimizers.reports.conditions import oriented
from optimizers.reports.cost_tables import thousand
from optimizers.reports.experiment_figures import cost_figure
from optimizers.reports.read import RunFiles, part
from optimizers.reports.verdicts import outcome_words

FIGURE = "cascade-costs.png"

_TEXT = (
    "A cascade keeps the answer of its cheap part where enough of that part's answers to the same question agree, and asks the dear part "
    "where they do not, where the decomposition cannot be read, or where there is no answer. Its bill has both parts, all votes included, "
    "as if no other condition had made the same calls."
)

_CHOICE = (
    "The threshold was chosen on dev questions, which no student was trained on and no score of a test question is of (they also pick the "
    "best checkpoint of a training). The dev score at the chosen threshold is the best of several, and so a little too good; that of the "
    "test is not. Costs are of 1,000 questions."
)


def cascades(run: RunFiles) -> list[Section]:
    """One section; none where no cascade was run."""
    records = run.records("cascades")
    if not records:
        return []
    return [Section("Cascades", [Text(_TEXT), _ways(run), *_gains(run), *_curves(records), *_figure(run)])]


def _ways(run: RunFiles) -> Block:
    columns = ["Cascade", "Tested on", "Score", "95% interval", "Questions", "To the dear part", "Why", "With failed votes"]
    rows = []
    for cell in _measured(run):
        routes = part(cell, "routes")
        share = routes["second"] / cell["n"] if is_number(routes.get("second")) and cell.get("n") else None
        words = [str(cell.get("condition")), str(cell.get("test") or "-")]
        counts = [percent(cell.get("score")), percent_interval(cell), count_text(cell.get("n")), percent(share)]
        rows.append([*words, *counts, reasons_text(part(routes, "reasons")), count_text(routes.get("with_failed_votes"))])
    return Table(columns, rows, frozenset({0, 1, 6}))


def _measured(run: RunFiles) -> Iterator[Mapping[str, Any]]:
    """Cascades as they were tested: conditions of a run, or cells of an experiment."""
    cells = run.records("cells") or [{**condition, "condition": name} for name, condition in run.conditions.items()]
    yield from (cell for cell in cells if is_cascade(str(cell.get("condition"))))


def _gains(run: RunFiles) -> list[Block]:
    rows = [_gain_row(*found) for found in _compared(run)]
    if not rows:
        return []
    columns = ["Cascade", "Against", "Tested on", "Questions", "Delta, points", "95% interval", "p after Holm", "Verdict on the cascade"]
    text = "Against each of its parts, on the same questions; what is called higher or lower stands under the other differences:"
    return [Text(text), Table(columns, rows, frozenset({0, 1, 2, 7}))]


def _compared(run: RunFiles) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for record in run.records("comparisons"):
        for one, other in ((record.get("a"), record.get("b")), (record.get("b"), record.get("a"))):
            found = oriented(record, str(one), str(other))
            if found is not None and is_cascade(str(one)) and str(other) in parts_in(str(one)):
                yield str(one), str(other), found


def _gain_row(name: str, other: str, record: Mapping[str, Any]) -> list[str]:
    figures = [count_text(record.get("n")), points_difference(record), points_interval(record), p_text(record.get("p_holm"))]
    return [name, other, str(record.get("test") or "-"), *figures, outcome_words(record)]


# The choice
def _curves(records: Sequence[Mapping[str, Any]]) -> list[Block]:
    columns = ["Cascade", "Threshold", "Chosen", "Dev score", "95% interval", "To the dear part"]
    columns += ["Input tokens", "Output tokens", "Seconds", "US dollars"]
    rows = [row for record in records for row in _curve_rows(record)]
    given = [f"{record.get('condition')}: {record['threshold']:g}" for record in records if not record.get("curve")]
    blocks: list[Block] = [Text(f"The threshold was given, not chosen, for {'; '.join(given)}.")] if given else []
    if rows:
        blocks += [Text(_CHOICE), Table(columns, rows, frozenset({0, 2}))]
        blocks += [Text(_parts_words(record)) for record in records if record.get("curve")]
    return blocks


def _curve_rows(record: Mapping[str, Any]) -> Iterator[list[str]]:
    for point in record.get("curve") or []:
        cost = part(point, "per_question")
        chosen = "chosen" if point["threshold"] == record.get("threshold") else ""
        counts = [count_text(thousand(cost.get(key))) for key in ("input_tokens", "output_tokens", "seconds")]
        shares = [percent(point["score"]), percent_interval(point), percent(point["escalated"])]
        yield [_named(record), f"{point['threshold']:.2f}", chosen, *shares, *counts, usd_text(thousand(cost.get("usd")))]


def _named(record: Mapping[str, Any]) -> str:
    place = [str(record[key]) for key in ("train", "variant") if record.get(key)]
    return f"{record.get('condition')} ({', '.join(place)})" if place else str(record.get("condition"))


def _parts_words(record: Mapping[str, Any]) -> str:
    scores, used = part(record, "parts"), part(record, "usage")
    spent = f"{count_text(used.get('calls'))} calls, {count_text(used.get('seconds'))} seconds, {usd_text(used.get('usd'))}"
    return (
        f"{_named(record)}: on these {count_text(record.get('questions'))} dev questions the answers of the cheap part alone, by most of "
        f"{count_text(record.get('samples'))} votes, score {percent(scores.get('first'))}, and the dear part alone "
        f"{percent(scores.get('second'))}. To find out took {spent}, which no bill of a question has."
    )


# The figure
def _figure(run: RunFiles) -> list[Block]:
    """Score against cost of a run's conditions; an experiment has such figures under its costs."""
    if run.records("cells"):
        return []
    # Prices come from beside DSPy, and a report without a cascade is to load none.
    from optimizers.evaluation.costs import pareto_front

    unit, points = _points(run)
    front = pareto_front(points)
    words = f"Cost in {unit}: what none beats in both cost and score, cheapest first: {', '.join(front) or 'none'}."
    alt = f"Score against {unit} for 1,000 questions; the Pareto front is joined and named."
    return [Text(words), picture_or_text(FIGURE, cost_figure(points, front, unit), alt, "No condition has both a score and a known cost.")]


def _points(run: RunFiles) -> tuple[str, dict[str, tuple[float, float]]]:
    """In dollars where all of the run's conditions have a price, else in seconds inside the calls."""
    scores = {name: 100 * condition["score"] for name, condition in run.conditions.items() if is_number(condition.get("score"))}
    dollars = _costs(run, scores, "usd")
    return ("US dollars", dollars) if len(dollars) == len(scores) else ("seconds", _costs(run, scores, "seconds"))


def _costs(run: RunFiles, scores: Mapping[str, float], key: str) -> dict[str, tuple[float, float]]:
    costs = {str(record.get("condition")): thousand(part(record, "per_question").get(key)) for record in run.records("cost")}
    return {name: (cost, scores[name]) for name, cost in costs.items() if cost is not None and name in scores}
