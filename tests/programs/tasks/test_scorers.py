"""The scorers that a `jsonl` user chooses from, on replies that try them."""

from __future__ import annotations

import time
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.tasks.base import NO_FINAL_ANSWER
from programs.tasks.scorers import SCORERS, scorer_by_name

CITIES = "Which city is the capital of France?\nA) Rome\nB) Paris\nC) Bern\nD) Oslo"
INLINE = "Which city? (A) Rome (B) Paris (C) Bern"
NUMBERS = "How much is 2 + 2?\n1. 3\n2. 4\n3. 5"


def score(scorer: str, answer: Any, gold: Any, question: str = "q?") -> float:
    return scorer_by_name(scorer)(dspy.Example(question=question, answer=gold, id="1"), dspy.Prediction(answer=answer)).value


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("18", "18.0", 1), ("So it is 18.", "18", 1), ("$1,234.50", "1234.5", 1), ("eighteen", "18", 1), ("**18**", 18, 1),
        ("minus 3", "-3", 1),
        ("3", "-3", 0), ("1.8", "18", 0), ("18 or 19", "18", 0), ("180", "18.0", 0), ("2 dozen", "24", 1), ("50%", "50 %", 1),
        ("19", ["18", "19"], 1),
        ("It is 20", ["18", "19"], 0), ("1/3", "0.3333", 0), ("0.5", "1/2", 1), ("no", "18", 0), ("12.5**", "12.5", 1), ("05", "5", 1),
    ],
)  # fmt: skip
def test_number(answer: str, gold: Any, right: int) -> None:
    assert score("number", answer, gold) == right


@pytest.mark.parametrize("scorer", ["number", "short"])
@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [("3,5", "3,5", 1), ("3.5", "3,5", 1), ("3,5 Liter", "3,5 l", 1), ("1234.5", "1.234,50 €", 1), ("35", "3,5", 0), ("3", "3,5", 0)],
)
def test_a_reference_is_read_in_the_language_of_its_question(scorer: str, answer: str, gold: str, right: int) -> None:
    assert score(scorer, answer, gold, "Wie viele Liter Wasser passen in den Tank?") == right


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        ("the Nile river", "Nile", 2 / 3), ("Nile", "the Nile", 1), ("18.0", "18", 1), ("-5", "5", 0), ("C++", "C", 0.5),
        ("C", "C++", 0.5), ("x", "y", 0),
        ("1.8", "18", 0), ("", "x", 0), ("x y", ["y z", "x y z"], 0.8), ("A", "A", 1), ("Paris**", "Paris", 1), ("twenty", "20", 1),
    ],
)  # fmt: skip
def test_f1(answer: str, gold: Any, value: float) -> None:
    assert score("f1", answer, gold) == pytest.approx(value)


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("It is Paris, I think.", "Paris", 1), ("Paris", "paris", 1), ("Parisian", "Paris", 0), ("not Paris", "Paris", 0),
        ("It isn't Paris", "Paris", 0),
        ("Paris is wrong", "Paris", 0), ("maybe Paris", "Paris", 0), ("Paris and Rome", "Paris", 1), ("It is 180.", "18", 0),
        ("It is -18.", "18", 0),
        ("It is 18.5.", "18", 0), ("It is 18.0 m.", "18", 1), ("It costs $18.", "18", 1), ("We use C++.", "C", 1), ("We use C.", "C++", 0),
        ("I don't know whether it is Paris", "Paris", 0), ("Rome", ["Rome", "Roma"], 1), ("Roma!", ["Rome", "Roma"], 1), ("", "x", 0),
        ("北京。", "北京", 1), ("the answer is New York City", "New York", 1), ("York New", "New York", 0), ("1,000 people", "1000", 1),
    ],
)  # fmt: skip
def test_contains(answer: str, gold: Any, right: int) -> None:
    assert score("contains", answer, gold) == right


@pytest.mark.parametrize(
    ("answer", "gold", "question", "right"),
    [
        *[(answer, "B", CITIES, 1) for answer in (
            "B", "b", "B.", "(B)", "[B]", "B)", "**B**", "B) Paris", "B. Paris", "(B) Paris", "B: Paris", "Answer: B",
            "The answer is B.", "The answer is (B).",
            "The correct answer is B) Paris.", "Option B", "I choose B.", r"\boxed{B}", r"$\boxed{\text{B}}$", "Paris", "paris.",
            "**Paris**", "`B`", "B\n", "B - Paris",
            "Answer: **B**", "The answer is option B.", "B, because Paris is the capital of France.", "B**",
        )],
        *[(answer, "B", CITIES, 0) for answer in (
            "A", "C) Bern", "A or B", "B or C", "B and C", "B, C", "B/C", "not B", "The answer is not B.", "It isn't B", "B) Rome",
            "A) Paris", "Rome", "E", "",
            "Because", "Bern", "maybe B or maybe A", "Neither A nor B", "A. No, it is C.", "B is wrong", "all of them", "I don't know",
        )],
        ("A", "A", CITIES, 1), ("A cat sat here", "A", CITIES, 0), ("I think so", "I", "q?", 0), ("(a)", "A", CITIES, 1),
        ("A) Rome", "Rome", CITIES, 1),
        ("Rome", "A", CITIES, 1), ("B", "Paris", CITIES, 1), ("C", "Paris", CITIES, 0), ("B", "B", INLINE, 1),
        ("Paris", "B", INLINE, 1), ("Rome", "B", INLINE, 0),
        ("(C) Bern", "C", INLINE, 1), ("2", "2", NUMBERS, 1), ("2. 4", "2", NUMBERS, 1), ("4", "2", NUMBERS, 1),
        ("3. 5", "2", NUMBERS, 0), ("1. 4", "2", NUMBERS, 0),
        ("B", "B", "No options here", 1), ("C", "B", "No options here", 0), ("B", ["A", "B"], CITIES, 1),
    ],
)  # fmt: skip
def test_multiple_choice(answer: str, gold: Any, question: str, right: int) -> None:
    assert score("multiple_choice", answer, gold, question) == right


