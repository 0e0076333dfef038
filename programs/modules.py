"""The programs: `SingleStage` asks once, `TwoStage` decomposes and then solves; `Interactive` is in a module of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import dspy
from dspy.utils.exceptions import AdapterParseError

from programs.adapter import adapter_by_name, adapter_from_state, adapter_name, adapter_state, tolerant
from programs.decomposition import CUT_OFF, Decomposition, read_decomposition
from programs.lms.ledger import Usage, metered
from programs.lms.model_strings import adapter_name_for
from programs.lms.trained_prompts import UNTOLD, TrainedPrompt, trained_to_decompose
from programs.signatures import Answer, Decompose, ShortAnswer, Solve
from programs.tasks.base import Task
from programs.turns import own_turn

P = TypeVar("P", bound=dspy.Module)


def two_stage(
    task: Task, decomposer: dspy.LM | None, solver: dspy.LM | None, adapters: dict[str, dspy.Adapter | str] | None = None
) -> TwoStage:
    """`TwoStage` with a task's limit and one LM a stage (None: DSPy's configured one).

    A decomposer that was trained here is given the passage if its rows had it, unless the task says which.
    """
    program = TwoStage(max_subquestions=task.max_subquestions, decomposer_sees_context=task.decomposer_sees_context, adapters=adapters)
    for stage, model in (("decompose", decomposer), ("solve", solver)):
        getattr(program, stage).set_lm(model)
    return with_answer_format(program, task)


def with_answer_format(program: P, task: Task) -> P:
    """`program`, whose answering stages are told the task's `answer_format`; as it was for a task without one."""
    for predictor in program.predictors() if task.answer_format else []:
        instructions = predictor.signature.instructions
        if "answer" in predictor.signature.output_fields and task.answer_format not in instructions:
            predictor.signature = predictor.signature.with_instructions(f"{instructions} {task.answer_format}")
    return program


TRAINED: Literal["trained"] = "trained"
"""In place of a limit: the one that the decomposer's model was trained under."""

DEFAULT_LIMIT = 3
"""Of the paper, section 3; told to models that were trained under no limit of their own."""

STAGES = ("decompose", "follow_up", "solve", "answer")

_NO_TEXT = "The LM returned an empty or null response"


def module_lm(module: dspy.Module) -> dspy.LM | None:
    """The LM that `module`'s first predictor will use: its own, or else DSPy's configured one (None without either)."""
    # DSPy's own listing leaves out the predictors of compiled submodules.
    predictors = module.predictors() or [found for _, found in module.named_sub_modules(dspy.Predict)]
    own = predictors[0].lm if predictors else None
    return own or dspy.settings.lm


def stage_adapter(module: dspy.Module, chosen: dspy.Adapter | None = None) -> dspy.Adapter:
    """The prompt format of a stage: the chosen one, or else the one that its LM was trained on; `line` without an LM."""
    if chosen:
        return chosen
    lm = module_lm(module)
    return adapter_by_name(adapter_name_for(lm) if lm else "line")


