"""What stands in the replies of LMs that nobody trained on a format: markup, JSON, and answers in a sentence."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import json_repair

_FENCE = re.compile(r"```[\w+-]*[ \t]*\n?(.*?)```", re.DOTALL)
_BOLD = re.compile(r"(?<![\w*])\*\*(?=\S)(.{1,600}?)(?<=\S)\*\*(?![\w*])")
_WRAPPED = re.compile(r"\*([^\s*][^*\n]*)\*|`([^`\n]+)`|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_TAGGED = re.compile(r"<(?:final[_ -]?)?answer>\s*(\S.*?)\s*(?:</(?:final[_ -]?)?answer>|\Z)", re.IGNORECASE | re.DOTALL)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_LAST_HASHES = re.compile(r"^#{4}[ \t]*(\S[^\n]*)$\s*\Z", re.MULTILINE)

_MARKER = re.compile(
    r"^\s*[*_#>]*(?:"
    r"(?:[-*•–·]+\s+|\(?\d{1,2}[.):]\s+|\(?\d{1,2}[.):][*_]+\s*)?[*_]*(?:sub-?question|question|step|q)\s*#?\d{1,2}\s*[*_]*\s*[.):][*_]*\s*"
    r"|[-*•–·]+\s+|\(?\d{1,2}[.):]\s+|\(?\d{1,2}[.):][*_]+\s*)",
    re.IGNORECASE,
)

_COMMENT = re.compile(r"(?<=[\"',])\s*(?://|#)(?!\d)[^\n\"']*$", re.MULTILINE)
_LATEX_IN_JSON = re.compile(
    r"(?<!\\)\\(?=(?:boxed|fbox|[dt]?frac|text|times|theta|tan|right|rho|rm|nu|neq|ne|beta|bar|cdot|sqrt|left|pi|div)\b|[()\[\]$%])"
)
_LIST_OPENS = re.compile(r"^[ \t]*\[\s*[\"'{]|(?<=[:：=(])\s*\[\s*[\"'{]|(?<=\breturn) ?\[\s*[\"'{]", re.MULTILINE)

_SENTENCE = 500
"""Characters before an answer that are looked at for what it is only supposed under."""
_SUPPOSES = re.compile(r"(?:^|[.!?\n]\s*)[^.!?\n]{0,40}\b(?:if|might|suppose|assuming|someone)\b[^.!?\n]{0,80}\Z", re.IGNORECASE)

_NUMBERED_KEY = re.compile(r"[A-Za-z _-]{0,20}\d{1,2}")

_ARGUMENTS = ("arguments", "parameters", "args", "input")
_OF_A_CALL = {"name", "type", "id", "function", "index", *_ARGUMENTS}

_QUESTION_KEYS = ("subquestion", "sub_question", "sub_q", "question", "query", "q", "prompt", "text", "content", "task", "description")


def unmarked(text: str) -> str:
    """A value without the markup around it: bold, italics, code, a fence, the signs of LaTeX's mathematics, `\\boxed`."""
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    text = _BOLD.sub(r"\1", fenced[1].strip() if fenced else text)
    boxes = _BOXED.findall(text)
    text = _TEXT.sub(r"\1", boxes[-1]) if boxes else text
    wrapped = _WRAPPED.fullmatch(text)
    return next(inner for inner in wrapped.groups() if inner is not None).strip() if wrapped else text.strip()


def last_marked(text: str) -> re.Match[str] | None:
    """The last mark of a final result: `\\boxed{18}` and `#### 18` at the end, as in mathematical texts, or `<answer>18</answer>`."""
    boxes = list(_BOXED.finditer(text)) or list(_TAGGED.finditer(text))
    return boxes[-1] if boxes else _LAST_HASHES.search(text)


def said(label: str, text: str) -> tuple[int, str] | None:
    """The last sentence that tells a value, `The answer is 18`, `the final answer would be: 18`: where it begins, and the value."""
    sentence = re.compile(
        rf"(?:^|(?<=[\s*_(.,;:!?]))(?<!if )(?<!whether )(?<!what )"
        rf"(?:the|my|our|this|that|final|correct)\s+(?:(?:final|correct|right|short)\s+)*"
        rf"{label}(?:\s+(?:to|of|for)\b(?!\s+(?:the )?(?:first|second|third|sub|step|part))[^.\n]{{0,80}}?)?[*_]*\s*"
        r"(?:(?:is|was|are|be|equals|becomes)\b|(?:would|must|should|will|can only) be\b|=|:)"
        rf"(?!\s*(?:not|n't|unclear|given|found|asked|consistent|derived|obtained|calculated|reached|based on"
        rf"|(?:correct|right|wrong) (?:because|since|as))\b)"
        rf"(?:\s*(?:simple|simply|as follows|below|in (?:the |passage )[^.:\n]{{0,40}})\s*:)?\s*:?[ \t]*(?P<told>[^\s:：])"
        rf"|(?<=[.!?;] )(?:final\s+)?{label}[*_]*\s*[:=][ \t]*(?P<named>[^\s:：])",
        re.IGNORECASE | re.MULTILINE,
    )
    found = None
    place = 0
    # A value may itself begin a sentence that tells one.
    while (match := sentence.search(text, place)) is not None:
        place = match.start() + 1
        found = found if _SUPPOSES.search(text, max(0, match.start() - _SENTENCE), match.start()) else match
    if found is None:
        return None
    return found.start(), text[found.start(found.lastgroup or 0) :].split("\n", 1)[0].strip()


def with_latex_escaped(text: str) -> str:
    """JSON in which a command of LaTeX has one backslash, which JSON takes for a sign of its own, such as the `\\b` of `\\boxed`."""
    return _LATEX_IN_JSON.sub(r"\\\\", text)


