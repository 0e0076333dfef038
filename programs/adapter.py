"""LineAdapter: a prompt format short enough for small models to learn, and tolerant of what they write.

DSPy's ChatAdapter spends some 800 characters of scaffold on a call and wants JSON for lists. Here the system message is
the signature's instructions with one line on the form, inputs are `Label: value`, and lists are one item a line.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any, get_origin

import dspy
from dspy.adapters.utils import parse_value
from dspy.utils.exceptions import AdapterParseError

_MARKER = re.compile(r"^\s*(?:[-*•–·]+\s+|\(?\d{1,2}[.):]\s+|(?:sub-?question|question|step|q)\s*\d{1,2}\s*[.):]\s*)", re.IGNORECASE)


class LineAdapter(dspy.ChatAdapter):
    """Renders a signature as labelled lines and reads labelled lines back.

    One output field alone is written bare. With several, a list that comes first is written bare, one item a line, and
    every other field as `Label: value`. Nothing is asked a second time in JSON when a reply cannot be read: the
    `AdapterParseError` goes to the caller, who counts it.
    """

    id = "line/1"

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
        sections = _sections(signature, completion)
        missing = [name for name in signature.output_fields if name not in sections]
        if missing or not completion.strip():
            raise self._error(signature, completion, f"the reply has no {' and no '.join(map(_label, missing)) or 'text'}")
        try:
            return {name: _read(sections[name], field.annotation) for name, field in signature.output_fields.items()}
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


ADAPTERS: dict[str, type[dspy.Adapter]] = {"line": LineAdapter, "line-terse": TerseLineAdapter, "chat": dspy.ChatAdapter}


def adapter_by_name(name: str) -> dspy.Adapter:
    """A fresh adapter: `line` (untrained models), `line-terse` (trained ones) or `chat` (DSPy's own, to compare).

    Raises:
        ValueError: Unknown name.
    """
    if name not in ADAPTERS:
        raise ValueError(f"Unknown adapter {name!r}; expected one of {sorted(ADAPTERS)}.")
    return ADAPTERS[name]()


def adapter_name(adapter: dspy.Adapter) -> str:
    """The name of an adapter for `adapter_by_name`; its class name, if it has none there."""
    return next((name for name, cls in ADAPTERS.items() if type(adapter) is cls), type(adapter).__name__)


def read_lines(text: str) -> list[str]:
    """Items of a list, one a line, without blank lines, numbering, bullets and code fences."""
    lines = (_MARKER.sub("", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("```")]


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


def _reply_form(signature: type[dspy.Signature]) -> str:
    bare = _bare_field(signature)
    forms = []
    for name, field in signature.output_fields.items():
        label, many = _label(name), _is_list(field.annotation)
        if name == bare:
            forms.append(f"the {label.lower()}" + (", one per line" if many else " only"))
        else:
            forms.append(f"'{label}: ...'" + (" with one per line" if many else ""))
    return f"Reply with {', then '.join(forms)}."


def _label_pattern(name: str) -> re.Pattern[str]:
    label = re.escape(_label(name)).replace(r"\ ", r"[ _-]?")
    return re.compile(rf"^[ \t*_#>-]*(?:(?:so|therefore|thus|the|final)[ ,]+)*{label}(?: is)?[ *_]*:[ \t*_]*", re.IGNORECASE | re.MULTILINE)


def _sections(signature: type[dspy.Signature], completion: str) -> dict[str, str]:
    """The text under each label; what stands before the first label goes to the bare field."""
    names = list(signature.output_fields)
    found = []
    for name in names:
        matches = list(_label_pattern(name).finditer(completion))
        if matches:
            found.append((matches[-1 if name == names[-1] else 0], name))
    found.sort(key=lambda item: item[0].start())
    starts = [match.start() for match, _ in found] + [len(completion)]
    sections = {name: completion[match.end() : end].strip() for (match, name), end in zip(found, starts[1:], strict=True)}
    if (bare := _bare_field(signature)) is not None and bare not in sections:
        sections[bare] = completion[: starts[0]].strip()
    return sections


def _read(text: str, annotation: Any) -> Any:
    if _is_list(annotation):
        return read_lines(text)
    return text if annotation is str else parse_value(text, annotation)
