"""What the figures of all reports share: size, style, colours, and bars and axes that several of them draw.

Figures are made without pyplot, so a notebook's backend and open figures stay as they are, and matplotlib is loaded only
while one is drawn. Widths are in inches and small enough that labels can be read on a phone.
"""

from __future__ import annotations

import functools
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
def png(figure: Figure) -> bytes:
    """`figure` as PNG at 180 dots an inch, drawn by Agg whatever backend is in use."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=180, facecolor="white")
    return buffer.getvalue()


def canvas(height: float) -> tuple[Figure, Axes]:
    """An empty figure of the reports' width with one plot; `height` in inches."""
    figure, (axes,) = canvases([height])
    return figure, axes


def canvases(heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """An empty figure of the reports' width with plots below each other; `heights` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    plots = list(figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0])
    for axes in plots:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, plots


def upright_intervals(axes: Axes, places: Sequence[float], bounds: Sequence[Sequence[float | None]], colour: str) -> None:
    """Intervals of shares as upright lines in percent; none is drawn where a bound is not known."""
    for place, (low, high) in zip(places, bounds, strict=True):
        if low is not None and high is not None:
            axes.plot([place, place], [100 * low, 100 * high], color=colour, linewidth=2.0, alpha=0.5)


def rows_axis(axes: Axes, names: Sequence[str]) -> None:
    """Names on the left, the first on top."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def stacked_bars(
    axes: Axes, names: Sequence[str], segments: Mapping[str, Sequence[float]], shades: int = 1, totals: Sequence[str] = ()
) -> None:
    """Horizontal stacked bars; with `shades`, as many segments in a row share one colour, the last the strongest.

    Behind a bar stands its sum, or what `totals` has for it.
    """
    left = [0.0] * len(names)
    for index, (label, widths) in enumerate(segments.items()):
        strength = 1.0 if shades == 1 else 0.45 + 0.55 * (index % shades) / (shades - 1)
        colour = _on_white(COLOURS[index // shades % len(COLOURS)], strength)
        axes.barh(range(len(names)), widths, left=left, height=0.62, color=colour, label=label.replace("_", " "))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for y, total in enumerate(left):
        axes.annotate(totals[y] if totals else f"{total:,.0f}", (total, y), xytext=(5, 0), textcoords="offset points", va="center")
    rows_axis(axes, names)
    axes.set_xlim(0, (max(left) or 1) * (1.26 if totals else 1.14))
    legend_below(axes.figure, len(segments))


def legend_below(figure: Any, entries: int) -> None:
    """A legend under all plots."""
    figure.legend(loc="outside lower center", ncols=min(entries, 2 if entries % 3 else 3), frameon=False)


def _on_white(colour: str, strength: float) -> tuple[float, ...]:
    """`colour` as it looks at that opacity on white; real opacity would let the grid shine through."""
    from matplotlib.colors import to_rgb

    return tuple(1 - strength * (1 - channel) for channel in to_rgb(colour))
