"""A decomposer to compare with, and so a condition: `echo+teacher`."""

from __future__ import annotations

from collections.abc import Sequence

import dspy


class Echo(dspy.Module):
    """The question itself as the only subquestion."""

    def forward(self, question: str, context: str = "", max_subquestions: int | None = None) -> dspy.Prediction:
        """Returns `subquestions`."""
        return dspy.Prediction(subquestions=[question])


def build(teacher: dspy.Module, examples: Sequence[dspy.Example], seed: int) -> dspy.Module:
    """See `programs.baselines.registry.BuildControl`."""
    return Echo()
