"""Decompositions in what others wrote down: plain rows, the history of DSPy's LMs, MLflow's traces.

Every form comes down to a question, and what was made of it, which is read as a teacher's reply is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from optimizers.labelling.call_fields import HEADER, asked_fields, prompt_fields, reply_fields
from programs.adapter import tolerant
from programs.decomposition import read_decomposition
from programs.question_lists import is_question, read_items
from programs.replies import item_text
from programs.signatures import NO_DECOMPOSITION, Decompose
from programs.tasks.base import canonical

NAMES: dict[str, tuple[str, ...]] = {
    "question": ("question", "query"),
    "subquestions": ("subquestions", "sub_questions", "decomposition", "subqueries"),
    "context": ("context", "passage"),
    "answer": ("answer",),
    "reference": ("reference", "gold", "expected_answer"),
    "id": ("id", "trace_id", "uuid"),
}
"""Names of columns that are understood without being told, the first of them first."""

_HALVES = (("inputs", "outputs"), ("input", "output"), ("request", "response"))
_CHILDREN = ("children", "subquestions", "sub_questions", "subqueries", "decomposition")
_CIRCLED = re.compile(r"[\u2460-\u2473]")
_BARS = re.compile(r"\s*[|;；]\s*")
_NEXT_QUESTION = re.compile(r"(?<=[?？؟])\s+(?=[^\W\da-z_]|#\d)|(?<=？)(?=\w)")
_SHOWN = 80


class NoTraceError(ValueError):
    """A row, or a part of it, has no decomposition; says why."""


class NoDecomposerError(NoTraceError):
    """A call of something else than a decomposer, as a history or a trace has them beside its own."""


@dataclass(frozen=True)
class Trace:
    """A decomposition that somebody else's program made.

    Attributes:
        question: What was decomposed.
        subquestions: As `read_decomposition` takes them: all of them; empty if the question needs none.
        context: The passage that it is about; empty without one.
        answer: What that program answered; None if it is not known.
        reference: What is right; None if it is not known.
        id: Its own; empty without one.
        place: Where it stands, for messages.
    """

    question: str
    subquestions: tuple[str, ...]
    context: str = ""
    answer: str | None = None
    reference: str | list[str] | None = None
    id: str = ""
    place: str = ""


def traces_in(row: Any, names: Mapping[str, tuple[str, ...]]) -> Iterator[Trace]:
    """The decompositions in a row.

    Args:
        row: A plain row, an entry of `lm.history`, or a trace of MLflow.
        names: As `NAMES`.

    Raises:
        NoTraceError: There is none; says why.
    """
    if not isinstance(row, Mapping):
        raise NoTraceError(f"expected an object, got {_shown(row)}")
    spans = _spans(row)
    if spans is not None:
        yield from _of_spans(spans, names)
    elif "outputs" in row and ("messages" in row or isinstance(row.get("prompt"), str)):
        yield from _of_history(row, names)
    else:
        yield _of_fields(_fields(row), names)


# Plain rows
def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row, and those of its inputs and outputs where it has such."""
    found = dict(row)
    for half in _HALVES:
        for side in half:
            inner = _parsed(row.get(side))
            if isinstance(inner, Mapping):
                inner = {**_mapping(inner.get("kwargs")), **inner}
                found = {**inner, **{name: value for name, value in found.items() if name != side}}
    return found


