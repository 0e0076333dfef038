"""Whether two short texts are the same answer, or two questions the same question: one rule for scores, votes and splits."""

from __future__ import annotations

import unicodedata
from fractions import Fraction
from typing import Any

import regex

from programs.tasks._answers import as_text
from programs.tasks._numbers import quantity

_SUPERSCRIPT = regex.compile("[²³¹⁰⁴-⁹]+")
_VULGAR = regex.compile("(?<=[0-9])(?=[¼-¾⅐-⅞])")
_INVISIBLE = regex.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")
_QUOTES = str.maketrans(dict.fromkeys("‘’ʼ´`", "'") | dict.fromkeys("−‐‑‒–﹣－", "-"))
_LATEX = regex.compile(r"\\(?:boxed|fbox|text|mathrm|mathbf|textbf|emph)\s*\{([^{}]*)\}")
_LATEX_NOISE = regex.compile(r"\\[,;!:()\[\]]|\\(?=[$%&#_£€])")
_IN_DOLLARS = regex.compile(r"\A\s*\$([^$]+)\$\s*\Z")
_HEADING = regex.compile(r"\A\s*(?:#{1,6}\s+|>\s+(?=\p{L})|[-*+•‣·–]\s+(?=[^\s\p{N}$€£.]))")
# A pair of marks around a word or more; two or more marks left at one side of a word come from a pair that was cut.
_EMPHASIS = regex.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*\n]+)(?<=\S)\1(?![\w*])|(?<!\w)(_{1,3})(?=\S)([^_\n]+)(?<=\S)\3(?!\w)")
_CUT_EMPHASIS = regex.compile(r"(?<=\S)(?:\*{2,}|(?<=\p{L}{4})\*|_{2,})(?=\W*\Z)|\A\s*(?:\*{2,}|_{2,})(?=\S)")
_INITIALS = regex.compile(r"(?<!\w)(?:\p{L}\.){2,}|(?<!\w)\p{L}\.(?:\p{L}\.)*\p{L}(?!\w)")
_APOSTROPHE = regex.compile(r"(?<=\w)'(?=\w)")
_ARTICLE = regex.compile(r"\A[^\w\p{S}]*an?\s+(?=\w)")
_HYPHEN = regex.compile(r"(?<=\p{L})-(?=\p{L})")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_TOKEN = regex.compile(
    r"""
    (?P<number> (?:(?<![\p{N}\p{L})\]])(?<![\p{N})\]]\s+)[-+])? (?<![\p{N}\p{L}.,])
        [0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)? (?![\p{N}\p{L}]|[.,][0-9]) )
    | [\p{L}\p{N}\p{M}]+
    | (?<![\w.])\.(?=\w) | [\p{S}%#&@*/\\^_-]
    | (?P<bracket> [()\[\]{}] )
    """,
    regex.VERBOSE,
)
_OPERATORS = frozenset("+<>=^*/|≤≥≠≈±√∑∫")


def equal_answers(one: Any, other: Any) -> bool:
    """Whether two answers say the same; never for an empty one.

    Two numbers are compared as numbers: 18 is 18.0, 1,000 is 1000, 1/2 is 0.5, "eighteen" is 18; $5 is 5 but not 5 %. Any
    other two texts are compared by `canonical`.
    """
    first, second = quantity(as_text(one)), quantity(as_text(other))
    if first and second:
        return first[0] == second[0] and (first[1] == second[1] or "" in (first[1], second[1]))
    text = canonical(one)
    return text != "" and text == canonical(other)


def canonical(answer: Any) -> str:
    """A text without what makes no difference to its meaning, as tokens with single blanks.

    Compatible characters, case, white space, markdown, quotes, full stops, commas and the like of all scripts, hyphens
    between letters, apostrophes, "the", and "a" and "an" in front are nothing. Signs and symbols stay (C++, x < 3, -5, A-),
    and so does an article that is all there is. The text itself where nothing would be left.
    """
    text = as_text(answer)
    tokens = _tokens(_folded(text))
    return " ".join(token for at, token in enumerate(tokens) if token != "the" or at == len(tokens) - 1) or " ".join(text.split())


def _folded(text: str) -> str:
    text = _SUPERSCRIPT.sub(lambda found: "^" + unicodedata.normalize("NFKC", found[0]), _VULGAR.sub(" ", text))
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_QUOTES)
    text = _LATEX_NOISE.sub("", _LATEX.sub(r" \1 ", text))
    text = _IN_DOLLARS.sub(lambda found: found[1], text)
    text = _HEADING.sub("", text)
    text = _EMPHASIS.sub(lambda found: found[2] or found[4], text)
    text = _CUT_EMPHASIS.sub("", text)
    text = unicodedata.normalize("NFKC", text.casefold())
    text = _INITIALS.sub(lambda found: found[0].replace(".", ""), text)
    return _ARTICLE.sub("", _HYPHEN.sub(" ", _APOSTROPHE.sub("", " ".join(text.split()))))


def _tokens(text: str) -> list[str]:
    found = list(_TOKEN.finditer(text))
    formula = any(match[0] in _OPERATORS for match in found)
    tokens = [_plain_number(match[0]) if match["number"] else match[0] for match in found if formula or not match["bracket"]]
    while formula and _is_wrapped(tokens):
        tokens = tokens[1:-1]
    return tokens


def _is_wrapped(tokens: list[str]) -> bool:
    """Whether the first bracket is closed by the last token."""
    if not tokens or tokens[0] not in _BRACKETS or tokens[-1] != _BRACKETS[tokens[0]]:
        return False
    depth = 0
    for token in tokens[:-1]:
        depth += (token in _BRACKETS) - (token in _BRACKETS.values())
        if depth == 0:
            return False
    return True


def _plain_number(text: str) -> str:
    digits = text.replace(",", "")
    if digits.lstrip("+-").startswith("0") and digits.lstrip("+-")[1:2].isdigit():
        return text
    if len(digits) > 100:
        return digits
    return str(Fraction(digits))
