"""`FeedbackTwoStage`: the decomposer sees the solver's first attempt before it breaks a question down."""

from __future__ import annotations

from typing import Any

import dspy

from programs.lms.ledger import Usage
from programs.modules import TwoStage, with_answer_format
from programs.signatures import Answer, DecomposeWithAttempt
from programs.tasks.base import Task


def feedback_two_stage(
    task: Task, decomposer: dspy.LM | None, solver: dspy.LM | None, adapters: dict[str, dspy.Adapter | str] | None = None
) -> FeedbackTwoStage:
    """`FeedbackTwoStage` with a task's limits and one LM a stage, as in `two_stage`; the solver makes the first attempt too."""
    program = FeedbackTwoStage(
        max_subquestions=task.max_subquestions, decomposer_sees_context=task.decomposer_sees_context, adapters=adapters
    )
    for stage, model in (("attempt", solver), ("decompose", decomposer), ("solve", solver)):
        getattr(program, stage).set_lm(model)
    return with_answer_format(program, task)


class FeedbackTwoStage(TwoStage):
    """Solves in a single stage first, then decomposes given that attempt, then solves with the subquestions.

    The form of DaSLaM (Juneja et al. 2023, arXiv 2310.18338, section 3), whose decomposer reads the solver's first
    reasoning and answer, so that its subquestions go where this solver needs them. It costs one solver call more.

    Args:
        attempt: Any module that maps (context, question) to `answer`, and to `reasoning` or not; by default
            `ChainOfThought(Answer)`.
        decompose: Any module that maps (context, question, attempt, answer, max_subquestions) to `subquestions`.
        **options: Options of `TwoStage`; `adapters` may name the stage `attempt` too.

    Raises:
        ValueError: As for `TwoStage`.
    """

    stages = ("attempt", "decompose", "solve")

    def __init__(self, attempt: dspy.Module | None = None, decompose: dspy.Module | None = None, **options: Any) -> None:
        super().__init__(decompose or dspy.Predict(DecomposeWithAttempt), **options)
        self.attempt = attempt or dspy.ChainOfThought(Answer)

    def forward(self, question: str, context: str = "") -> dspy.Prediction:
        """Attempt, decompose and solve a question.

        Returns:
            As `TwoStage`, with `attempt` (the answer of the first try), whose cost stands under `attempt` in `usage`.
        """
        attempt, usage = self._ask("attempt", {"context": context, "question": question})
        found = self._two_stages(self._inputs_after(attempt, question, context), question, context)
        return _with_attempt(found, attempt, usage)

    async def aforward(self, question: str, context: str = "") -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        attempt, usage = await self._aask("attempt", {"context": context, "question": question})
        found = await self._atwo_stages(self._inputs_after(attempt, question, context), question, context)
        return _with_attempt(found, attempt, usage)

    def _inputs_after(self, attempt: dspy.Prediction, question: str, context: str) -> dict[str, Any]:
        given = {"attempt": attempt.get("reasoning") or "", "answer": str(attempt.answer)}
        return {**self.decompose_inputs(question, context), **given}


def _with_attempt(found: dspy.Prediction, attempt: dspy.Prediction, usage: Usage) -> dspy.Prediction:
    told = {"attempt": attempt.answer, "cut_off": found.cut_off or attempt.cut_off}
    return dspy.Prediction(**{**found.toDict(), **told, "usage": {"attempt": usage.to_dict(), **found.usage}})
