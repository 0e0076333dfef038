"""Plans in a terminal: the total first, then a short row a step, whatever the terminal's width."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.jupyter import JupyterMixin
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_PRINTED_WIDTH = 120


class ShownPlan(JupyterMixin):
    """What rich draws: on a terminal, in a notebook, and as text where it is printed."""

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=_PRINTED_WIDTH).print(self)
        return text.getvalue()


@dataclass(frozen=True)
class PlanView(ShownPlan):
    """What rich prints for a plan. Nothing in its texts is read as rich's markup.

    Attributes:
        total: The sum of everything, in one sentence.
        columns: Names of the numbers of a step.
        steps: A step's name, its model, and its numbers as text. Models are numbered, with their names below, where the rows
            would be wider than the terminal.
        notes: What else is to be known, a paragraph each.
    """

    total: str
    columns: Sequence[str]
    steps: Sequence[tuple[str, str, Sequence[str]]]
    notes: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(self.total, style="bold")
        models = list(dict.fromkeys(model for _, model, _ in self.steps))
        table = self._table({model: model for model in models}, "model")
        fits = Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width
        numbers = {model: str(number) for number, model in enumerate(models, 1)}
        yield table if fits else self._table(numbers, "by")
        if not fits:
            yield from (Text(f"{'by' if number == '1' else '  '} {number}: {model}", overflow="fold") for model, number in numbers.items())
        yield from map(Text, self.notes)

    def _table(self, shown: dict[str, str], heading: str) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        table.add_column("step")
        table.add_column(heading, no_wrap=True)
        for column in self.columns:
            table.add_column(column, justify="right", no_wrap=True)
        for name, model, numbers in self.steps:
            table.add_row(*map(Text, (name, shown[model], *numbers)))
        return table


class ShownGroup(ShownPlan, Group):
    """Parts of a plan below each other, on a terminal and in a notebook."""


def short_count(count: float) -> str:
    """A count in at most six characters: 9,999, 123k, 1.2M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= unit:
            size = count / (1e3 if letter == "k" else unit)
            return f"{size:,.1f}{letter}" if size < 10 else f"{size:,.0f}{letter}"
    return f"{count:,.0f}"


def minutes_text(minutes: float) -> str:
    """Minutes, or hours from two on."""
    return f"{minutes:,.1f} minutes" if minutes < 120 else f"{minutes / 60:,.1f} hours"