class Staged(dspy.Module):
    """A program whose stages each keep their own adapter, and meter what they cost."""

    stages: tuple[str, ...] = ()

    def __init__(self, adapters: dict[str, dspy.Adapter | str] | None = None) -> None:
        super().__init__()
        unknown = sorted(set(adapters or {}) - set(self.stages))
        if unknown:
            raise ValueError(f"Unknown stage {unknown[0]!r} in adapters; expected {list(self.stages)}.")
        self._adapters = {k: adapter_by_name(v) if isinstance(v, str) else v for k, v in (adapters or {}).items()}

    @property
    def fixed_adapters(self) -> dict[str, dspy.Adapter]:
        """Stage -> the format that it is asked in whatever its LM is."""
        return dict(self._adapters)

    def adapter_of(self, stage: str) -> dspy.Adapter:
        """The adapter that `stage` will use with its present LM; training rows must be rendered with the same."""
        return stage_adapter(getattr(self, stage), self._adapters.get(stage))

    def adapter_name_of(self, stage: str) -> str:
        """The name of `adapter_of(stage)`."""
        return adapter_name(self.adapter_of(stage))

    def fix_adapter(self, stage: str, adapter: dspy.Adapter) -> None:
        """Ask `stage` in this format, unless one is fixed already."""
        self._adapters.setdefault(stage, adapter)

    @contextlib.contextmanager
    def _in_stage(self, stage: str, question: str = "") -> Iterator[Any]:
        with dspy.context(adapter=tolerant(self.adapter_of(stage), question)), metered(stage) as meter:
            yield meter

    def _ask(self, stage: str, inputs: dict[str, Any]) -> tuple[dspy.Prediction, Usage]:
        """A stage's prediction with `unparsed`: its reply could not be read, and stands in `answer` as it was; and with `cut_off`."""
        with self._in_stage(stage, inputs.get("question", "")) as meter:
            try:
                prediction = _read(getattr(self, stage)(**inputs))
            except AdapterParseError as error:
                prediction = _raw(error)
        prediction.cut_off = meter.cut_off
        return prediction, meter.total

    async def _aask(self, stage: str, inputs: dict[str, Any]) -> tuple[dspy.Prediction, Usage]:
        """`_ask` without blocking the event loop."""
        with self._in_stage(stage, inputs.get("question", "")) as meter:
            try:
                prediction = _read(await getattr(self, stage).acall(**inputs))
            except AdapterParseError as error:
                prediction = _raw(error)
        prediction.cut_off = meter.cut_off
        return prediction, meter.total

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        state = super().dump_state(json_mode=json_mode)
        return {**state, "adapters": {stage: adapter_state(adapter, stage) for stage, adapter in self._adapters.items()}}

    def load_state(self, state: dict[str, Any], *, allow_unsafe_lm_state: bool = False) -> None:
        state = dict(state)
        adapters = state.pop("adapters", {})
        super().load_state(state, allow_unsafe_lm_state=allow_unsafe_lm_state)
        self._adapters = {stage: adapter_from_state(saved) for stage, saved in adapters.items()}


class SingleStage(Staged):
    """Answers in one call: directly, in five words, or by chain of thought (a baseline that the paper lacks).

    Args:
        answer: Any module that maps (context, question) to `answer`; by default `Predict(Answer)`.
        chain_of_thought: Reason before answering.
        short: Ask for five words by `ShortAnswer`, as the paper does. The format `line-terse` has no instructions, and so no such limit.
        adapters: {"answer": adapter or its name}; by default the one that the LM was trained on.

    Raises:
        ValueError: More than one of `answer`, `chain_of_thought` and `short`, or an unknown stage in `adapters`.
    """

    stages = ("answer",)

    def __init__(
        self,
        answer: dspy.Module | None = None,
        *,
        chain_of_thought: bool = False,
        short: bool = False,
        adapters: dict[str, dspy.Adapter | str] | None = None,
    ) -> None:
        super().__init__(adapters)
        chosen = {"answer": answer is not None, "chain_of_thought": chain_of_thought, "short": short}
        if sum(chosen.values()) > 1:
            given = " and ".join(name for name, is_given in chosen.items() if is_given)
            raise ValueError(f"{given} exclude each other; give one of {list(chosen)}, as each says how to answer.")
        default = dspy.ChainOfThought(Answer) if chain_of_thought else dspy.Predict(ShortAnswer if short else Answer)
        self.answer = answer or default

    def forward(self, question: str, context: str = "") -> dspy.Prediction:
        """Answer a question.

        Returns:
            `answer`, `unparsed`, `cut_off` (the reply ended at its limit of tokens), `usage` (stage -> `Usage` as dict), and
            `reasoning` with a chain of thought. Where the reply cannot be read, `unparsed` is True, `answer` the whole reply,
            and `sub_answers` [].
        """
        return _answered(*self._ask("answer", {"context": context, "question": question}))

    async def aforward(self, question: str, context: str = "") -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        return _answered(*await self._aask("answer", {"context": context, "question": question}))


_OPTIONS = ("max_subquestions", "decomposer_sees_context")
"""What a state of `TwoStage` holds beside its stages."""


