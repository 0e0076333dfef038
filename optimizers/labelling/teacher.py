"""A teacher ready to label: a copy of a program on journaled LMs, which turns an example into a line of `samples.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError, LMTimeoutError

from optimizers.labelling.call_snapshots import CallSnapshots
from optimizers.labelling.given import Answers, given, open_to_traces, wanted
from optimizers.labelling.journal import Budget, Journal, digest
from optimizers.labelling.journaled_lm import all_options, calls_of, journaled
from optimizers.labelling.samples import CUT_OFF, EMPTY, UNPARSEABLE, shortened
from optimizers.labelling.trace_formats import Trace
from optimizers.labelling.traces import mark_of, traces_of
from optimizers.labelling.values import Types, is_plain, shape_of, written
from programs.adapter import configured_format
from programs.coroutines import run_to_end
from programs.lms.api_models import said_by
from programs.lms.ledger import Ledger, Usage, current_ledger, metered, recording
from programs.lms.servers import LOGIN
from programs.module_settings import CHANGING, setting_text
from programs.program_copy import all_predictors, copy_program, own_lms

TIMEOUT = "timeout"

# An attribute, as programs copy their predictors while they work (`BestOfN`, `Refine`), and copies keep it.
_NAME = "divide_or_conquer_name"


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
        types: Types,
        answers: Answers = "take",
    ) -> None:
        self.sample, self.types, self._answers = sample, types, answers
        self._journal, self._budget = journal, budget
        self._flat = None if isinstance(temperature, Mapping) else temperature
        fallback = lm or dspy.settings.lm
        self.lm = self._journaled(fallback, self._flat) if fallback else None
        # Each LM maps to its journaled twin, so that LMs which predictors share stay shared in the copy.
        twins = {id(own): self._journaled(own, self._flat) for own in own_lms(program)}
        self.program: dspy.Module = copy_program(program, twins)
        if isinstance(temperature, Mapping):
            self._set_temperatures(program, fallback, temperature)
        self.asked = [own for _, predictor in all_predictors(program) if (own := predictor.lm or fallback)]
        self.lms = self._used()
        self.fingerprint = _fingerprint(self)
        for name, predictor in all_predictors(self.program):
            setattr(predictor, _NAME, name)
            for annotation in _annotations(predictor):
                self.types.learn(annotation)
        # Last, as predictors of another class would be another program.
        self.takes_traces = open_to_traces(self.program)

    def trace_of(self, example: dspy.Example) -> Trace | None:
        """The trace that stands for this run on an example; None if there is none, so that LMs are asked."""
        traces = traces_of(example) if self.takes_traces else []
        return traces[self.sample] if self.sample < len(traces) else None

    def _journaled(self, lm: dspy.LM, temperature: float | None) -> dspy.LM:
        wrapped = journaled(lm, self._journal, sample=self.sample, limits=self._budget)
        if temperature is not None:
            wrapped.kwargs["temperature"] = temperature
        return wrapped

    def _set_temperatures(self, program: dspy.Module, fallback: dspy.LM | None, temperatures: Mapping[str, float]) -> None:
        names = [name for name, _ in all_predictors(program)]
        unknown = sorted(set(temperatures) - set(names))
        if unknown:
            raise ValueError(f"Unknown predictor {unknown[0]!r} in temperature; the program has {names}.")
        for (name, original), (_, predictor) in zip(all_predictors(program), all_predictors(self.program), strict=True):
            own = original.lm or fallback
            if name in temperatures and own is not None:
                predictor.lm = self._journaled(own, temperatures[name])

    def _used(self) -> list[dspy.LM]:
        used = []
        for name, predictor in all_predictors(self.program):
            own = predictor.lm or self.lm
            if own is None:
                raise ValueError(
                    f"Predictor {name!r} of the teacher has no LM; pass lm=..., or set one by teacher.set_lm or dspy.configure(lm=...)."
                )
            used.append(own)
        return used

    def __call__(self, example: dspy.Example, example_id: str, inputs_hash: str) -> dict[str, Any]:
        """The line of one run."""
        outer = current_ledger()
        ledger = Ledger(outer.prices)
        snapshots = CallSnapshots(self.types)
        options: dict[str, Any] = {"trace": [], "disable_history": True, "callbacks": [*dspy.settings.callbacks, snapshots]}
        if self.lm:
            options["lm"] = self.lm
        traced = self.trace_of(example)
        with (
            calls_of(example_id, self.sample),
            recording(ledger, adopts=False),
            dspy.context(**options),
            given(traced, wanted(self._answers, example)) as said,
            metered("teacher") as meter,
        ):
            outcome = self._attempt(example)
            trace = dspy.settings.trace
        entries = ledger.entries()
        for (stage, model), usage in entries.items():
            outer.add(stage, model, usage)
        calls, left_out = self._calls(trace, snapshots)
        missing, formats = [*outcome.pop("left_out", []), *left_out], self._own_formats(snapshots)
        return {
            "example": example_id,
            "sample": self.sample,
            "program": self.fingerprint,
            "inputs": inputs_hash,
            "calls": calls,
            **outcome,
            **({"left_out": missing} if missing else {}),
            **({"formats": formats} if formats else {}),
            "error": _told(outcome["error"], meter.cut_off, meter.empty),
            "usage": _nested(entries),
            **({"traced": mark_of(traced), "place": traced.place, **said} if traced else {}),
        }

    def _calls(self, trace: list[Any], snapshots: CallSnapshots) -> tuple[list[list[Any]], list[str]]:
        """Every predictor's part as JSON, and what of it cannot be written."""
        calls, left_out = [], []
        for predictor, inputs_now, outputs_now in trace:
            name = getattr(predictor, _NAME, "?")
            (inputs, no_inputs), (outputs, no_outputs) = snapshots.of(inputs_now, outputs_now)
            calls.append([name, inputs, outputs])
            left_out += [f"{name}.{field}" for field in (*no_inputs, *no_outputs)]
        return calls, left_out

    def _own_formats(self, snapshots: CallSnapshots) -> dict[str, list[str]]:
        """Predictor -> the formats that the program set for it while it ran; nothing of those asked in the configured one.

        This package's programs say themselves which format a stage has.
        """
        if hasattr(self.program, "adapter_of"):
            return {}
        found: dict[str, set[str]] = {}
        for predictor, name in snapshots.formats:
            found.setdefault(getattr(predictor, _NAME, "?"), set()).add(name)
        configured = configured_format()
        return {predictor: sorted(names) for predictor, names in found.items() if names != {configured}}

    def _attempt(self, example: dspy.Example) -> dict[str, Any]:
        try:
            # As `dspy.Evaluate` gives them: `toDict` would make plain dicts of a History, or of what pydantic has checked.
            returned = self._run(dict(example.inputs().items()))
        except Exception as error:
            return {"prediction": {}, "error": _reason(error), "message": self._said(error)[:500]}
        if not isinstance(returned, dspy.Example):
            said = f"the program returned {type(returned).__name__}, where a dspy.Prediction is expected"
            return {"prediction": {}, "error": "error:NoPrediction", "message": said}
        fields = dict(returned.items())
        if _is_usage(fields.get("usage")):
            del fields["usage"]
        prediction, left_out = written(fields, self.types)
        return {"prediction": prediction, "error": None, "left_out": [f"prediction.{field}" for field in left_out]}

    def _run(self, inputs: dict[str, Any]) -> Any:
        if hasattr(type(self.program), "forward"):
            return self.program(**inputs)
        return run_to_end(self.program.acall(**inputs))

    def _said(self, error: BaseException) -> str:
        """What an error says: with the address that was asked, or the reply that could not be read."""
        if isinstance(error, AdapterParseError):
            return f"the reply {shortened(str(error.lm_response))!r} cannot be read: {str(error).strip().splitlines()[0]}"
        said, cause = said_by(error) or type(error).__name__, error.__cause__ or error.__context__
        if not isinstance(error, LMError):
            return said if cause is None or str(cause) in said else f"{said}; because of {self._said(cause)}"
        addresses = {lm.kwargs.get("api_base") or lm.kwargs.get("base_url") for lm in self.asked if lm.model == error.model}
        return LOGIN.sub("", " ".join([said, *(f"(at {address})" for address in addresses if address and str(address) not in said)]))


