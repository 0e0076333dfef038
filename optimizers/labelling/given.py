"""Predictors that give the decomposition of a trace in place of asking: the program goes on with it as with a teacher's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import dspy

from optimizers.labelling.trace_formats import Trace
from programs.program_copy import all_predictors
from programs.signatures import NO_DECOMPOSITION, Decompose

Answers = Literal["skip", "referenced", "take", "ask"]
"""What the stages behind a trace's decomposition do: answer nothing, take the trace's answer and ask where it has none (all, or those whose
question has a reference answer alone), or ask."""

_ORDER: tuple[Answers, ...] = ("skip", "take", "ask")

_classes: dict[type, type] = {}

_GIVEN = "divide_or_conquer_given"
"""A setting of DSPy, which `dspy.Parallel` hands on to its threads."""


@dataclass
class _Given:
    """The trace of a run, and what is done about its answer.

    Attributes:
        asked: Whether a stage was asked for what the trace does not have.
    """

    trace: Trace
    answers: Answers
    asked: bool = False

    def outputs(self, predictor: dspy.Predict) -> dict[str, Any] | None:
        """What a predictor gives; None if it is to ask."""
        if is_decomposer(predictor):
            made = list(self.trace.subquestions) or [NO_DECOMPOSITION]
            as_text = predictor.signature.output_fields["subquestions"].annotation is str
            return {"subquestions": "\n".join(made) if as_text else made}
        fields = predictor.signature.output_fields
        answer = "" if self.answers == "skip" else self.trace.answer if self.answers == "take" else None
        if answer is None or "answer" not in fields:
            self.asked = True
            return None
        return {**{name: [] if field.annotation is not str else "" for name, field in fields.items()}, "answer": answer}


class _FromTrace(dspy.Predict):
    """Before the class of a predictor: gives what the run's trace has."""

    def forward(self, **inputs: Any) -> Any:
        given: _Given | None = dspy.settings.get(_GIVEN)
        outputs = given.outputs(self) if given else None
        return super().forward(**inputs) if outputs is None else _noted(self, inputs, outputs)

    async def aforward(self, **inputs: Any) -> Any:
        given: _Given | None = dspy.settings.get(_GIVEN)
        outputs = given.outputs(self) if given else None
        return await super().aforward(**inputs) if outputs is None else _noted(self, inputs, outputs)


def _noted(predictor: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> dspy.Prediction:
    made = dspy.Prediction(**outputs)
    # An answer that nobody reasoned for is no row of a solver's.
    if dspy.settings.trace is not None and is_decomposer(predictor):
        dspy.settings.trace.append((predictor, dict(inputs), made))
    return made


def is_decomposer(predictor: dspy.Predict) -> bool:
    """Whether a predictor turns a question, and what it is about, into subquestions and nothing else."""
    inputs, outputs = predictor.signature.input_fields, predictor.signature.output_fields
    return "question" in inputs and set(inputs) <= set(Decompose.input_fields) and list(outputs) == ["subquestions"]


def takes_traces(program: dspy.Module) -> bool:
    """Whether a program has one predictor that a trace can stand for."""
    return sum(is_decomposer(predictor) for _, predictor in all_predictors(program)) == 1


def open_to_traces(program: dspy.Module) -> bool:
    """Let the predictors of a program, which is changed, give what a trace has; False if it is none that `takes_traces`."""
    if not takes_traces(program):
        return False
    for _, predictor in all_predictors(program):
        predictor.__class__ = _class_of(type(predictor))
    return True


def _class_of(cls: type) -> type:
    if cls not in _classes:
        bases = (_FromTrace,) if cls is dspy.Predict else (_FromTrace, cls)
        _classes[cls] = type(cls.__name__, bases, {"__qualname__": cls.__qualname__, "__module__": cls.__module__})
    return _classes[cls]


@contextlib.contextmanager
def given(trace: Trace | None, answers: Answers) -> Iterator[dict[str, Any]]:
    """Let the enclosed run of a program that is `open_to_traces` give what a trace has; what its line says of that, once it is over."""
    said: dict[str, Any] = {}
    if trace is None:
        yield said
        return
    run = _Given(trace, answers)
    with dspy.context(**{_GIVEN: run}):
        yield said
    said["answers"] = "ask" if run.asked else answers


def wanted(answers: Answers, example: dspy.Example) -> Answers:
    """What is done about the answer to one question: `skip`, `take` or `ask`."""
    return answers if answers != "referenced" else "take" if example.get("answer") else "skip"


def is_enough(there: Any, answers: Answers) -> bool:
    """Whether a line that says `there` of its answer will do."""
    return there in _ORDER and _ORDER.index(there) >= _ORDER.index(answers)
