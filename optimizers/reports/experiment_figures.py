"""Figures of an experiment: transfer between tasks, learning curves, cost against score, and where errors come from.

In the style of `optimizers.reports.figures`; each returns None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optimizers.conditions import is_cascade
from optimizers.reports.blocks import is_number, signed_points
from optimizers.reports.figures import (
    ACCENT,
    ACCENT_MARKER,
    COLOURS,
    FAINT,
    GREY,
    INK,
    KEEP,
    OWN,
    WIDTH,
    canvas,
    is_own,
    lines_of,
    own_handle,
    short,
    stacked_bars,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = Mapping[tuple[str, str], tuple[float, float | None]]

Point = tuple[float, float, float | None, float | None]

_ABREAST = 2

_LETTERS = 50
"""Of a name that stands by itself."""


@styled
def transfer_figure(panels: Mapping[str, Panel]) -> Figure | None:
    """Heat maps of training task by test task, one a student.

    Args:
        panels: By condition, then by (trained on, tested on): score and its difference from the teacher in both stages,
            both in percentage points; the difference None where that is not known.
    """
    if not panels:
        return None
    from matplotlib.figure import Figure

    trains, tests = ([*dict.fromkeys(pair[side] for panel in panels.values() for pair in panel)] for side in (0, 1))
    narrow = len(tests) <= 3 and max(map(len, panels)) <= 26 and max(map(len, tests)) <= 8
    abreast = _ABREAST if narrow and len(panels) > 1 else 1
    down = -(-len(panels) // abreast)
    figure = Figure(figsize=(WIDTH, down * (0.6 * len(trains) + 0.8) + 1.3), layout="constrained")
    if any(map(is_own, panels)):
        figure.suptitle(f"◆ {OWN}", color=ACCENT, fontsize=11)
    grid = figure.subplots(down, abreast, squeeze=False, sharex=True, sharey=True)
    widest = max([abs(delta) for panel in panels.values() for _, delta in panel.values() if delta is not None], default=0) or 1
    for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
        shades = _heat(axes, panel, trains, tests, widest)
        axes.set_title(f"{'◆ ' if is_own(name) else ''}{short(name, _LETTERS)}", fontsize=11, color=ACCENT if is_own(name) else INK)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("trained on")
    for axes in list(grid.flat)[max(0, len(panels) - abreast) : len(panels)]:
        axes.set_xlabel("tested on")
    figure.colorbar(shades, ax=grid, location="bottom", shrink=0.8, pad=0.02, aspect=35, label="points above or below teacher+teacher")
    return figure


def _heat(axes: Axes, panel: Panel, trains: Sequence[str], tests: Sequence[str], widest: float) -> Any:
    deltas = [[(panel.get((train, test)) or (0, None))[1] for test in tests] for train in trains]
    values = [[float("nan") if delta is None else delta for delta in row] for row in deltas]
    image = axes.imshow(values, cmap="PuOr", vmin=-widest, vmax=widest, aspect="auto")
    slanted = len(tests) * max(map(len, tests)) > 45
    turned: dict[str, Any] = {"rotation": 20, "ha": "right"} if slanted else {}
    axes.set_xticks(range(len(tests)), [short(test, 18) for test in tests], **turned)
    axes.set_yticks(range(len(trains)), [short(train, 18) for train in trains])
    axes.tick_params(length=0, labelbottom=True)
    for y, train in enumerate(trains):
        for x, test in enumerate(tests):
            dark = abs(deltas[y][x] or 0) > 0.6 * widest
            words = _heat_text(panel.get((train, test)))
            # The map's own colours are behind it, on every page; where there is no difference, the page is.
            gid = KEEP if deltas[y][x] is not None else None
            axes.text(x, y, words, ha="center", va="center", color="white" if dark else INK, fontsize=10, gid=gid)
    return image


def _heat_text(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return "-"
    score, delta = value
    return f"{score:.1f}%" if delta is None else f"{score:.1f}%\n({signed_points(delta)})"


@styled
def learning_figure(tasks: Mapping[str, Mapping[str, Sequence[Point]]], references: Mapping[str, float]) -> Figure | None:
    """Score against training rows, one plot a training task.

    Args:
        tasks: By task, then by condition: (rows, score, low, high), scores in percent, bounds None where not known.
        references: Score of the teacher in both stages by task, drawn as a line.
    """
    names = [*dict.fromkeys(name for curves in tasks.values() for name in curves)]
    if not names:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 2.9 * len(tasks) + 0.3 * (1 + len(names) // 2)), layout="constrained")
    for axes, (task, curves) in zip(figure.subplots(len(tasks), 1, squeeze=False).flat, tasks.items(), strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        for name, curve in curves.items():
            _curve(axes, names.index(name), len(names), curve, short(name, _LETTERS), lines_of(names)[name])
        if task in references:
            axes.axhline(references[task], color=INK, linewidth=1.2, linestyle=":", label="teacher+teacher")
        _rows_scale(axes, sorted({point[0] for curve in curves.values() for point in curve}))
        axes.set(title=short(task, _LETTERS), ylabel="score, %")
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
    _legend_once(figure)
    return figure


def _curve(axes: Axes, index: int, count: int, curve: Sequence[Point], name: str, form: Mapping[str, Any]) -> None:
    """One condition; set off sideways by a few per cent, so that intervals at the same number of rows do not hide each other."""
    points = sorted(curve)
    rows = [point[0] * (1 + 0.03 * (index - (count - 1) / 2)) for point in points]
    scores = [point[1] for point in points]
    bounds = [[max(0.0, s - low), max(0.0, high - s)] if low is not None and high is not None else [0, 0] for _, s, low, high in points]
    axes.errorbar(
        rows, scores, yerr=list(zip(*bounds, strict=True)), capsize=3, elinewidth=1.2, markersize=6, linewidth=1.6, label=name, **form
    )


def _rows_scale(axes: Axes, rows: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.minorticks_off()
    # On a log scale labels closer than a third of a doubling would run into each other.
    shown: list[float] = []
    for count in reversed(rows):
        shown += [count] if not shown or count < shown[-1] / 1.3 else []
    axes.set_xticks(shown, [f"{count:,.0f}" for count in shown])
    axes.set_xlim(rows[0] / 1.3, rows[-1] * 1.3)
    axes.set_xlabel("training rows (log scale)")


def _legend_once(figure: Figure) -> None:
    found = {text: handle for axes in figure.axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if any(map(is_own, found)):
        found[OWN] = own_handle()
    longest = max(map(len, found))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=2 if longest <= 30 else 1, frameon=False)


@styled
def cost_figure(points: Mapping[str, tuple[float, float]], front: Sequence[str], unit: str) -> Figure | None:
    """Score against cost: the Pareto front joined; it, the distilled decomposer and cascades numbered and named below; the others grey.

    Args:
        points: Cost of 1,000 questions and score in percent, by condition.
        front: Names on the front, cheapest first.
        unit: What costs are counted in.
    """
    if not points:
        return None
    shown = [*front, *(name for name in points if name not in front and (is_own(name) or is_cascade(name)))]
    names = [f"{i}  {short(name, _LETTERS)}" for i, name in enumerate(shown, 1)]
    columns = 2 if max(map(len, names)) <= 34 else 1
    figure, axes = canvas(3.6 + 0.24 * -(-(len(names) + 2) // columns))
    others = [point for name, point in points.items() if name not in front]
    axes.plot([x for x, _ in others], [y for _, y in others], "o", color=GREY, markersize=6, fillstyle="none", label="other conditions")
    axes.plot(*zip(*(points[name] for name in front), strict=True), "o-", color=COLOURS[0], markersize=7, label="Pareto front")
    own = [point for name, point in points.items() if is_own(name)]
    if own:
        axes.plot(*zip(*own, strict=True), ACCENT_MARKER, color=ACCENT, markersize=8, label=OWN)
    axes.set(xlabel=f"{unit} for 1,000 questions", ylabel="score, %")
    axes.margins(0.09, 0.13)
    axes.grid(color=FAINT, linewidth=0.8)
    if unit != "US dollars":
        axes.xaxis.set_major_formatter("{x:,.0f}")
    _number_points(figure, axes, [points[name] for name in shown])
    handles, texts = axes.get_legend_handles_labels()
    blank = axes.plot([], [], " ")[0]
    figure.legend(
        [*handles, *[blank] * len(names)], [*texts, *names], loc="outside lower center", ncols=columns, frameon=False, handlelength=1.2
    )
    return figure


def _number_points(figure: Figure, axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Numbers above the points; points that lie upon each other share one label, such as 2-4."""
    figure.draw_without_rendering()
    groups: list[list[int]] = []
    places = [axes.transData.transform(point) * 72 / figure.dpi for point in points]
    for i, place in enumerate(places):
        near = bool(groups) and abs(place - places[groups[-1][0]])[0] < 24 and abs(place - places[groups[-1][0]])[1] < 18
        groups = [*groups[:-1], [*groups[-1], i]] if near else [*groups, [i]]
    for group in groups:
        text = str(group[0] + 1) if len(group) == 1 else f"{group[0] + 1}-{group[-1] + 1}"
        axes.annotate(text, points[group[-1]], xytext=(0, 12), textcoords="offset points", ha="center", va="center", fontweight="bold")


@styled
def error_figure(records: Mapping[str, Mapping[str, Any]], fates: Mapping[str, str]) -> Figure | None:
    """Wrong answers by what repairs them, a stacked bar a condition.

    Args:
        records: Entries of `errors` by condition.
        fates: Key in an entry -> name in the legend.
    """
    rows = {name: record for name, record in records.items() if any(is_number(record.get(key)) and record[key] for key in fates)}
    if not rows:
        return None
    figure, axes = canvas(0.36 * len(rows) + 1.6)
    segments = {text: [record[key] if is_number(record.get(key)) else 0.0 for record in rows.values()] for key, text in fates.items()}
    stacked_bars(axes, [short(name, 38) for name in rows], segments)
    axes.set_xlabel("wrong answers")
    return figure
