"""`agreement`: keep what leads the teacher to the answer that most of its single-stage attempts give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dspy

from optimizers.labelling.samples import Sample
from optimizers.screening.lm_policy import ABSTAINS, NOT_ASKED, VOTES_UNREADABLE, Asked, AskedPolicy, question_inputs
from optimizers.screening.policy import PlannedCalls, PolicyModels
from optimizers.screening.self_consistency import check_votes
from optimizers.screening.votes import answer_of
from programs.modules import SingleStage, module_lm
from programs.tasks.base import ABSTENTIONS

NO_MAJORITY, DISAGREES = "no_majority", "disagrees_with_single_stage"


class Agreement(AskedPolicy):
    """The question is answered several times without a decomposition; the teacher's answer with one must be the majority's.

    The majority is the most frequent answer of the votes that can be read; those that could not change it are not asked for. Reasons to
    drop: `disagrees_with_single_stage`, `no_majority` (two answers lead), `votes_unreadable` (no vote had an answer), `abstains` (the
    teacher's answer is that it does not know), `not_asked` (calls that failed or were not made could have changed the majority).

    Args:
        votes: Single-stage samples a question (m), at most; all its decompositions share them.
        temperature: Of these, above 0.
        single_stage: The program that is asked; by default `SingleStage()` on the LM of the teacher's last stage.
        abstentions: Answers that say that there is none.

    Raises:
        ValueError: A value out of range.
    """

    name = "agreement"
    answer_free = True

    def __init__(
        self,
        votes: int = 5,
        temperature: float = 0.7,
        single_stage: dspy.Module | None = None,
        abstentions: Sequence[str] = ABSTENTIONS,
    ) -> None:
        check_votes(votes, temperature)
        self.samples, self.temperature, self.single_stage, self.abstentions = votes, temperature, single_stage, abstentions

    @classmethod
    def configured(cls, settings: Any, models: PolicyModels) -> Agreement:
        """As the section `screening` says."""
        return cls(settings.votes, settings.temperature, models.single_stage(settings.single_stage), settings.abstentions)

    @staticmethod
    def planned(settings: Any, questions: int, samples: int) -> list[PlannedCalls]:
        """Its votes on every question."""
        return [PlannedCalls("teacher", "reason" if settings.single_stage.endswith("-cot") else "answer", questions * settings.votes)]

    @property
    def least(self) -> int:
        """More than half of the votes: where these agree, the others are not asked."""
        return self.samples // 2 + 1

    def program(self, teacher: dspy.Module) -> dspy.Module:
        """The single stage."""
        single = self.single_stage or _on_lm_of(teacher)
        return Asked(single.answer, single.adapter_of("answer"))

    def inputs(self, example: dspy.Example, sample: Sample) -> dict[str, Any]:
        """The question alone."""
        return question_inputs(example)

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Any]) -> tuple[str | None, float | None]:
        """See `Policy.judge`."""
        if self.abstains(sample):
            return ABSTAINS, None
        votes, own = self.votes(example, sample), answer_of(sample.prediction)
        if not votes.answers:
            return (NOT_ASKED if votes.missing else VOTES_UNREADABLE), None
        (first, most), *others = votes.ranking()
        second = others[0][1] if others else 0
        if most - second <= votes.missing:
            return (NOT_ASKED if votes.missing else NO_MAJORITY), None
        return (None if own and votes.same(own, first) else DISAGREES), None


def _on_lm_of(teacher: dspy.Module) -> SingleStage:
    single, lm = SingleStage(), module_lm(getattr(teacher, "solve", teacher))
    if lm is not None:
        single.set_lm(lm)
    return single
