"""`Interactive`: asks one follow-up question at a time, each knowing the answers before it (self-ask)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import dspy

from programs.lms.ledger import Usage
from programs.modules import Staged
from programs.question_lists import is_question, without_answer
from programs.replies import read_lines
from programs.signatures import NO_FOLLOW_UP, Answer, FollowUp
from programs.tasks.base import canonical, normalize_answer

STOPPED = ("done", "turn_limit", "repeated", "unparseable")
"""Why no further follow-up was asked."""

Step = tuple[str, dict[str, Any]]
"""A stage, and the inputs to ask it with."""

Steps = Generator[Step, tuple[dspy.Prediction, Usage], dspy.Prediction]


class Interactive(Staged):
    """Asks follow-ups one at a time, answers each in a call of its own, and then the question (the paper's dynamic form).

    Every call has the problem text, context and question. The paper's own code sends a follow-up alone, which handicaps
    its dynamic rows (Table 6). Self-ask is by Press et al., 2023, "Measuring and Narrowing the Compositionality Gap in
    Language Models". Few-shot examples go into the predictors' `demos`.

    Args:
        follow_up: Any module that maps (context, question, answered) to `follow_up`; by default `Predict(FollowUp)`.
        answer: Any module that maps (context, question) to `answer`, for the follow-ups and for the question itself; by
            default `Predict(Answer)`. What is known so far, and the question behind a follow-up, stand in `context`.
        chain_of_thought: Reason before each answer, as the other forms do where an LLM is told what to do.
        max_turns: How many follow-ups may be asked (default 4).
        adapters: {"follow_up": ..., "answer": ...}, adapter or its name; by default the one that the LM was trained on.

    Raises:
        ValueError: `max_turns` below 1, both `answer` and `chain_of_thought`, or an unknown stage in `adapters`.
    """

    stages = ("follow_up", "answer")

    def __init__(
        self,
        follow_up: dspy.Module | None = None,
        answer: dspy.Module | None = None,
        *,
        chain_of_thought: bool = False,
        max_turns: int = 4,
        adapters: dict[str, dspy.Adapter | str] | None = None,
    ) -> None:
        super().__init__(adapters)
        if max_turns < 1:
            raise ValueError(f"max_turns={max_turns} must be at least 1; for no follow-ups use SingleStage.")
        if answer is not None and chain_of_thought:
            raise ValueError("answer and chain_of_thought exclude each other; give one, as each says how to answer.")
        self.follow_up = follow_up or dspy.Predict(FollowUp)
        self.answer = answer or (dspy.ChainOfThought(Answer) if chain_of_thought else dspy.Predict(Answer))
        self.max_turns = max_turns

    def forward(self, question: str, context: str = "") -> dspy.Prediction:
        """Ask follow-up questions, answer each, and answer the question.

        Returns:
            `subquestions` (the follow-ups) and their `sub_answers`, `answer`, `unparsed`, `turns` (calls of the asker),
            `stopped` (one of `STOPPED`), and `usage` (stage -> `Usage` as dict). Where the last reply cannot be read,
            `unparsed` is True and `answer` the whole reply; an unreadable answer to a follow-up stands as it is.
        """
        steps = self._steps(question, context)
        step = next(steps)
        while True:
            reply = self._ask(*step)
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value

    async def aforward(self, question: str, context: str = "") -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        steps = self._steps(question, context)
        step = next(steps)
        while True:
            reply = await self._aask(*step)
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value

    def _steps(self, question: str, context: str) -> Steps:
        """The calls to make, one after the other; each is sent its reply, and the prediction is returned."""
        asked: list[str] = []
        answers: list[str] = []
        usage = {stage: Usage() for stage in self.stages}
        stopped, turns, cut = "", 0, False
        while not stopped:
            turns += 1
            known = _pairs(asked, answers)
            reply, cost = yield "follow_up", {"context": context, "question": question, "answered": known}
            usage["follow_up"] += cost
            cut |= reply.cut_off
            follow_up, stopped = read_follow_up(None if reply.unparsed else reply.follow_up, asked)
            if not stopped:
                reply, cost = yield "answer", {"context": _problem(context, known, question), "question": follow_up}
                usage["answer"] += cost
                cut |= reply.cut_off
                asked.append(follow_up)
                answers.append(str(reply.answer).strip())
                stopped = "turn_limit" if turns == self.max_turns else ""
        final, cost = yield "answer", {"context": _problem(context, _pairs(asked, answers)), "question": question}
        usage["answer"] += cost
        told = {"subquestions": asked, "sub_answers": answers, "turns": turns, "stopped": stopped}
        totals = {stage: total.to_dict() for stage, total in usage.items()}
        return dspy.Prediction(**told, answer=final.answer, unparsed=final.unparsed, cut_off=cut or final.cut_off, usage=totals)


def read_follow_up(reply: str | None, asked: Sequence[str]) -> tuple[str, str]:
    """The first line of an asker's reply that is a question, or says that none is needed.

    Args:
        reply: What the asker wrote; None if it could not be read at all.
        asked: The follow-ups so far.

    Returns:
        The follow-up, and ""; or "", and why there is none: `done`, `repeated` or `unparseable`.
    """
    before = {canonical(question) for question in asked}
    for line in read_lines(str(reply or "")):
        if _is_opt_out(line):
            return "", "done"
        if is_question(line):
            asks = without_answer(line)
            return ("", "repeated") if canonical(asks) in before else (asks, "")
    return "", "unparseable"


def _is_opt_out(line: str) -> bool:
    said = normalize_answer(line)
    wanted = normalize_answer(NO_FOLLOW_UP).replace(" ", "")
    return said in ("no", "none") or said.replace(" ", "").startswith(wanted)


def _pairs(asked: Sequence[str], answers: Sequence[str]) -> list[str]:
    return [" ".join(f"{question} {answer}".split()) for question, answer in zip(asked, answers, strict=True)]


def _problem(context: str, known: Sequence[str], question: str = "") -> str:
    """The context with what is known so far, and with the question that a follow-up serves."""
    return "\n".join(line for line in [context, *known, question and f"Main question: {question}"] if line)
