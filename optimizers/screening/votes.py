"""Answers as votes: which ones say the same, and how many say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from optimizers.labelling.samples import Sample
from programs.tasks import Score, equal_answers

Scorer = Callable[[dspy.Example, Any], Score]


@dataclass(frozen=True)
class Votes:
    """What some replies to one question answered.

    Attributes:
        asked: Votes that were asked for.
        answers: Those that could be read.
        missing: Votes whose call failed, or was not made.
        same: Whether two answers say the same.
    """

    asked: int
    answers: Sequence[str]
    missing: int
    same: Callable[[str, str], bool]

    def count(self, answer: str) -> int:
        """How many votes `answer` has."""
        return sum(self.same(answer, other) for other in self.answers)

    def share(self, answer: str) -> float:
        """Share of all votes that `answer` has: those that are missing or could not be read speak for nothing."""
        return self.count(answer) / self.asked

    def ranking(self) -> list[tuple[str, int]]:
        """Different answers, each with its votes, the most frequent first."""
        different: list[str] = []
        for answer in self.answers:
            if not any(self.same(answer, other) for other in different):
                different.append(answer)
        return sorted(((answer, self.count(answer)) for answer in different), key=lambda item: -item[1])


def count_votes(replies: Sequence[Sample], asked: int, score: Scorer | None, example: dspy.Example) -> Votes:
    """Replies as votes; a reply without an answer is one that could not be read."""
    came = [reply.prediction for reply in replies if not reply.error]
    answers = [answer for prediction in came if (answer := answer_of(prediction))]
    return Votes(asked, answers, asked - len(came), lambda a, b: same_answer(score, example, a, b))


def answer_of(prediction: dict[str, Any]) -> str:
    """The answer of a prediction as text; empty where there is none."""
    answer = prediction.get("answer")
    return "" if answer is None else str(answer).strip()


def same_answer(score: Scorer | None, example: dspy.Example, a: str, b: str) -> bool:
    """Whether two answers are equal by the task's own rule: each is right where the other is the reference.

    The scorer is given the example's inputs and one of the answers, never the reference answer. Where it can judge in one
    direction only (a sentence is no reference for a number), that one decides; where it cannot judge at all, `equal_answers`
    does.
    """
    if a == b:
        return True
    judged = [found for found in (_against(score, example, a, b), _against(score, example, b, a)) if not found.is_unscored]
    if judged:
        return all(found.value >= 1.0 for found in judged)
    return equal_answers(a, b)


def _against(score: Scorer | None, example: dspy.Example, gold: str, answer: str) -> Score:
    if score is None:
        return Score.unscored("no scorer")
    # Inputs alone: what else the example has (aliases, all accepted answers) would let the reference in.
    known = {"id": example.get("id"), **example.inputs().toDict(), "answer": gold}
    asked = dspy.Example(**known).with_inputs(*example.inputs().keys())
    try:
        return score(asked, dspy.Prediction(answer=answer))
    except Exception as error:
        # A scorer of somebody else's may want fields that only a reference has.
        return Score.unscored(f"{type(error).__name__}: {error}")
