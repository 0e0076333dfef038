"""`none`: what can be read is kept."""

from __future__ import annotations

from collections.abc import Callable

import dspy

from optimizers.labelling.samples import Sample
from programs.tasks.base import Score


class KeepReadable:
    """`none`: every decomposition that can be read, whatever came of it."""

    name = "none"
    looks_at_no_answer = True

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Score]) -> tuple[str | None, float | None]:
        """See `Policy.judge`."""
        return None, None