def _annotations(predictor: dspy.Predict) -> Iterator[Any]:
    for fields in (predictor.signature.input_fields, predictor.signature.output_fields):
        yield from (field.annotation for field in fields.values())


def _fingerprint(teacher: Teacher) -> str:
    """Hash of all that shapes the teacher's prompts and texts: modules, their settings, signatures, demos, LMs, adapters."""
    modules = [(name, type(module).__qualname__, _settings_of(module)) for name, module in teacher.program.named_sub_modules()]
    predictors = [
        (name, predictor.signature.dump_state(), [dict(demo) for demo in predictor.demos], predictor.config)
        for name, predictor in all_predictors(teacher.program)
    ]
    lms = [(used.model, all_options(used)) for used in teacher.lms]
    shape = [modules, predictors, lms, type(dspy.settings.adapter).__qualname__]
    typed = [shape_of(annotation) for _, predictor in all_predictors(teacher.program) for annotation in _typed(predictor)]
    return digest([*shape, typed] if typed else shape)[:16]


def _typed(predictor: dspy.Predict) -> Iterator[Any]:
    """Annotations that DSPy's state of a signature leaves out, and that decide what its values are."""
    yield from (field.annotation for field in predictor.signature.input_fields.values() if not is_plain(field.annotation))
    yield from (field.annotation for field in predictor.signature.output_fields.values() if field.annotation not in (str, list[str]))


def _settings_of(module: dspy.Module) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in vars(module):
        # What a setting comes to, where the program settles it by its model.
        value = getattr(module, name)
        if name in CHANGING:
            continue
        if isinstance(value, str | int | float | bool | None):
            settings[name] = value
        elif isinstance(value, Mapping) and any(isinstance(item, dspy.Adapter) for item in value.values()):
            settings[name] = {key: type(item).__qualname__ for key, item in value.items()}
        elif not isinstance(module, dspy.Predict) and (plain := setting_text(value)):
            settings[name] = plain
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


def _is_usage(value: Any) -> bool:
    """Whether a field is what this package's programs say of their cost, which each line has already."""
    return isinstance(value, Mapping) and all(isinstance(stage, Mapping) and "calls" in stage for stage in value.values())


def _told(error: str | None, cut_off: bool, empty: bool) -> str | None:
    """The reason of a failed run: what became of its replies, where that is known, says more than that they could not be read."""
    if error not in (None, UNPARSEABLE):
        return error
    return CUT_OFF if cut_off else EMPTY if empty else error


def _nested(entries: Mapping[tuple[str, str], Usage]) -> dict[str, dict[str, dict[str, Any]]]:
    nested: dict[str, dict[str, dict[str, Any]]] = {}
    for (stage, model), usage in entries.items():
        nested.setdefault(stage, {})[model] = usage.to_dict()
    return nested
