"""Texts in an experiment's report: replies without the answer format, and questions side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optimizers.experiment_cells import Cell, best_student, cells_of, in_domain, label, named, tests_of, words_of
from optimizers.figures import number
from optimizers.report_sections import (
    REFERENCE,
    UNTRAINED,
    Block,
    Code,
    RunFiles,
    Table,
    Text,
    count_text,
    missing_text,
    question_blocks,
    text_of,
)

_REPLIES_SHOWN = 5


def unparsed(run: RunFiles) -> list[Block]:
    """How many replies lack the answer format, and some of them as they are."""
    cells = [cell for cell in cells_of(run) if number(cell.get("unparsed"))]
    counted = [cell for cell in cells_of(run) if cell.get("unparsed") is not None]
    if not cells:
        missing = "Replies without the answer format were not counted."
        return [Text(f"All replies of {len(counted)} cells had the answer format.") if counted else missing_text(missing)]
    most = max(cells, key=lambda cell: number(cell["unparsed"]))
    text = f"{len(cells)} of {len(counted)} cells have replies without the answer format, most {label(run, most)}: {_share(most)}. "
    text += "They are scored by the task's rule on the raw text."
    words = ("train", "test", "ablation")
    rows = [[label(run, c), *words_of(c, *words), count_text(c["unparsed"]), count_text(c.get("n"))] for c in cells]
    table = Table(["Condition", "Trained on", "Tested on", "Ablation", "Unparsed", "Questions"], rows, frozenset(range(4)))
    return [Text(text), table, *(block for cell in cells for block in _replies(run, cell))]


def _share(cell: Cell) -> str:
    return f"{count_text(cell['unparsed'])} of {count_text(cell.get('n'))}"


def _replies(run: RunFiles, cell: Cell) -> Iterable[Block]:
    found = [line for line in _lines(run, cell) if line.get("unparsed")][:_REPLIES_SHOWN]
    if found:
        texts = [f"[{line.get('id')}] {text_of(line.get('answer') or line.get('reasoning') or line.get('error'))}" for line in found]
        where = f"trained on {cell.get('train') or '-'}, tested on {cell.get('test')}"
        yield Code(f"{label(run, cell)}, {where}: {len(found)} shown", "\n\n".join(texts), "text")


def _lines(run: RunFiles, cell: Cell) -> Sequence[Mapping[str, Any]]:
    """Lines of a cell; those of a further student lie in a folder of its own."""
    student = f"student={cell['student']}" if cell.get("student") else None
    for variant in (student, cell.get("ablation")):
        parts = [cell.get("test"), cell.get("train"), variant, cell.get("condition")]
        name = "/".join(str(part) for part in parts if part)
        if (lines := run.predictions.get(name)) is not None:
            return lines
    return []


def questions(run: RunFiles) -> list[Block]:
    """Some questions with the replies of up to three conditions."""
    for test in tests_of(run):
        wanted = [
            named(run, test, REFERENCE),
            best_student(run, test, 0),
            best_student(run, test, 1),
            named(run, test, UNTRAINED),
            *in_domain(run, test),
        ]
        found = {label(run, cell): lines for cell in wanted if cell is not None and (lines := _lines(run, cell))}
        if found:
            return [Text(f"Tested on {test}:"), *question_blocks(dict(list(found.items())[:3]))]
    return [missing_text("No test question has a prediction (predictions/*/*.jsonl).")]
