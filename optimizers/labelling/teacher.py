"""A teacher ready to label: a copy of a program on journaled LMs, which turns an example into a line of `samples.jsonl`."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError, LMTimeoutError

from optimizers.labelling.journal import Budget, Journal, digest
from optimizers.labelling.journaled_lm import all_options, calls_of, journaled
from optimizers.labelling.samples import CUT_OFF, EMPTY, UNPARSEABLE
from programs.lms.ledger import Ledger, Usage, current_ledger, metered, recording

TIMEOUT = "timeout"


class Teacher:
    """A copy of the program on journaled LMs, for one sample number."""

    def __init__(
        self,
        program: dspy.Module,
        lm: dspy.LM | None,
        journal: Journal,
        sample: int,
        temperature: float | Mapping[str, float] | None,
        budget: Budget,
    ) -> None:
        self.sample = sample
        self._journal, self._budget = journal, budget
        self._flat = None if isinstance(temperature, Mapping) else temperature
        fallback = lm or dspy.settings.lm
        self.lm = self._journaled(fallback, self._flat) if fallback else None
        # Each LM maps to its journaled twin, so that LMs which predictors share stay shared in the copy.
        twins = {id(own): self._journaled(own, self._flat) for own in _own_lms(program)}
        self.program: dspy.Module = copy.deepcopy(program, twins)
        if isinstance(temperature, Mapping):
            self._set_temperatures(program, fallback, temperature)
        self.names = {id(predictor): name for name, predictor in _predictors(self.program)}
        self.lms = self._used()
        self.fingerprint = _fingerprint(self)

    def _journaled(self, lm: dspy.LM, temperature: float | None) -> dspy.LM:
        wrapped = journaled(lm, self._journal, sample=self.sample, limits=self._budget)
        if temperature is not None:
            wrapped.kwargs["temperature"] = temperature
        return wrapped

    def _set_temperatures(self, program: dspy.Module, fallback: dspy.LM | None, temperatures: Mapping[str, float]) -> None:
        names = [name for name, _ in _predictors(program)]
        unknown = sorted(set(temperatures) - set(names))
        if unknown:
            raise ValueError(f"Unknown predictor {unknown[0]!r} in temperature; the program has {names}.")
        for (name, original), (_, predictor) in zip(_predictors(program), _predictors(self.program), strict=True):
            own = original.lm or fallback
            if name in temperatures and own is not None:
                predictor.lm = self._journaled(own, temperatures[name])

    def _used(self) -> list[dspy.LM]:
        used = []
        for name, predictor in _predictors(self.program):
            own = predictor.lm or self.lm
            if own is None:
                raise ValueError(f"Predictor {name!r} of the teacher has no LM; pass lm=..., or set one by teacher.set_lm(...).")
            used.append(own)
        return used

    def __call__(self, example: dspy.Example, example_id: str, inputs_hash: str) -> dict[str, Any]:
        """The line of one run."""
        outer = current_ledger()
        ledger = Ledger(outer.prices)
        options: dict[str, Any] = {"trace": [], "disable_history": True}
        if self.lm:
            options["lm"] = self.lm
        with calls_of(example_id, self.sample), recording(ledger, adopts=False), dspy.context(**options), metered("teacher") as meter:
            outcome = self._attempt(example)
            trace = dspy.settings.trace
        entries = ledger.entries()
        for (stage, model), usage in entries.items():
            outer.add(stage, model, usage)
        return {
            "example": example_id,
            "sample": self.sample,
            "program": self.fingerprint,
            "inputs": inputs_hash,
            "calls": [[self.names.get(id(p), "?"), _plain(inputs), _plain(outputs.toDict())] for p, inputs, outputs in trace],
            **outcome,
            "error": _told(outcome["error"], meter.cut_off, meter.empty),
            "usage": _nested(entries),
        }

    def _attempt(self, example: dspy.Example) -> dict[str, Any]:
        try:
            prediction = self.program(**example.inputs().toDict()).toDict()
        except Exception as error:
            return {"prediction": {}, "error": _reason(error), "message": str(error)[:500]}
        prediction.pop("usage", None)
        return {"prediction": _plain(prediction), "error": None}


def _predictors(program: dspy.Module) -> list[tuple[str, Any]]:
    """All predictors by name; DSPy's own listing leaves out those of compiled submodules."""
    return [(name.removeprefix("self."), module) for name, module in program.named_sub_modules() if isinstance(module, dspy.Predict)]


def _own_lms(program: dspy.Module) -> list[dspy.LM]:
    """Every LM that the program holds, as a predictor's or as an attribute of a module, each once."""
    found: dict[int, dspy.LM] = {}
    for _, module in program.named_sub_modules():
        found |= {id(value): value for value in vars(module).values() if isinstance(value, dspy.LM)}
    return list(found.values())


def _fingerprint(teacher: Teacher) -> str:
    """Hash of all that shapes the teacher's prompts and texts: modules, their settings, signatures, demos, LMs, adapters."""
    modules = [(name, type(module).__qualname__, _settings_of(module)) for name, module in teacher.program.named_sub_modules()]
    predictors = [
        (name, predictor.signature.dump_state(), [dict(demo) for demo in predictor.demos], predictor.config)
        for name, predictor in _predictors(teacher.program)
    ]
    lms = [(used.model, all_options(used)) for used in teacher.lms]
    return digest([modules, predictors, lms, type(dspy.settings.adapter).__qualname__])[:16]


def _settings_of(module: dspy.Module) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in vars(module).items():
        # `stage` of a Predict is drawn at random, and what changes while a module works says nothing about it.
        if name in ("stage", "history", "callbacks", "traces", "train"):
            continue
        if isinstance(value, str | int | float | bool | None):
            settings[name] = value
        elif isinstance(value, Mapping) and any(isinstance(item, dspy.Adapter) for item in value.values()):
            settings[name] = {key: type(item).__qualname__ for key, item in value.items()}
    return settings


def _reason(error: BaseException) -> str:
    if isinstance(error, AdapterParseError):
        return UNPARSEABLE
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LMTimeoutError | TimeoutError):
            return TIMEOUT
        cause = cause.__cause__
    return f"error:{type(error).__name__}"


def _told(error: str | None, cut_off: bool, empty: bool) -> str | None:
    """The reason of a failed run: what became of its replies, where that is known, says more than that they could not be read."""
    if error not in (None, UNPARSEABLE):
        return error
    return CUT_OFF if cut_off else EMPTY if empty else error


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that JSON can hold, as JSON holds them."""
    plain = {}
    for name, value in fields.items():
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            plain[name] = json.loads(json.dumps(value, default=lambda item: item.model_dump(mode="json")))
    return plain


def _nested(entries: Mapping[tuple[str, str], Usage]) -> dict[str, dict[str, dict[str, Any]]]:
    nested: dict[str, dict[str, dict[str, Any]]] = {}
    for (stage, model), usage in entries.items():
        nested.setdefault(stage, {})[model] = usage.to_dict()
    return nested
