from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.tasks._entities import compare, dates, tokens
from programs.tasks.bamboogle import Bamboogle
from programs.tasks.base import SPLITS, overlapping
from programs.tasks.registry import load_task, task_names


def gold(answer: Any, *aliases: str) -> dspy.Example:
    return dspy.Example(question="q", context="", answer=answer, aliases=list(aliases))


def test_the_published_sheet() -> None:
    task = load_task("bamboogle", path="shipped")
    examples = task.load("test")
    assert len(examples) == 125 and task.max_subquestions == 2 and "bamboogle" in task_names()
    assert [(e.answer, e.aliases) for e in examples if e.aliases] == [("Mildred Warner", ["Mildred Gale"])]
    assert examples[0].toDict() == {
        "id": "test-0",
        "context": "",
        "question": "Who was president of the United States in the year that Citibank was founded?",
        "answer": "james madison",
        "aliases": [],
    }
    assert any("”Now, I am become Death, the destroyer of worlds.”" in e.question for e in examples)
    assert all("?\x80" not in e.question and "\ufffd" not in e.question for e in examples)
    assert {e.answer for e in examples} >= {"George VI", "April 30, 1789"}


def test_there_is_no_training_split_unless_it_is_asked_for() -> None:
    for split in ("train", "dev"):
        for options in ({"path": "shipped"}, {}):
            with pytest.raises(ValueError, match=r"holds no (training|development) split, only test.*fractions='0\.7,0\.1,0\.2'"):
                load_task("bamboogle", **options).load(split)
    divided = load_task("bamboogle", path="shipped", fractions="0.6,0.1,0.3")
    splits = {split: divided.load(split) for split in SPLITS}
    assert sum(map(len, splits.values())) == 125 and overlapping(splits) == []


@pytest.mark.parametrize("scoring", ["strict", "lenient"])
def test_every_reference_gets_full_marks_and_the_next_one_none(scoring: str) -> None:
    task = load_task("bamboogle", path="shipped", scoring=scoring)
    examples = task.load("test")
    for example in examples:
        for form in ("{}", "The answer is: {}.", " {}\n"):
            score = task.score(example, dspy.Prediction(answer=form.format(example.answer)))
            assert score.value == 1 and score.measures == {"em": 1.0, "f1": 1.0, "accuracy": 1.0}
        assert task.score(example, dspy.Prediction(answer="Xyzzy 77")).value == 0
    wrong = [task.score(a, dspy.Prediction(answer=b.answer)).value for a, b in itertools.pairwise(examples) if a.answer != b.answer]
    # "l" and "Richmond" stand within other references, which the rule of the authors lets pass.
    assert sum(wrong) <= (0 if scoring == "strict" else 5)


def test_the_second_answer_counts_in_strict_alone() -> None:
    example = gold("Mildred Warner", "Mildred Gale")
    assert Bamboogle().score(example, dspy.Prediction(answer="Mildred Gale")).value == 1
    assert Bamboogle(scoring="lenient").score(example, dspy.Prediction(answer="Mildred Gale")).value == 0


@pytest.mark.parametrize(
    "answer",
    [
        "August 2, 1776", "2 August 1776", "1776-08-02", "Aug 2nd 1776", "Aug. 2, 1776", "the 2nd of August, 1776", "AUGUST 2 1776",
        "on August 2, 1776", "2-Aug-1776",
    ],
)  # fmt: skip
@pytest.mark.parametrize("wanted", ["August 2, 1776", "2 August 1776", "1776-08-02", "2nd of August 1776"])
def test_forms_of_a_date(answer: str, wanted: str) -> None:
    assert compare(answer, wanted) == (1, 1, 1)
    assert compare(f"He died on {answer.removeprefix('on ')}.", wanted).accuracy == 1
    assert compare(answer, wanted.replace("1776", "1777")).accuracy == 0
    assert compare(f"{answer} or 3 August 1776", wanted).accuracy == 0
    assert compare(f"not {answer}", wanted).accuracy == 0