def _of_fields(fields: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> Trace:
    values = {name: next((fields[column] for column in columns if fields.get(column) is not None), None) for name, columns in names.items()}
    question = values["question"]
    if not isinstance(question, str) or not question.strip():
        wanted = " or ".join(map(repr, names["question"]))
        raise NoTraceError(f"no question: {_named(fields, wanted, question)}")
    if values["subquestions"] is None:
        wanted = " or ".join(map(repr, names["subquestions"]))
        raise NoDecomposerError(f"no decomposition: {_named(fields, wanted, None)}")
    return Trace(
        question=question.strip(),
        subquestions=_read(values["subquestions"], question),
        context=_passages(values["context"]),
        answer=_text(values["answer"]),
        reference=_reference(values["reference"]),
        id=_text(values["id"]) or "",
    )


def _named(fields: Mapping[str, Any], wanted: str, value: Any) -> str:
    if value is not None:
        return f"{_shown(value)} in {wanted} is no text, or an empty one"
    return f"there is no {wanted} among the columns {sorted(map(str, fields))[:12]}"


def _read(made: Any, question: str) -> tuple[str, ...]:
    """The subquestions in what a decomposer wrote, in any form in which LLMs do."""
    whole = _parsed(made.strip()) if isinstance(made, str) else made
    if isinstance(whole, list) or (isinstance(whole, Mapping) and _below(whole)):
        lines: Any = read_items(_flat(whole))
    else:
        lines = _lines_of(_one_a_line(made, question) if isinstance(made, str) else made)
    found = read_decomposition(lines, None, question)
    if found.state == "unparseable":
        raise NoTraceError(f"no subquestion can be read in {_shown(made)}")
    return tuple(found.subquestions)


def _flat(item: Any) -> list[str]:
    """The texts of a list, or of a tree of subquestions, each before those below it."""
    if isinstance(item, list):
        return [text for one in item for text in _flat(one)]
    if isinstance(item, Mapping):
        own = item_text({name: value for name, value in item.items() if isinstance(value, str)})
        found = [*([own] if own else []), *_flat(_below(item))]
    else:
        found = [item] if isinstance(item, str) else []
    if not found:
        raise NoTraceError(f"the subquestion {_shown(item)} is no text")
    return found


def _below(item: Mapping[str, Any]) -> list[Any]:
    return [one for name in _CHILDREN if isinstance(item.get(name), list) for one in item[name]]


def _one_a_line(text: str, question: str) -> str:
    """A text with its questions one below the other where several stand on one line, each with its mark."""
    if "\n" in text.strip() or canonical(text) == canonical(question):
        return text
    for marks in (_CIRCLED, _BARS, _NEXT_QUESTION):
        parts = [part.strip() for part in marks.split(text) if part.strip()]
        quoted = any(part.count('"') % 2 or part.count("“") != part.count("”") for part in parts)
        if len(parts) > 1 and not quoted and all(map(is_question, parts)):
            return "\n".join(parts)
    return text


def _lines_of(reply: Any) -> list[str] | str:
    if isinstance(reply, Mapping):
        reply = json.dumps(reply, ensure_ascii=False, default=str)
    if not isinstance(reply, str):
        raise NoTraceError(f"the decomposition {_shown(reply)} is neither a list nor a text")
    headers = HEADER.findall(reply)
    if headers and "subquestions" not in headers:
        raise NoDecomposerError(f"a reply with {', '.join(header for header in headers if header != 'completed')} and no subquestions")
    try:
        return tolerant(dspy.ChatAdapter()).parse(Decompose, reply)["subquestions"]
    except AdapterParseError:
        raise NoTraceError(f"no subquestion can be read in {_shown(reply)}") from None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, list | Mapping) or value != value:
        return None
    return str(value).strip() or None


def _passages(value: Any) -> str:
    """What a question is about: a text, or the passages of a list one below the other."""
    if isinstance(value, list | tuple):
        return "\n".join(text for one in value if (text := _passages(one)))
    if isinstance(value, Mapping):
        return item_text(value, ("text", "content", "passage", "page_content"))
    return _text(value) or ""


def _reference(value: Any) -> str | list[str] | None:
    return [text for one in value if (text := _text(one))] or None if isinstance(value, list) else _text(value)


