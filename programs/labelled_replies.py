"""The output fields of a signature in a reply: under labels, in JSON, or in a sentence where a model left its label out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_origin

import dspy
from dspy.adapters.utils import parse_value

from programs.final_answers import (
    OTHER_LABELS,
    before_next_example,
    concluded,
    concluded_in_prose,
    main_answer,
    read_sub_answers,
    told_behind,
    without_rest,
)
from programs.question_lists import asks_itself_another, is_question, is_task, read_items, read_questions
from programs.replies import answer_text, item_text, json_fields, last_marked, read_lines, said, texts_of, unmarked
from programs.turns import own_turn

REASONING = ("reasoning", "rationale")
"""Output fields that need no label: what a model writes before its answer is how it came there."""

_FULL_STOP = re.compile(
    r"(?<=\d)\.\s+.*|\.\s+(?=(?:I|This|That|Let|So|Therefore|Thus|Hope|Because|It|Since|The|We|You|Note|If)\b).*|(?<!\b[A-Za-z])\.\s*$"
)
_TO_QUOTED = re.compile(
    r"(?<=\banswer) to (?:(?:the|this|your|our) )?(?:(?:original|main|final|given) )?(?:question:? ?)?"
    r"[\"“”'‘«„][^\n]{3,300}?[?？]\s*[\"”“'’»]",
    re.IGNORECASE,
)
"""The question itself in a sentence that gives its answer: an "is" in it is not the one before the answer."""
_SENTENCE = re.compile(r"the (?:final |correct )?answer (?:is|would be):? +(?!not\b)(\S[^\n]*)\Z", re.IGNORECASE)
_HEADER = re.compile(r"^[ \t#*_>-]*\[+[ \t]{0,3}#*[ \t]{0,3}(\w+)[ \t]{0,3}#*[ \t]{0,3}\]+[*_]*:?", re.MULTILINE)
_COMPLETED = re.compile(r"^[ \t]*\[\[ ## completed.*", re.MULTILINE | re.DOTALL)


def read_fields(signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
    """The values of a signature's output fields in a reply.

    Raises:
        ValueError: The reply is empty, lacks a field that needs a label, or a value does not fit its type.
    """
    text = _with_labels(signature, own_turn(completion))
    if list(signature.output_fields)[-1] == "answer":
        text = _TO_QUOTED.sub("", text)
    text = before_next_example(text) if list(signature.output_fields) == ["answer"] else text
    labelled = list(signature.output_fields)[-1] == "answer" and is_labelled_behind_json(text)
    values = (None if labelled else json_fields(signature.output_fields, text)) or _sections(signature, text)
    for name, field in list(signature.output_fields.items())[:-1]:
        if name in REASONING or is_list(field.annotation):
            values.setdefault(name, "")
    missing = [name for name in signature.output_fields if values.get(name) is None]
    if missing or not _HEADER.sub("", text).strip() or values[list(signature.output_fields)[-1]] == "":
        raise ValueError(f"the reply has no {' and no '.join(map(label_of, missing)) or 'text'}")
    return {name: _read(name, values[name], field.annotation) for name, field in signature.output_fields.items()}


def is_labelled_behind_json(text: str) -> bool:
    """Whether a reply has its answer under a label behind JSON, which then holds the answers to subquestions."""
    end = max(text.rfind("}"), text.rfind("]"))
    return end >= 0 and bool(_label_pattern("answer").search(text, end + 1))


def _with_labels(signature: type[dspy.Signature], text: str) -> str:
    """A reply with labels in place of the headers of DSPy's chat format, which LMs also write unasked."""
    labels = {name: f"{label_of(name)}:" for name in signature.output_fields}
    return _HEADER.sub(lambda found: labels.get(found[1].lower(), found[0]), _COMPLETED.sub("", text)).strip()


def label_of(name: str) -> str:
    """The label of a field: `Sub answers` for `sub_answers`."""
    return name.replace("_", " ").capitalize()


def is_list(annotation: Any) -> bool:
    """Whether a field holds a list."""
    return get_origin(annotation) is list or annotation is list


def bare_field(signature: type[dspy.Signature]) -> str | None:
    """The output field that is written without a label."""
    name, field = next(iter(signature.output_fields.items()))
    return name if len(signature.output_fields) == 1 or is_list(field.annotation) else None


def _label_pattern(name: str) -> re.Pattern[str]:
    label = re.escape(label_of(name)).replace(r"\ ", r"[ _-]?")
    to_what = r"(?: (?:to|of|for) (?:the |this |your )?(?![^:：?\n]{0,30}\bsub)[^:：?\n]{0,30}question(?: itself)?)?"
    label = rf"(?:{label}{to_what}|ans|{OTHER_LABELS})" if name == "answer" else label
    leads = r"(?:(?:so|therefore|thus|hence|and|the|my|our|final|correct|short|main|overall|numerical|numeric|full)[ ,:]+)*"
    return re.compile(
        rf"^[^\w\n\[{{<*|]{{0,8}}(?:(?:[*+•]|\d{{1,2}}[.)])[ \t]+)?(?P<open>[*_]*){leads}{label}(?: \([^)\n]*\))?(?: is)?"
        r"(?:(?P<shut>[ *_]*)(?:[:：=](?!=)|[ ]?→|[ ][–—-](?=[ ]))|(?P<end>[ *_#]*)$(?=\s*\S))",
        re.IGNORECASE | re.MULTILINE,
    )


