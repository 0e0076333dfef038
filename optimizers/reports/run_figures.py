"""Figures of a run: scores, tokens, training rows and losses; each None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optimizers.evaluation.stages import stages_of
from optimizers.reports.blocks import interval_of, is_number, number
from optimizers.reports.figures import COLOURS, FAINT, canvas, legend_below, rows_axis, stacked_bars, styled

if TYPE_CHECKING:
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
    figure, axes = canvas(0.42 * len(rows) + 1.0)
    for y, (_, condition) in enumerate(rows):
        score, (low, high) = 100 * condition["score"], interval_of(condition)
        if is_number(low) and is_number(high):
            axes.plot([100 * low, 100 * high], [y, y], color=COLOURS[0], linewidth=2.2, solid_capstyle="butt")
        axes.plot(score, y, "o", color=COLOURS[0], markersize=7)
        axes.text(103, y, f"{score:.1f}%", va="center", ha="left")
    rows_axis(axes, [name for name, _ in rows])
    axes.set(xlim=(0, 101), xlabel="score on the test questions, %; bar: 95% interval")
    return figure


@styled
def token_figure(conditions: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Tokens a test question, stacked by stage, input and output apart.

    Args:
        conditions: `conditions` of `metrics.json`; those without counted tokens or without `n` are left out.
    """
    rows = {name: value for name, value in conditions.items() if value.get("n") and any(_tokens(s) for s in stages_of(value).values())}
    if not rows:
        return None
    segments = {}
    # All conditions as one, so that a first condition with a single stage does not set the order.
    for stage in stages_of({stage: usage for condition in rows.values() for stage, usage in stages_of(condition).items()}):
        for side in ("input", "output"):
            counts = [number(stages_of(c).get(stage, {}).get(f"{side}_tokens")) / c["n"] for c in rows.values()]
            segments[f"{stage}: {side}"] = counts
    figure, axes = canvas(0.45 * len(rows) + 1.5)
    stacked_bars(axes, list(rows), segments, shades=2)
    axes.set_xlabel("tokens a question")
    return figure


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
    for index, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        for key, form, label in (("loss", "-", name), ("eval_loss", "--o", f"{name}, held out")):
            if curve[key][0]:
                single = "o" if len(curve[key][0]) == 1 and key == "loss" else ""
                axes.plot(*curve[key], form + single, color=colour, markersize=4, linewidth=1.6, label=label)
    axes.set(xlabel="training step", ylabel="loss", ylim=(0, None))
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    legend_below(figure, len(axes.get_legend_handles_labels()[0]))
    return figure


def _tokens(usage: Mapping[str, Any]) -> float:
    return number(usage.get("input_tokens")) + number(usage.get("output_tokens"))


def _curve(records: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values in order. A continued training repeats the steps after its checkpoint: the last word counts."""
    points = {record["step"]: record[key] for record in records if is_number(record.get("step")) and is_number(record.get(key))}
    steps = sorted(points)
    return steps, [points[step] for step in steps]
