"""Answers as votes: which ones say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dspy

from optimizers.jobs.scorer_costs import SCORER
from optimizers.labelling.samples import Sample
from programs.lms.ledger import metered
from programs.tasks import Score, equal_answers
from programs.tasks.base import ScaleError
from programs.votes import Votes

Scorer = Callable[[dspy.Example, Any], Score]


def count_votes(replies: Sequence[Sample], asked: int, score: Scorer | None, example: dspy.Example) -> Votes[str]:
    """Replies as votes; a reply without an answer is one that could not be read."""
    came = [reply.prediction for reply in replies if not reply.error]
    answers = [answer for prediction in came if (answer := answer_of(prediction))]
    return Votes(answers, asked - len(came), lambda a, b: same_answer(score, example, a, b))


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
        with metered(SCORER):
            return score(asked, dspy.Prediction(answer=answer))
    except ScaleError:
        raise
    except Exception as error:
        # A scorer of somebody else's may want fields that only a reference has.
        return Score.unscored(f"{type(error).__name__}: {error}")
