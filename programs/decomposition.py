"""What state a decomposition is in: counted in every report, never a silent single stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from programs.signatures import NO_DECOMPOSITION
from programs.tasks.base import normalize_answer

STATES = ("ok", "none_needed", "unparseable", "over_limit")


class Decomposition(NamedTuple):
    """Subquestions that a solver can use, and how they came out.

    Attributes:
        subquestions: At most `limit`, where there is one; empty unless the state is `ok` or `over_limit`.
        state: `ok`; `none_needed` (the decomposer says so); `unparseable` (no question in it);
            `over_limit` (more than were allowed: the first ones are used).
        lines: The decomposer's lines as they were.
    """

    subquestions: list[str]
    state: str
    lines: list[str]


def read_decomposition(lines: Sequence[str] | None, limit: int | None) -> Decomposition:
    """Judge a decomposer's lines: questions are kept once each, in order; anything else is talk.

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
