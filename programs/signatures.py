"""What each stage is asked: `Decompose`, `Solve` and the single-stage `Answer`."""

from __future__ import annotations

import dspy

NO_DECOMPOSITION = "No decomposition"
"""What a decomposer writes when the question needs no breaking down (the paper's literal, section 3)."""


class Decompose(dspy.Signature):
    """Break the question into simpler subquestions that lead to its answer. #1 stands for the answer to the first. If none are needed, write: No decomposition"""  # noqa: E501

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    max_subquestions: int = dspy.InputField(desc="how many subquestions are allowed")
    subquestions: list[str] = dspy.OutputField()


class Solve(dspy.Signature):
    """Answer the subquestions in order, then the question. Keep each answer short."""

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    subquestions: list[str] = dspy.InputField(desc="#1 stands for the answer to the first")
    sub_answers: list[str] = dspy.OutputField()
    answer: str = dspy.OutputField()


class Answer(dspy.Signature):
    """Answer the question. Keep the answer short."""

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()
