"""A program's answer as text, for scorers, which must not fail on any reply."""

from __future__ import annotations

import json
import re
from typing import Any

_TAG = re.compile(r"<(/?)(?:final[_ -]?)?answer\s*>", re.IGNORECASE)
_FENCE = re.compile(r"```[a-z]*[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_BOX = re.compile(r"[\s$]*\\(?:boxed|fbox|text|mathrm)\s*\{([^{}]*|\\(?:text|mathrm)\s*\{[^{}]*\})\}[\s$]*")
_NEXT_QUESTION = re.compile(
    r"(?<=\S)\n{1,3}[ *#>]{0,9}(?:next |new |follow[- ]?up )?(?:q|question)(?: ?[0-9]{1,3})?\s*\**\s*:", re.IGNORECASE
)

REPLY_FIELDS = ("reasoning", "sub_answers", "answer")


def answer_text(prediction: Any) -> str:
    """`prediction.answer` as text, `unwrapped`: a text or a number as it is, and an empty text for any other value."""
    return unwrapped(_text(_field(prediction, "answer")))


def reply_text(prediction: Any) -> str:
    """All that the solver wrote, one line for each field or list item: the paper's authors score the reply as a whole."""
    values = [_field(prediction, name) for name in REPLY_FIELDS]
    return "\n".join(_text(part) for value in values for part in (value if isinstance(value, list | tuple) else [value]))


def unwrapped(text: str) -> str:
    """The answer in a text that wraps it: in `<answer>` tags, a JSON object with an "answer", a code fence or a LaTeX box.

    The last of several `<answer>` counts. What a model goes on to write after its answer as a next "Question:" goes. A text
    without any of these is returned as it is.
    """
    for _ in range(3):
        inner = _in_json(_in_fence(_in_tags(text)))
        if inner == text:
            break
        text = inner
    next_question = _NEXT_QUESTION.search(text)
    return text[: next_question.start()] if next_question else text


def _in_tags(text: str) -> str:
    tags = list(_TAG.finditer(text))
    ends = [at for at in range(1, len(tags)) if tags[at][1] and not tags[at - 1][1]]
    if not ends:
        return text
    start, end = tags[ends[-1] - 1], tags[ends[-1]]
    inner, after = text[start.end() : end.start()], text[end.end() :]
    return f"answer: {inner.strip()}{after}" if re.search(r"\w", after) else inner


def _in_fence(text: str) -> str:
    found = _FENCE.fullmatch(text.strip()) or _BOX.fullmatch(text)
    return found[1] if found else text


def _in_json(text: str) -> str:
    if not text.lstrip().startswith("{"):
        return text
    try:
        found = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return text
    answers = [value for key, value in found.items() if key.lower() in ("answer", "final_answer", "final answer")]
    if len(answers) != 1 or isinstance(answers[0], bool | type(None)):
        return text
    return answers[0] if isinstance(answers[0], str) else json.dumps(answers[0], ensure_ascii=False)


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
