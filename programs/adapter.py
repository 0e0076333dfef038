"""LineAdapter: a prompt format short enough for small models to learn, and tolerant of what they write.

DSPy's ChatAdapter spends some 800 characters of scaffold on a call and wants JSON for lists. Here the system message is
the signature's instructions with one line on the form, inputs are `Label: value`, and lists are one item a line.
"""

from __future__ import annotations

import contextlib
import copy
import re
import textwrap
from collections.abc import Mapping
from typing import Any, get_origin

import dspy
from dspy.adapters.utils import parse_value
from dspy.utils.exceptions import AdapterParseError

from programs.final_answers import OTHER_LABELS, concluded, main_answer, read_sub_answers, without_rest
from programs.question_lists import read_questions
from programs.replies import answer_text, item_text, json_fields, last_marked, read_lines, said, unmarked, without_thoughts

_REASONING = ("reasoning", "rationale")
"""Output fields that need no label: what a model writes before its answer is how it came there."""

_FULL_STOP = re.compile(
    r"(?<=\d)\.\s+.*|\.\s+(?=(?:I|This|That|Let|So|Therefore|Thus|Hope|Because|It|Since|The|We|You|Note|If)\b).*|(?<!\b[A-Za-z])\.\s*$"
)
_SENTENCE = re.compile(r"the (?:final |correct )?answer (?:is|would be):? +(?!not\b)(\S[^\n]*)\Z", re.IGNORECASE)
_HEADER = re.compile(r"^[ \t#*_>-]*\[+[ \t]{0,3}#*[ \t]{0,3}(\w+)[ \t]{0,3}#*[ \t]{0,3}\]+[*_]*:?", re.MULTILINE)
_LONGEST_FOR_DSPY = 8000
"""Characters of a reply above which DSPy's repair of JSON, whose time grows with their square, does not see it."""
_COMPLETED = re.compile(r"^[ \t]*\[\[ ## completed.*", re.MULTILINE | re.DOTALL)


class LineAdapter(dspy.ChatAdapter):
    """Renders a signature as labelled lines and reads labelled lines back.

    One output field alone is written bare. With several, a list that comes first is written bare, one item a line, and
    every other field as `Label: value`. Nothing is asked a second time in JSON when a reply cannot be read: the
    `AdapterParseError` goes to the caller, who counts it.
    """

    id = "line/3"

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
        bare = _bare_field(signature)
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
        text = _with_labels(signature, without_thoughts(completion))
        values = json_fields(signature.output_fields, text) or _sections(signature, text)
        for name, field in list(signature.output_fields.items())[:-1]:
            if name in _REASONING or _is_list(field.annotation):
                values.setdefault(name, "")
        missing = [name for name in signature.output_fields if values.get(name) is None]
        if missing or not _HEADER.sub("", text).strip() or values[list(signature.output_fields)[-1]] == "":
            raise self._error(signature, completion, f"the reply has no {' and no '.join(map(_label, missing)) or 'text'}")
        try:
            return {name: _read(name, values[name], field.annotation) for name, field in signature.output_fields.items()}
        except ValueError as error:
            raise self._error(signature, completion, str(error)) from error

    def _error(self, signature: type[dspy.Signature], completion: str, message: str) -> AdapterParseError:
        return AdapterParseError(adapter_name="LineAdapter", signature=signature, lm_response=completion, message=message)


class TerseLineAdapter(LineAdapter):
    """`LineAdapter` with the names of the output fields in place of instructions: for models trained on the task.

    A student learns what to do from its rows, so telling it again costs tokens in every row and every question: with
    the names alone a decomposition prompt of the embedded task has 45 tokens in place of 90.
    """

    id = "line-terse/1"

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        return " then ".join(map(_label, signature.output_fields))


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


def past_thoughts(adapter: dspy.Adapter) -> dspy.Adapter:
    """An adapter that also reads what LMs write in place of its format, and is the same in all else.

    What a reasoning model thought aloud is left out. A reply that the adapter cannot read is read as `LineAdapter` reads it, and
    not asked again in JSON: a second call for each such reply is a cost that no other format has.
    """
    if isinstance(adapter, LineAdapter):
        return adapter
    reader = copy.copy(adapter)
    reader.parse = lambda signature, completion: _read_tolerantly(adapter, signature, without_thoughts(completion))
    if hasattr(reader, "use_json_adapter_fallback"):
        reader.use_json_adapter_fallback = False
    return reader


