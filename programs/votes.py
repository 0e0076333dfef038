"""Votes on one question: how many say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True)
class Votes(Generic[V]):
    """What some replies to one question answered.

    Attributes:
        answers: Those that could be read.
        missing: Votes whose call failed, or was not made.
        same: Whether two answers say the same.
    """

    answers: Sequence[V]
    missing: int
    same: Callable[[V, V], bool]

    def count(self, answer: V) -> int:
        """How many votes `answer` has."""
        return sum(self.same(answer, other) for other in self.answers)

    def ranking(self) -> list[tuple[V, int]]:
        """Different answers, each with its votes, the most frequent first."""
        different: list[V] = []
        for answer in self.answers:
            if not any(self.same(answer, other) for other in different):
                different.append(answer)
        return sorted(((answer, self.count(answer)) for answer in different), key=lambda item: -item[1])
