"""Texts of models: an experiment's replies without the answer format, and questions side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from optimizers.reports.blocks import (
    Block,
    Code,
    Question,
    Reply,
    Table,
    Text,
    count_text,
    missing_text,
    number,
    verdict,
)
from optimizers.reports.cells import Cell, best_student, cells_of, in_domain, label, named, tests_of, words_of
from optimizers.reports.conditions import UNTRAINED
from optimizers.reports.read import REFERENCE, RunFiles

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


QUESTIONS_SHOWN = 12

_LONGEST = 3000

_LONGEST_REPLY = 500
"""Characters of an answer or a step: a reply that runs in a loop is recognised by then."""


def question_blocks(predictions: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Block]:
    """Up to `QUESTIONS_SHOWN` questions that all conditions answered, half of them with different verdicts if there are such.

    Args:
        predictions: Lines of `predictions/*.jsonl` by condition, in the order to be shown.
    """
    answered = {name: {str(line.get("id")): verdict(line) for line in lines} for name, lines in predictions.items()}
    common = [key for key in next(iter(answered.values()), {}) if all(key in verdicts for verdicts in answered.values())]
    if not common:
        return [missing_text("No test question has a prediction in every condition that would stand here (predictions/*.jsonl).")]
    chosen, disagreeing = _choose(common, answered)
    text = f"{len(chosen)} of {count_text(len(common))} test questions, the same at every run."
    if len(answered) > 1:
        text += (
            f" These conditions disagree on {disagreeing} of those shown; such questions are picked on purpose, so read no rates off them."
        )
    shown = {name: {key: line for line in lines if (key := str(line.get("id"))) in chosen} for name, lines in predictions.items()}
    return [Text(text), *(question_block([(name, lines[key]) for name, lines in shown.items()]) for key in chosen)]


def _choose(common: Sequence[str], answered: Mapping[str, Mapping[str, str]]) -> tuple[list[str], int]:
    """Question ids in test order, half of them with verdicts that differ as far as there are such; and how many differ."""
    split = [key for key in common if len({verdicts[key] for verdicts in answered.values()}) > 1]
    differing = set(split)
    same = [key for key in common if key not in differing]
    from_split = min(len(split), max(QUESTIONS_SHOWN // 2, QUESTIONS_SHOWN - len(same)))
    picked = {*_spread(split, from_split), *_spread(same, QUESTIONS_SHOWN - from_split)}
    return [key for key in common if key in picked], from_split


def _spread(items: Sequence[str], count: int) -> list[str]:
    """`count` items at even distances, so that a sorted test set is not shown from its start alone."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def question_block(lines: Sequence[tuple[str, Mapping[str, Any]]]) -> Question:
    """One question from its line in each condition."""
    first = lines[0][1]
    replies = [_reply(name, line) for name, line in lines]
    return Question(text_of(first.get("question")), text_of(first.get("context")), text_of(first.get("gold")), replies)


def _reply(name: str, line: Mapping[str, Any]) -> Reply:
    # Answers beyond the subquestions are shown too: a solver that writes too many is worth seeing.
    pairs = zip_longest(line.get("subquestions") or [], line.get("sub_answers") or [], fillvalue="")
    steps = [(_shortened(step) or "(a step of the solver's own)", _shortened(answer)) for step, answer in pairs]
    answer = _shortened(line.get("answer")) or "(no answer)"
    return Reply(name, verdict(line), steps, answer, _remarks(line))


def _remarks(line: Mapping[str, Any]) -> list[str]:
    remarks = []
    if line.get("state") not in (None, "ok"):
        what = "reply" if line.get("subquestions") is None else "decomposition"
        remarks.append(f"{what}: {str(line['state']).replace('_', ' ')}")
    if not line.get("subquestions") and line.get("decomposition"):
        remarks.append(f"the decomposer wrote: {text_of(line['decomposition'])}")
    return remarks + [f"{label}{text_of(line[key])}" for key, label in (("detail", ""), ("error", "error: ")) if line.get(key)]


def _shortened(value: Any) -> str:
    return text_of(value, _LONGEST_REPLY)


def text_of(value: Any, longest: int = _LONGEST) -> str:
    """`value` as text; one of more than `longest` characters is cut, and says so."""
    text = "" if value is None else str(value) if not isinstance(value, list) else ", ".join(map(str, value))
    return text if len(text) <= longest else f"{text[:longest]} [and {len(text) - longest:,} more characters]"