# The history of DSPy's LMs
def _of_history(entry: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> Iterator[Trace]:
    prompt = _said(entry, "user") or (entry["prompt"] if isinstance(entry.get("prompt"), str) else "")
    inputs = prompt_fields(prompt, (*names["question"], *names["context"]))
    if not inputs:
        raise NoTraceError("the prompt has no field 'question' in one of DSPy's formats or this package's")
    asked = asked_fields(prompt, _said(entry, "system"), names["subquestions"])
    if given := next((name for name in names["subquestions"] if name in inputs), None):
        raise NoDecomposerError(f"a call that was given {given}")
    _refuse_other_outputs(asked, names)
    outputs = [text for one in entry["outputs"] or () if isinstance(text := one.get("text") if isinstance(one, Mapping) else one, str)]
    replies = [_made_in(output, asked, names) for output in outputs]
    if entry.get("truncated") or _finish(entry) == "length":
        raise NoTraceError("the reply was cut off at its limit of tokens")
    if not replies:
        raise NoTraceError("the call has no output")
    own = {name: inputs[name] for name in (*names["question"], *names["context"]) if name in inputs}
    for made in replies:
        yield replace(_of_fields({**own, names["subquestions"][0]: made}, names), id=str(entry.get("uuid") or ""))


def _refuse_other_outputs(found: Collection[str], names: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a call whose outputs, if any are known, are other ones than subquestions alone."""
    if found and not (len(found) == 1 and set(found) <= set(names["subquestions"])):
        raise NoDecomposerError(f"a call for {', '.join(found)}, not for subquestions alone")


def _made_in(reply: str, asked: Sequence[str], names: Mapping[str, tuple[str, ...]]) -> Any:
    """The decomposition in a reply: a value of its fields, or all of it where the prompt asked for nothing else."""
    fields = reply_fields(reply, names["subquestions"])
    if not asked:
        if not fields:
            raise NoDecomposerError("a call that does not say that it is for subquestions")
        _refuse_other_outputs(fields, names)
    return next((fields[name] for name in names["subquestions"] if name in fields), reply)


def _said(entry: Mapping[str, Any], role: str) -> str:
    """What somebody said last: demos stand before it."""
    said = [one for one in entry.get("messages") or () if isinstance(one, Mapping) and one.get("role") == role]
    content = said[-1].get("content") if said else ""
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _finish(entry: Mapping[str, Any]) -> Any:
    response = _mapping(entry.get("response"))
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return _mapping(first).get("finish_reason") or response.get("finish_reason")


# MLflow
def _spans(row: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The spans of a trace: of its own JSON, or of a row of `mlflow.search_traces`."""
    whole = _mapping(_parsed(row.get("trace")))
    for holder in (_mapping(row.get("data")), _mapping(whole.get("data")), row):
        spans = _parsed(holder.get("spans"))
        if isinstance(spans, list):
            return [_mapping(_parsed(span)) for span in spans]
    return None


def _of_spans(spans: list[Mapping[str, Any]], names: Mapping[str, tuple[str, ...]]) -> Iterator[Trace]:
    """One trace a question, of the outermost span that has both; of the calls of an LM, where no span has the fields."""
    found: list[Trace] = []
    reasons: list[str] = []
    for read in (_of_span, _of_call):
        for span in spans if not found else ():
            try:
                for trace in read(span, names):
                    # A stage may see less than the program that it is in.
                    if not any(one.question == trace.question and trace.context in ("", one.context) for one in found):
                        found.append(trace)
            except NoDecomposerError:
                continue
            except NoTraceError as error:
                reasons.append(str(error))
    if not found:
        raise NoTraceError(reasons[0] if reasons else f"none of its {len(spans)} spans has a question and its subquestions")
    yield from found


def _of_span(span: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> Iterator[Trace]:
    inputs, outputs = _sides(span)
    fields, made = _mapping(inputs), _mapping(outputs)
    if _failed(span) or not any(column in made for column in names["subquestions"]):
        raise NoDecomposerError("no subquestions among the outputs")
    fields = {**_mapping(fields.get("kwargs")), **fields}
    if made.get("state") == "unparseable":
        raise NoTraceError(f"its program could not read the decomposition: {_shown(made.get('lines'))}")
    if made.get("state") == "none_needed":
        made = {**made, names["subquestions"][0]: NO_DECOMPOSITION}
    yield replace(_of_fields({**fields, **made}, {**names, "id": ()}), id=str(span.get("trace_id") or ""))


def _of_call(span: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> Iterator[Trace]:
    inputs, outputs = _sides(span)
    given = _mapping(inputs)
    if _failed(span) or not isinstance(outputs, list) or not ("messages" in given or isinstance(given.get("prompt"), str)):
        raise NoDecomposerError("no call of an LM")
    yield from _of_history({"prompt": given.get("prompt"), "messages": given.get("messages"), "outputs": outputs}, names)


def _sides(span: Mapping[str, Any]) -> tuple[Any, Any]:
    attributes = _mapping(span.get("attributes"))
    inputs, outputs = (_parsed(attributes.get(f"mlflow.span{side}", span.get(side.lower()))) for side in ("Inputs", "Outputs"))
    return inputs, outputs


def _failed(span: Mapping[str, Any]) -> bool:
    status = span.get("status")
    return "ERROR" in str(_mapping(status).get("code", status) or "").upper()


def _parsed(value: Any) -> Any:
    """A value, or what its text says as JSON."""
    if not isinstance(value, str) or value[:1] not in ("{", "[", '"'):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
