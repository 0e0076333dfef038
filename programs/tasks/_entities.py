"""Whether a short answer names the same person, place, number or date as the reference."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from programs.tasks._numbers import is_doubted_marker

SHORT = 20
"""An answer of up to so many words may name the reference anywhere; a longer one has to start with it."""

_LEAD_IN = re.compile(r"\banswers?\s*[*\"')]{0,3}\s*(?::|is\b\s*:?)", re.IGNORECASE)
_TOKEN = re.compile(r"(?<!\w)[^\W\d_](?:\+{1,2}|#)(?!\w)|(?<!\w)-?[0-9]+(?:[.,][0-9]+)*|[0-9]+(?:[.,][0-9]+)*|[^\W\d_]+|[^\W_]")
_APOSTROPHE = re.compile(r"(?<=\w)['’ʼ](?=\w)")
_DASHES = str.maketrans(dict.fromkeys("−‐‑‒–—", "-") | {"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i"})
_ARTICLES = frozenset(("a", "an", "the"))
_SAME = {"bce": "bc", "ce": "ad"} | dict.fromkeys(("meter", "meters", "metre", "metres"), "m")
_SAME |= dict.fromkeys(("kilometer", "kilometers", "kilometre", "kilometres"), "km")
# What denies, doubts or takes back an answer; in front of it, or (of the second kind) behind it.
_DENIALS = frozenset(
    """not never neither nor isnt wasnt arent werent dont doesnt didnt cant couldnt wont wouldnt cannot unlikely except
    without besides whether than unlike instead""".split()
)
_DOUBTS = frozenset(
    """or either maybe perhaps possibly unsure uncertain unclear unknown might could if guessing wrong incorrect
    doubtful hardly""".split()
)
_TAKEN_BACK = frozenset("wait actually rather instead sorry correction oops scratch".split())
# After one of these the answer begins anew. "Actually" is none, as in "it is not actually Paris".
_ANEW = re.compile(r"\b(?:wait|sorry|correction|oops|scratch that|second thought|i mean)\b")
_DOUBTED = re.compile(
    r"(?<!no )(?<!without )\bdoubts?\b|\bmay (?:well )?(?:have been|be)\b|\bas opposed to\b"
    r"|\b(?:anything|anyone|everything|everyone|all) but\b"
)
_MISTAKEN = re.compile(
    r"\b(?:thought|believed|assumed|claimed|supposed) (?:to be|that|it)\b|\bwhile\b"
    r"|\b(?:some|many|most|others|people) (?:\w+ )?(?:say|think|believe|assume|claim)\b"
)
_QUESTION = re.compile(r"\A\W*(?:is|was|are|were|could|can|might|does|did|isn't|wasn't|would)\b[^.!?]*\?\s*\Z", re.IGNORECASE)
# "No idea" is no "no".
_DENIED_AFTER = re.compile(
    r"(?:(?:is|was|are|were|does|did|do|would|can|could) (?:also |certainly |definitely )?(?:not|false)"
    r"|isnt|wasnt|arent|werent|cannot|cant|idea|clue|answer|doubt)\b"
)
_UNSURE = re.compile(
    r"\b(?:not|isnt|wasnt|arent|cant|cannot|never) (?:\w+ )?(?:sure|certain|know|tell|say|confident)\b|\bdont (?:really )?know\b"
)
_BUT_THE_ANSWER = re.compile(r"\bbut (?:the )?(?:\w+ )?answer (?:is|was)\b")
_BUT = frozenset(("but", "rather"))
_NO_DOUBT = frozenset("doubt question doubts wonder".split())
_SEPARATORS = re.compile(
    r"\s(?:vs?\.?|versus)\s|(?<!\d)\s?[/|]\s?(?!\d)|\s?[&+]\s?|\s(?:as well as|along with|together with)\s", re.IGNORECASE
)
_LIST = re.compile(r",(?: [\w.'-]+){1,3}, (?:and|&) ")
_GOES_ON = frozenset("he she it they we this that these his her its their was is were are has had died lived became then also".split())
_SENTENCE_END = re.compile(r"(?<=\w{3})(?<!Prof)(?<!Capt)(?<!Gov)(?<!Gen)(?<!Sgt)(?<!Col)(?<!Rev)(?<!Sen)[.!?](?=\s+[A-Z])")
_OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
# "Augustine, son of Lawrence" names Augustine; "he was the son of Lawrence" may well tell Lawrence.
_RELATIVES = frozenset(
    """son daughter child wife husband spouse widow father mother parent brother sister sibling uncle aunt nephew niece cousin grandson
    granddaughter grandfather grandmother friend student pupil teacher successor predecessor heir suburb north south east west""".split()
)
_POSSESSED = re.compile(r"['’]\s+\w")
_TELLS = frozenset("is was are were be been".split())
_SCALES = frozenset(("hundred", "thousand", "million", "billion", "trillion"))
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = {name[:length]: number for number, name in enumerate(_MONTHS, 1) for length in range(3, len(name) + 1)}
_NAME = r"(?P<month>[a-z]{3,9})\.?"
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_FULL_YEAR = r"(?P<year>[0-9]{3,4})"
_DATES = tuple(
    re.compile(rf"(?<![\w-]){form}(?![\w-])")
    for form in (
        rf"{_DAY}[\s-]+(?:of\s+)?{_NAME},?[\s-]+(?:(?P<year>[0-9]{{3,4}})|'?(?P<short>[0-9]{{2}}))",
        rf"{_NAME}[\s-]+(?:the\s+)?{_DAY}(?:,\s*|\s+){_FULL_YEAR}",
        rf"{_FULL_YEAR}-(?P<month>[0-9]{{1,2}})-{_DAY}",
        # Where both could be the month nothing tells which one is.
        r"(?P<day>1[3-9]|2[0-9]|3[01])[./](?P<month>0?[1-9]|1[0-2])[./](?P<year>[0-9]{4})",
        r"(?P<month>0?[1-9]|1[0-2])/(?P<day>1[3-9]|2[0-9]|3[01])/(?P<year>[0-9]{4})",
    )
)


class Date(NamedTuple):
    """A day; `short` if only the last two digits of its year are given."""

    year: int
    month: int
    day: int
    short: bool = False

    def is_same(self, gold: Date) -> bool:
        """Whether this is the day `gold`, whose short year may stand for 19xx or 20xx, as a spreadsheet cut it to two digits."""
        years = {gold.year + 1900, gold.year + 2000} if gold.short and not self.short else {gold.year}
        return self[1:3] == gold[1:3] and self.year in years and (gold.short or not self.short)


class Match(NamedTuple):
    """How an answer compares with one reference, each in [0, 1]."""

    em: float
    f1: float
    accuracy: float


def compare(answer: str, gold: str, question: str = "") -> Match:
    """How `answer` compares with `gold`, after a lead-in such as "The answer is:" is dropped.

    Case, articles, punctuation, diacritics, thousands commas, the form of a date, and metres for m make no difference.

    em: All words are those of the reference, or both are the same date.
    f1: Of the words, as SQuAD counts it (Rajpurkar et al. 2016, section 6.1); 1 where em is.
    accuracy: em, or the words of the reference stand as one run in the answer: at its start, or anywhere if it has at most
        `SHORT` words. A run does not count where the answer denies it ("not Paris", "Paris is wrong"), doubts it ("maybe
        Paris"), takes it back ("Paris. No, Rome") or names another beside it ("Paris or Rome", "Rome and Paris", "yes, no");
        nor where the reference is a number and another number is in the answer (but for the date around a year, and those of the question)
        or "million" follows. A date counts if it is the only one of such an answer. "Paris, France" is right.
    """
    final = _final(answer)
    words, wanted = tokens(final), tokens(gold)
    date = _whole_date(gold)
    em = words == wanted or (date is not None and _is_date(_whole_date(final), date))
    named = _names(words, wanted, set(tokens(question))) and _is_alone(final, gold) and not is_question(final)
    named = named and _is_in_final_sentence(answer, final, wanted)
    accuracy = em or named or (date is not None and len(words) <= SHORT and _has_date(final, date))
    if not accuracy and len(wanted) == 1 and wanted[0].isdigit():
        accuracy = len(words) <= SHORT and _has_year(final, wanted[0])
    return Match(float(em), 1.0 if em else _f1(words, wanted), float(accuracy))


def tokens(text: str) -> list[str]:
    """The words and numbers that count in a comparison; the text itself if it has none."""
    folded = _fold(text)
    found = [_SAME.get(word, word) for word in _TOKEN.findall(_APOSTROPHE.sub("", folded))]
    found = [word.replace(",", "") if word[-1].isdigit() else word for word in found]
    return [word for word in found if word not in _ARTICLES] or found or folded.split()


def dates(text: str) -> list[Date]:
    """The days that `text` names, in the forms "2 August 1776", "Aug 2nd, 1776", "1776-08-02" and "2-Aug-76"."""
    return [date for date, _ in _dated(text)]


def _dated(text: str) -> list[tuple[Date, tuple[int, int]]]:
    folded = _fold(text)
    return [(date, match.span()) for form in _DATES for match in form.finditer(folded) if (date := _date(match))]


def _date(match: re.Match[str]) -> Date | None:
    named = match.groupdict()
    month = int(named["month"]) if named["month"].isdigit() else _MONTH.get(named["month"], 0)
    day, short = int(named["day"]), named.get("short")
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return Date(int(short or named["year"]), month, day, bool(short))


def _whole_date(text: str) -> Date | None:
    found = _dated(text)
    if len(found) != 1:
        return None
    folded, (date, (start, end)) = _fold(text), found[0]
    is_whole = re.fullmatch(r"\W*(?:on\W+)?(?:the\W+)?", folded[:start]) and not re.search(r"\w", folded[end:])
    return date if is_whole else None


def _is_date(date: Date | None, gold: Date) -> bool:
    return date is not None and date.is_same(gold)


def _has_date(text: str, gold: Date) -> bool:
    found = dates(text)
    return len(found) == 1 and found[0].is_same(gold) and not _is_doubted(tokens(text))


def _has_year(text: str, year: str) -> bool:
    """Whether the only numbers of `text` are those of one date in `year`."""
    found = _dated(text)
    if len(found) != 1 or str(found[0][0].year) != year:
        return False
    folded, (start, end) = _fold(text), found[0][1]
    rest = folded[:start] + folded[end:]
    return not re.search("[0-9]", rest) and not _is_doubted(tokens(rest))


def _names(words: Sequence[str], wanted: Sequence[str], asked: Collection[str]) -> bool:
    length = len(wanted)
    starts = range(max(len(words) - length + 1, 0)) if len(words) <= SHORT else range(1)
    return any(list(words[i : i + length]) == list(wanted) and _is_meant(words[:i], words[i + length :], wanted, asked) for i in starts)


def _is_meant(before: Sequence[str], after: Sequence[str], wanted: Sequence[str], asked: Collection[str]) -> bool:
    if is_taken_back_or_doubted(before, after) or _has_another(before, after, wanted) or _is_a_relative(before, after):
        return False
    if not (len(wanted) == 1 and wanted[0][-1].isdigit()):
        return True
    if before[-1:] in (["before"], ["after"]):
        return False
    return not any(word[-1].isdigit() for word in (*before, *after) if word not in asked) and not (after and after[0] in _SCALES)


def _is_a_relative(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether the words in front of a name are of somebody, or somewhere, that is only told by it: "a friend of Paris"."""
    return before[-1:] == ["of"] and bool(_RELATIVES & set(before[-2:-1])) and not _TELLS & {*before, *after}


def is_taken_back_or_doubted(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether the words around an answer deny it, doubt it or take it back."""
    return _is_doubted(before) or _is_taken_back(after) or bool(_MISTAKEN.search(" ".join(before)) and "but" in after)


def is_question(answer: str) -> bool:
    """Whether an answer only asks, as in "Is it Paris?"."""
    return bool(_QUESTION.match(answer))


def _is_doubted(before: Sequence[str]) -> bool:
    """Whether the words in front of an answer deny or doubt it; "not Rome but Paris" does not."""
    said = " ".join(before)
    before = said[max((found.end() for found in _ANEW.finditer(said)), default=0) :].split()
    if _DOUBTS & set(before) or _UNSURE.search(" ".join(before)) or _DOUBTED.search(" ".join(before)):
        return True
    turn = max((place for place, word in enumerate(before) if word in _BUT), default=-1)
    return _says_no(before[turn + 1 :]) or bool(_DENIALS & set(before[turn + 1 :]))


def _is_taken_back(after: Sequence[str]) -> bool:
    text = re.sub(r"\b(?:rather than|instead of)\b", "", " ".join(after))
    after = text.split()
    return (
        _says_no(after)
        or bool((_DOUBTS | _TAKEN_BACK) & set(after))
        or bool(_DENIED_AFTER.match(text) or "second thought" in text or _BUT_THE_ANSWER.search(text) or _UNSURE.search(text))
    )


def _says_no(words: Sequence[str]) -> bool:
    return any(word in ("no", "nope") and following not in _NO_DOUBT for word, following in pairwise([*words, ""]))


def _has_another(before: Sequence[str], after: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether "and" joins another answer to this one, or a yes stands beside a no."""
    if len(wanted) == 1 and _OPPOSITES.get(wanted[0]) in {*before, *after}:
        return True
    joined = after[:1] == ["and"] and not (len(after) > 1 and after[1] in _GOES_ON)
    return joined or before[-1:] == ["and"]


def _is_alone(answer: str, gold: str) -> bool:
    """Whether no sign or list sets another answer beside the reference, as "Paris/Rome" and "Paris, Rome, and Bern", nor "Paris' king"."""
    folded, wanted = _fold(answer), _fold(gold).strip(" .,")
    place = folded.find(wanted)
    if place < 0 or _SEPARATORS.search(wanted) or "," in wanted:
        return True
    before, after = folded[:place], folded[place + len(wanted) :]
    separated = re.search(rf"(?:{_SEPARATORS.pattern})\Z", before + " " if before.endswith(("vs", "vs.")) else before)
    of_its_own = _POSSESSED.match(after) and not before.endswith(("'", "’", "‘"))
    return not (separated or of_its_own or _SEPARATORS.match(after) or _LIST.match(after))


def _f1(words: Sequence[str], wanted: Sequence[str]) -> float:
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted)) if common else 0.0


def _final(answer: str) -> str:
    """What follows the last lead-in, if anything does; the whole text where a doubt stands in front of that."""
    answer = " ".join(answer.split())
    last = next(reversed(list(_LEAD_IN.finditer(answer))), None)
    rest = answer[last.end() :] if last and not is_doubted_marker(answer[: last.start()]) else answer
    return rest if rest.strip() else answer


def _is_in_final_sentence(answer: str, final: str, wanted: Sequence[str]) -> bool:
    """Whether the sentence of a lead-in has the reference, where there is one and nothing corrects it later."""
    end = _SENTENCE_END.search(final)
    if not end or len(final) == len(" ".join(answer.split())) or _ANEW.search(final[end.end() :].lower()):
        return True
    return set(wanted) <= set(tokens(final[: end.start()]))


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold()).translate(_DASHES)
    if not decomposed.isascii():
        decomposed = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return " ".join(decomposed.casefold().split())
