"""Marks that LMs put before the items of a list, made plain: tables, tags, signs and labels become numbers or dashes."""

from __future__ import annotations

import itertools
import re
import unicodedata

_THOUGHT_ALOUD = re.compile(
    r"<(reasoning|scratchpad|reflection|analysis|thoughts|planning|explanation)>.*?(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL
)
_ROW = re.compile(r"^\s*\|(?P<cells>.*\S.*)\|\s*$")
_RULE = re.compile(r"^[\s|:+–-]*-[\s|:+–-]*$")
_TAG_OF_ITEM = r"<(?:li|p|(?:sub[-_ ]?)?questions?|q|sq|step|item|text|content)[-_ ]?\d{0,2}(?:\s[^<>]{0,40})?>"
_OPENING_TAG = re.compile(rf"^\s*(?:{_TAG_OF_ITEM}\s*)+", re.IGNORECASE)
_CLOSING_TAG = re.compile(r"(?:</[\w -]{1,20}>\s*)+$")
_BREAK = re.compile(
    r"(?<=[?？؟.!:：>])\s*<br\s*/?>|<br\s*/?>\s*(?=\(?\d{1,2}[.)]|[-*•]\s|$)|</?[ou]l(?:\s[^<>]{0,40})?>\s*(?=<li\b|$)|(?<=</li>)\s*</[ou]l>"
    rf"|(?<=</li>)|(?<=>)[ \t]*(?={_TAG_OF_ITEM}\s*[^\s<])",
    re.IGNORECASE | re.MULTILINE,
)
_KEYCAP = re.compile("^(\\s*)(\\d)\ufe0f?\u20e3\ufe0f?\\s*")
_ESCAPED = re.compile(r"^(\s*(?:\d{1,2})?)\\(?=[-+*.)#])")
_CHECKBOX = re.compile(r"^(\s*)[-*+•]\s+\[[ xX]?\]\s+")
_HAN = "一二三四五六七八九十"
_WORDS = {word: n for n, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight"), 1)}
_ROMAN = {word: n for n, word in enumerate(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii"), 1)}
_LETTERS = {letter: n for n, letter in enumerate("abcdefgh", 1)}
_COUNTED = _LETTERS | _WORDS | _ROMAN | {sign: n for n, sign in enumerate(_HAN, 1)}
_COUNT = rf"\d{{1,2}}|[ivx]{{2,4}}|[a-h]|{'|'.join(_WORDS)}|[{_HAN}]"
_NOUN = (
    r"sub[-_ ]?(?:question|problem|task|query|step|q)|sq|question|problem|part|step|query|q|sub|teil(?:frage|aufgabe)|frage|schritt"
    r"|sous[- ]question|étape|sub[- ]?pregunta|pregunta|paso|sotto[- ]?domanda|domanda|подвопрос|вопрос|шаг"
    r"|サブ質問|質問|ステップ|子?[问問](?:[题題])?|步[骤驟]|(?:ال)?سؤال(?: (?:ال)?فرعي)?|(?:ال)?خطوة"
)
_LABEL = re.compile(
    rf"^(?P<before>\s*[>#\s]{{0,20}}(?:[-*+•]\s+|\d{{1,2}}[.)]\s+)?[*_]{{0,3}})(?:{_NOUN})(?:[ #_-]{{0,3}}|[ ]?no\. ?)"
    rf"\(?(?P<count>{_COUNT})\)?(?![^\W_])(?:\s*(?:/|of)\s*\d{{1,2}})?(?:\s*\([^()]{{1,40}}\))?(?P<shut>[*_]*)\s*(?:[.):：、–—-]+|$)\s*",
    re.IGNORECASE,
)
_HAN_COUNT = re.compile(rf"^(\s*)(?:第([{_HAN}])(?:步|[个個]?子?[问問]?[题題]?)\s*[:：、，]|([{_HAN}])、)\s*")
_PLAIN_NUMBERS = (
    (re.compile(r"^(\s*)\[(?:s?q)?(\d{1,2})\]\s*[.:：)]?\s*", re.IGNORECASE), r"\1\2. "),
    (re.compile(r"^(\s*)(\d{1,2})\s?/\s?\d{1,2}\s?[.:)]\s+"), r"\1\2. "),
    (re.compile(r"^(\s*)(\d{1,2})[.)]\s+\d{1,2}[.)]\s+(?=[^\W\d])"), r"\1\2. "),
    (re.compile(r"^(\s*)\d{1,2}\.\d{1,2}[.)]?\s+(?=[^\W\d_a-z])"), r"\1- "),
    (re.compile(r"^(\s*)（(\d{1,2})）\s*"), r"\1\2. "),
    (re.compile(r"^(\s*)(\d{1,2})-\s+(?=[^\W\d])"), r"\1\2. "),
    (re.compile(r"^(\s*)\\item(?:\[[^\]]*\])?\s+"), r"\1- "),
)
_BULLETS = "→⇒⟶・‣◦\ufe0f"
_UNNUMBERED = re.compile(r"^(\s*[*_]*)(?:sub[-_ ]?question|question|s?q)[*_ ]*[:：][*_ ]*(?=\S)", re.IGNORECASE)
_ORDER = re.compile(
    r"^(\s*[*_]*)(?:first|second|third|fourth|then|next|after that|finally|lastly|and finally)[*_ ]*[:：][*_ ]*(?=\S)", re.IGNORECASE
)
_DIGITS = re.compile(r"^\s*\d{1,2}(?=\s*[.)、-])")


def with_plain_marks(text: str) -> list[str]:
    """The lines of a reply, each item after `1. `, `- ` or `Subquestion 1: ` where another mark stood.

    Of a row of a table the longest cell is the item. Blocks in which a model thinks aloud are left out.
    """
    lines = [plain for line in _without_headings(_in_lines(text)) if (plain := _plain(line)) is not None]
    for label in (_UNNUMBERED, _ORDER):
        lines = [label.sub(r"- \1", line) for line in lines] if len([*filter(label.match, lines)]) > 1 else lines
    return lines


def _in_lines(text: str) -> list[str]:
    """The lines of a reply, also those that the tags of HTML set apart."""
    text = _THOUGHT_ALOUD.sub("", text)
    return (_BREAK.sub("\n", text) if "<" in text else text).splitlines()


def _without_headings(lines: list[str]) -> list[str]:
    """The lines without the names of a table's columns; the first question of a table without names may stand in their place."""
    return [
        line
        for line, below in itertools.zip_longest(lines, lines[1:], fillvalue="")
        if not (_ROW.match(line) and "|" in below and _RULE.match(below) and "?" not in line)
    ]


def _plain(line: str) -> str | None:
    if _RULE.match(line) and "|" in line:
        return None
    row = _ROW.match(line)
    line = _without_tags("- " + max(row["cells"].split("|"), key=len).strip() if row else line)
    line = _ESCAPED.sub(r"\1", line)
    line = _DIGITS.sub(lambda found: "".join(str(unicodedata.decimal(sign, sign)) for sign in found[0]), line)
    line = _CHECKBOX.sub(r"\1- ", _KEYCAP.sub(r"\1\2. ", line))
    for pattern, plain in _PLAIN_NUMBERS:
        line = pattern.sub(plain, line)
    line = _HAN_COUNT.sub(lambda found: f"{found[1]}{_COUNTED[found[2] or found[3]]}. ", line)
    label = _LABEL.match(line)
    return _dashed(f"{label['before']}Subquestion {_number(label['count'])}:{label['shut']} {line[label.end() :]}" if label else line)


def _number(count: str) -> int:
    return int(count) if count.isdecimal() else _COUNTED.get(count.lower(), 1)


def _without_tags(line: str) -> str:
    opened = _OPENING_TAG.match(line)
    inner = _CLOSING_TAG.sub("", line[opened.end() :] if opened else line)
    return f"- {inner.strip()}" if opened and inner.strip() else inner


def _dashed(line: str) -> str:
    """The line with a dash in place of the arrows, hands and coloured dots that it begins with."""
    text = line.lstrip()
    signs = 0
    while signs < len(text) and (text[signs] in _BULLETS or unicodedata.category(text[signs]) == "So"):
        signs += 1
    rest = text[signs:].strip()
    return f"{line[: len(line) - len(text)]}- {rest}" if signs and rest else line
