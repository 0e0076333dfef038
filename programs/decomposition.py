"""The state of a decomposition: every report counts the states, and no question is silently answered in one stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from programs.signatures import NO_DECOMPOSITION
from programs.tasks.base import normalize_answer

CUT_OFF = "cut_off"

STATES = ("ok", "none_needed", "unparseable", "over_limit", CUT_OFF)


class Decomposition(NamedTuple):
    """The subquestions that a solver is given, and the state of the decomposition that they come from.

    Attributes:
        subquestions: At most `limit`, where there is one; empty unless the state is `ok`, `over_limit` or `cut_off`.
        state: `ok`; `none_needed` (the decomposer says so); `unparseable` (no question in it);
            `over_limit` (more than were allowed: the first ones are used); `cut_off` (the reply ended at its limit of tokens:
            the whole questions in it are used).
        lines: The decomposer's lines as they were.
    """

    subquestions: list[str]
    state: str
    lines: list[str]

    def cut(self) -> Decomposition:
        """The same of a reply that ended at its limit of tokens."""
        last = self.lines[-1:] if self.lines and not self.lines[-1].endswith("?") else []
        return Decomposition([one for one in self.subquestions if one not in last], CUT_OFF, self.lines)


def read_decomposition(lines: Sequence[str] | None, limit: int | None) -> Decomposition:
    """Read a decomposer's lines: questions are kept in order, each once, and all other lines are dropped.

    Args:
        lines: What the decomposer wrote, one item a line; None if it could not be read at all.
        limit: How many subquestions were allowed; None for any number.
    """
    kept = [str(line).strip() for line in lines or []]
    questions = list(dict.fromkeys(line for line in kept if "?" in line))
    if not questions:
        opted_out = any(normalize_answer(line) == normalize_answer(NO_DECOMPOSITION) for line in kept)
        return Decomposition([], "none_needed" if opted_out else "unparseable", kept)
    if limit is not None and len(questions) > limit:
        return Decomposition(questions[:limit], "over_limit", kept)
    return Decomposition(questions, "ok", kept)
