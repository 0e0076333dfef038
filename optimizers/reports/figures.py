"""What the figures of all reports share: size, style, colours, and bars and axes that several of them draw.

Figures are made without pyplot, so a notebook's backend and open figures stay as they are, and matplotlib is loaded only
while one is drawn.
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

WIDTH, NARROW = 6.4, 3.8
"""Inches, of a page and of a telephone."""

DOTS = 180
"""An inch."""

_LEGEND_LETTERS, _COLUMN_LETTERS = 42, 30
"""Of a name in a legend: as many as there is room for on a telephone, and in one of two columns on a page."""

_LEGEND_ROWS, _LEGEND_ROW = 5, 0.22
"""Rows of a legend that a figure has room for, and inches of each further one."""

INK, FAINT = "#222222", "#d9d9d9"

# Okabe and Ito's palette, which colour-blind readers can tell apart, without its vermilion.
COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#7F7F7F", "#8C564B", "#B59A00")

GREY = "#7F7F7F"

ACCENT, ACCENT_MARKER = "#D55E00", "D"
"""Of the distilled decomposer in every figure, and of nothing else."""

OWN = "the distilled decomposer"

# What is drawn on white, as it is drawn on a dark page.
_DARK_PAGE = "#16181b"
_ON_DARK = {INK: "#e6e6e6", FAINT: "#3a3d41", "#0072B2": "#4a9fe0", "#D55E00": "#ff8a3d", "#009E73": "#2fc39a", GREY: "#a0a0a0"}

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "legend.facecolor": "none",
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


def forms(figure: Figure) -> tuple[bytes, bytes, bytes, bytes]:
    """`figure` as PNG for a page: on white and dark, then both for a telephone. It stays recoloured."""
    narrow = narrowed(figure)
    return png(figure), png(figure, dark=True), png(narrow), png(narrow, dark=True)


@styled
def png(figure: Figure, dark: bool = False) -> bytes:
    """`figure` as PNG, drawn by Agg whatever backend is in use.

    Args:
        figure: As drawn for a white page. With `dark` it is recoloured and stays so.
        dark: For a dark page.
    """
    import io

    if dark:
        _recolour(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, facecolor=_DARK_PAGE if dark else "white")
    return buffer.getvalue()


def _recolour(figure: Figure) -> None:
    """Changes what would not be seen on a dark page, in every part of the figure."""
    from matplotlib.colors import to_hex

    known = {to_hex(colour): to_hex(dark) for colour, dark in _ON_DARK.items()}
    for artist in figure.findobj():
        if getattr(artist, "get_gid", str)() == KEEP:
            continue
        for part in ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor"):
            get, put = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
            if get is None or put is None:
                continue
            colour = get()
            if isinstance(colour, str | tuple) and len(colour) and colour != "none" and to_hex(colour) in known:
                put(known[to_hex(colour)])


@styled
def narrowed(figure: Figure) -> Figure:
    """A copy of `figure` for a telephone: the same plots on `NARROW` inches, with smaller words, fewer marks, and a longer legend."""
    import pickle
    import textwrap

    from matplotlib.text import Text
    from matplotlib.ticker import MaxNLocator

    copy: Figure = pickle.loads(pickle.dumps(figure))
    for text in copy.findobj(Text):
        text.set_fontsize(0.82 * float(text.get_fontsize()))
    for axes in copy.axes:
        axes.tick_params(labelsize=9)
        if isinstance(axes.xaxis.get_major_locator(), MaxNLocator):
            axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel(textwrap.fill(axes.get_xlabel(), 32))
        _fit_rows(axes)
    copy.set_size_inches(NARROW, figure.get_figheight() + _one_column(copy))
    _room_for_words(copy)
    return copy


def _fit_rows(axes: Axes) -> None:
    """Names of rows on several lines, where they would leave no room for the plot."""
    from matplotlib.ticker import FuncFormatter

    names = axes.yaxis.get_major_formatter()

    def fitted(value: float, place: int | None = None) -> str:
        return _fitted(names(value, place).replace("\n", ""), 20, 3)

    if isinstance(names, FuncFormatter):
        axes.yaxis.set_major_formatter(FuncFormatter(fitted))


def _fitted(name: str, width: int, lines: int) -> str:
    """A name on at most so many lines of so many letters, as matplotlib draws no plot that its names leave no room for."""
    most = width * lines
    shown = name if len(name) <= most else f"{name[: most - 3]}..."
    return "\n".join(shown[start : start + width] for start in range(0, len(shown), width))


def _room_for_words(figure: Figure) -> None:
    """Longer axes to the right, where words behind a bar or an interval would reach beyond the edge."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        beyond = max((text.get_window_extent().x1 for text in axes.texts), default=0.0) - figure.bbox.x1
        if beyond > 0:
            box, (low, high) = axes.get_window_extent(), axes.get_xlim()
            axes.set_xlim(low, low + (high - low) * box.width / max(box.width - beyond - 8, box.width / 2))


