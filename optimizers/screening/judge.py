"""`judge`: an LM with a rubric reads the decomposition and says keep or drop."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import dspy

from optimizers.labelling.samples import Sample
from optimizers.screening.lm_policy import NOT_ASKED, Asked, AskedPolicy, question_inputs, two_stage_teacher
from optimizers.screening.policy import PlannedCalls, PolicyModels
from programs.adapter import adapter_by_name
from programs.modules import module_lm
from programs.signatures import NO_DECOMPOSITION

JUDGED_BAD, JUDGE_UNREADABLE = "judged_bad", "judge_unreadable"


class JudgeDecomposition(dspy.Signature):
    """Judge whether the subquestions are a good decomposition of the question. Keep them only if all of this holds:
    1. Answerable in order: each one can be answered with the context and the answers to those before it.
    2. Complete: once all are answered, the answer to the question follows; no step is missing.
    3. No answer given away: none of them states an answer that has yet to be found.
    4. References right: #1 stands for the answer to the first subquestion, #2 for that to the second; each # points to an
    earlier subquestion, and to the one that is meant.
    5. Not redundant: none repeats another one or the question itself, and none is idle.
    "No decomposition" claims that the question takes one step only: keep it only if that is so.
    Give the reason in one sentence, then the verdict: keep or drop.
    """

    context: str = dspy.InputField(desc="what the question is about; may be empty")
    question: str = dspy.InputField()
    subquestions: list[str] = dspy.InputField(desc="the decomposition to judge")
    reason: str = dspy.OutputField(desc="which point fails, or why all hold")
    verdict: str = dspy.OutputField(desc="keep or drop")


class Judge(AskedPolicy):
    """One call a decomposition, without its answers. The judge's reasons stand in `samples.jsonl`, field `prediction`.

    Reasons to drop: `judged_bad`, `judge_unreadable` (neither keep nor drop), `not_asked` (the call failed, or a limit was
    reached).

    Args:
        lm: Who judges; by default the LM of the teacher's first stage.
        adapter: Prompt format, `line` or `chat`. `line-terse` would leave the rubric out.
        rubric: Instructions in place of those of `JudgeDecomposition`.
        temperature: None leaves the LM its own.

    Raises:
        ValueError: An unknown adapter, or one without instructions.
    """

    name = "judge"
    answer_free = True
    looks_at_no_answer = True

    def __init__(
        self, lm: dspy.LM | None = None, *, adapter: str = "line", rubric: str | None = None, temperature: float | None = None
    ) -> None:
        if adapter == "line-terse":
            raise ValueError("adapter='line-terse' leaves the rubric out of the judge's prompt; use 'line' or 'chat'.")
        self.lm, self.adapter, self.temperature = lm, adapter_by_name(adapter), temperature
        self.signature = JudgeDecomposition.with_instructions(rubric) if rubric else JudgeDecomposition

    @classmethod
    def configured(cls, settings: Any, models: PolicyModels) -> Judge:
        """As the section `screening` says."""
        return cls(models.judge(), adapter=(settings.judge and settings.judge.adapter) or "line")

    @staticmethod
    def planned(settings: Any, questions: int, samples: int) -> list[PlannedCalls]:
        """One call a sample."""
        return [PlannedCalls("judge", "judge", samples)]

    def program(self, teacher: dspy.Module) -> dspy.Module:
        """The judge."""
        judge = dspy.Predict(self.signature)
        judge.lm = self.lm or module_lm(two_stage_teacher(self.name, teacher).decompose)
        return Asked(judge, self.adapter)

    def inputs(self, example: dspy.Example, sample: Sample) -> dict[str, Any]:
        """The question and the subquestions."""
        return {**question_inputs(example), "subquestions": sample.prediction["subquestions"] or [NO_DECOMPOSITION]}

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Any]) -> tuple[str | None, float | None]:
        """See `Policy.judge`."""
        replies = [reply for reply in self.replies(example, sample) if not reply.error]
        if not replies:
            return NOT_ASKED, None
        verdict = read_verdict(replies[0].prediction.get("verdict"))
        return (JUDGE_UNREADABLE if verdict is None else None if verdict else JUDGED_BAD), None


def read_verdict(text: Any) -> bool | None:
    """True for keep, False for drop, by the first word; None for anything else: "keep or drop" and "do not keep" decide nothing."""
    words = re.findall(r"[a-z]+", str(text or "").lower())
    if not words or words[0] not in ("keep", "drop") or {"keep", "drop"} <= set(words):
        return None
    return words[0] == "keep"
