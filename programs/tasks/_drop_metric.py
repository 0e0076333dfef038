"""EM and F1 as DROP defines them (Dua et al. 2019, section 5; AllenNLP's `rc/tools/drop.py`), and the rule of the paper's authors.

The tests compare EM and F1 with AllenNLP's code on thousands of answers.
"""

from __future__ import annotations

import ast
import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from programs.tasks._answers import unwrapped
from programs.tasks._numbers import is_doubted_marker

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LEAD_IN = re.compile(r"\banswers?(?:\s+(?:is|are)\b\s*:?|\s*:)", re.IGNORECASE)
_BOXED = re.compile(r"[\s$:]*\\boxed\s*\{([^{}]*)\}[\s$.]*")
_MARKDOWN = re.compile(r"\*\*|__|`")
_STEP = re.compile(r"\A\s*([0-9]{1,2})[.)]\s+(?=\S)")
_BULLET = re.compile(r"\A\s*[•‣·]\s+(?=\S)")
_REMARK = re.compile(r"\s*\(?(?:note|explanation)\s*:", re.IGNORECASE)


def em_f1(predicted: Any, gold: Any) -> tuple[float, float]:
    """Exact match and F1 of an answer, equal to `get_metrics` of DROP's official evaluation.

    A text is one span; a list or tuple has one span for each item. EM is 1 if both sides have the same normalised
    spans, and as many of them. F1 compares words: the spans are paired one to one so that the sum of their F1s is
    highest, and this sum is divided by the number of spans on the longer side and rounded to 2 decimals. A pair whose
    gold span has numbers counts 0 if none of them is in the predicted span. The evaluation splits at hyphens, so "-3"
    equals "3".

    Where the official code fails, this does not: None and [] are no span, and give (0.0, 0.0) against anything; other
    values count as their text. "" is a span without words, which equals a gold without words, such as "the".

    Args:
        predicted: The answer.
        gold: One reference answer; for several see `best_of`.

    Returns:
        (EM, F1), each in [0, 1].
    """
    found, wanted = _normalized_spans(predicted), _normalized_spans(gold)
    if not found or not wanted:
        return 0.0, 0.0
    em = float(set(found) == set(wanted) and len(found) == len(wanted))
    return em, _aligned_f1([set(span.split()) for span in found], [set(span.split()) for span in wanted])


def best_of(predicted: Any, alternates: Iterable[Sequence[str]]) -> tuple[float, float]:
    """The best EM and the best F1 of an answer among the accepted ones; (0.0, 0.0) if there are none.

    As `evaluate_json` of the official evaluation: the two maxima are taken separately, and an alternate whose first
    span is blank is skipped.
    """
    scores = [em_f1(predicted, spans) for spans in usable(alternates)]
    return max((em for em, _ in scores), default=0.0), max((f1 for _, f1 in scores), default=0.0)


SPAN_SEPARATOR = "; "


def join_spans(spans: Sequence[str]) -> str:
    """Spans as one text that `strict` reads apart again."""
    return SPAN_SEPARATOR.join(span.strip() for span in spans)


