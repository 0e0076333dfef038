"""Scorers by name, for questions of your own: `exact`, `number`, `short`, `f1`, `contains`, `multiple_choice`, or a function of yours."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import dspy

from programs.tasks._answers import answer_text, as_text, unwrapped
from programs.tasks._asked_numbers import asked_number, with_points
from programs.tasks._choices import chosen_label, options_in
from programs.tasks._entities import is_question, is_taken_back_or_doubted
from programs.tasks._equality import canonical, equal_answers
from programs.tasks._numbers import number, quantity
from programs.tasks._sentences import declines, is_told
from programs.tasks.base import EMPTY_REFERENCE, NO_FINAL_ANSWER, Score, exact_match, usable_golds
from programs.tasks.metrics import check_metric, score_by

Scorer = Callable[[dspy.Example, Any], Score]
_FOOTNOTE = re.compile(r"(?P<kept>[.*_\"”’]*)\s*(?:\[\d{1,2}\])+(?P<end>\W*)\Z")
_IT_IS = re.compile(
    r"\A\W*(?:(?:so|thus|therefore),?\s+)?(?:(?:it|he|she|that|this)(?:\s+(?:is|was)|['’]s)\s+)?"
    r"(?:(?:mr|dr|prof)\.?\s+|professor\s+)?",
    re.IGNORECASE,
)
_BEFORE_YEAR = r"(?:(?:b|d|c|ca|born|died|circa)\b\.?\s*)*"
_YEARS_BEHIND = re.compile(
    rf"(?<=[^\W\d])(?P<kept>[.*_\"”’]*)\s*\({_BEFORE_YEAR}\d{{3,4}}(?:\s*[-–—,]\s*(?:{_BEFORE_YEAR}\d{{2,4}}|present)?)?\)(?=\W*\Z)",
    re.IGNORECASE,
)


def exact(example: dspy.Example, prediction: Any) -> Score:
    """Whether the answer equals an accepted one; see `programs.tasks.equal_answers`."""
    return exact_match(getattr(prediction, "answer", None), golds_of(example))


def numeric(example: dspy.Example, prediction: Any) -> Score:
    """Whether the final number of the answer is an accepted one, exactly; see `programs.tasks._asked_numbers.asked_number`."""
    golds, question = usable_golds(golds_of(example)), as_text(example.get("question"))
    wanted = {value for gold in golds if (value := number(with_points(gold, question))) is not None}
    if not wanted:
        return Score.unscored(f"the reference answer {golds[0][:80]!r} is no number" if golds else EMPTY_REFERENCE)
    found = asked_number(answer_text(prediction), question)
    return Score(0.0, NO_FINAL_ANSWER) if found is None else Score(float(found in wanted))


def in_words(example: dspy.Example, prediction: Any) -> Score:
    """By `exact`, or told in a sentence that repeats the question, as LLMs do that were not trained on a format; see `is_told`.

    Years in brackets behind a name or a title make no difference, nor do "It is", "Mr." and the sign of a footnote around it:
    "It's Dr. Philip K. Dick (1928-1982) [1]".
    """
    question = as_text(example.get("question"))
    golds, forms = usable_golds(golds_of(example)), _forms(answer_text(prediction))
    if any(is_told(form, gold, question) or equal_answers(form, gold) for form in forms for gold in golds):
        return Score(1.0)
    return exact(example, prediction)


def _forms(answer: str) -> list[str]:
    """An answer, and the same without what makes no difference around it."""
    plain = _YEARS_BEHIND.sub(r"\g<kept>", _FOOTNOTE.sub(r"\g<kept>", answer))
    return list(dict.fromkeys((answer, plain, _IT_IS.sub("", plain))))


def short(example: dspy.Example, prediction: Any) -> Score:
    """By `number` where the accepted answers are numbers, with a unit or without, else by `exact`: for files that have both.

    Words are also right in a sentence that repeats the question around them; see `in_words`. `measures` has `contains`, which no right
    answer fails: how much more it takes bounds what this rule does not see in freer sentences. What runs on for over `LONGEST_TOLD`
    words has it only where it is right.
    """
    golds, question = usable_golds(golds_of(example)), as_text(example.get("question"))
    if not golds:
        return Score.unscored(EMPTY_REFERENCE)
    found = (numeric if all(is_measure(with_points(gold, question)) for gold in golds) else in_words)(example, prediction)
    is_told_in_short = len(answer_text(prediction).split()) <= LONGEST_TOLD
    named = contains(example, prediction).value if is_told_in_short and not found.value else found.value
    return Score(found.value, found.detail, {CONTAINS: named})


def f1(example: dspy.Example, prediction: Any) -> Score:
    """F1 of the words after `canonical`, best over the accepted answers, with `em` and `f1` in `measures`.

    The formula is SQuAD's (Rajpurkar et al. 2016, section 6.1); signs and symbols count as words.
    """
    golds = usable_golds(golds_of(example))
    if not golds:
        return Score.unscored(EMPTY_REFERENCE)
    answer = unwrapped(as_text(getattr(prediction, "answer", None)))
    em = float(any(equal_answers(answer, gold) for gold in golds))
    best = 1.0 if em else max(_words_f1(canonical(answer).split(), canonical(gold).split()) for gold in golds)
    return Score(best, "", {"em": em, "f1": best})


def contains(example: dspy.Example, prediction: Any) -> Score:
    """Whether an accepted answer stands in the answer as whole words, and is not denied, doubted or taken back there.

    A list that has it counts: where that is wrong, use `exact`.
    """
    golds = usable_golds(golds_of(example))
    if not golds:
        return Score.unscored(EMPTY_REFERENCE)
    answer = unwrapped(as_text(getattr(prediction, "answer", None)))
    if is_question(answer):
        return Score(0.0)
    question, words = as_text(example.get("question")), canonical(answer).split()
    golds = [gold for gold in golds if not declines(answer, gold, question)]
    return Score(float(any(equal_answers(answer, gold) or _is_said(words, canonical(gold).split()) for gold in golds)))


def multiple_choice(example: dspy.Example, prediction: Any) -> Score:
    """Whether the answer chooses the option of the reference, by its letter or number, or by its text.

    The reference is a label ("B") or the text of an option. Options are read from the question, else from the context, where
    each has a line ("B) Rome") or stands after its label in brackets ("(B) Rome"). "B", "(b)", "B) Rome", "The answer is B."
    choose B; "A or B" and a label with the text of another option choose nothing.
    """
    golds = usable_golds(golds_of(example))
    if not golds:
        return Score.unscored(EMPTY_REFERENCE)
    question = as_text(example.get("question"))
    options = options_in(question) or options_in(as_text(example.get("context")))
    wanted = {chosen_label(gold, options) for gold in golds} - {""}
    chosen = chosen_label(answer_text(prediction), options, question)
    if not chosen:
        return Score(1.0) if exact(example, prediction).value else Score(0.0, NO_FINAL_ANSWER)
    return Score(float(chosen in wanted))


CONTAINS = "contains"
LONGEST_TOLD = 60
"""Words above which a reply is no answer in a sentence, but reasoning or a loop."""

SCORERS: dict[str, Scorer] = {
    "exact": exact,
    "number": numeric,
    "short": short,
    "f1": f1,
    CONTAINS: contains,
    "multiple_choice": multiple_choice,
}
MEASURES = {"f1": "F1"}
"""What the value of a scorer measures, where it is not accuracy."""
NUMBER_ALONE = "If the answer is a number, write the number alone."
"""For tasks whose answers are numbers: LLMs answer in sentences, and a sentence with two numbers tells no final one."""
SHORT_ALONE = "The final answer itself has as few words as it takes: a name, a date, yes or no, or a number alone, not a sentence."
FORMATS = {"number": NUMBER_ALONE, "short": SHORT_ALONE}
"""What a solver is told about the form of its answer, where a scorer needs it; see `Task.answer_format`."""

AUTO = "auto"
"""`number` where every reference is a number, with a unit or without, `short` where nearly all are of a few words, else `exact`."""
_FEW_WORDS, _NEARLY_ALL = 6, 0.8
_MEASURE = re.compile(
    r"\s*[-+−]?\s?[^\w\s]?\s?(?!0\d)\d(?:[\d.,'’/ \u00a0\u202f]*\d)?(?P<unit>[^\w\s]?[^\W\d]*[²³]?)"
    r"(?P<words>\s+\S+(?:\s+[^\sA-Z]\S*){0,2})?\s*\Z"
)
_NO_UNITS = frozenset(
    "st nd rd th am pm a.m. p.m. uhr o'clock o’clock bc ad bce ce x or and of to by und oder et ou y o "
    "january february march april may june july august september october november december jan feb mar apr jun jul aug sep sept oct nov "
    "dec januar februar märz mai juni juli oktober dezember janvier février mars avril juin juillet août septembre octobre novembre "
    "décembre enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre gennaio febbraio aprile maggio "
    "giugno luglio settembre ottobre dicembre".split()
)
"""Words behind a number that make something else of it: a date, a time, a rank, two numbers."""


def is_measure(text: str) -> bool:
    """Whether a reference is a number, with a unit or without, so that its number says all: "12 km", "$7.50", "five", not "3 April"."""
    found = _MEASURE.match(text)
    if quantity(text) is not None:
        return True
    behind = f"{found['unit']} {found['words'] or ''}".lower() if found else ""
    words = {form for word in behind.split() for form in (word, word.strip(".,"))}
    return found is not None and not words & _NO_UNITS and number(text) is not None


def suited_scorer(references: Iterable[Sequence[Any]]) -> str:
    """`number` where all of these accepted answers are numbers (see `is_measure`), `short` where nearly all have a few words, else `exact`.

    An LLM that is right writes "853 grams" where somebody else's file has "853 g", and a sentence unless it is told not to.
    """
    texts = [text for golds in references for text in usable_golds(golds)]
    if texts and all(map(is_measure, texts)):
        return "number"
    few = sum(len(text.split()) <= _FEW_WORDS for text in texts)
    return "short" if texts and few >= _NEARLY_ALL * len(texts) else "exact"


def scorer_by_name(name: str) -> Scorer:
    """A scorer by its name, or a Python function by `module:function`.

    The function is a metric of DSPy (see `programs.tasks.metrics.score_by`); its example has `question`, `context`, `answer` (a text, or
    a list of accepted ones) and `id`. The module is looked for where Python looks, and in the working directory.

    Raises:
        ValueError: Unknown name, a module that cannot be imported, or no such function in it, or one that is no metric.
    """
    if name in SCORERS:
        return SCORERS[name]
    module, separator, function = name.partition(":")
    if not separator or not module or not function:
        raise ValueError(f"Unknown scorer {name!r}; expected one of {[AUTO, *SCORERS]}, or a function of yours as 'module:function'.")
    found = getattr(_module(name, module), function, None)
    if not callable(found):
        raise ValueError(f"scorer {name!r}: module {module!r} has no function {function!r}; check the name after the colon.")
    check_metric(found, f"scorer {name!r}")
    return functools.partial(score_by, found, who=f"scorer {name!r}")


def accepted_by(names: Iterable[str], answers: Sequence[tuple[dspy.Example, Any]]) -> dict[str, int]:
    """How many of these answers each of the scorers takes for wholly right; pairs of example and prediction."""
    return {name: sum(SCORERS[name](*pair).value >= 1 for pair in answers) for name in names}


def golds_of(example: dspy.Example) -> list[Any]:
    """The accepted answers of an example."""
    answer = example.get("answer")
    return list(answer) if isinstance(answer, list | tuple) else [answer]


def _module(scorer: str, module: str) -> Any:
    # A command has its own folder in place of the working directory there.
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ValueError(
            f"scorer {scorer!r}: module {module!r} cannot be imported ({type(error).__name__}: {error}); "
            "put it into the working directory, or install it."
        ) from error


def _words_f1(words: Sequence[str], wanted: Sequence[str]) -> float:
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted)) if common else 0.0


def _is_said(words: list[str], wanted: list[str]) -> bool:
    length = len(wanted)
    if not length:
        return False
    places = [at for at in range(len(words) - length + 1) if words[at : at + length] == wanted]
    return bool(places) and not any(is_taken_back_or_doubted(words[:at], words[at + length :]) for at in places[:100])