def _read_tolerantly(adapter: dspy.Adapter, signature: type[dspy.Signature], text: str) -> dict[str, Any]:
    if len(text) > _LONGEST_FOR_DSPY:
        return _read_anyway(signature, text, AdapterParseError(type(adapter).__name__, signature, text, "the reply cannot be read"))
    try:
        values = adapter.parse(signature, text)
    except AdapterParseError as error:
        return _read_anyway(signature, text, error)
    except (ValueError, RecursionError) as error:
        return _read_anyway(signature, text, AdapterParseError(type(adapter).__name__, signature, text, str(error)))
    lists = any(_is_list(field.annotation) for field in signature.output_fields.values())
    if lists and "[[ ## " in text and not re.search(r"^\s*(?:\[(?!\[)|\{|```)", text, re.M):
        # Of a text that is no JSON, DSPy repairs the first brackets that stand in it into a list.
        with contextlib.suppress(AdapterParseError):
            return {**values, **_read_anyway(signature, text, AdapterParseError("", signature, text))}
    last = list(signature.output_fields)[-1]
    if last == "answer" and isinstance(values[last], str):
        values = {**values, last: _told(unmarked(without_rest(values[last])))}
        if not values[last]:
            raise AdapterParseError(type(adapter).__name__, signature, text, "the reply has no text under its last field")
    return values


def _read_anyway(signature: type[dspy.Signature], text: str, error: AdapterParseError) -> dict[str, Any]:
    try:
        return LineAdapter().parse(signature, text)
    except AdapterParseError:
        raise AdapterParseError(error.adapter_name, signature, text, error.message) from error


def _with_labels(signature: type[dspy.Signature], text: str) -> str:
    """A reply with labels in place of the headers of DSPy's chat format, which LMs also write unasked."""
    labels = {name: f"{_label(name)}:" for name in signature.output_fields}
    return _HEADER.sub(lambda found: labels.get(found[1].lower(), found[0]), _COMPLETED.sub("", text)).strip()


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == []


def _labelled(name: str, value: Any, numbered: bool = True) -> str:
    if isinstance(value, list):
        items = [f"{i}. {item}" if numbered else str(item) for i, item in enumerate(value, 1)]
        return "\n".join([f"{_label(name)}:", *items])
    return f"{_label(name)}: {value}"


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or annotation is list


def _bare_field(signature: type[dspy.Signature]) -> str | None:
    """The output field that is written without a label."""
    name, field = next(iter(signature.output_fields.items()))
    return name if len(signature.output_fields) == 1 or _is_list(field.annotation) else None


_LISTED = {False: ", one per line", True: ", one below the other"}
"""How a bare list is asked for: items before an answer may take several lines each, as a calculation does."""


def _reply_form(signature: type[dspy.Signature]) -> str:
    bare = _bare_field(signature)
    forms: list[str] = []
    for name, field in signature.output_fields.items():
        label, many = _label(name), _is_list(field.annotation)
        if name == bare:
            form = f"the {label.lower()}" + (_LISTED[len(signature.output_fields) > 1] if many else " only")
        elif name in _REASONING and not forms:
            # Asked for 'Reasoning: ...', LLMs write one sentence on what they would do.
            form = f"the {label.lower()}, step by step"
        else:
            form = f"'{label}: ...'" + (" with one per line" if many else "")
        forms.append(form + _described(field))
    if bare and name == "answer" and len(forms) > 1:
        # Asked for 'the sub answers, then the answer', LLMs take the last sub-answer for it and stop there.
        return f"Reply with {', then '.join(forms[:-1])}. Then work out the answer to the question itself. End with a line {forms[-1]}."
    return f"Reply with {', then '.join(forms)}."


def _described(field: Any) -> str:
    """What a signature says of a field, behind its form; DSPy describes a field without a text of its own by its name."""
    text = str((field.json_schema_extra or {}).get("desc") or "").strip()
    return f" ({text})" if text and not text.startswith("${") else ""


