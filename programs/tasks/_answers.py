"""A program's answer as text, for scorers, which must not fail on any reply."""

from __future__ import annotations

from typing import Any

REPLY_FIELDS = ("reasoning", "sub_answers", "answer")


def answer_text(prediction: Any) -> str:
    """`prediction.answer` as text: a text or a number as it is, and an empty text for any other value."""
    return _text(_field(prediction, "answer"))


def reply_text(prediction: Any) -> str:
    """All that the solver wrote, one line for each field or list item: the paper's authors score the reply as a whole."""
    values = [_field(prediction, name) for name in REPLY_FIELDS]
    return "\n".join(_text(part) for value in values for part in (value if isinstance(value, list | tuple) else [value]))


def as_text(value: Any) -> str:
    """Any value as text: nothing for None, and for what cannot be written."""
    if isinstance(value, str):
        return value
    try:
        return "" if value is None else str(value)
    except Exception:
        # Python refuses to write integers of more than 4,300 digits, and a `__str__` may raise anything.
        return ""


def _field(prediction: Any, name: str) -> Any:
    try:
        return getattr(prediction, name, None)
    except Exception:
        # A property may raise anything; that is no answer.
        return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        return str(value)
    except ValueError:
        # Python refuses to write integers of more than 4,300 digits.
        return ""