def test_a_reply_without_a_choice_or_a_number_says_so() -> None:
    for name, gold in (("multiple_choice", "B"), ("number", "18")):
        found = scorer_by_name(name)(dspy.Example(question=CITIES, answer=gold), dspy.Prediction(answer="I cannot tell."))
        assert (found.value, found.detail) == (0.0, NO_FINAL_ANSWER)


@settings(max_examples=100, deadline=None)
@given(
    st.text() | st.integers() | st.floats() | st.none() | st.lists(st.text()),
    st.text() | st.lists(st.text()),
    st.sampled_from(list(SCORERS)),
)
def test_no_answer_makes_a_scorer_fail(answer: Any, gold: Any, name: str) -> None:
    for prediction in (dspy.Prediction(answer=answer), dspy.Prediction(), None):
        found = SCORERS[name](dspy.Example(question=CITIES, answer=gold), prediction)
        assert found.is_unscored or 0 <= found.value <= 1


@pytest.mark.parametrize("name", list(SCORERS))
@pytest.mark.parametrize(
    "answer",
    ["A) " * 25_000, "answer is " * 25_000, "Paris " * 25_000, "**" * 25_000, "(" * 25_000, 10**5000],
    ids=lambda answer: str(answer)[:5] if isinstance(answer, str) else "long",
)
def test_a_huge_answer_takes_no_time(name: str, answer: Any) -> None:
    started = time.process_time()
    assert score(name, answer, "18", CITIES) == 0
    # Far above what a slow machine takes, far below what a search takes that grows with the square of the length.
    assert time.process_time() - started < 60


COVERED = "Is the customer still covered by the warranty?"
DECLINED = [
    ("no", "No, I cannot determine that from the given information."), ("no", "No, there is not enough information to tell."),
    ("no", "No. The context doesn't mention it."), ("no", "No. I cannot answer this question."), ("yes", "Yes, I need more information."),
    ("no", "No, the passage does not say."), ("no", "No - unknown."), ("no", "No, unfortunately I can't tell."),
    ("no", "No, that is not known."), ("no", "No, based on the passage, it cannot be determined."),
    ("no", "No, as an AI I am unable to say."), ("nein", "Nein, das lässt sich nicht sagen."),
    ("nein", "Nein. Ich kann diese Frage nicht beantworten."), ("non", "Non, je ne peux pas répondre à cette question."),
    ("no", "No, no puedo determinarlo."),
]  # fmt: skip
DENIED = [
    (COVERED, "No, she is not covered."), (COVERED, "No, she is not. The text does not mention an extension."), (COVERED, "No."),
    (COVERED, "No, I don't think so."),
    ("Does the passage mention her husband?", "No, the passage does not mention her husband."),
    ("Is the cause known?", "No, it is not known."), ("Can it be determined?", "No. It cannot be determined."),
    ("Is there enough information?", "No, there is not enough information."),
    ("Was he convicted?", "No, there was not enough evidence to convict him."), ("Do I get breakfast?", "No, breakfast is not provided."),
    ("Did he build it?", "No, he did not have enough data to build it."),
]  # fmt: skip


@pytest.mark.parametrize("scorer", ["short", "contains"])
@pytest.mark.parametrize(("gold", "answer"), DECLINED)
def test_a_no_that_declines_to_answer_is_none(scorer: str, gold: str, answer: str) -> None:
    assert score(scorer, answer, gold, COVERED) == 0


@pytest.mark.parametrize("scorer", ["short", "contains"])
@pytest.mark.parametrize(("question", "answer"), DENIED)
def test_a_no_that_denies_what_is_asked_is_one(scorer: str, question: str, answer: str) -> None:
    assert score(scorer, answer, "no", question) == 1


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("Philip K. Dick (1928–1982)", "Philip K. Dick", 1), ("**Philip K. Dick** (born 1928).", "Philip K. Dick", 1),
        ("It's Philip K. Dick.", "Philip K. Dick", 1), ("So it was Mr. Philip K. Dick [2].", "Philip K. Dick", 1),
        ("Mrs. Philip K. Dick", "Philip K. Dick", 0), ("It is not Philip K. Dick", "Philip K. Dick", 0), ("James' son", "James", 0),
        ("Solaris (1972)", "Solaris", 1), ("Sappho (c. 630 - c. 570)", "Sappho", 1), ("Solaris (1972)", "Solaris (1972)", 1),
        ("Solaris (2002)", "Solaris (1972)", 0), ("Solaris", "Solaris (1972)", 0), ("Solaris or Stalker (1972)", "Solaris", 0),
        ("Solaris (not 1972)", "Solaris", 0),
    ],
)  # fmt: skip
def test_years_behind_a_name_make_no_difference(answer: str, gold: str, right: int) -> None:
    assert score("short", answer, gold) == right
