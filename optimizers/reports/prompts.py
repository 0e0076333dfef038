"""The prompts and replies behind an answer.

Journals keep replies word for word, and of prompts a hash. So a prompt is written again, in every form in which this package
asks, and shown where its hash is the one on file: it is then what was sent, to the letter. Nothing else is shown as a prompt.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import dspy
from dspy import lm15
from dspy._vendor.lm15.serde import request_to_dict

from optimizers.labelling.journal import digest, is_answer, journals_below
from programs.adapter import ADAPTERS
from programs.compiled.few_shot import FewShot
from programs.parts import FIRST, part_of
from programs.signatures import Answer, Decompose, ShortAnswer, Solve
from programs.tasks.registry import TASKS
from programs.tasks.scorers import FORMATS
from programs.turns import without_thoughts

Line = dict[str, Any]

_FIELDS = {"prompt": re.compile(rb'"prompt":\s*"([0-9a-f]{16})"'), "example": re.compile(rb'"example":\s*"((?:[^"\\]|\\.)*)"')}
"""What a call is looked up by, as it stands in a journal's line."""

_LIMITS = (None, *range(1, 13))
"""Numbers of subquestions that a decomposer may have been told."""


@dataclass(frozen=True)
class Message:
    """One message of a prompt: `system`, `user` or `assistant`, and its text."""

    role: str
    text: str


@dataclass(frozen=True)
class Exchange:
    """What a stage was asked, and what it said.

    Attributes:
        stage: `decompose`, `solve`, `answer`, or a predictor of a program of the user's own.
        messages: The prompt, as it was sent; empty where it cannot be written again.
        record: The line of the journal, with the reply, the model and its tokens; empty where it is not on file.
    """

    stage: str
    messages: Sequence[Message] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """An answer whose prompts are looked for: its line, the models by stage, and the compiled prompts of its program (or none)."""

    line: Line
    models: Mapping[str, str]
    compiled: Mapping[str, Any] | None = None


def exchanges(folder: Path, answers: Sequence[Asked]) -> list[list[Exchange]]:
    """The exchanges behind each answer, in the order of its stages.

    Args:
        folder: The job's, with its journals.
        answers: Those to look up, in one reading of the journals.
    """
    calls = CallsOnFile(folder)
    return [calls.exchanges(answer) for answer in answers]


class CallsOnFile:
    """Where each call stands in a job's journals, read once; the calls themselves are read when they are asked for.

    Args:
        folder: The job's, with its journals.
    """

    def __init__(self, folder: Path) -> None:
        self._places: dict[tuple[str, bytes], list[tuple[Path, int]]] = {}
        self._fitted: dict[tuple[str, str | None], int] = {}
        for path in sorted(journals_below(folder)):
            # One that another process has just moved away is a journal no longer.
            with contextlib.suppress(OSError):
                self._note(path)

    def _note(self, path: Path) -> None:
        offset = 0
        with path.open("rb") as file:
            for raw in file:
                for name, pattern in _FIELDS.items():
                    if found := pattern.search(raw):
                        self._places.setdefault((name, found[1]), []).append((path, offset))
                offset += len(raw)

    def exchanges(self, answer: Asked) -> list[Exchange]:
        """The exchanges behind an answer, in the order of its stages."""
        return [self._exchange(stage, _Form.of(stage, answer), answer) for stage in _stages(answer.line)]

    def _exchange(self, stage: str, form: _Form, answer: Asked) -> Exchange:
        model = answer.models.get(stage)
        # Most answers of a condition were asked for in one form; to write all of them takes a hundred times as long.
        at = self._fitted.get((stage, model))
        prompts = {} if at is None else _written_at(form, at)
        best = self._best(stage, prompts, answer)
        if not (best and is_answer(best) and best.get("model") == model):
            prompts = _written(form)
            best = self._best(stage, prompts, answer)
        if not best:
            return Exchange(stage)
        prompt = prompts.get(str(best.get("prompt")))
        if prompt:
            self._fitted[stage, model] = prompt.at
        return Exchange(stage, prompt.messages if prompt else (), best)

    def _best(self, stage: str, prompts: Mapping[str, _Prompt], answer: Asked) -> Mapping[str, Any] | None:
        """The call that most likely gave an answer; None if none is on file."""
        fitting = self._given(stage, answer, "prompt", prompts)
        if answer.line.get("calls"):
            name, sample = str(answer.line["example"]), answer.line.get("sample") or 0
            told = self._given(stage, answer, "example", [json.dumps(name, ensure_ascii=False)[1:-1]])
            own = [record for record in told if (str(record.get("example")), record.get("sample") or 0) == (name, sample)]
            keys = [record.get("key") for record in own]
            fitting = [record for record in fitting if record.get("key") in keys] or fitting or own

        # Several models, samples and conditions may have been given the same prompt.
        def fits(record: Mapping[str, Any]) -> tuple[bool, bool, bool]:
            return is_answer(record), record.get("model") == answer.models.get(stage), _is_vote_for(record, stage, answer.line)

        return max(fitting, key=fits, default=None)

    def _given(self, stage: str, answer: Asked, field: str, values: Iterable[str]) -> list[Mapping[str, Any]]:
        """Calls with one of these values that a stage may have made for an answer, in the order of the journals."""
        places = {place for value in values for place in self._places.get((field, value.encode("utf-8", "surrogatepass")), ())}
        records = [record for place in sorted(places) if (record := _record(*place))]
        return [record for record in records if _is_stage(record, own_stage(stage, answer.line)) and _may_have_given(record, stage, answer)]