def test_a_year_that_a_spreadsheet_cut_is_19_or_20() -> None:
    for answer, wanted, right in [
        ("May 29, 1932", "29-May-32", 1), ("29 May 2032", "29-May-32", 1), ("29 May 1832", "29-May-32", 0), ("29-May-32", "29-May-32", 1),
        ("29-May-32", "29 May 1932", 0), ("June 5, 2004", "5-Jun-04", 1), ("June 4, 2004", "5-Jun-04", 0), ("1932", "29-May-32", 0),
    ]:  # fmt: skip
        assert compare(answer, wanted).accuracy == right, (answer, wanted)
    assert dates("2 August 1776, 31 Foo 1900, 1999-13-01, 40 May 1900 and 9-May-05") == [(1776, 8, 2, False), (5, 5, 9, True)]


@pytest.mark.parametrize(
    ("answer", "wanted", "em", "accuracy"),
    [
        ("The Titanium", "titanium", 1, 1), ("Toghon Temür", "Toghon Temur", 1, 1), ("drew  carey!", "Drew Carey", 1, 1),
        ("4884 meters", "4,884 m", 1, 1), ("1045 BCE", "1045 BC", 1, 1), ("Conway Berners Lee", "Conway Berners-Lee", 1, 1),
        ("10.80", "10.8", 0, 0), ("108", "10.8", 0, 0), ("-52", "52", 0, 0), ("Richmond, Virginia", "Richmond", 0, 1),
        ("It was Drew Carey.", "Drew Carey", 0, 1), ("Yes, they can.", "Yes", 0, 1), ("131 people", "131", 0, 1),
        ("April 2, 1823", "1823", 0, 1), ("in 1823", "1823", 0, 1), ("1971", "1", 0, 0), ("Drew Careyson", "Drew Carey", 0, 0),
        ("131 million", "131", 0, 0), ("between 1823 and 1830", "1823", 0, 0), ("April 2, 1823 (not 1830)", "1823", 0, 0),
        ("Madrid or Barcelona", "Madrid", 0, 0), ("Barcelona or Madrid", "Madrid", 0, 0), ("not Madrid", "Madrid", 0, 0),
        ("Carey Drew", "Drew Carey", 0, 0), ("The answer is Madrid. " + "So it is. " * 20, "Madrid", 0, 1),
        ("So it is. " * 20 + "Madrid", "Madrid", 0, 0), ("Madrid was first. The answer is: Barcelona", "Madrid", 0, 0),
        ("Answer: Madrid", "Madrid", 1, 1), ("A", "a", 1, 1), ("", "Madrid", 0, 0), ("?", "Madrid", 0, 0), ("日本", "日本", 1, 1),
        ("The answer is:", "Madrid", 0, 0),
    ],
)  # fmt: skip
def test_one_answer(answer: str, wanted: str, em: int, accuracy: int) -> None:
    found = compare(answer, wanted)
    assert (found.em, found.accuracy) == (em, accuracy)


@pytest.mark.parametrize(
    "answer",
    [
        "It isn't Paris", "It isn’t Paris.", "It is not Paris.", "I don't know whether it is Paris", "I don't think it is Paris",
        "neither Paris nor Rome",
        "Paris and Rome", "Rome and Paris", "Rome, Bern and Paris", "Paris, Rome, and Bern", "Paris or Rome", "either Paris or Rome",
        "Paris/Rome",
        "Rome / Paris", "Paris & Rome", "Paris vs. Rome", "maybe Paris", "Perhaps it is Paris.", "possibly Paris", "It might be Paris",
        "It could be Paris",
        "Paris, maybe", "Paris, but I'm not sure", "I'm not sure, Paris", "Paris? I don't know.", "I do not know if Paris",
        "Paris is wrong", "Paris is not the answer",
        "Paris isn't it", "Paris. No, Rome.", "Paris. Wait, it is Rome", "Paris? Actually, Rome", "Not Paris but Rome", "never Paris",
        "It can't be Paris",
        "It cannot be Paris", "Anything except Paris", "Unknown, possibly Paris", "It wasn't Paris", "Unclear: Paris", "No, not Paris",
        "No. Paris?",
        "Hector, brother of Paris", "the son of Paris", "a friend of Paris", "the city north of Paris", "Paris' brother",
        "The answer is Paris. The answer is Rome.", "Paris as well as Rome", "both Rome and Paris", "Parisian", "Rome",
    ],
)  # fmt: skip
def test_what_denies_doubts_or_adds_to_the_reference(answer: str) -> None:
    assert compare(answer, "Paris").accuracy == 0


