"""Figures of a run: scores, tokens, training rows and losses; each None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optimizers.evaluation.stages import answered_in, stages_of
from optimizers.reports.blocks import interval_of, is_number, number, usd_text
from optimizers.reports.figures import (
    ACCENT,
    ACCENT_MARKER,
    COLOURS,
    FAINT,
    canvas,
    canvases,
    is_own,
    legend_below,
    lines_of,
    rows_axis,
    stacked_bars,
    styled,
)
from optimizers.reports.tokens import OWNERS, amounts_text, models_of, owner_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def accuracy_figure(conditions: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Score and 95 % interval of each condition, a row each in the order given.

    Args:
        conditions: `conditions` of `metrics.json`; those without a score are left out.
    """
    rows = [(name, value) for name, value in conditions.items() if is_number(value.get("score"))]
    if not rows:
        return None
    figure, axes = canvas(0.42 * len(rows) + 1.3)
    for y, (name, condition) in enumerate(rows):
        colour, marker = (ACCENT, ACCENT_MARKER) if is_own(name) else (COLOURS[0], "o")
        score, (low, high) = 100 * condition["score"], interval_of(condition)
        if is_number(low) and is_number(high):
            axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(score, y, marker, color=colour, markersize=7)
        axes.text(103, y, f"{score:.1f}%", va="center", ha="left")
    own = rows_axis(axes, [name for name, _ in rows])
    legend_below(figure, own)
    axes.set(xlim=(0, 101), xlabel="score on the test questions, %; bar: 95% interval")
    return figure


@styled
def token_figure(conditions: Mapping[str, Mapping[str, Any]], teacher: Any = None) -> Figure | None:
    """Tokens a test question, paid and local ones and those of the teacher apart; dollars below where they are known.

    Args:
        conditions: `conditions` of `metrics.json`; those without counted tokens or without `n` are left out.
        teacher: Model string of the teacher.
    """
    rows = {name: value for name, value in conditions.items() if answered_in(value) and any(_tokens(s) for s in stages_of(value).values())}
    if not rows:
        return None
    counts = {name: _by_owner(name, condition, teacher) for name, condition in rows.items()}
    owners = [owner for owner in OWNERS if any(owner in count for count in counts.values())]
    segments = {
        f"{owner}: {side}": [counts[name].get(owner, {}).get(side, 0.0) / answered_in(rows[name]) for name in rows]
        for owner in owners
        for side in ("input", "output")
    }
    dollars = {name: usd for name, condition in rows.items() if (usd := _dollars(condition)) is not None}
    height = 0.45 * len(rows) + 1.0
    figure, plots = canvases([height, height] if any(dollars.values()) else [height + 0.3 * len(owners)])
    stacked_bars(plots[0], list(rows), segments, shades=2, totals=[_total_words(name, rows[name], teacher) for name in rows])
    plots[0].set_xlabel("tokens a question")
    if any(dollars.values()):
        _draw_dollars(plots[1], list(rows), dollars)
    return figure


def _by_owner(name: str, condition: Mapping[str, Any], teacher: Any) -> dict[str, dict[str, float]]:
    models = models_of(name, condition, teacher)
    found: dict[str, dict[str, float]] = {}
    for stage, usage in stages_of(condition).items():
        sides = found.setdefault(owner_of(teacher, models[stage]), {"input": 0.0, "output": 0.0})
        for side in sides:
            sides[side] += number(usage.get(f"{side}_tokens"))
    return found


def _total_words(name: str, condition: Mapping[str, Any], teacher: Any) -> str:
    models = models_of(name, condition, teacher)
    return amounts_text((models[stage], _tokens(usage) / answered_in(condition)) for stage, usage in stages_of(condition).items())


def _dollars(condition: Mapping[str, Any]) -> float | None:
    """Of 1,000 questions; None where a stage has no known price."""
    prices: list[Any] = [usage.get("usd") for usage in stages_of(condition).values()]
    return 1000 * sum(prices) / answered_in(condition) if all(map(is_number, prices)) else None


def _draw_dollars(axes: Axes, names: Sequence[str], dollars: Mapping[str, float]) -> None:
    axes.barh(range(len(names)), [dollars.get(name, 0.0) for name in names], height=0.62, color=COLOURS[4])
    for y, name in enumerate(names):
        text = usd_text(dollars.get(name))
        axes.annotate(text, (dollars.get(name, 0.0), y), xytext=(5, 0), textcoords="offset points", va="center")
    rows_axis(axes, names)
    axes.set(xlim=(0, max(dollars.values()) * 1.25), xlabel="US dollars for 1,000 questions")


@styled
def rows_figure(policies: Mapping[str, Mapping[str, float]]) -> Figure | None:
    """Training rows by screening policy: kept, and dropped by reason.

    Args:
        policies: For each policy the counts by fate, `kept` first.
    """
    if not any(sum(fates.values()) for fates in policies.values()):
        return None
    fates = dict.fromkeys(fate for counts in policies.values() for fate in counts)
    figure, axes = canvas(0.45 * len(policies) + 1.5)
    stacked_bars(axes, list(policies), {fate: [counts.get(fate, 0) for counts in policies.values()] for fate in fates})
    axes.set_xlabel("questions")
    return figure


@styled
def training_figure(progress: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure | None:
    """Loss against step, one colour a student; the loss on held-out rows dashed, where it was measured.

    Args:
        progress: Records of `progress.jsonl` by student.
    """
    curves = {name: {key: _curve(records, key) for key in ("loss", "eval_loss")} for name, records in progress.items()}
    curves = {name: curve for name, curve in curves.items() if curve["loss"][0] or curve["eval_loss"][0]}
    if not curves:
        return None
    figure, axes = canvas(3.6)
    forms = lines_of(list(curves))
    for name, curve in curves.items():
        for key, label in (("loss", name), ("eval_loss", f"{name}, held out")):
            if curve[key][0]:
                held_out = key == "eval_loss"
                form = {**forms[name], "linestyle": "--" if held_out else "-"}
                form |= {} if held_out or len(curve[key][0]) == 1 else {"marker": ""}
                axes.plot(*curve[key], **form, markersize=5, linewidth=1.6, label=label)
    axes.set(xlabel="training step", ylabel="loss", ylim=(0, None))
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    legend_below(figure, any(map(is_own, curves)))
    return figure


def _tokens(usage: Mapping[str, Any]) -> float:
    return number(usage.get("input_tokens")) + number(usage.get("output_tokens"))


def _curve(records: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values in order. A continued training repeats the steps after its checkpoint: the last word counts."""
    points = {record["step"]: record[key] for record in records if is_number(record.get("step")) and is_number(record.get(key))}
    steps = sorted(points)
    return steps, [points[step] for step in steps]
