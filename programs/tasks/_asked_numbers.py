"""The final number of an answer, read with the question in view: its scale, its decimal sign, and the numbers that it gives itself."""

from __future__ import annotations

import re
from fractions import Fraction

from programs.refusals import is_categorical, is_error, refusals
from programs.tasks._numbers import SHORT, asked_scale, final_number, quantity, tells_plainly

_ENGLISH = re.compile(r"\b(?:the|are|and|how|what|which|does|did)\b", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]{2,}\W+[^\W\d_]{2,}\W|[^\W\d_a-zA-Z]{4}")
_COMMA_DECIMAL = re.compile(r"(?<![\d.,])(\d{1,3}(?:[. ]\d{3})+|\d+),(\d{1,2})(?![\d,]|\.\d)")
_MONEY_BY_COMMA = re.compile(
    r"(?<![\d.,])(?P<sign>[$€£]\s?)?(?P<whole>\d{1,3}(?:[. ]\d{3})+|\d+),(?P<cents>\d{2})(?![\d,]|\.\d)"
    r"(?(sign)|(?=\s?(?:[$€£]|(?:euros?|eur|usd)\b)))",
    re.IGNORECASE,
)
_DOT_GROUPS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:\.\d{3})+(?![\d.]|,\d{3})")
_BLANK_GROUPS = re.compile(r"(?<![\w.,])(?<!\d )[1-9]\d{0,2}(?:[ \u00a0]\d{3})+(?!\w|\.\d|,\d{3}| \d)")
_SEVERAL_DOT_GROUPS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d.,])")
_COMMA_GROUPS = re.compile(r"\d,\d{3}(?!\d)")
_ANY = re.compile(r"(?<![\w.,/:])[$€£¥]?\s?\d[\d,]*(?:\.\d+)?(?![\w/:]|[.,]\d)")
_ORDINAL = re.compile(r"(?<![\w.,])\d+(?:st|nd|rd|th)\b")
_OF_WHICH = re.compile(r"(?<=\d)\s+(?:out )?of (?:the|all|his|her|their|its|these|those)\s+\d[\d,]*\b(?![.,]\d)", re.IGNORECASE)
_SERIES = re.compile(
    r"\d\s*(?:[-–—/,~]|\b(?:or|and|to|plus|minus|times)\b)\s*[$€£¥]?\s?\d|[=+<>≤≥≈]|[?!:;\n]"
    r"|\d[^\d,]{0,20},\s+(?:and\s+)?[$€£¥]?\s?\d",
    re.IGNORECASE,
)
_MONEY_ASKED = re.compile(
    r"\bhow much (?:money|(?:more |less )?(?:do|does|did|will|would|is|was|are|were|has|have|can|must|should))\b", re.IGNORECASE
)
_CLAUSE_END = re.compile(r"[.!?;。！？](?=\s|\Z)|(?<=[。！？])|\n|,\s+(?=(?:so|but|therefore|however|thus|hence|then)\b)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？])")
_HEDGE = re.compile(
    r"\A\W*(?:about|around|approximately|roughly|probably|perhaps|maybe|likely)\s+|[\s,;:(–—-]*(?:\b(?:but|though|although|and|yet|so|therefore|thus|hence)\b)?[\s,]*\Z",
    re.IGNORECASE,
)
_PLAIN_AMOUNT = re.compile(r"(?<![\w.,$€£¥])(?<![$€£¥] )\d[\d,]*(?:\.\d+)?(?!\s*(?:dollars?|euros?|cents?|pounds?)\b)\b")


def asked_number(answer: str, question: str) -> Fraction | None:
    """The final number of an answer to `question`, or None; see `final_number` for what counts as that.

    Args:
        answer: The answer, or a whole reply.
        question: Asked for in dozens, "7 dozen" is 7. Where it is no English, "13,20" is 13.2, and where it writes "2.500" too, "75.000" is
            75,000. Of several numbers in a short sentence the only one that the question does not give is meant: "He fills 16 boxes
            of 12 eggs."

    A number in a refusal is none, nor is that of an error: "It is impossible to tell if there are 7."; see `programs.refusals`.
    """
    text = with_points(_beside_refusals(answer, question), question)
    scale = asked_scale(question)
    found = final_number(text, scale)
    return final_number(_new_alone(text, question), scale) if found is None else found


def _beside_refusals(text: str, question: str) -> str:
    """What a text tells beside saying that it cannot: the clauses behind it, or before it, that mark their number, or else nothing.

    Beside a mere remark that something is not given, a number that the question does not have is told too, as it was worked out.
    """
    found = list(refusals(text, question))
    if not found:
        return "" if is_error(text, question) else text
    end = _CLAUSE_END.search(text, found[-1].end())
    behind, before = text[end.end() if end else len(text) :], text[: found[0].start()]
    before = _HEDGE.sub("", before)
    # What an LM works out on the way to a second refusal is a step that led nowhere.
    told = behind if tells_plainly(behind) else before if len(found) == 1 and tells_plainly(before) else ""
    if told or any(is_categorical(one[0]) for one in found):
        return told
    lines = map(_SENTENCE_END.split, text.splitlines())
    left = "\n".join(" ".join(part for part in line if not any(refusals(part, question))) for line in lines)
    return left if final_number(left) not in {_value(one) for one in _ANY.findall(question)} else ""


def with_points(text: str, question: str) -> str:
    """`text` with decimal points and without points or blanks between thousands, where it is written as the question's language does."""
    text = _SEVERAL_DOT_GROUPS.sub(lambda found: found[0].replace(".", ""), text)
    # Two digits behind a comma are cents beside a sign of money, whatever the question's language.
    text = _MONEY_BY_COMMA.sub(lambda found: (found["sign"] or "") + re.sub("[. ]", "", found["whole"]) + "." + found["cents"], text)
    if _ENGLISH.search(question) or not _WORDS.search(question):
        return text
    text = _BLANK_GROUPS.sub(lambda found: re.sub(r"\s", "", found[0]), text)
    text = _COMMA_DECIMAL.sub(lambda found: re.sub("[. ]", "", found[1]) + "." + found[2], text)
    grouped = _DOT_GROUPS.search(question) and not _COMMA_GROUPS.search(question)
    return _DOT_GROUPS.sub(lambda found: found[0].replace(".", ""), text) if grouped else text


def _new_alone(text: str, question: str) -> str:
    """A sentence, or what it equates last, without ordinals, the numbers that the question gives, and plain ones beside money asked for."""
    sentence = _ORDINAL.sub(" ", text.strip().rpartition("\n")[2].removeprefix("Answer:").rpartition("=")[2])
    if len(sentence.split()) > SHORT or _SERIES.search(sentence):
        return ""
    given = {_value(found) for found in _ANY.findall(question)}
    sentence = _OF_WHICH.sub("", sentence)
    left = _ANY.sub(lambda found: " " if _value(found[0]) in given else found[0], sentence)
    return _PLAIN_AMOUNT.sub(" ", left) if _MONEY_ASKED.search(question) and re.search(r"[$€£¥]\s?\d", left) else left


def _value(text: str) -> Fraction | None:
    found = quantity(text)
    return found[0] if found else None
