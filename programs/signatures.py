"""What each stage is asked: `Decompose`, `DecomposeWithAttempt`, `Solve`, the single-stage `Answer` and `ShortAnswer`, and `FollowUp`."""

from __future__ import annotations

import dspy

NO_DECOMPOSITION = "No decomposition"
"""What a decomposer writes when the question needs no breaking down (the paper's literal, section 3)."""

NO_FOLLOW_UP = "No follow-up"
"""What an asker writes when no follow-up question is needed any more."""


class Decompose(dspy.Signature):
    """Break the question into the subquestions that have to be answered to solve it, no more than 'Max subquestions' says. Write each as a complete question and do not answer it. A question that takes a single step stays as it is: write it again, as the only one."""  # noqa: E501

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    max_subquestions: int | None = dspy.InputField(desc="how many subquestions are allowed")
    subquestions: list[str] = dspy.OutputField()


class DecomposeWithAttempt(dspy.Signature):
    """Somebody tried to answer the question at once. Break the question into the subquestions that have to be answered to solve it and that set right what went wrong in the attempt, no more than 'Max subquestions' says. Write each as a complete question and do not answer it. A question that takes a single step stays as it is: write it again, as the only one."""  # noqa: E501

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    attempt: str = dspy.InputField(desc="how somebody reasoned who tried to answer it at once; may be wrong")
    answer: str = dspy.InputField(desc="where that led; may be wrong")
    max_subquestions: int | None = dspy.InputField(desc="how many subquestions are allowed")
    subquestions: list[str] = dspy.OutputField()


class Solve(dspy.Signature):
    """Answer the question by reasoning step by step. Its subquestions are a plan: follow it where it helps, and go beyond it where it falls short."""  # noqa: E501

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    subquestions: list[str] = dspy.InputField(desc="#1 stands for the answer to the first")
    sub_answers: list[str] = dspy.OutputField(desc="the reasoning, step by step")
    answer: str = dspy.OutputField(desc="the final answer to the question itself, alone")


class Answer(dspy.Signature):
    """Answer the question."""

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="the final answer alone")


class ShortAnswer(dspy.Signature):
    """Answer the question in five words at most. If the answer is a number, write only its numerical value."""

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class FollowUp(dspy.Signature):
    """Ask the one follow-up question whose answer is needed next to answer the question. If none is needed, write: No follow-up"""

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    answered: list[str] = dspy.InputField(desc="follow-up questions so far, each with its answer")
    follow_up: str = dspy.OutputField()