@pytest.mark.parametrize(
    "answer",
    [
        "Paris", "Paris, France", "The answer is Paris.", "Paris.", "**Paris**", "It is Paris.", "It is in Paris, France.",
        "Paris, not Rome",
        "Not Rome but Paris", "It was Paris, and it still is.", "Paris and it is the capital", "No doubt it is Paris.",
        "The capital and largest city is Paris.",
        "I think it is Paris.", "Paris (France)", "It's Paris!", "Probably Paris.", "Answer: Paris", "The city of Paris",
        "It was not Rome. The answer is Paris.",
        "Paris, the capital of France", "Paris, which is not in Spain", "So the answer is: Paris, France.",
    ],
)  # fmt: skip
def test_what_names_the_reference_alone(answer: str) -> None:
    assert compare(answer, "Paris").accuracy == 1


@pytest.mark.parametrize(
    ("answer", "wanted", "right"),
    [
        ("no, yes", "Yes", 0), ("yes, no", "Yes", 0), ("Yes and no", "Yes", 0), ("Yes and no", "No", 0), ("No, it isn't.", "No", 1),
        ("No.", "no", 1),
        ("Yes, they can.", "Yes", 1), ("No, they cannot.", "No", 1), ("Not yes", "Yes", 0), ("true, not false", "True", 0),
        ("no yes", "no", 0),
        ("Simon & Garfunkel", "Simon & Garfunkel", 1), ("Simon and Garfunkel.", "Simon and Garfunkel", 1), ("It was AC/DC", "AC/DC", 1),
        ("It was Drew Carey, and he was born in 1958.", "Drew Carey", 1), ("not 1823", "1823", 0), ("maybe 1823", "1823", 0),
        ("in 1823 or so", "1823", 0),
        ("perhaps on 2 August 1776", "2 August 1776", 0), ("maybe in April 1823", "1823", 0), ("May 29, 1932", "29 May 1932", 1),
        ("It wasn't on April 2, 1823", "1823", 0), ("Will Smith", "Will Smith", 1), ("It was Will Smith", "Will Smith", 1),
    ],
)  # fmt: skip
def test_yes_no_names_and_dates(answer: str, wanted: str, right: int) -> None:
    assert compare(answer, wanted).accuracy == right


def test_f1_is_of_words_and_best_over_the_answers() -> None:
    score = Bamboogle().score(gold("Mildred Warner", "Mildred Gale Washington"), dspy.Prediction(answer="the Mildred Gale"))
    assert score.measures == {"em": 0.0, "f1": pytest.approx(0.8), "accuracy": 0.0} and score.value == 0
    assert compare("a b c c", "c c d").f1 == pytest.approx(2 * 2 / 6)
    assert tokens("The 1,234.5 m of Britain's “Øre”") == ["1234.5", "m", "of", "britains", "ore"]


@pytest.mark.parametrize(
    ("answer", "wanted", "strict", "lenient"),
    [
        ("1971", "1", 0, 1), ("So it was. " * 20 + "It was Madrid, then", "Madrid", 0, 1),
        ("Madrid. The answer is: Rome", "madrid", 0, 0), ("The answer is: x. The answer is: in MADRID", "Madrid", 1, 1),
        ("April 30 1789", "April 30, 1789", 1, 1), ("30 April 1789", "April 30, 1789", 1, 0), ('"Drew" Carey', "Drew Carey", 1, 1),
        ("", "Madrid", 0, 0),
    ],
)  # fmt: skip
def test_the_rule_of_the_authors(answer: str, wanted: str, strict: int, lenient: int) -> None:
    scores = [Bamboogle(scoring=rule).score(gold(wanted), dspy.Prediction(answer=answer)).value for rule in ("strict", "lenient")]
    assert scores == [strict, lenient]