def json_fields(names: Iterable[str], text: str) -> dict[str, Any] | None:
    """The values of a JSON object in a reply, fenced or not, by the names of fields; None without one that has any.

    Numbers keep the digits that they were written with. `Final answer` and `finalAnswer` are `answer`.
    """
    names = list(names)
    known = {_bare(alias): name for name in names for alias in (name, f"final {name}")}
    known |= {"result": "answer", "finalresult": "answer"} if "answer" in names else {}
    for candidate in _objects(text):
        candidate = dict(_arguments(candidate) or candidate)
        wrapped = list(candidate.values())
        candidate = wrapped[0] if len(wrapped) == 1 and isinstance(wrapped[0], dict) and _bare(*candidate) not in known else candidate
        values = {known[_bare(key)]: value for key, value in candidate.items() if _bare(key) in known}
        for name in names:
            numbered = [value for key, value in candidate.items() if re.fullmatch(rf"{_bare(name).removesuffix('s')}s?\d+", _bare(key))]
            if name.endswith("s") and numbered:
                values.setdefault(name, numbered)
        if values:
            return values
    return None


def read_lines(text: str) -> list[str]:
    """Items of a list: of a JSON list, or else one a line, without blank lines, numbering, bullets, bold and code fences."""
    listed = json_list(text)
    if listed is not None:
        return listed
    lines = (unbold(_MARKER.sub("", line)) for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("```")]


def unbold(line: str) -> str:
    """A line without the bold type that it stands in as a whole."""
    line = line.strip()
    bold = _BOLD.fullmatch(line)
    return bold[1].strip() if bold and "**" not in bold[1] else line


def item_text(item: Any, keys: Iterable[str] = _QUESTION_KEYS) -> str:
    """An item of a JSON list as text; of an object, what it asks, and of the call of a tool, what that is asked."""
    if not isinstance(item, Mapping):
        return str(item).strip()
    item = _arguments(item) or item
    texts = {_bare(key): value for key, value in item.items() if isinstance(value, str)}
    known = [texts[_bare(key)] for key in keys if _bare(key) in texts]
    asking = [value for value in [*known, *texts.values()] if value.rstrip().endswith(("?", "？", "؟"))]
    return next(iter([*known, *asking, *sorted(texts.values(), key=len, reverse=True)]), "").strip()


def _arguments(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a tool is called with, where an object is such a call; the arguments are an object, or its JSON as a text."""
    if not item.keys() <= _OF_A_CALL:
        return None
    function = item.get("function")
    call = function if isinstance(function, Mapping) else item
    given = next((call[name] for name in _ARGUMENTS if name in call), None)
    given = _loaded(given) if isinstance(given, str) and given.lstrip().startswith("{") else given
    return given if isinstance(given, Mapping) else None


def answer_text(item: Any) -> str:
    """An item of a JSON list as text; of an object, what it answers."""
    return item_text(item, ("answer", "sub_answer", "result", *_QUESTION_KEYS))


def json_list(text: str) -> list[str] | None:
    """The texts of a JSON list, or of one of Python, that a reply holds, in a fence or after a lead-in; None without one."""
    numbered = next((found for found in _objects(text) if all(map(_NUMBERED_KEY.fullmatch, found))), None)
    if numbered:
        return list(texts_of(list(numbered.values()))) or None
    fenced = _FENCE.search(text)
    inner = _COMMENT.sub("", fenced[1] if fenced else text).strip()
    if not inner.startswith("["):
        opened = _LIST_OPENS.search(inner)
        inner = inner[opened.start() : inner.rfind("]") + 1].strip() if opened else _objects_as_list(inner)
    if not (inner.startswith("[") and inner.endswith("]")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(inner)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list) and found and all(isinstance(item, str | dict | list) for item in found):
            return list(texts_of(found)) or None
    return None


def texts_of(found: Iterable[Any]) -> Iterable[str]:
    """The texts of a list, of lists in it and of lists in its objects."""
    for item in found:
        inner = next((value for value in item.values() if isinstance(value, list)), None) if isinstance(item, Mapping) else item
        text = "" if isinstance(item, list) else item_text(item)
        if isinstance(inner, list) and not text:
            yield from texts_of(inner)
        elif text:
            yield text


def _objects_as_list(text: str) -> str:
    lines = [line.strip().rstrip(",") for line in text.splitlines() if line.strip()]
    objects = len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines)
    return f"[{','.join(lines)}]" if objects else text


def _objects(text: str) -> Iterable[dict[str, Any]]:
    """JSON objects in a text: in its fences, the last one first, and from its first to its last brace."""
    start, end = text.find("{"), text.rfind("}")
    pieces = [piece.strip() for piece in reversed(_FENCE.findall(text))]
    for piece in [*pieces, text[start : end + 1] if 0 <= start < end else ""]:
        if not (piece.startswith("{") and piece.endswith("}")):
            continue
        found = _loaded(piece)
        if isinstance(found, dict):
            yield found


def _loaded(piece: str) -> Any:
    piece = with_latex_escaped(piece)
    try:
        return json.loads(piece, parse_float=str, parse_int=str, strict=False)
    except (ValueError, RecursionError):
        # Single quotes, commas at the end: only where it begins as an object does, as anything can be repaired into one.
        return json_repair.loads(piece) if len(piece) <= 20_000 and re.match(r"\{\s*[\"'\w]+\s*:", piece) else None


def _bare(key: Any) -> str:
    return re.sub(r"[^a-z0-9]", "", str(key).lower())
