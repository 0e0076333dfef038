"""A screening policy: keeps what is short."""

from __future__ import annotations

from collections.abc import Callable

import dspy

from optimizers.labelling.samples import Sample
from programs.tasks.base import Score

TOO_LONG = "too_long"


class Short:
    """Keeps decompositions of few subquestions.

    Args:
        most: Subquestions that are kept at most; `--screening.options.most N`.
    """

    name = "short"

    def __init__(self, most: int = 2) -> None:
        self.most = most

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Score]) -> tuple[str | None, float | None]:
        """See `optimizers.screening.policy.Policy.judge`."""
        return (None if len(sample.prediction["subquestions"]) <= self.most else TOO_LONG), None
