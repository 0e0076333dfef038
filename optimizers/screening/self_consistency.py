"""`self_consistency`: keep a decomposition with which the solver gives the same answer again and again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import dspy

from optimizers.labelling.samples import Sample
from optimizers.screening.lm_policy import ABSTAINS, NOT_ASKED, VOTES_UNREADABLE, AskedPolicy, asked_solver, question_inputs
from optimizers.screening.policy import PlannedCalls, PolicyModels
from optimizers.screening.votes import answer_of
from programs.tasks.base import ABSTENTIONS

NO_AGREEMENT, DISAGREES_WITH_VOTES = "no_agreement", "disagrees_with_votes"

# 3 of 5 is 0.6, which floating point may put a hair below.
_ROUNDING = 1e-9


class SelfConsistency(AskedPolicy):
    """The teacher's solver answers the question with the same subquestions several times (Wang et al. 2023, arXiv 2203.11171).

    A sample is kept where at least `share` of all votes give the answer that stands in it. Votes that could not change that are not
    asked for. Reasons to drop: `no_agreement` (its answer cannot reach the share), `disagrees_with_votes` (another one has it),
    `votes_unreadable` (no vote had an answer), `abstains` (the sample's own answer is that it does not know), `not_asked` (a call
    failed, or a limit was reached).

    Args:
        votes: Solver samples a decomposition (m), at most.
        share: Of all votes, in (0, 1].
        temperature: Of the solver, above 0.
        abstentions: Answers that say that there is none: a solver agrees on them with itself, and they teach nothing.

    Raises:
        ValueError: A value out of range.
    """

    name = "self_consistency"
    answer_free = True

    def __init__(self, votes: int = 5, share: float = 0.6, temperature: float = 0.7, abstentions: Sequence[str] = ABSTENTIONS) -> None:
        check_votes(votes, temperature)
        if not 0 < share <= 1:
            raise ValueError(f"share={share} must be above 0 and at most 1: the part of the votes that has to agree.")
        self.samples, self.share, self.temperature, self.abstentions = votes, share, temperature, abstentions

    @classmethod
    def configured(cls, settings: Any, models: PolicyModels) -> SelfConsistency:
        """As the section `screening` says."""
        return cls(settings.votes, settings.share, settings.temperature, settings.abstentions)

    @staticmethod
    def planned(settings: Any, questions: int, samples: int) -> list[PlannedCalls]:
        """Its votes on every sample."""
        return [PlannedCalls("teacher", "solve", samples * settings.votes)]

    @property
    def least(self) -> int:
        """Votes that are the share: with so many for one answer, or too many against it, the others are not asked."""
        return max(1, math.ceil(self.samples * self.share - _ROUNDING))

    def program(self, teacher: dspy.Module) -> dspy.Module:
        """The teacher's solve stage."""
        return asked_solver(self.name, teacher)

    def inputs(self, example: dspy.Example, sample: Sample) -> dict[str, Any]:
        """As the teacher's solver was asked, so that its own call counts as a vote if it was made at this temperature."""
        return {**question_inputs(example), "subquestions": sample.prediction["subquestions"]}

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Any]) -> tuple[str | None, float | None]:
        """See `Policy.judge`."""
        if self.abstains(sample):
            return ABSTAINS, None
        votes, own = self.votes(example, sample), answer_of(sample.prediction)
        agreeing = votes.count(own) if own else 0
        if agreeing >= self.least:
            return None, None
        if any(count >= self.least for _, count in votes.ranking()):
            return DISAGREES_WITH_VOTES, None
        if agreeing + votes.missing >= self.least:
            return NOT_ASKED, None
        return (NO_AGREEMENT if votes.answers else VOTES_UNREADABLE), None


def check_votes(votes: int, temperature: float) -> None:
    """Refuse votes that could not differ.

    Raises:
        ValueError: Fewer than one vote, or no temperature.
    """
    if votes < 1:
        raise ValueError(f"votes={votes} must be at least 1.")
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} must be above 0, as votes would be one text {votes} times; 0.7 is usual.")
