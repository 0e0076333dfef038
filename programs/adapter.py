"""LineAdapter: a prompt format short enough for small models to learn, and tolerant of what they write.

DSPy's ChatAdapter spends some 800 characters of scaffold on a call and wants JSON for lists. Here the system message is
the signature's instructions with one line on the form, inputs are `Label: value`, and lists are one item a line.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from programs.labelled_replies import REASONING, bare_field, is_labelled_behind_json, is_list, label_of, read_answer, read_fields
from programs.replies import with_latex_escaped
from programs.tasks._sentences import answers_in_a_sentence
from programs.turns import own_turn

_LONGEST_FOR_DSPY = 8000
"""Characters of a reply above which DSPy's repair of JSON, whose time grows with their square, does not see it."""

_Parser = Callable[[type[dspy.Signature], str], dict[str, Any]]

_NOTE = re.compile(r"[ \t]*# note: the value you produce [^\n]*")
"""What `dspy.ChatAdapter` writes behind a field that is no plain text."""


class LineAdapter(dspy.ChatAdapter):
    """Renders a signature as labelled lines and reads labelled lines back.

    One output field alone is written bare. With several, a list that comes first is written bare, one item a line, and
    every other field as `Label: value`. Nothing is asked a second time in JSON when a reply cannot be read: the
    `AdapterParseError` goes to the caller, who counts it.
    """

    id = "line/4"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(use_json_adapter_fallback=False, **kwargs)

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        """The instructions, and in one line how to reply."""
        return f"{textwrap.dedent(signature.instructions).strip()}\n{_reply_form(signature)}"

    def format_user_message_content(
        self, signature: type[dspy.Signature], inputs: dict[str, Any], prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        parts = [_labelled(name, inputs[name]) for name in signature.input_fields if not _is_empty(inputs.get(name))]
        return "\n".join(part for part in [prefix, *parts, suffix] if part)

    def format_assistant_message_content(
        self, signature: type[dspy.Signature], outputs: dict[str, Any], missing_field_message: str | None = None
    ) -> str:
        bare = bare_field(signature)
        lines = []
        for name in signature.output_fields:
            value = outputs.get(name, missing_field_message)
            if name != bare:
                lines.append(_labelled(name, value, numbered=False))
            elif not _is_empty(value):
                lines.append("\n".join(map(str, value)) if isinstance(value, list) else str(value))
        return "\n".join(lines)

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The field values in a reply.

        Raises:
            AdapterParseError: The reply is empty, lacks a labelled field, or a value does not fit its type.
        """
        try:
            return read_fields(signature, completion)
        except ValueError as error:
            raise AdapterParseError(type(self).__name__, signature, completion, str(error)) from error


class TerseLineAdapter(LineAdapter):
    """`LineAdapter` with the names of the output fields in place of instructions: for models trained on the task.

    A student learns what to do from its rows, so telling it again costs tokens in every row and every question: with
    the names alone a decomposition prompt of the embedded task has 45 tokens in place of 90.
    """

    id = "line-terse/1"

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        return " then ".join(map(label_of, signature.output_fields))


ADAPTERS: dict[str, type[dspy.Adapter]] = {
    "line": LineAdapter,
    "line-terse": TerseLineAdapter,
    "chat": dspy.ChatAdapter,
    "json": dspy.JSONAdapter,
}


def adapter_by_name(name: str) -> dspy.Adapter:
    """A fresh adapter: `line` (untrained models), `line-terse` (trained ones), `chat` or `json` (DSPy's own, to compare).

    Raises:
        ValueError: Unknown name.
    """
    if name not in ADAPTERS:
        raise ValueError(f"Unknown adapter {name!r}; expected one of {sorted(ADAPTERS)}.")
    return ADAPTERS[name]()


def adapter_name(adapter: dspy.Adapter) -> str:
    """The name of an adapter for `adapter_by_name`; its class name, if it has none there."""
    return next((name for name, cls in ADAPTERS.items() if type(adapter) is cls), type(adapter).__name__)


def configured_format() -> str:
    """The name of the format that DSPy asks in here and now."""
    return adapter_name(dspy.settings.adapter or dspy.ChatAdapter())


_SAVED: dict[str, type[dspy.Adapter]] = {**ADAPTERS, "xml": dspy.XMLAdapter}


def adapter_state(adapter: dspy.Adapter, stage: str) -> str | dict[str, Any]:
    """An adapter as a program keeps it on file: its name, with its options where it has any.

    Args:
        adapter: One of this package or of DSPy.
        stage: Whose it is, for the message.

    Raises:
        ValueError: An adapter, or an option, that a file cannot bring back.
    """
    name = next((name for name, cls in _SAVED.items() if type(adapter) is cls), None)
    options = _options(adapter, _SAVED[name]) if name else {}
    if name is None or adapter.native_response_types != _SAVED[name]().native_response_types:
        raise ValueError(
            f"Stage {stage!r} has an adapter that cannot be saved with its program: {type(adapter).__name__}. Expected one of "
            f"{sorted(_SAVED)} without native_response_types; save the program without it, and pass adapters={{{stage!r}: ...}} again "
            "before you load."
        )
    return {"name": name, "options": options} if options else name


def adapter_from_state(saved: str | Mapping[str, Any]) -> dspy.Adapter:
    """The inverse of `adapter_state`.

    Raises:
        ValueError: No adapter, or options, of `adapter_state`.
    """
    name, options = (saved, {}) if isinstance(saved, str) else (saved.get("name"), saved.get("options", {}))
    if name not in _SAVED:
        raise ValueError(
            f"The file names the adapter {name!r}; expected one of {sorted(_SAVED)}: save the program again with one of these."
        )
    try:
        return _SAVED[name](**options)
    except TypeError as error:
        raise ValueError(f"The adapter {name!r} cannot be made from its options {options!r} on file: {error}.") from error


def _options(adapter: dspy.Adapter, cls: type[dspy.Adapter]) -> dict[str, Any]:
    """The switches of an adapter that are set otherwise than by default."""
    usual = vars(cls())
    return {key: value for key, value in vars(adapter).items() if isinstance(value, bool) and value != usual.get(key)}


def tolerant(adapter: dspy.Adapter, question: str = "") -> dspy.Adapter:
    """An adapter that also reads what LMs write in place of its format, and is the same in all else.

    What a reasoning model thought aloud is left out, and so are DSPy's notes on types, which small LLMs copy. A reply that the
    adapter cannot read is read as `LineAdapter` reads it, and not asked again in JSON: a second call for each such reply is a cost
    that no other format has.

    Args:
        adapter: Any one; it stays as it is.
        question: What is asked, where `answer` is to be read: a sentence without a label that repeats it is an answer too.
    """
    reader = copy.copy(adapter)
    read = adapter.parse if isinstance(adapter, LineAdapter) else functools.partial(_read_tolerantly, adapter)
    reader.parse = lambda signature, completion: _read_sentence(read, signature, completion, question)
    if hasattr(reader, "use_json_adapter_fallback"):
        reader.use_json_adapter_fallback = False
    return reader


def _read_sentence(read: _Parser, signature: type[dspy.Signature], completion: str, question: str) -> dict[str, Any]:
    try:
        return read(signature, completion)
    except AdapterParseError:
        told = own_turn(completion).strip()
        names = list(signature.output_fields)
        others_may_lack = all(name in REASONING or is_list(signature.output_fields[name].annotation) for name in names[:-1])
        if names[-1] != "answer" or not others_may_lack or not answers_in_a_sentence(told, question):
            raise
        empty = {name: [] if is_list(signature.output_fields[name].annotation) else "" for name in names[:-1]}
        return {**empty, "answer": read_answer(told)}


def _read_tolerantly(adapter: dspy.Adapter, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
    text = _NOTE.sub("", own_turn(completion))
    if len(text) > _LONGEST_FOR_DSPY:
        return _read_anyway(signature, text, AdapterParseError(type(adapter).__name__, signature, text, "the reply cannot be read"))
    last = list(signature.output_fields)[-1]
    if last == "answer" and "[[ ##" not in text and is_labelled_behind_json(text):
        return _read_anyway(signature, text, AdapterParseError(type(adapter).__name__, signature, text, "the reply cannot be read"))
    try:
        values = adapter.parse(signature, with_latex_escaped(text) if text.lstrip("`json \n").startswith("{") else text)
    except AdapterParseError as error:
        return _read_anyway(signature, text, error)
    except (ValueError, RecursionError) as error:
        return _read_anyway(signature, text, AdapterParseError(type(adapter).__name__, signature, text, str(error)))
    lists = any(is_list(field.annotation) for field in signature.output_fields.values())
    if lists and "[[ ## " in text and not re.search(r"^\s*(?:\[(?!\[)|\{|```)", text, re.M):
        # Of a text that is no JSON, DSPy repairs the first brackets that stand in it into a list.
        with contextlib.suppress(AdapterParseError):
            return {**values, **_read_anyway(signature, text, AdapterParseError("", signature, text))}
    if last == "answer" and isinstance(values[last], str):
        values = {**values, last: read_answer(values[last])}
        if not values[last]:
            raise AdapterParseError(type(adapter).__name__, signature, text, "the reply has no text under its last field")
    return values


def _read_anyway(signature: type[dspy.Signature], text: str, error: AdapterParseError) -> dict[str, Any]:
    try:
        return read_fields(signature, text)
    except ValueError:
        raise AdapterParseError(error.adapter_name, signature, text, error.message) from error


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == []


def _labelled(name: str, value: Any, numbered: bool = True) -> str:
    if isinstance(value, list):
        items = [f"{i}. {item}" if numbered else str(item) for i, item in enumerate(value, 1)]
        return "\n".join([f"{label_of(name)}:", *items])
    return f"{label_of(name)}: {value}"


def _reply_form(signature: type[dspy.Signature]) -> str:
    bare = bare_field(signature)
    forms = [_form(name, field, signature, first=not at) for at, (name, field) in enumerate(signature.output_fields.items())]
    if bare and not _description(signature.output_fields[bare]) and list(signature.output_fields)[-1] == "answer" and len(forms) > 1:
        # Asked for 'the sub answers, then the answer', LLMs take the last sub-answer for it and stop there.
        return f"Reply with {', then '.join(forms[:-1])}. Then work out the answer to the question itself. End with a line {forms[-1]}."
    return f"Reply with {', then '.join(forms)}."


def _form(name: str, field: Any, signature: type[dspy.Signature], first: bool) -> str:
    label, many, text = label_of(name), is_list(field.annotation), _description(field)
    behind = f" ({text})" if text else ""
    if name == bare_field(signature):
        if len(signature.output_fields) == 1:
            return f"the {label.lower()} only" + (", one per line" if many else "") + behind
        # Items before an answer may take several lines each, as a calculation does.
        return text or f"the {label.lower()}, one below the other"
    if name in REASONING and first:
        # Asked for 'Reasoning: ...', LLMs write one sentence on what they would do.
        return f"the {label.lower()}, step by step{behind}"
    return f"'{label}: ...'" + (" with one per line" if many else "") + behind


def _description(field: Any) -> str:
    """What a signature says of a field; DSPy describes a field without a text of its own by its name."""
    text = str((field.json_schema_extra or {}).get("desc") or "").strip()
    return "" if text.startswith("${") else text