def _label_pattern(name: str) -> re.Pattern[str]:
    label = re.escape(_label(name)).replace(r"\ ", r"[ _-]?")
    to_what = r"(?: (?:to|of|for) (?:the|this|your) [^:：?\n]{0,30}question)?"
    label = rf"(?:{label}{to_what}|{OTHER_LABELS})" if name == "answer" else label
    leads = r"(?:(?:so|therefore|thus|hence|and|the|my|our|final|correct|short)[ ,:]+)*"
    return re.compile(
        rf"^[ \t#>-]*(?:(?:[*+•]|\d{{1,2}}[.)])[ \t]+)?(?P<open>[*_]*){leads}{label}(?: \([^)\n]*\))?(?: is)?"
        r"(?:(?P<shut>[ *_]*)[:：=](?!=)|(?P<end>[ *_#]*)$(?=\s*\S))",
        re.IGNORECASE | re.MULTILINE,
    )


def _sections(signature: type[dspy.Signature], completion: str) -> dict[str, str]:
    """The text under each label; what stands before the first label goes to the bare field."""
    names = list(signature.output_fields)
    found = []
    for name in names:
        matches = [match for match in _label_pattern(name).finditer(completion) if _is_label(match, signature, name)]
        match = main_answer(matches, completion) if name == names[-1] else next(iter(matches), None)
        if match:
            found.append((match, name))
    found.sort(key=lambda item: item[0].start())
    starts = [match.start() for match, _ in found] + [len(completion)]
    sections = {name: _under(match, completion[match.end() : end]) for (match, name), end in zip(found, starts[1:], strict=True)}
    if names[-1] not in sections and not _is_list(signature.output_fields[names[-1]].annotation):
        starts[0] = min(starts[0], _unlabelled(names[-1], completion, sections))
    first = _bare_field(signature) or (names[0] if names[0] in _REASONING else None)
    if first is not None and first not in sections:
        sections[first] = completion[: starts[0]].strip()
    return sections


def _is_label(match: re.Match[str], signature: type[dspy.Signature], name: str) -> bool:
    """Whether a line is a label: without a colon only where it is a heading, and never in a list."""
    return match["end"] is None or not _is_list(signature.output_fields[name].annotation)


def _under(match: re.Match[str], text: str) -> str:
    """The text under a label, without the other half of the markup that the label begins with."""
    opened = match["open"]
    if not opened or set(match["shut"] or match["end"] or "") & {"*", "_"}:
        return text.strip()
    text = text.strip()
    if text.endswith(opened) and text.count(opened) == 1:
        return text.removesuffix(opened).strip()
    return text.replace(opened, "", 1).strip()


def _unlabelled(name: str, completion: str, sections: dict[str, str]) -> int:
    """Read a value that has no label, but stands in a sentence or is marked; gives where it begins, or else the end."""
    sentence = said(re.escape(_label(name)), completion)
    if sentence:
        sections[name] = _FULL_STOP.sub("", sentence[1])
        return sentence[0]
    marked = last_marked(completion)
    if marked:
        sections[name] = marked[0] if marked[0].startswith("\\") else marked[1]
        return marked.start()
    conclusion = concluded(completion)
    if conclusion:
        sections[name] = conclusion[1]
        return conclusion[0]
    return len(completion)


def _read(name: str, value: Any, annotation: Any) -> Any:
    if _is_list(annotation):
        return _read_list(name, value)
    if annotation is str:
        text = "\n".join(map(item_text, value)) if isinstance(value, list) else "" if value is None else str(value)
        return _told(unmarked(without_rest(text))) if name == "answer" else unmarked(text)
    return parse_value(unmarked(value) if isinstance(value, str) else value, annotation)


def _told(answer: str) -> str:
    """An answer without the words `The answer is` before it."""
    found = _SENTENCE.match(answer)
    return unmarked(_FULL_STOP.sub("", found[1])) if found else answer


def _read_list(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [line for item in value if (line := answer_text(item) if name == "sub_answers" else item_text(item))]
    text = str(value or "")
    if name == "subquestions":
        return read_questions(text)
    return (read_sub_answers(text) if name == "sub_answers" else None) or read_lines(text)
