"""The prompts and replies behind an answer.

Journals keep replies word for word, and of prompts a hash. So a prompt is written again, in every form in which this package
asks, and shown where its hash is the one on file: it is then what was sent, to the letter. Nothing else is shown as a prompt.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy
from dspy import lm15
from dspy._vendor.lm15.serde import request_to_dict

from optimizers.labelling.journal import digest, journals_below
from optimizers.viewer.answer_file import Line
from programs.adapter import ADAPTERS
from programs.compiled.few_shot import FewShot
from programs.signatures import Answer, Decompose, ShortAnswer, Solve
from programs.tasks.registry import TASKS
from programs.tasks.scorers import FORMATS
from programs.turns import without_thoughts

_PROMPT = re.compile(rb'"prompt":\s*"([0-9a-f]{16})"')
_EXAMPLE = re.compile(rb'"example":\s*"((?:[^"\\]|\\.)*)"')

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
    written = [{stage: _written(_Form.of(stage, answer)) for stage in _stages(answer.line)} for answer in answers]
    wanted = {prompt for stages in written for prompts in stages.values() for prompt in prompts}
    examples = {str(answer.line["example"]) for answer in answers if answer.line.get("calls")}
    records = list(_records(folder, wanted, examples))
    return [
        [_exchange(stage, prompts, answer, records) for stage, prompts in stages.items()]
        for answer, stages in zip(answers, written, strict=True)
    ]


def _stages(line: Line) -> list[str]:
    """The stages of an answer that asked an LM: as its calls or its costs say."""
    calls, usage = line.get("calls") or [], line.get("usage")
    costs = usage.items() if isinstance(usage, Mapping) else ()
    found = [str(call[0]) for call in calls] or [str(stage) for stage, cost in costs if isinstance(cost, Mapping) and cost.get("calls")]
    return list(dict.fromkeys(found))


def _exchange(stage: str, prompts: Mapping[str, list[Message]], answer: Asked, records: Sequence[Mapping[str, Any]]) -> Exchange:
    mine = [record for record in records if _is_stage(record, stage) and _may_have_given(record, stage, answer)]
    fitting = [record for record in mine if record.get("prompt") in prompts]
    if answer.line.get("calls"):
        run = str(answer.line["example"]), answer.line.get("sample") or 0
        own = [record for record in mine if (str(record.get("example")), record.get("sample") or 0) == run]
        fitting = [record for record in fitting if record in own] or fitting or own
    if not fitting:
        return Exchange(stage)
    # Several models, samples and conditions may have been given the same prompt.
    best = max(fitting, key=lambda record: ("error" not in record, record.get("model") == answer.models.get(stage)))
    return Exchange(stage, prompts.get(str(best.get("prompt")), ()), best)


def _is_stage(record: Mapping[str, Any], stage: str) -> bool:
    return str(record.get("stage")) in (stage, stage.partition(".")[0], "program", "None")


def _may_have_given(record: Mapping[str, Any], stage: str, answer: Asked) -> bool:
    """Whether the decomposition of an answer is from this reply: controls give a solver what was asked for another question."""
    lines = str(answer.line.get("decomposition") or "").split("\n")
    text = _bare(without_thoughts(str(record.get("text") or "")))
    return stage != "decompose" or "error" in record or all(_bare(line) in text for line in lines)


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _records(folder: Path, wanted: Collection[str], examples: Collection[str]) -> Iterator[dict[str, Any]]:
    """Lines of a job's journals with one of the prompts, or on one of the examples."""
    prompts = {prompt.encode() for prompt in wanted}
    ids = {json.dumps(example, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass") for example in examples}
    for path in sorted(journals_below(folder)):
        try:
            with path.open("rb") as file:
                for raw in file:
                    if _holds(_PROMPT, raw, prompts) or (ids and _holds(_EXAMPLE, raw, ids)):
                        record = json.loads(raw)
                        if isinstance(record, dict):
                            yield record
        except (OSError, ValueError, RecursionError):
            continue


def _holds(pattern: re.Pattern[bytes], raw: bytes, wanted: Collection[bytes]) -> bool:
    found = pattern.search(raw)
    return found is not None and found[1] in wanted


@dataclass(frozen=True)
class _Form:
    """What the prompts of a stage are made of; as JSON, so that answers which share it share the work."""

    stage: str
    inputs: str
    compiled: str

    @classmethod
    def of(cls, stage: str, answer: Asked) -> _Form:
        name = stage.partition(".")[0]
        state = answer.compiled.get(name) if isinstance(answer.compiled, Mapping) else None
        return cls(stage, json.dumps(list(_inputs(stage, name, answer.line)), default=str), json.dumps(state, default=str))

    def predictors(self) -> Iterator[dspy.Predict]:
        """Those that may have asked."""
        name, state = self.stage.partition(".")[0], json.loads(self.compiled)
        for base, further in itertools.product(_signatures().get(name, []), ["", *_answer_formats()] if name != "decompose" else [""]):
            signature = base.with_instructions(f"{base.instructions} {further}") if further else base
            yield dspy.Predict(signature)
            if isinstance(state, Mapping):
                yield from _compiled(signature, state, further)


@functools.lru_cache(maxsize=256)
def _written(form: _Form) -> dict[str, list[Message]]:
    """Hash of a prompt -> the prompt, in all the forms in which this package may have asked."""
    found: dict[str, list[Message]] = {}
    for inputs, predictor in itertools.product(json.loads(form.inputs), form.predictors()):
        demos = predictor.with_demos(dict(inputs))["demos"] if isinstance(predictor, FewShot) else []
        for adapter in ADAPTERS.values():
            try:
                messages = adapter().format(predictor.signature, demos, dict(inputs))
                found[_hash(messages)] = [Message(str(one["role"]), _text(one["content"])) for one in messages]
            except Exception:
                # Inputs of a stranger's line that a format cannot write were not sent in it.
                continue
    return found


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
        for seen, limit in itertools.product({context, ""}, _LIMITS):
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
