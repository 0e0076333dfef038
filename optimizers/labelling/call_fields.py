"""The fields of a call in the history of DSPy's LMs: those that its prompt gives, those that it asks for, those that its reply has."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from programs.labelled_replies import REASONING, label_of
from programs.signatures import Decompose, Solve
from programs.turns import own_turn

HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*\n?", re.MULTILINE)
_TAG = re.compile(r"^<(\w+)>\n?(.*?)\n?</\1>", re.MULTILINE | re.DOTALL)
_TAG_ANYWHERE = re.compile(r"<(\w+)>\s*(.*?)\s*</\1>", re.DOTALL)
_ITEM = re.compile(r"<item>\s*(.*?)\s*</item>", re.DOTALL)
_FENCED = re.compile(r"```\w*\s*(\{.*\})\s*```", re.DOTALL)
_LABELLED = (*Decompose.input_fields, *Solve.input_fields, "attempt", "answered")
_END_OF_INPUTS = re.compile(r"^Respond with (?:the corresponding output fields|a JSON object)\b", re.MULTILINE)
_ASKED = re.compile(r"`(?:\[\[ ## |<)?(\w+)(?: ## \]\]|>)?`")
_REPLY_FORM = re.compile(r"^Reply with ", re.MULTILINE)
_ASKED_ALONE = re.compile(r"the ([a-z][\w ]*?) only\b")
_ASKED_IN_LINES = re.compile(r"'([A-Z][\w ]*): \.\.\.'|\bthe ([a-z][\w ]*?)(?:, (?:step by step|one below the other))")


def prompt_fields(prompt: str, names: Iterable[str]) -> dict[str, str]:
    """The inputs in a prompt of DSPy's formats, or of this package's.

    Args:
        prompt: What the user said last.
        names: Fields that may stand under labels, besides those of this package.
    """
    given = _END_OF_INPUTS.split(prompt)[0]
    if HEADER.search(given):
        return _sections(HEADER, given, {})
    if tagged := dict(_TAG.findall(given)):
        return {name: text.strip() for name, text in tagged.items()}
    labels = {label_of(name): name for name in (*names, *_LABELLED)}
    return _sections(re.compile(rf"^({'|'.join(map(re.escape, labels))}):[ \t]*", re.MULTILINE), given, labels)


def _sections(pattern: re.Pattern[str], text: str, names: Mapping[str, str]) -> dict[str, str]:
    marks = list(pattern.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return {names.get(mark[1], mark[1]): text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=False)}


def asked_fields(prompt: str, system: str, names: Iterable[str]) -> list[str]:
    """The outputs that a prompt asks for, without the reasoning; empty where it does not say so in a known form.

    Args:
        prompt: What the user said last.
        system: What the system said.
        names: Fields by which the terse form of this package is known: it has the labels alone.
    """
    _, *asked = _END_OF_INPUTS.split(prompt, maxsplit=1)
    before, *forms = _REPLY_FORM.split(system)
    if asked:
        found = _ASKED.findall(asked[0])
    else:
        known = {label_of(name).lower(): name for name in names}
        labels = _labels_in(forms[-1]) if forms else before.split(" then ")
        found = [known.get(label.strip().lower(), label) for label in labels]
        found = found if forms or set(found) & set(known.values()) else []
    return [name for name in found if name.lower() not in (*REASONING, "completed")]


def _labels_in(form: str) -> list[str]:
    alone = _ASKED_ALONE.match(form)
    return [alone[1]] if alone else [one or other for one, other in _ASKED_IN_LINES.findall(form)]


def reply_fields(reply: str, names: Iterable[str]) -> dict[str, Any]:
    """The outputs in a reply, under headers, in JSON or in tags, without the reasoning; empty in another form.

    Args:
        reply: What the LM wrote.
        names: Fields by which tags within other text are known.
    """
    text = own_turn(reply).strip()
    found: Mapping[str, Any] = _sections(HEADER, text, {}) or _json_of(text)
    if not found:
        tagged = {name: _items(value) for name, value in _TAG_ANYWHERE.findall(text)}
        found = tagged if text.startswith("<") or set(tagged) & set(names) else {}
    return {name: value for name, value in found.items() if name not in (*REASONING, "completed")}


def _json_of(text: str) -> Mapping[str, Any]:
    fenced = _FENCED.search(text)
    try:
        found = json.loads(fenced[1] if fenced else text, strict=False)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _items(value: str) -> str | list[str]:
    items = _ITEM.findall(value)
    return [html.unescape(item) for item in items] if items else html.unescape(value)