def _record(path: Path, offset: int) -> Mapping[str, Any] | None:
    """A line of a journal; None for one that is damaged, or was another one before."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            record = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _stages(line: Line) -> list[str]:
    """The stages of an answer that asked an LM: as its calls or its costs say."""
    calls, usage = line.get("calls") or [], line.get("usage")
    costs = usage.items() if isinstance(usage, Mapping) else ()
    found = [str(call[0]) for call in calls] or [str(stage) for stage, cost in costs if isinstance(cost, Mapping) and cost.get("calls")]
    return list(dict.fromkeys(found))


def _is_stage(record: Mapping[str, Any], stage: str) -> bool:
    return str(record.get("stage")) in (stage, stage.partition(".")[0], "program", "None")


def own_stage(stage: str, line: Mapping[str, Any]) -> str:
    """The name of a stage in its own part of a cascade, by which journals know it; of another program the name itself."""
    return part_of(stage)[1] if line.get("route") else stage


def _is_of_other_way(stage: str, line: Line) -> bool:
    """Whether a stage is of the part of a cascade that did not answer, whose decomposition the line does not hold."""
    return bool(line.get("route")) and part_of(stage)[0] != line["route"]


def _is_vote_for(record: Mapping[str, Any], stage: str, line: Line) -> bool:
    """Whether a reply speaks for the cheap answer of a cascade, of whose votes all have the same prompt."""
    told = line.get("first_answer") if line.get("route") and part_of(stage)[0] == FIRST else None
    return bool(told) and _bare(str(told)) in _bare(str(record.get("text") or ""))


def _may_have_given(record: Mapping[str, Any], stage: str, answer: Asked) -> bool:
    """Whether the decomposition of an answer is from this reply: controls give a solver what was asked for another question."""
    own = own_stage(stage, answer.line)
    if _is_of_other_way(stage, answer.line):
        # What its solver was given is not in the line, and another part's prompt would pass for it.
        return own != "solve"
    lines = str(answer.line.get("decomposition") or "").split("\n")
    text = _bare(without_thoughts(str(record.get("text") or "")))
    return own != "decompose" or "error" in record or all(_bare(line) in text for line in lines)


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@dataclass(frozen=True)
class _Form:
    """What the prompts of a stage are made of; as JSON, so that answers which share it share the work."""

    stage: str
    inputs: str
    compiled: str

    @classmethod
    def of(cls, stage: str, answer: Asked) -> _Form:
        stage = own_stage(stage, answer.line)
        name = stage.partition(".")[0]
        state = answer.compiled.get(name) if isinstance(answer.compiled, Mapping) else None
        return cls(stage, json.dumps(list(_inputs(stage, name, answer.line)), default=str), json.dumps(state, default=str))

    def shapes(self) -> Iterator[tuple[dict[str, Any], dspy.Predict, str]]:
        """Inputs, predictor and format of each prompt that may have been sent."""
        return itertools.product(json.loads(self.inputs), _predictors(self.stage, self.compiled), ADAPTERS)


class _Prompt(NamedTuple):
    """A prompt, and where its form stands among those of `_Form.shapes`."""

    at: int
    messages: list[Message]


@functools.lru_cache(maxsize=256)
def _written(form: _Form) -> dict[str, _Prompt]:
    """Hash of a prompt -> the prompt, in all the forms in which this package may have asked."""
    return {key: prompt for at, shape in enumerate(form.shapes()) for key, prompt in _prompt(at, *shape)}


def _written_at(form: _Form, at: int) -> dict[str, _Prompt]:
    """Likewise in the form at one place alone."""
    return {key: prompt for shape in itertools.islice(form.shapes(), at, at + 1) for key, prompt in _prompt(at, *shape)}


def _prompt(at: int, inputs: dict[str, Any], predictor: dspy.Predict, adapter: str) -> Iterator[tuple[str, _Prompt]]:
    try:
        demos = predictor.with_demos(dict(inputs))["demos"] if isinstance(predictor, FewShot) else []
        messages = ADAPTERS[adapter]().format(predictor.signature, demos, dict(inputs))
        yield _hash(messages), _Prompt(at, [Message(str(one["role"]), _text(one["content"])) for one in messages])
    except Exception:
        # Inputs of a stranger's line that a format cannot write were not sent in it.
        return


@functools.lru_cache(maxsize=32)
def _predictors(stage: str, compiled: str) -> tuple[dspy.Predict, ...]:
    """Those that may have asked."""
    name, state = stage.partition(".")[0], json.loads(compiled)
    made: list[dspy.Predict] = []
    for base, further in itertools.product(_signatures().get(name, []), ["", *_answer_formats()] if name != "decompose" else [""]):
        signature = base.with_instructions(f"{base.instructions} {further}") if further else base
        made.append(dspy.Predict(signature))
        if isinstance(state, Mapping):
            made += _compiled(signature, state, further)
    return tuple(made)


def _hash(messages: list[dict[str, Any]]) -> str:
    """As `optimizers.labelling.journaled_lm` notes a prompt."""
    whole = request_to_dict(lm15.request_from_openai_chat({"model": "any", "messages": messages}))
    return digest({name: whole.get(name) for name in ("system", "messages", "tools")})[:16]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)


def _inputs(stage: str, name: str, line: Line) -> Iterator[dict[str, Any]]:
    given = [call[1] for call in line.get("calls") or [] if call[0] == stage]
    if given:
        yield from (dict(inputs) for inputs in given)
        return
    question, context = line.get("question"), line.get("context") or ""
    if name == "decompose":
        for seen, limit in itertools.product(dict.fromkeys((context, "")), _LIMITS):
            yield {"context": seen, "question": question, **({} if limit is None else {"max_subquestions": limit})}
    elif name == "solve":
        yield {"context": context, "question": question, "subquestions": line.get("subquestions") or []}
    elif name == "answer":
        yield {"context": context, "question": question}


def _compiled(signature: type[dspy.Signature], state: Mapping[str, Any], further: str) -> Iterator[dspy.Predict]:
    predictor = FewShot(signature)
    try:
        predictor.load_state({**state, "lm": None})
    except Exception:
        # A state of another version, or a damaged one: its prompts are not found then.
        return
    told = predictor.signature.instructions
    if further and further not in told:
        predictor.signature = predictor.signature.with_instructions(f"{told} {further}")
    yield predictor


@functools.cache
def _signatures() -> dict[str, list[type[dspy.Signature]]]:
    reasoned = dspy.ChainOfThought(Answer).predict.signature
    return {"decompose": [Decompose], "solve": [Solve], "answer": [Answer, reasoned, ShortAnswer]}


@functools.cache
def _answer_formats() -> tuple[str, ...]:
    """What solvers may have been told about the form of an answer."""
    found = [getattr(task, "answer_format", "") for task in TASKS.usable().values()]
    return tuple(dict.fromkeys(text for text in (*found, *FORMATS.values()) if isinstance(text, str) and text))