class TwoStage(Staged):
    """Decomposes a question into subquestions, then solves it with them in one call (the paper's static form).

    Args:
        decompose: Any module that maps (context, question, max_subquestions) to `subquestions`.
        solve: Any module that maps (context, question, subquestions) to `answer` (and `sub_answers`).
        max_subquestions: The limit that the decomposer is told; a decomposition with more is used as it is, as in the paper's code, and
            counted as `over_limit`. By default the one that its model was trained under, and 3 for models that were trained under
            none. None sets no limit and tells none (the paper's Table 10, "none").
        decomposer_sees_context: Whether the decomposer is given the passage, or the question alone. None gives its model what
            it was trained to see, and the passage to a model that was not trained here.
        adapters: {"decompose": ..., "solve": ...}, adapter or its name; by default the one that the LM was trained on.

    Raises:
        ValueError: `max_subquestions` below 1, or an unknown stage in `adapters`.
    """

    stages: tuple[str, ...] = ("decompose", "solve")

    def __init__(
        self,
        decompose: dspy.Module | None = None,
        solve: dspy.Module | None = None,
        *,
        max_subquestions: int | Literal["trained"] | None = TRAINED,
        decomposer_sees_context: bool | None = None,
        adapters: dict[str, dspy.Adapter | str] | None = None,
    ) -> None:
        super().__init__(adapters)
        self.decompose = decompose or dspy.Predict(Decompose)
        self.solve = solve or dspy.Predict(Solve)
        self.max_subquestions = max_subquestions
        self.decomposer_sees_context = decomposer_sees_context

    @property
    def max_subquestions(self) -> int | None:
        """The limit that the decomposer is told, with its present LM."""
        given = vars(self)["max_subquestions"]
        if given != TRAINED:
            return given
        trained = self._trained()
        limit = trained.max_subquestions if trained else UNTOLD
        return DEFAULT_LIMIT if isinstance(limit, str) else limit

    @max_subquestions.setter
    def max_subquestions(self, limit: int | Literal["trained"] | None) -> None:
        if limit not in (None, TRAINED) and (not isinstance(limit, int) or limit < 1):
            raise ValueError(
                f"max_subquestions={limit!r} must be at least 1, None for no limit, or {TRAINED!r}; for no decomposition use SingleStage."
            )
        self.__dict__["max_subquestions"] = limit

    @property
    def decomposer_sees_context(self) -> bool:
        """Whether the decomposer is given the passage, with its present LM."""
        given = vars(self)["decomposer_sees_context"]
        if given is not None:
            return given
        trained = self._trained()
        return trained is None or trained.sees_context is not False

    @decomposer_sees_context.setter
    def decomposer_sees_context(self, sees: bool | None) -> None:
        self.__dict__["decomposer_sees_context"] = sees

    def _trained(self) -> TrainedPrompt | None:
        return trained_to_decompose(module_lm(self.decompose))

    def decompose_inputs(self, question: str, context: str = "") -> dict[str, Any]:
        """What the decompose stage is given; no `max_subquestions` where there is no limit."""
        inputs = {"context": context if self.decomposer_sees_context else "", "question": question}
        limit = self.max_subquestions
        # Left out, as an adapter that writes every input would tell a limit of "None".
        return inputs if limit is None else {**inputs, "max_subquestions": limit}

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        return {**super().dump_state(json_mode=json_mode), "options": {name: vars(self)[name] for name in _OPTIONS}}

    def load_state(self, state: dict[str, Any], *, allow_unsafe_lm_state: bool = False) -> None:
        state = dict(state)
        options = state.pop("options", {})
        for name in _OPTIONS:
            if name in options:
                setattr(self, name, options[name])
        super().load_state(state, allow_unsafe_lm_state=allow_unsafe_lm_state)

    def run_decompose(self, question: str, context: str = "") -> tuple[Decomposition, Usage]:
        """The first stage alone; a reply that cannot be read is a decomposition in state `unparseable`."""
        return self._decomposed(self.decompose_inputs(question, context))

    def _decomposed(self, inputs: dict[str, Any]) -> tuple[Decomposition, Usage]:
        with self._in_stage("decompose") as meter:
            try:
                lines = self.decompose(**inputs).subquestions
                decomposition = read_decomposition(lines, self.max_subquestions, inputs["question"])
            except AdapterParseError as error:
                decomposition = _unread(error)
        return decomposition.cut() if meter.cut_off else decomposition, meter.total

    def run_solve(self, question: str, context: str, subquestions: list[str]) -> tuple[dspy.Prediction, Usage]:
        """The second stage alone; of a reply that cannot be read, `unparsed` is True and `answer` the whole reply."""
        return self._ask("solve", {"context": context, "question": question, "subquestions": subquestions})

    def forward(self, question: str, context: str = "") -> dspy.Prediction:
        """Decompose and solve a question.

        Returns:
            `subquestions`, `state` and `lines` of the decomposition, `sub_answers`, `answer`, `unparsed`, `cut_off` (a reply
            ended at its limit of tokens), and `usage` (stage -> `Usage` as dict). Where the solver's reply cannot be read,
            `unparsed` is True, `answer` the whole reply, and `sub_answers` [].
        """
        return self._two_stages(self.decompose_inputs(question, context), question, context)

    def _two_stages(self, inputs: dict[str, Any], question: str, context: str) -> dspy.Prediction:
        decomposition, decompose_usage = self._decomposed(inputs)
        solved, solve_usage = self.run_solve(question, context, decomposition.subquestions)
        return _prediction(decomposition, solved, _usage(decompose=decompose_usage, solve=solve_usage))

    async def aforward(self, question: str, context: str = "") -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        return await self._atwo_stages(self.decompose_inputs(question, context), question, context)

    async def _atwo_stages(self, inputs: dict[str, Any], question: str, context: str) -> dspy.Prediction:
        with self._in_stage("decompose") as first:
            try:
                reply = await self.decompose.acall(**inputs)
                decomposition = read_decomposition(reply.subquestions, self.max_subquestions, question)
            except AdapterParseError as error:
                decomposition = _unread(error)
        decomposition = decomposition.cut() if first.cut_off else decomposition
        given = {"context": context, "question": question, "subquestions": decomposition.subquestions}
        solved, solve_usage = await self._aask("solve", given)
        return _prediction(decomposition, solved, _usage(decompose=first.total, solve=solve_usage))