def _one_column(figure: Figure) -> float:
    """Names of the legend below each other, where two do not fit abreast; inches that it grows by."""
    grown = 0.0
    for legend in list(figure.legends):
        handles = [handle for handle in legend.legend_handles if handle is not None]
        texts = [text.get_text() for text in legend.get_texts()]
        columns = 2 if max(map(len, texts)) <= 18 else 1
        grown += 0.17 * (len(texts) // 2) if columns == 1 else 0.0
        legend.remove()
        figure.legend(handles, texts, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    return grown


KEEP = "keep"
"""The `gid` of a part that is drawn alike on both pages."""


def is_own(name: str) -> bool:
    """Whether a student or condition of that name is, or has, a distilled decomposer (S_D-R, S_D-T and their variants)."""
    return name.startswith("S_D")


def highlight(axes: Axes, names: Sequence[str]) -> bool:
    """The rows of the distilled decomposer in the accent and bold; whether there is one."""
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        if is_own(name):
            label.set(color=ACCENT, fontweight="bold")
    return any(map(is_own, names))


def lines_of(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each name's line: several distilled decomposers share the accent, and differ in filling and dashes."""
    own, others = ([name for name in names if is_own(name) is mine] for mine in (True, False))
    filled = ({"fillstyle": "full"}, {"fillstyle": "none"})
    dashes = ("-", "--", "-.", ":")
    found: dict[str, dict[str, Any]] = {
        name: {"color": ACCENT, "marker": ACCENT_MARKER, "linestyle": dashes[i % 4], **filled[i % 2]} for i, name in enumerate(own)
    }
    markers = "os^vPX*"
    for i, name in enumerate(others):
        found[name] = {"color": COLOURS[i % len(COLOURS)], "marker": markers[i % len(markers)], "linestyle": "-"}
    return found


def own_handle() -> Any:
    """The legend's entry for the distilled decomposer."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=ACCENT, marker=ACCENT_MARKER, linestyle="", label=OWN)


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


def rows_axis(axes: Axes, names: Sequence[str]) -> bool:
    """Names on the left, the first on top, those of the distilled decomposer in the accent; whether there is one."""
    axes.set_yticks(range(len(names)), [_fitted(f"◆ {name}" if is_own(name) else name, 34, 2) for name in names])
    highlighted = highlight(axes, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    return highlighted


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
    own = rows_axis(axes, names)
    axes.set_xlim(0, (max(left) or 1) * (1 + 0.03 * max(map(len, totals)) if totals else 1.14))
    legend_below(axes.figure, own)


def legend_below(figure: Any, own: bool = False) -> None:
    """A legend under all plots; with `own`, it says how the distilled decomposer is marked."""
    found = [handle for axes in figure.axes for handle in axes.get_legend_handles_labels()[0]]
    handles = [*found, *([own_handle()] if own else [])]
    if not handles:
        return
    texts = [short(handle.get_label(), _LEGEND_LETTERS) for handle in handles]
    longest = max(map(len, texts))
    columns = min(len(handles), 1 if longest > _COLUMN_LETTERS else 2 if len(handles) % 3 or longest > 16 else 3)
    # matplotlib takes the legend's place from the plots, and draws none that are left without any.
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * max(0, math.ceil(len(handles) / columns) - _LEGEND_ROWS))
    figure.legend(handles, texts, loc="outside lower center", ncols=columns, frameon=False)


def short(name: str, longest: int) -> str:
    """A name that fits; its middle left out if it is too long, as both ends tell conditions apart."""
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def _on_white(colour: str, strength: float) -> tuple[float, ...]:
    """`colour` as it looks at that opacity on white; real opacity would let the grid shine through."""
    from matplotlib.colors import to_rgb

    return tuple(1 - strength * (1 - channel) for channel in to_rgb(colour))
