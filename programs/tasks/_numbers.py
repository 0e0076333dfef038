"""The final number of an answer, exactly.

"The answer is: **$1,234.50** per day."  ->  1234.5
"9 * 2 = 18 eggs"                        ->  18
"2 1/2", "\\frac{5}{2}", "2½"             ->  5/2
"first 3, then 4"                        ->  None: no marked final answer
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

SHORT = 20
"""An answer without a marker counts as short up to so many words; then its only number is taken as the answer."""

_SIGNS = str.maketrans(dict.fromkeys("−‐‑‒–﹣－", "-") | {"—": " - ", "⁄": "/", "∕": "/", "÷": "/", "×": "*", "·": "*"})
_POWER = re.compile("(?<=[0-9])[²³¹⁰⁴-⁹]+")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([0-9]{1,50})\}\s*\{([0-9]{1,50})\}", re.IGNORECASE)
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]{0,200})\}", re.IGNORECASE)
_LATEX_NOISE = re.compile(r"\\[,;!: ()\[\]]|\{,\}|\\(?=[$%£€])")
_EMPHASIS = re.compile(r"(?<!\w)_+|_+(?!\w)")
_MARKER = re.compile(r"####|\\boxed\s*\{|\banswers?\s*[*\"')]{0,3}\s*(?::|=|is\b\s*:?|would be\b)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[!?;}]|\.(?![0-9])")
_DENIAL = re.compile(r"\b(?:not|never)\b|n['’]t\b", re.IGNORECASE)

# Digits are bounded, as longer numbers are no answer and would take a second to convert; the ends keep a match from
# being a piece of something else: a list "3,4", a date "3/4/2020", a clock time, a version.
_NUMBER = re.compile(
    r"""
    (?<![\w./:^{]) (?<![0-9],)
    # A dash with a blank after it is a bullet or a pause, and one after a number an operator.
    (?P<sign>(?:(?<![0-9)]\s)[-+])?)
    (?: (?:us|usd)?\s?[$€£¥₹]\s? | usd\s )?
    (?P<inner_sign>-?)
    (?P<digits> (?:[0-9]{1,3}(?:,[0-9]{3}){1,30}+ | [0-9]{1,100}+) (?:\.[0-9]{1,100}+)? | \.[0-9]{1,100}+ )
    (?: (?:\s(?:and\s)?(?P<over>[0-9]{1,50}+))? / (?P<under>[0-9]{1,50}+) )?
    (?:e(?P<exponent>[-+]?[0-9]{1,2}+))?
    (?P<scale> \s?(?:k|thousand|million|billion|trillion)\b )?
    (?! [0-9] | [.,/:^][0-9] | e[-+]?[0-9] )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SCALES = {"k": 10**3, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_GOES_ON = re.compile(r"\s*(?:[-+*/x^=~,&]|\bto\b|\band\b|(?:[^\W\d_]{1,20}\s)?\bor\b)\s?[$€£]?\s?[0-9(]", re.IGNORECASE)


def number(text: str) -> Fraction | None:
    """The value of a text that is a number and nothing else, but for a unit or a currency sign."""
    found = list(_NUMBER.finditer(_plain(text)))
    return _value(found[0]) if len(found) == 1 else None


def final_number(text: str) -> Fraction | None:
    """The final answer in `text`, or None if no number is marked as that.

    Marked is what follows the last `####`, `\\boxed{`, `answer is` or `answer:`: the number at its start, at the end of an
    equation, or the only one of its sentence. Without these words, it is the end of an equation that ends the text, or
    the only number of a text of at most `SHORT` words. Not an answer: "3 or 4", "3 to 4", "not 3", "3 + 4", "1/0".
    A percentage is the number before the sign; "2 thousand" is 2000.
    """
    plain = _plain(text)
    markers = list(_MARKER.finditer(plain))
    if markers:
        return _of_clause(plain[markers[-1].end() :])
    if "=" in plain:
        plain = plain.rpartition("=")[2]
        return _only(plain, at_start=True) if len(plain.split()) <= SHORT else None
    return _only(plain) if len(plain.split()) <= SHORT else None


def _of_clause(rest: str) -> Fraction | None:
    first = _NUMBER.search(rest)
    if not first or _DENIAL.search(rest[: first.start()]):
        return None
    if not re.search(r"\w", rest[: first.start()]) and not _GOES_ON.match(rest, first.end()):
        return _value(first)
    end = _SENTENCE_END.search(rest, first.end())
    clause = rest[: end.start()] if end else rest
    return _only(clause.rpartition("=")[2], at_start="=" in clause)


def _only(text: str, at_start: bool = False) -> Fraction | None:
    found = list(_NUMBER.finditer(text))
    # A digit outside of what was read, as in "3:30" or "1/2/3", is another number that could have been meant.
    if len(found) != 1 or re.search(r"(?<![^\W\d_])[0-9]", text[: found[0].start()] + " " + text[found[0].end() :]):
        return None
    before = text[: found[0].start()]
    if _DENIAL.search(before) or (at_start and re.search(r"\w", before)):
        return None
    return _value(found[0])


def _value(match: re.Match[str]) -> Fraction | None:
    over, under = match["over"], match["under"]
    value = Fraction(match["digits"].replace(",", ""))
    if under:
        if not int(under):
            return None
        value = value + Fraction(int(over), int(under)) if over else value / int(under)
    value *= Fraction(10) ** int(match["exponent"] or 0) * _SCALES.get((match["scale"] or "").strip().lower(), 1)
    return -value if "-" in match["sign"] + match["inner_sign"] else value


def _plain(text: str) -> str:
    """ASCII digits and signs, without LaTeX and markdown, with single blanks."""
    text = _VULGAR.sub(lambda sign: " " + unicodedata.normalize("NFKC", sign[0]), " ".join(text.split())).translate(_SIGNS)
    text = _POWER.sub("^0", text)
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(sign, sign)) for sign in text)
    text = _LATEX_TEXT.sub(r" \1 ", _LATEX_FRACTION.sub(r" \1/\2", text))
    text = _EMPHASIS.sub(" ", _LATEX_NOISE.sub("", text))
    text = re.sub(r"(?<=[0-9])\s*/\s*(?=[0-9])", "/", text)
    # A fraction was set off from a whole number before it; a sign before it must stay at it.
    return " ".join(re.sub(r"(?<=-)\s(?=[0-9]+/[0-9])", "", text).split())
