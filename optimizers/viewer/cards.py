"""A question with what each set of answers made of it, ready to be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optimizers.jobs.jsonlines import read_json
from optimizers.reports.blocks import Question, Reply
from optimizers.reports.questions import question_block, text_of
from optimizers.viewer.answer_file import Line
from optimizers.viewer.answer_sets import AnswerSet
from optimizers.viewer.label_rows import remarks_on
from optimizers.viewer.places import inside
from optimizers.viewer.summaries import Summary

if TYPE_CHECKING:
    from optimizers.reports.prompts import Exchange

_LONGEST_LINE = 200_000
"""Characters of a line on file that a page holds."""


@dataclass(frozen=True)
class Card:
    """One answer.

    Attributes:
        job: Whose it is.
        answers: The set that it is in.
        reply: As reports show it.
        reasoning: The chain of thought before the answer, of a condition that has one.
        remarks: What screening made of it, for a teacher's label.
        raw: The line on file.
        exchanges: Prompts and replies of its stages.
    """

    job: Summary
    answers: AnswerSet
    reply: Reply
    reasoning: str
    remarks: Sequence[str]
    raw: str
    exchanges: Sequence[Exchange] = field(default_factory=list)


def cards_of(found: Sequence[tuple[Summary, AnswerSet, Line]]) -> tuple[Question, list[Card]]:
    """The question and its cards, in the order given; at least one."""
    lines = [(answers.name, _safe(line)) for _, answers, line in found]
    question = question_block(lines)
    asked = _exchanges(found)
    cards = [
        Card(job, answers, reply, text_of(line.get("reasoning")), _remarks(job, line), _raw(line), exchanges)
        for (job, answers, line), reply, exchanges in zip(found, question.replies, asked, strict=True)
    ]
    return question, cards


def _safe(line: Line) -> Line:
    """A line whose lists are lists: strangers' files may hold anything."""
    lists = {name: line.get(name) for name in ("subquestions", "sub_answers")}
    return {**line, **{name: value if isinstance(value, list) else [value] if value else [] for name, value in lists.items()}}


def _remarks(job: Summary, line: Line) -> list[str]:
    return remarks_on(job.place, line["example"], line.get("sample")) if "calls" in line else []


def _raw(line: Line) -> str:
    text = json.dumps({name: value for name, value in line.items() if name != "example"}, ensure_ascii=False, indent=1)
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}\n[and {len(text) - _LONGEST_LINE:,} more characters]"


def _exchanges(found: Sequence[tuple[Summary, AnswerSet, Line]]) -> list[list[Exchange]]:
    """In the order of `found`; the journals of each job are read once."""
    # DSPy is loaded at the first question that is read.
    from optimizers.reports.prompts import Asked, exchanges

    result: list[list[Exchange]] = [[] for _ in found]
    jobs = {job.place.folder: job for job, _, _ in found}
    for folder, job in jobs.items():
        mine = [at for at, (other, _, _) in enumerate(found) if other.place.folder == folder]
        asked = [Asked(_safe(found[at][2]), found[at][1].models, _compiled(job, found[at][1])) for at in mine]
        for at, one in zip(mine, exchanges(folder, asked), strict=True):
            result[at] = one
    return result


def _compiled(job: Summary, answers: AnswerSet) -> Mapping[str, Any] | None:
    """The compiled prompts that the teacher, or a candidate of `compile`, was asked with; None without any."""
    if answers.prompts:
        candidates = job.metrics.get("candidates") or []
        return next((one.get("prompts") for one in candidates if isinstance(one, Mapping) and one.get("key") == answers.prompts), None)
    path = inside(job.place, "teacher_program.json")
    try:
        return read_json(path) if path else None
    except (ValueError, OSError):
        return None
