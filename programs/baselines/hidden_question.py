"""`HiddenQuestion`: a solver that is told the subquestions alone, so that its success is that of the decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy

from programs.modules import TwoStage


class HiddenQuestion(dspy.Module):
    """Solves without the question: the last subquestion takes its place.

    A solver that reads the question too can answer it in spite of a wrong decomposition, which then passes for a right
    one. Without the question a step that is missing or wrong shows, as where each subquestion is answered by itself
    (Radhakrishnan et al. 2023, arXiv 2307.11768, "factored decomposition"). What the subquestions are about must stand in
    the context. Where there are none, the question is asked as it is.

    Args:
        module: Maps (context, question, subquestions) to `answer`.
    """

    def __init__(self, module: dspy.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, question: str, subquestions: Sequence[str], context: str = "") -> dspy.Prediction:
        """Returns what the module returns."""
        return self.module(**_hidden(question, subquestions, context))

    async def aforward(self, question: str, subquestions: Sequence[str], context: str = "") -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        return await self.module.acall(**_hidden(question, subquestions, context))


def _hidden(question: str, subquestions: Sequence[str], context: str) -> dict[str, Any]:
    return {"context": context, "question": subquestions[-1] if subquestions else question, "subquestions": subquestions}


def with_hidden_question(program: TwoStage) -> TwoStage:
    """A copy of a program whose solver is not told the question; all else is the same."""
    hidden = program.deepcopy()
    hidden.solve = HiddenQuestion(hidden.solve)
    return hidden