def _unread(error: AdapterParseError) -> Decomposition:
    return Decomposition([], "unparseable", _reply_text(error).splitlines())


def _reply_text(error: AdapterParseError) -> str:
    # Of a reply without text, DSPy's error holds the repr of all else: the reasoning of a model that never came to an answer.
    return "" if error.message.startswith(_NO_TEXT) else own_turn(str(error.lm_response or "")).strip()


def _read(prediction: dspy.Prediction) -> dspy.Prediction:
    # A new one: the predictor's own stands in DSPy's trace, whose fields are what students learn from.
    return dspy.Prediction(**{**prediction.toDict(), "unparsed": False})


def _raw(error: AdapterParseError) -> dspy.Prediction:
    return dspy.Prediction(answer=_reply_text(error), sub_answers=[], unparsed=True)


def _answered(prediction: dspy.Prediction, usage: Usage) -> dspy.Prediction:
    return dspy.Prediction(**{**prediction.toDict(), "usage": _usage(answer=usage)})


def _usage(**stages: Usage) -> dict[str, dict[str, Any]]:
    return {stage: usage.to_dict() for stage, usage in stages.items()}


def _prediction(decomposition: Decomposition, solved: dspy.Prediction, usage: dict[str, Any]) -> dspy.Prediction:
    return dspy.Prediction(
        subquestions=decomposition.subquestions,
        state=decomposition.state,
        lines=decomposition.lines,
        sub_answers=solved.get("sub_answers", []),
        answer=solved.answer,
        unparsed=solved.unparsed,
        cut_off=solved.cut_off or decomposition.state == CUT_OFF,
        usage=usage,
    )
