"""Figures of a run, each from what `metrics.json` and `progress.jsonl` hold; None where there is nothing to draw.

Figures are made without pyplot, so a notebook's backend and open figures stay as they are, and matplotlib is loaded only
while one is drawn. Widths are in inches and small enough that labels can be read on a phone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")
WIDTH = 6.4
INK, FAINT = "#222222", "#d9d9d9"
# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B")
_STAGES = ("decompose", "solve")
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    # A dollar sign in a model's name is not mathematics.
    "text.parse_math": False,
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """`draw` with the style of the reports, whatever style the caller has."""

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return inside


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


@styled
def png(figure: Figure) -> bytes:
    """`figure` as PNG at 180 dots an inch, drawn by Agg whatever backend is in use."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=180, facecolor="white")
    return buffer.getvalue()


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number: neither None nor NaN nor text."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any) -> float:
    """`value`, or 0 where it is no number: for sums and bars only."""
    return value if is_number(value) else 0


def interval_of(record: Mapping[str, Any]) -> tuple[Any, Any]:
    """The bounds in `ci95`, or two Nones."""
    low, high = record.get("ci95") or (None, None)
    return low, high


def stages_of(condition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The records of usage in a condition by stage, in the order in which stages run."""
    found = {name: value for name, value in condition.items() if isinstance(value, Mapping) and {"calls", "input_tokens"} & value.keys()}
    return {name: found[name] for name in sorted(found, key=lambda name: _STAGES.index(name) if name in _STAGES else len(_STAGES))}


def _tokens(usage: Mapping[str, Any]) -> float:
    return number(usage.get("input_tokens")) + number(usage.get("output_tokens"))


def _curve(records: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values in order. A continued training repeats the steps after its checkpoint: the last word counts."""
    points = {record["step"]: record[key] for record in records if is_number(record.get("step")) and is_number(record.get(key))}
    steps = sorted(points)
    return steps, [points[step] for step in steps]


def canvas(height: float) -> tuple[Figure, Axes]:
    """An empty figure of the reports' width with one plot; `height` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def rows_axis(axes: Axes, names: Sequence[str]) -> None:
    """Names on the left, the first on top."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def stacked_bars(axes: Axes, names: Sequence[str], segments: Mapping[str, Sequence[float]], shades: int = 1) -> None:
    """Horizontal stacked bars; with `shades`, as many segments in a row share one colour, the last the strongest."""
    left = [0.0] * len(names)
    for index, (label, widths) in enumerate(segments.items()):
        strength = 1.0 if shades == 1 else 0.45 + 0.55 * (index % shades) / (shades - 1)
        colour = _on_white(COLOURS[index // shades % len(COLOURS)], strength)
        axes.barh(range(len(names)), widths, left=left, height=0.62, color=colour, label=label.replace("_", " "))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for y, total in enumerate(left):
        axes.annotate(f"{total:,.0f}", (total, y), xytext=(5, 0), textcoords="offset points", va="center")
    rows_axis(axes, names)
    axes.set_xlim(0, (max(left) or 1) * 1.14)
    legend_below(axes.figure, len(segments))


def legend_below(figure: Any, entries: int) -> None:
    """A legend under all plots."""
    figure.legend(loc="outside lower center", ncols=min(entries, 2 if entries % 3 else 3), frameon=False)


def _on_white(colour: str, strength: float) -> tuple[float, ...]:
    """`colour` as it looks at that opacity on white; real opacity would let the grid shine through."""
    from matplotlib.colors import to_rgb

    return tuple(1 - strength * (1 - channel) for channel in to_rgb(colour))
