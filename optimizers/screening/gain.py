"""`gain`: keep a decomposition that leads the solver to the right answer where it goes wrong without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy

from optimizers.labelling.samples import Sample
from optimizers.screening.lm_policy import NOT_ASKED, VOTES_UNREADABLE, AskedPolicy, asked_solver, question_inputs
from optimizers.screening.oracle import KeepRight
from optimizers.screening.policy import UNSCORED, PlannedCalls
from optimizers.screening.votes import answer_of
from programs.tasks.base import Score

RIGHT_WITHOUT = "right_without"


class Gain(AskedPolicy):
    """`oracle`, and the teacher's solver must fail the same question without subquestions, in the same prompt.

    Not in the paper, which keeps whatever was solved: where the solver is right in any case, its answer says nothing of the
    decomposition. Reasons to drop: `wrong_answer`, `right_without`, `unscored` (one of the two answers cannot be judged),
    `votes_unreadable` (the reply without subquestions has no answer), `not_asked` (that call failed, or a limit was reached).

    Args:
        min_score: What counts as right, above 0 and up to 1; a part mark below it earns nothing.
    """

    name = "gain"

    def __init__(self, min_score: float = 1.0) -> None:
        self.min_score = min_score
        self._right = KeepRight(min_score)

    @classmethod
    def configured(cls, settings: Any, models: Any) -> Gain:
        """As the section `screening` says."""
        return cls(settings.min_score)

    @staticmethod
    def planned(settings: Any, questions: int, samples: int) -> list[PlannedCalls]:
        """One call a question; none for those that no decomposition solved."""
        return [PlannedCalls("teacher", "solve", questions)]

    def program(self, teacher: dspy.Module) -> dspy.Module:
        """The teacher's solve stage."""
        return asked_solver(self.name, teacher)

    def inputs(self, example: dspy.Example, sample: Sample) -> dict[str, Any]:
        """The question without subquestions, so that all samples of it share one reply."""
        return {**question_inputs(example), "subquestions": []}

    def is_decided(self, example: dspy.Example, sample: Sample) -> bool:
        """Wrong answers are dropped without asking."""
        return self._right.judge(example, sample, lambda: self._score(example, sample))[0] is not None

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Score]) -> tuple[str | None, float | None]:
        """See `Policy.judge`."""
        reason, own = self._right.judge(example, sample, score)
        if reason is not None:
            return reason, own
        alone = next(iter(self.replies(example, sample)), None)
        if alone is None or alone.error:
            return NOT_ASKED, own
        if not answer_of(alone.prediction):
            return VOTES_UNREADABLE, own
        without = self._score(example, alone)
        if without.is_unscored:
            return UNSCORED, own
        return (RIGHT_WITHOUT if without.value >= self.min_score else None), own

    def _score(self, example: dspy.Example, sample: Sample) -> Score:
        if self.score is None:
            raise RuntimeError("The policy 'gain' compares scores: call `prepare` with an `Asking` that has `score`, as `screen` does.")
        return self.score(example, dspy.Prediction(**sample.prediction))