def usable(alternates: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """The alternates whose first span is not blank; the others are no answers."""
    return [spans for spans in alternates if spans and spans[0].strip()]


def answer_spans(answer: Mapping[str, Any]) -> list[str]:
    """The spans of an answer in DROP's schema: its number, else its spans, else its date as "day month year".

    [] if all are empty, where the official `answer_json_to_strings` gives a blank span or fails. A number 0 that is no text
    counts, which the official code takes for none; DROP's numbers are texts.
    """
    if answer.get("number") not in (None, ""):
        return [str(answer["number"])]
    if answer.get("spans"):
        return list(answer["spans"])
    date = answer.get("date") or {}
    parts = [str(date[key]) for key in ("day", "month", "year") if date.get(key)]
    return [" ".join(parts)] if parts else []


def strict(predicted: Any, alternates: Sequence[Sequence[str]]) -> tuple[float, float]:
    """(EM, F1) of a model's reply by the official rule, best of `alternates`.

    A list is taken as its spans. A text that as a whole equals an alternate of one span, or is the very text of
    `join_spans` of an alternate, is right. Any other text is
    split into spans without a look at the alternates, so that the reading cannot be chosen to fit. What stands before
    "answer is" or "answer:" is cut off, and so is everything from a line on that begins with "Note:" or "Explanation:";
    the rest is split at line ends and semicolons, and a bullet or "1." in front of a line goes. `<answer>` tags, JSON and code fences
    are read (`programs.tasks._answers.unwrapped`). It is not split at commas or "and", which names, numbers and dates
    contain too.
    """
    if isinstance(predicted, list | tuple):
        return best_of(predicted, alternates)
    text = _text(predicted)
    whole = best_of(text, alternates)
    if whole[0] and text.strip():
        return whole
    # Spans that have a semicolon or a line end themselves could not be read apart.
    if any(text.strip() == join_spans(spans) for spans in usable(alternates)):
        return 1.0, 1.0
    inner = unwrapped(text)
    listed = _json_list(inner)
    return best_of(listed or _read_spans(_MARKDOWN.sub("", inner)), alternates)


def lenient(predicted: Any, alternates: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """(EM, F1, containment) of a model's reply by the rule of the paper's authors (the rule of their final evaluation script).

    There is one gold text: the most frequent of the alternates' first spans, in lower case, and on a tie the first of
    these. The reply is cut to what follows the last "The answer is", then the last ": ", then to its last line; hyphens
    become spaces, and commas, a final full stop and a final per cent sign go. Containment is whether the gold text is a
    part of that ("1" is in "21").
    """
    golds = [gold for spans in usable(alternates) if (gold := _plain(spans[0])).strip()]
    if not golds:
        return 0.0, 0.0, 0.0
    gold = Counter(golds).most_common(1)[0][0]
    reply = _cut(", ".join(map(_text, predicted)) if isinstance(predicted, list | tuple) else _text(predicted))
    return *em_f1(reply, gold), float(gold in reply)


def _text(value: Any) -> str:
    try:
        return "" if value is None else str(value)
    except (ValueError, RecursionError):
        # An integer beyond the digits that Python prints, or lists too deep for it.
        return ""


def _normalized_spans(answer: Any) -> list[str]:
    if answer is None:
        return []
    return [_normalized(_text(span)) for span in (answer if isinstance(answer, list | tuple) else [answer])]


def _normalized(span: str) -> str:
    return " ".join(filter(None, map(_normalized_token, re.split("[ -]", span))))


def _normalized_token(token: str) -> str:
    token = token.lower()
    if not _is_number(token):
        token = token.translate(_PUNCTUATION)
    if _is_number(token):
        token = str(float(token))
    return " ".join(_ARTICLES.sub(" ", token).split())


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _aligned_f1(found: list[set[str]], wanted: list[set[str]]) -> float:
    scores = np.array([[_words_f1(words, gold) for words in found] for gold in wanted])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    aligned = np.zeros(max(scores.shape))
    aligned[rows] = scores[rows, columns]
    # NumPy's rounding, not Python's: at 0.025, for one, they differ, and the official figures come from the former.
    return float(np.round(aligned.mean(), 2))


def _words_f1(found: set[str], wanted: set[str]) -> float:
    numbers = {word for word in wanted if _is_number(word)}
    if numbers and not numbers & found:
        return 0.0
    common = len(found & wanted)
    precision = common / len(found) if found else 1.0
    recall = common / len(wanted) if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _read_spans(reply: str) -> list[str]:
    last = next(reversed(list(_LEAD_IN.finditer(reply))), None)
    rest = reply[last.end() :] if last and not is_doubted_marker(reply[: last.start()]) else reply
    boxed = _BOXED.fullmatch(rest)
    rest = boxed[1] if boxed else rest
    lines = _without_bullets([line for line in takewhile(lambda line: not _REMARK.match(line), rest.split("\n")) if line.strip()])
    parts = (part.strip() for line in lines for part in line.split(";"))
    return [part for part in parts if part]


def _without_bullets(lines: list[str]) -> list[str]:
    numbers = [match[1] for line in lines if (match := _STEP.match(line))]
    # Numbers that do not count the lines belong to the spans.
    if len(numbers) == len(lines) and numbers == [str(at) for at in range(1, len(lines) + 1)]:
        return [_STEP.sub("", line) for line in lines]
    return [_BULLET.sub("", line) for line in lines]


def _json_list(text: str) -> list[str]:
    if not text.lstrip().startswith("["):
        return []
    try:
        found = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        found = _python_list(text)
    return found if all(isinstance(span, str) for span in found) else []


def _python_list(text: str) -> list[Any]:
    """The list in a text that has it as Python writes it, with single quotes."""
    try:
        found = ast.literal_eval(text.strip()) if len(text) < 5000 else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _plain(text: str) -> str:
    return text.replace("-", " ").replace(",", "").lower()


def _cut(reply: str) -> str:
    text = reply.rpartition("The answer is")[2].rpartition(": ")[2].removesuffix(".")
    text = _plain(text.split("\n")[-1]).rpartition(":")[2]
    return text.removesuffix(".").removesuffix("%")
