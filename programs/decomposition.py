"""The state of a decomposition: every report counts the states, and no question is silently answered in one stage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from programs.question_lists import (
    apart,
    is_question,
    is_task,
    one_a_line,
    opts_out,
    read_questions,
    refuses,
    tells_loosely,
    unique,
    without_answer,
)
from programs.tasks.base import canonical

CUT_OFF = "cut_off"

_ENDS = ("?", "？", "؟", ".", "。", "か")

_LAST_SENTENCE = re.compile(r"(?<=[.!?。])\s+")

STATES = ("ok", "none_needed", "unparseable", "over_limit", CUT_OFF)


class Decomposition(NamedTuple):
    """The subquestions that a solver is given, and the state of the decomposition that they come from.

    Attributes:
        subquestions: All of them; empty unless the state is `ok`, `over_limit` or `cut_off`.
        state: `ok`; `none_needed` (the decomposer says so); `unparseable` (no question in it); `over_limit` (more than were allowed:
            all are used, as without the last steps solvers stop too early); `cut_off` (the reply ended at its limit of tokens:
            the whole questions in it are used).
        lines: The decomposer's lines as they were.
    """

    subquestions: list[str]
    state: str
    lines: list[str]

    def cut(self) -> Decomposition:
        """The same of a reply that ended at its limit of tokens."""
        last = self.lines[-1:] if self.lines and not self.lines[-1].endswith(_ENDS) else []
        return Decomposition([one for one in self.subquestions if one not in map(without_answer, last)], CUT_OFF, self.lines)


def read_decomposition(lines: Sequence[str] | str | None, limit: int | None, question: str = "") -> Decomposition:
    """Read a decomposer's lines: what asks, or tells to find something out, is kept in order, each once; all else is dropped.

    An answer that stands behind a subquestion is cut off: finding it is the solver's part. A refusal, an error, and what an LM asks its
    user behind one ask nothing. Several questions on one line are one each.

    Args:
        lines: What the decomposer wrote, one item a line, or in one text; None if it could not be read at all.
        limit: How many subquestions were allowed; None for any number.
        question: What was to be decomposed. It, or its last sentence, as the only subquestion says that it needs none, which is how the
            package's own prompt asks for that.
    """
    kept = read_questions(lines) if isinstance(lines, str) else one_a_line(str(line).strip() for line in lines or [])
    questions = [line for line in kept if is_question(line) and not line.endswith((":", "："))]
    opted_out = any(map(opts_out, kept))
    if not questions or (opted_out and all(map(opts_out, questions))):
        questions = []
    if questions or (kept and not opts_out(kept[0])):
        asked = {*questions, *filter(is_task, kept)}
        loose = all(line in asked or tells_loosely(line) for line in kept)
        questions = [line for line in kept if line in asked or loose]
    if len(questions) == 1 and refuses(kept[0]):
        questions = []
    if not questions:
        return Decomposition([], "none_needed" if opted_out else "unparseable", kept)
    questions = unique(map(without_answer, questions))
    if len(questions) == 1 and canonical(questions[0]) in (canonical(question), canonical(_LAST_SENTENCE.split(question)[-1])):
        return Decomposition([], "none_needed", kept)
    questions = unique(part for asked in questions for part in apart(asked, alone=len(questions) == 1))
    return Decomposition(questions, "ok" if limit is None or len(questions) <= limit else "over_limit", kept)