def _sections(signature: type[dspy.Signature], completion: str) -> dict[str, str]:
    """The text under each label; what stands before the first label goes to the bare field."""
    names = list(signature.output_fields)
    if bare_field(signature) == names[0] == "subquestions":
        return {names[0]: _asked(_label_pattern(names[0]), completion)}
    found = []
    for name in names:
        matches = [match for match in _label_pattern(name).finditer(completion) if _is_label(match, signature, name)]
        match, sure = main_answer(matches, completion) if name == names[-1] else (next(iter(matches), None), True)
        if match:
            found.append((match, name))
    found.sort(key=lambda item: item[0].start())
    starts = [match.start() for match, _ in found] + [len(completion)]
    sections = {name: _under(match, completion[match.end() : end]) for (match, name), end in zip(found, starts[1:], strict=True)}
    if names[-1] == "answer" and "answer" in sections and found[-1][1] == "answer":
        told = told_behind(completion[found[-1][0].end() :], sure)
        sections["answer"] = sections["answer"] if told is None else _FULL_STOP.sub("", told)
    if names[-1] not in sections and not is_list(signature.output_fields[names[-1]].annotation):
        starts[0] = min(starts[0], _unlabelled(names[-1], completion, sections, named=len(names) > 1))
    first = bare_field(signature) or (names[0] if names[0] in REASONING else None)
    if first is not None and first not in sections:
        sections[first] = completion[: starts[0]].strip()
    return sections


def _asked(label: re.Pattern[str], completion: str) -> str:
    """What follows the label of the subquestions, unless they stand before it: with a number behind it, or in another example."""
    for match in label.finditer(completion):
        rest = completion[match.end() :].strip()
        found = read_questions(rest)
        if (
            match["end"] is None
            and any(is_question(line) or is_task(line) for line in found)
            and not asks_itself_another(completion[: match.start()])
        ):
            return _under(match, completion[match.end() :])
    return completion.strip()


def _is_label(match: re.Match[str], signature: type[dspy.Signature], name: str) -> bool:
    """Whether a line is a label: without a colon only where it is a heading, and never in a list."""
    return match["end"] is None or not is_list(signature.output_fields[name].annotation)


def _under(match: re.Match[str], text: str) -> str:
    """The text under a label, without the other half of the markup that the label begins with."""
    opened = match["open"]
    if not opened or set(match["shut"] or match["end"] or "") & {"*", "_"}:
        return text.strip()
    text = text.strip()
    if text.endswith(opened) and text.count(opened) == 1:
        return text.removesuffix(opened).strip()
    return text.replace(opened, "", 1).strip()


def _unlabelled(name: str, completion: str, sections: dict[str, str], named: bool) -> int:
    """Read a value that has no label, but stands in a sentence or is marked; gives where it begins, or else the end.

    Args:
        name: The field's name.
        completion: The whole reply.
        sections: The texts of the fields, to which this one is added.
        named: Whether a label was asked for, as the reply holds more than this.
    """
    sentence = said(re.escape(label_of(name)), completion)
    if sentence:
        sections[name] = _FULL_STOP.sub("", sentence[1])
        return sentence[0]
    marked = last_marked(completion)
    if marked:
        sections[name] = marked[0] if marked[0].startswith("\\") else marked[1]
        return marked.start()
    # Of an answer alone the first words count, whatever is explained behind them.
    conclusion = concluded(completion) or (concluded_in_prose(completion) if named else None)
    if conclusion:
        sections[name] = conclusion[1]
        return conclusion[0]
    return len(completion)


def _read(name: str, value: Any, annotation: Any) -> Any:
    if is_list(annotation):
        return _read_list(name, value)
    if annotation is str:
        text = "\n".join(map(item_text, value)) if isinstance(value, list) else "" if value is None else str(value)
        return read_answer(text) if name == "answer" else unmarked(text)
    return parse_value(unmarked(value) if isinstance(value, str) else value, annotation)


def read_answer(text: str) -> str:
    """A value of `answer` without markup, without the words `The answer is` before it, and without talk behind it."""
    answer = unmarked(without_rest(text))
    found = _SENTENCE.match(answer)
    return unmarked(_FULL_STOP.sub("", found[1])) if found else answer


def _read_list(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list) and name == "subquestions":
        return read_items(texts_of(value))
    if isinstance(value, list):
        return [line for item in value if (line := answer_text(item) if name == "sub_answers" else item_text(item))]
    text = str(value or "")
    if name == "subquestions":
        return read_questions(text)
    return (read_sub_answers(text) if name == "sub_answers" else None) or read_lines(text)
