"""Shows sections in a terminal, made of the same blocks as the files of a report."""

from __future__ import annotations

from collections.abc import Iterable

from rich import table, text
from rich.console import Console, RenderableType

from optimizers.reports.blocks import Block, Bullets, Code, Picture, Question, Reply, Section, Table, Text

_STYLES = {"warning": "yellow", "missing": "dim", "note": "dim"}


def show(console: Console, title: str, sections: Iterable[Section]) -> None:
    """Print sections, each under its heading; a table that is wider than the terminal becomes a line a row."""
    console.print(text.Text(title, style="bold"), soft_wrap=True)
    for section in sections:
        console.print(text.Text(f"\n{section.title}", style="bold"))
        for block in section.blocks:
            fits = isinstance(block, Table) and _width(block) <= console.width
            console.print(_lines(block) if isinstance(block, Table) and not fits else rendered(block), soft_wrap=not fits, highlight=False)


def show_warnings(console: Console, sections: Iterable[Section]) -> None:
    """Print what sections warn of, and nothing else."""
    for block in (block for section in sections for block in section.blocks):
        if isinstance(block, Text) and block.tone == "warning":
            console.print(rendered(block), soft_wrap=True, highlight=False)


def rendered(block: Block) -> RenderableType:
    """What rich prints for a block; nothing in its texts is read as rich's markup."""
    match block:
        case Text(words, tone):
            return text.Text(words, style=_STYLES.get(tone, ""))
        case Bullets(items):
            return text.Text("\n".join(f"- {item}" for item in items))
        case Table():
            return _table(block)
        case Picture(name, alt):
            return text.Text(f"Figure {name}: {alt}", style="dim")
        case Code(name, words):
            return text.Text(f"{name}:\n{words.rstrip()}")
        case Question():
            return _question(block)


def _table(block: Table) -> table.Table:
    shown = table.Table(show_header=any(block.columns))
    for index, name in enumerate(block.columns):
        shown.add_column(text.Text(name), justify="left" if index in block.words else "right", overflow="fold")
    for row in block.rows:
        shown.add_row(*map(text.Text, row))
    return shown


def _width(block: Table) -> int:
    """Columns of a terminal that a table takes with no cell broken."""
    columns = zip(block.columns, *block.rows, strict=True)
    return sum(max(map(len, column)) + 3 for column in columns) + 1


def _lines(block: Table) -> text.Text:
    """A table's rows one below the other: the first cell, then each other that is not empty with the name of its column."""
    rows = (
        [row[0], *(f"{name} {cell}".strip() for name, cell in zip(block.columns[1:], row[1:], strict=True) if cell)] for row in block.rows
    )
    return text.Text("\n".join(f"- {block.columns[0]} {', '.join(row)}" for row in rows))


def _question(block: Question) -> text.Text:
    lines = [*filter(None, [block.question, block.context]), f"Reference answer: {block.gold or 'none'}"]
    return text.Text("\n".join([*lines, *(line for reply in block.replies for line in _reply(reply))]))


def _reply(reply: Reply) -> list[str]:
    steps = [f"    {i}. {step}{f' → {answer}' if answer else ''}" for i, (step, answer) in enumerate(reply.steps, 1)]
    return [f"- {reply.condition}: {reply.answer} ({reply.verdict})", *steps, *(f"    - {remark}" for remark in reply.remarks)]
