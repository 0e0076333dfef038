"""Numbers in English words as digits: "twenty-five" is 25, "one hundred and five" 105, "two and a half" 2 1/2."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen""".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_UNITS = {word: value for value, word in enumerate(_SMALL)} | {word: 10 * value for value, word in enumerate(_TENS, 2)}
SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_WORD = "|".join([*_UNITS, *SCALES])
_RUN = re.compile(
    rf"""
    (?P<minus>\b(?:minus|negative)\s+)? \b (?:an?\s+(?=(?:{"|".join(SCALES)})s?\b))?
    (?:{_WORD})s? (?:(?:\s*-\s*|\s+(?:and\s+)?)(?:{_WORD})s?)* \b
    (?P<half>\s+and\s+(?:a|one)\s+half\b)?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FRACTION = re.compile(rf"\b(an?|{'|'.join(_SMALL[1:])})[\s-]+({'|'.join(_PARTS)}|halve)s?\b(?!\s+(?:an?|of)\b)", re.IGNORECASE)
_HALF_DOZEN = re.compile(r"\b(?:a\s+)?half(?:\s+a)?[\s-]+dozen\b", re.IGNORECASE)
# "One" stands for a thing far more often than for the number.
_PRONOUN_BEFORE = re.compile(r"\b(?:no|this|that|each|every|which|any|some|another|the|other|first|last|correct|right)\s+\Z", re.IGNORECASE)
_PRONOUN_AFTER = re.compile(r"\s+(?:of|another|by|can|could|who|that|which|should|would|must|has)\b", re.IGNORECASE)


def in_digits(text: str) -> str:
    """`text` with its number words as digits; unchanged if it has digits, beside which words are rarely the amount."""
    if re.search("[0-9]", text):
        return text
    text = _HALF_DOZEN.sub("6", text)
    text = _FRACTION.sub(_fraction, text)
    return _RUN.sub(_run, text)


def _fraction(match: re.Match[str]) -> str:
    over, under = match[1].lower(), match[2].lower()
    return f"{_UNITS.get(over, 1)}/{_PARTS.get(under, 2)}"


def _run(match: re.Match[str]) -> str:
    words = re.findall("[a-z]+", match[0].lower())
    if words == ["one"] and (
        _PRONOUN_BEFORE.search(match.string[: match.start()][-20:]) or _PRONOUN_AFTER.match(match.string, match.end())
    ):
        return match[0]
    if match["minus"]:
        words = words[1:]
    half = 3 if match["half"] else 0
    value = _value([word.removesuffix("s") if word.removesuffix("s") in SCALES else word for word in words[: len(words) - half]])
    return match[0] if value is None else f"{'-' if match['minus'] else ''}{value}{' 1/2' if half else ''}"


def _value(words: Sequence[str]) -> int | None:
    """The number that the words say together; None if they say several, such as "two three", or things, such as "ones"."""
    total, current, last = 0, 0, None
    for word in words:
        if word in ("and", "a", "an"):
            continue
        if word not in SCALES and word not in _UNITS:
            return None
        if word in SCALES:
            if word == "hundred":
                current = (current or 1) * 100
            else:
                total, current = total + (current or 1) * SCALES[word], 0
            last = None
        elif last is not None and not (last >= 20 and _UNITS[word] in range(1, 10)):
            return None
        else:
            current, last = current + _UNITS[word], _UNITS[word]
    return total + current
