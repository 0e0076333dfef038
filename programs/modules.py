"""The programs: `SingleStage` asks once, `TwoStage` decomposes and then solves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from programs.adapter import adapter_by_name, adapter_name
from programs.decomposition import Decomposition, read_decomposition
from programs.lms.catalog import adapter_name_for
from programs.lms.ledger import Usage, metered
from programs.signatures import Answer, Decompose, Solve

STAGES = ("decompose", "solve", "answer")


def module_lm(module: dspy.Module) -> dspy.LM | None:
    """The LM that `module`'s first predictor will use: its own, or else DSPy's configured one."""
    predictors = module.predictors()
    own = predictors[0].lm if predictors else None
    return own or dspy.settings.lm


def stage_adapter(module: dspy.Module, chosen: dspy.Adapter | None = None) -> dspy.Adapter:
    """The prompt format of a stage: the chosen one, or else the one that its LM was trained on."""
    return chosen or adapter_by_name(adapter_name_for(module_lm(module)))


class _Staged(dspy.Module):
    """A program whose stages each keep their own adapter, and meter what they cost."""

    stages: tuple[str, ...] = ()

    def __init__(self, adapters: dict[str, dspy.Adapter | str] | None = None) -> None:
        super().__init__()
        unknown = sorted(set(adapters or {}) - set(self.stages))
        if unknown:
            raise ValueError(f"Unknown stage {unknown[0]!r} in adapters; expected {list(self.stages)}.")
        self._adapters = {k: adapter_by_name(v) if isinstance(v, str) else v for k, v in (adapters or {}).items()}

    def adapter_of(self, stage: str) -> dspy.Adapter:
        """The adapter that `stage` will use with its present LM; training rows must be rendered with the same."""
        return stage_adapter(getattr(self, stage), self._adapters.get(stage))

    @contextlib.contextmanager
    def _in_stage(self, stage: str) -> Iterator[Any]:
        with dspy.context(adapter=self.adapter_of(stage)), metered(stage) as meter:
            yield meter

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        state = super().dump_state(json_mode=json_mode)
        return {**state, "adapters": {stage: adapter_name(adapter) for stage, adapter in self._adapters.items()}}

    def load_state(self, state: dict[str, Any], *, allow_unsafe_lm_state: bool = False) -> None:
        state = dict(state)
        adapters = state.pop("adapters", {})
        super().load_state(state, allow_unsafe_lm_state=allow_unsafe_lm_state)
        self._adapters = {stage: adapter_by_name(name) for stage, name in adapters.items()}


class SingleStage(_Staged):
    """Answers in one call, directly or by chain of thought. The baseline of the paper, and the one that it lacks.

    Args:
        answer: Any module that maps (context, question) to `answer`; by default `Predict(Answer)`.
        chain_of_thought: Reason before answering, where `answer` is not given.
        adapters: {"answer": adapter or its name}; by default the one that the LM was trained on.
    """

    stages = ("answer",)

    def __init__(
        self,
        answer: dspy.Module | None = None,
        *,
        chain_of_thought: bool = False,
        adapters: dict[str, dspy.Adapter | str] | None = None,
    ) -> None:
        super().__init__(adapters)
        self.answer = answer or (dspy.ChainOfThought(Answer) if chain_of_thought else dspy.Predict(Answer))

    def forward(self, question: str, context: str = "") -> dspy.Prediction:
        """Returns `answer`, `usage` (stage -> `Usage` as dict), and `reasoning` with a chain of thought."""
        with self._in_stage("answer") as meter:
            prediction = self.answer(context=context, question=question)
        return dspy.Prediction(**prediction.toDict(), usage=_usage(answer=meter.total))

    async def aforward(self, question: str, context: str = "") -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        with self._in_stage("answer") as meter:
            prediction = await self.answer.acall(context=context, question=question)
        return dspy.Prediction(**prediction.toDict(), usage=_usage(answer=meter.total))


class TwoStage(_Staged):
    """Decomposes a question into subquestions, then solves it with them in one call (the paper's static form).

    Args:
        decompose: Any module that maps (context, question, max_subquestions) to `subquestions`.
        solve: Any module that maps (context, question, subquestions) to `answer` (and `sub_answers`).
        max_subquestions: The limit that the decomposer is told; further ones are cut off and counted as `over_limit`.
        decomposer_sees_context: Whether the decomposer is given the passage, or the question alone.
        adapters: {"decompose": ..., "solve": ...}, adapter or its name; by default the one that the LM was trained on.
    """

    stages = ("decompose", "solve")

    def __init__(
        self,
        decompose: dspy.Module | None = None,
        solve: dspy.Module | None = None,
        *,
        max_subquestions: int = 3,
        decomposer_sees_context: bool = True,
        adapters: dict[str, dspy.Adapter | str] | None = None,
    ) -> None:
        super().__init__(adapters)
        if max_subquestions < 1:
            raise ValueError(f"max_subquestions={max_subquestions} must be at least 1; for no decomposition use SingleStage.")
        self.decompose = decompose or dspy.Predict(Decompose)
        self.solve = solve or dspy.Predict(Solve)
        self.max_subquestions = max_subquestions
        self.decomposer_sees_context = decomposer_sees_context

    def decompose_inputs(self, question: str, context: str = "") -> dict[str, Any]:
        """What the decompose stage is given."""
        seen = context if self.decomposer_sees_context else ""
        return {"context": seen, "question": question, "max_subquestions": self.max_subquestions}

    def run_decompose(self, question: str, context: str = "") -> tuple[Decomposition, Usage]:
        """The first stage alone; a reply that cannot be read is a decomposition in state `unparseable`."""
        with self._in_stage("decompose") as meter:
            try:
                lines = self.decompose(**self.decompose_inputs(question, context)).subquestions
            except AdapterParseError as error:
                return _unread(error), meter.total
        return read_decomposition(lines, self.max_subquestions), meter.total

    def run_solve(self, question: str, context: str, subquestions: list[str]) -> tuple[dspy.Prediction, Usage]:
        """The second stage alone.

        Raises:
            AdapterParseError: The solver's reply has no answer that can be read.
        """
        with self._in_stage("solve") as meter:
            prediction = self.solve(context=context, question=question, subquestions=subquestions)
        return prediction, meter.total

    def forward(self, question: str, context: str = "") -> dspy.Prediction:
        """Returns `subquestions`, `state`, `lines`, `sub_answers`, `answer` and `usage` (stage -> `Usage` as dict)."""
        decomposition, decompose_usage = self.run_decompose(question, context)
        solved, solve_usage = self.run_solve(question, context, decomposition.subquestions)
        return _prediction(decomposition, solved, _usage(decompose=decompose_usage, solve=solve_usage))

    async def aforward(self, question: str, context: str = "") -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        with self._in_stage("decompose") as first:
            try:
                reply = await self.decompose.acall(**self.decompose_inputs(question, context))
                decomposition = read_decomposition(reply.subquestions, self.max_subquestions)
            except AdapterParseError as error:
                decomposition = _unread(error)
        with self._in_stage("solve") as second:
            solved = await self.solve.acall(context=context, question=question, subquestions=decomposition.subquestions)
        return _prediction(decomposition, solved, _usage(decompose=first.total, solve=second.total))


def _unread(error: AdapterParseError) -> Decomposition:
    return Decomposition([], "unparseable", str(error.lm_response or "").splitlines())


def _usage(**stages: Usage) -> dict[str, dict[str, Any]]:
    return {stage: usage.to_dict() for stage, usage in stages.items()}


def _prediction(decomposition: Decomposition, solved: dspy.Prediction, usage: dict[str, Any]) -> dspy.Prediction:
    return dspy.Prediction(
        subquestions=decomposition.subquestions,
        state=decomposition.state,
        lines=decomposition.lines,
        sub_answers=solved.get("sub_answers", []),
        answer=solved.answer,
        usage=usage,
    )