def test_the_lenient_rule_reads_the_whole_reply_and_passes_an_empty_reference() -> None:
    task = Bamboogle(scoring="lenient")
    for fields in ({"reasoning": "First Madrid."}, {"sub_answers": ["Madrid", "x"]}):
        assert task.score(gold("Madrid"), dspy.Prediction(answer="Rome", **fields)).value == 1
    assert task.score(gold(""), dspy.Prediction(answer="Rome")).value == 1
    for empty in ("", " ", None):
        score = Bamboogle().score(gold(empty), dspy.Prediction(answer=""))
        assert score.is_unscored and score.detail == "the reference answer is empty"
    assert Bamboogle().score(gold("", "Madrid"), dspy.Prediction(answer="Madrid")).value == 1


def test_broken_rows(tmp_path: Path) -> None:
    path = tmp_path / "bamboogle.csv"
    for content, message in [
        (
            "Question,Reply\nWho?,Ann\n",
            r"row 2, field 'Answer': found no such field among \['Question', 'Reply'\]; expected a text, such as '20 June 1837'",
        ),
        ("Question,Answer\n,Ann\n", r"row 2, field 'Question': found an empty text"),
    ]:
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            Bamboogle(path=path).load("test")
    path.write_bytes(b"Question,Answer\nWh\xff?,Ann\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        Bamboogle(path=path).load("test")
    path.write_text("Question,Answer\nWho?,\n")
    assert Bamboogle(path=path).load("test")[0].answer == ""


PIECES = [
    "Madrid",
    "the",
    "2",
    "August",
    "Aug.",
    "1776",
    "1776-08-02",
    "29-May-32",
    ",",
    "or",
    "not",
    "answer is",
    "The answer is: ",
    "?",
    "é",
    "ß",
    "ı",
    "-5",
    "m",
]
TEXTS = st.text() | st.lists(st.sampled_from(PIECES)).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(TEXTS | st.none() | st.integers() | st.floats() | st.lists(st.text()), TEXTS, st.lists(TEXTS, max_size=2))
def test_no_answer_makes_the_scorers_fail(answer: Any, wanted: str, aliases: list[str]) -> None:
    for task in (Bamboogle(), Bamboogle(scoring="lenient")):
        for prediction in (dspy.Prediction(answer=answer), dspy.Prediction(), answer, None):
            score = task.score(gold(wanted, *aliases), prediction)
            assert score.is_unscored or (score.value in (0.0, 1.0) and all(0 <= m <= 1 for m in score.measures.values()))
            assert score.is_unscored or set(score.measures) == {"em", "f1", "accuracy"}


@settings(max_examples=150, deadline=None)
@given(TEXTS.filter(str.strip))
def test_every_text_equals_itself(text: str) -> None:
    # A reference that begins with a lead-in of its own is cut by it in the answer.
    if "answer" not in text.lower():
        assert compare(text, text) == (1, 1, 1)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES)), st.lists(st.sampled_from(PIECES), min_size=1), st.sampled_from([" ", "\n", "\t\r\n ", "\u00a0"]))
def test_case_and_white_space_make_no_difference(answer: list[str], wanted: list[str], space: str) -> None:
    plain, reference = " ".join(answer), " ".join(wanted)
    for other in (plain.swapcase(), space + plain + space, space.join(plain.split(" "))):
        assert compare(other, reference) == compare(plain, reference)


@pytest.mark.parametrize(
    "answer",
    [
        "9" * 10**6, "1 " * 10**5, "a" * 10**6, "answer" + " " * 10**6, "answer is " * 10**5, "-" * 10**6, "1-" * 10**5,
        "may 1 " * 10**5, "é" * 10**5, "1," * 10**5,
    ],
    ids=lambda text: text[:8].strip(),
)  # fmt: skip
@pytest.mark.parametrize("wanted", ["Madrid", "2 August 1776", "1776"])
def test_a_huge_answer_takes_no_time(answer: str, wanted: str) -> None:
    started = time.process_time()
    assert compare(answer, wanted).accuracy == 0
    assert time.process_time() - started < 60
