"""What sections are made of: text, tables, figures and questions, and numbers as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optimizers.reports import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


@dataclass(frozen=True)
class Text:
    """A paragraph. `tone` is `plain`, `note`, `warning` or `missing`."""

    text: str
    tone: str = "plain"
    kind: str = "text"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]
    kind: str = "bullets"


@dataclass(frozen=True)
class Table:
    """Cells as text. Columns whose index is in `words` are set flush left, the others flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset({0})
    kind: str = "table"


@dataclass(frozen=True)
class Picture:
    """A figure as PNG.

    Attributes:
        name: Its file under `figures/`.
        alt: What it shows, for who cannot see it.
        data: The PNG on white.
        dark: The same for a dark page; empty for `data` on both.
        narrow: The same for a telephone; empty for `data` there too.
        narrow_dark: For a dark page on a telephone.
        kind: Always `picture`.
    """

    name: str
    alt: str
    data: bytes
    dark: bytes = b""
    narrow: bytes = b""
    narrow_dark: bytes = b""
    kind: str = "picture"


@dataclass(frozen=True)
class Code:
    """Text as it is, under a title; `language` marks its fence in markdown."""

    title: str
    text: str
    language: str = "toml"
    kind: str = "code"


@dataclass(frozen=True)
class Reply:
    """What one condition did with a question.

    Attributes:
        condition: Its name.
        verdict: `right`, `wrong`, `partly right` or `unscored`.
        steps: Subquestions, each with its answer (empty where there is none).
        answer: The final answer.
        remarks: The state of the decomposition, the scorer's detail, an error: where there is something to say.
    """

    condition: str
    verdict: str
    steps: Sequence[tuple[str, str]]
    answer: str
    remarks: Sequence[str]


@dataclass(frozen=True)
class Question:
    """A test question with what each condition made of it."""

    question: str
    context: str
    gold: str
    replies: Sequence[Reply]
    kind: str = "question"


Block = Text | Bullets | Table | Picture | Code | Question


@dataclass
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: list[Block] = field(default_factory=list)


LEVEL = 0.05
"""A p value below it shows a difference."""

_MOST_PLACES = 10

CONTINUE = "The same command again does what is missing."


def missing_text(text: str) -> Text:
    """What a file does not hold, said as such."""
    return Text(text, "missing")


_MANY = 0.05
"""Share of the test questions from which on a report speaks of them."""


def overlap_blocks(metrics: Mapping[str, Any]) -> list[Block]:
    """Warnings where test questions were trained on or shown, or more than one in twenty nearly so."""
    told = []
    if number(metrics.get("overlap")) > 0:
        shared = f"{count_text(metrics['overlap'])} questions stand both in training and in test data"
        told.append(f"{shared}, so scores of trained students are too high.")
    near, passages = (number(metrics.get(name)) for name in ("near_overlap", "same_passage"))
    few = _MANY * len(metrics.get("test_ids") or ())
    if near > few and metrics.get("students"):
        told.append(
            f"{count_text(near)} test questions are those of training questions but for some words, so scores of trained students may be "
            "too high."
        )
    if passages > few and metrics.get("students"):
        told.append(
            f"{count_text(passages)} test questions stand on passages of training questions: on passages that no student has seen, trained "
            "students may do worse. A folder with a file a split keeps passages apart."
        )
    return [Text(text, "warning") for text in told]


def machine_text(machine: Mapping[str, Any]) -> str | None:
    """The machine in one line; None where nothing was recorded."""
    parts = [str(machine["cpu"])] if machine.get("cpu") else []
    parts += [f"{plain_value(machine['cores'])} cores"] if machine.get("cores") else []
    parts += [f"{machine['memory_gib']:.0f} GiB of memory"] if is_number(machine.get("memory_gib")) else []
    parts += [f"{key}: {plain_value(value)}" for key, value in machine.items() if key not in ("cpu", "cores", "memory_gib")]
    return ", ".join(parts) or None


def plain_value(value: Any) -> str:
    """A fact as text; `not recorded` where there is none."""
    if value is None or value in ("", {}):
        return "not recorded"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item if isinstance(item, str) else json.dumps(item)}" for key, item in value.items())
    return str(value)


def picture_or_text(name: str, figure: Figure | None, alt: str, missing: str) -> Picture | Text:
    """`figure` as PNG, or `missing` where there was nothing to draw."""
    return missing_text(missing) if figure is None else Picture(name, alt, *figures.forms(figure))


def verdict(line: Mapping[str, Any]) -> str:
    """`right`, `wrong`, `partly right` or `unscored`."""
    score = line.get("score")
    if score is None or not is_number(score):
        return "unscored"
    return "wrong" if score == 0 else "right" if score == 1 else "partly right"


def percent(value: Any) -> str:
    """A share as `93.1%`."""
    return f"{100 * value:.1f}%" if is_number(value) else "n/a"


def percent_interval(record: Mapping[str, Any]) -> str:
    """`ci95` of a score."""
    low, high = interval_of(record)
    return f"{percent(low)} to {percent(high)}" if is_number(low) and is_number(high) else "n/a"


def signed_points(points: float) -> str:
    """Percentage points with their sign and one decimal, or as many as it takes not to round a difference to none."""
    places = next((places for places in range(1, _MOST_PLACES) if round(points, places)), 1)
    # Adding 0 takes the sign from a zero.
    return f"{round(points, places) + 0.0:+.{places}f}"


def points_difference(record: Mapping[str, Any]) -> str:
    """`delta` of a comparison of scores, in percentage points."""
    return signed_points(100 * record["delta"]) if is_number(record.get("delta")) else "n/a"


def points_interval(record: Mapping[str, Any]) -> str:
    """`ci95` of a difference of scores, in percentage points."""
    low, high = interval_of(record)
    return f"{signed_points(100 * low)} to {signed_points(100 * high)}" if is_number(low) and is_number(high) else "n/a"


def p_text(value: Any) -> str:
    """A p value to four places, or as many as it takes to tell one below `LEVEL` from `LEVEL` itself."""
    if not is_number(value):
        return "n/a"
    if value < 0.0001:
        return "<0.0001"
    texts = (f"{value:.{places}f}" for places in range(4, 20))
    return next(text for text in texts if value >= LEVEL or float(text) < LEVEL)


def count_text(value: Any) -> str:
    """A count with thousands set apart."""
    return f"{round(value):,}" if is_number(value) else "n/a"


def usd_text(value: Any) -> str:
    """Dollars; `no price` where none is known."""
    if not is_number(value):
        return "no price"
    return (
        f"{'-' if value < 0 else ''}${abs(value):,.2f}" if abs(value) >= 1 or value == 0 else f"{'-' if value < 0 else ''}${abs(value):.4f}"
    )


def duration_text(seconds: Any) -> str | None:
    """Seconds in the unit that reads best."""
    if not is_number(seconds):
        return None
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def reasons_text(counts: Mapping[str, Any]) -> str:
    """Counts by reason, zeros left out."""
    return ", ".join(f"{str(reason).replace('_', ' ')} {count_text(count)}" for reason, count in counts.items() if number(count)) or "none"
