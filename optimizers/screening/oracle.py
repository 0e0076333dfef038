"""`oracle`: what led the teacher to the reference answer is kept."""

from __future__ import annotations

from collections.abc import Callable

import dspy

from optimizers.labelling.samples import Sample
from optimizers.screening.policy import UNSCORED, WRONG_ANSWER
from programs.tasks.base import Score


class KeepRight:
    """`oracle`: decompositions with which the teacher itself reached `min_score` against the reference answer."""

    name = "oracle"

    def __init__(self, min_score: float = 1.0) -> None:
        self.min_score = min_score

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Score]) -> tuple[str | None, float | None]:
        """See `Policy.judge`."""
        given = score()
        if given.is_unscored:
            return UNSCORED, None
        return (None if given.value >= self.min_score else WRONG_ANSWER), given.value
