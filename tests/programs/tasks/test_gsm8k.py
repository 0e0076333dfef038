from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.tasks._numbers import final_number
from programs.tasks._rows import SHIPPED_FOLDER
from programs.tasks.base import NO_FINAL_ANSWER, overlapping
from programs.tasks.gsm8k import GSM8K, lenient
from programs.tasks.registry import load_task, task_names


def gold(answer: Any) -> dspy.Example:
    return dspy.Example(question="q", context="", answer=answer)


def value(answer: Any, wanted: str, scoring: Any = "strict", **fields: Any) -> float:
    return GSM8K(scoring=scoring).score(gold(wanted), dspy.Prediction(answer=answer, **fields)).value


def test_the_samples_of_the_published_set() -> None:
    task = load_task("gsm8k", path="shipped")
    splits = {split: task.load(split) for split in ("train", "dev", "test")}
    assert len(splits["train"]) + len(splits["dev"]) == 500 and len(splits["test"]) == 200
    assert 25 <= len(splits["dev"]) <= 80 and overlapping(splits) == []
    first = splits["test"][0]
    assert first.question.startswith("Janet’s ducks lay 16 eggs") and first.answer == "18" and "subquestions" not in first
    assert first.solution == "Janet sells 16 - 3 - 4 = 9 duck eggs a day.\nShe makes 9 * 2 = $18 every day at the farmer’s market."
    assert (first.id, first.context, set(first.inputs().keys())) == ("test-0", "", {"context", "question"})
    assert "gsm8k" in task_names()


def test_socratic_rows_have_subquestions_and_the_same_answers(benchmark_data: Path) -> None:
    main = load_task("gsm8k", path="shipped").load("test")
    task = load_task("gsm8k", path=benchmark_data, config="socratic")
    socratic = task.load("test")
    assert [(e.id, e.question, e.answer) for e in socratic] == [(e.id, e.question, e.answer) for e in main]
    assert socratic[0].subquestions == ["How many eggs does Janet sell?", "How much does Janet make at the farmers' market?"]
    assert socratic[0].solution == main[0].solution
    assert all(e.subquestions and not any("**" in s for s in [*e.subquestions, e.solution]) for e in socratic)
    with pytest.raises(ValueError, match="holds no training split, only test"):
        task.load("train")
    with pytest.raises(ValueError, match="add config='socratic'"):
        load_task("gsm8k", path=benchmark_data / "gsm8k_socratic_test_200.jsonl")
    assert len(load_task("gsm8k", path=SHIPPED_FOLDER / "gsm8k_test.jsonl", config="socratic").load("test")) == 200


@pytest.mark.parametrize("scoring", ["strict", "lenient"])
def test_every_reference_gets_full_marks_and_the_next_one_none(scoring: str) -> None:
    task = load_task("gsm8k", path="shipped", scoring=scoring)
    examples = [*task.load("test"), *task.load("train")]
    for example in examples:
        for form in ("{}", "The answer is: ${}.", "{} "):
            assert task.score(example, dspy.Prediction(answer=form.format(example.answer))).value == 1
        assert task.score(example, dspy.Prediction(answer=f"{int(example.answer):,}.00")).value == 1
        assert task.score(example, dspy.Prediction(answer=str(int(example.answer) + 1))).value == 0


def test_the_published_solutions_are_read_as_replies() -> None:
    lines = (SHIPPED_FOLDER / "gsm8k_test.jsonl").read_text().splitlines()
    task = load_task("gsm8k", path="shipped")
    for line, example in zip(lines, task.load("test"), strict=True):
        assert task.score(example, dspy.Prediction(answer=json.loads(line)["answer"])).value == 1


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("18", "18"), ("18.0", "18"), ("18.", "18"), (" 18\n", "18"), (18, "18"), (18.0, "18"), (0.5, "1/2"), ("+18", "18"),
        ("1/2", "0.5"), ("2 1/2", "2.5"), ("2½", "2.5"), ("½", "0.5"), ("1 / 2", "0.5"), (".5", "0.5"), ("18 1/2 feet", "18.5"),
        ("1,234", "1234"), ("1,234,567.50", "1234567.5"), ("1234", "1,234"), ("2 thousand", "2000"), ("5k", "5000"), ("1e3", "1000"),
        ("$18", "18"), ("€18", "18"), ("£18.00", "18"), ("18 dollars", "18"), ("18€", "18"), ("USD 18", "18"), ("US$18", "18"),
        ("$ 18", "18"), ("18%", "18"), ("18 %", "18"), ("18 percent", "18"), ("18 eggs", "18"), ("18eggs", "18"), ("5km", "5"),
        ("18 m²", "18"), ("18 m2", "18"), ("-3", "-3"), ("−3", "-3"), ("–3", "-3"), ("-$5", "-5"), ("$-5", "-5"), ("-½", "-0.5"),
        ("the answer is -5", "-5"), ("Answer — 18", "18"), ("**18**", "18"), ("(18)", "18"), ("`18`", "18"), ("_18_", "18"),
        ("'18'", "18"), ('"18"', "18"), ("18!", "18"), ("Answer:\n- 18", "18"), (r"\boxed{18}", "18"), (r"$\boxed{\$18}$", "18"),
        (r"\(\frac{5}{2}\)", "2.5"), (r"-\frac{1}{2}", "-0.5"), (r"\boxed{18\text{ eggs}}", "18"), ("9 * 2 = 18", "18"),
        ("9 * 2 = $18 a day.", "18"), ("The answer is: 9 * 2 = 18", "18"), ("The answer is x = 18.", "18"),
        ("She has 3 and 4.\n#### 7", "7"), ("First 3. The answer is 7. That leaves 5.", "7"), ("**Answer:** 7", "7"),
        ("Answer is 5\nAnswer is 6", "6"), ("The answer is:18", "18"), ("The final answer is therefore about 18 eggs. Of 20.", "18"),
        ("١٢", "12"), ("１８", "18"), ("Janet makes $18 every day.", "18"), ("The answer is 18 per day for 7 days", "18"),
    ],
)  # fmt: skip
def test_right(answer: Any, wanted: str) -> None:
    assert value(answer, wanted) == 1


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("3.75", "3"), ("18.5", "18"), ("18.000000000000000001", "18"), ("0.3333", "1/3"), ("180", "18"), ("-18", "18"),
        ("18 million", "18"), ("There are 3 cats. So the answer is: 7", "3"), ("First 3, then 4", "3"), ("First 3, then 4", "4"),
        ("3 or 4", "3"), ("3 to 4", "3"), ("The answer is 3 or 4", "3"), ("The answer is 3 eggs or 4", "3"),
        ("The answer is 3 - 4", "3"), ("the answer is not 18", "18"), ("It isn't 18", "18"), ("3 + 3", "3"), ("16 - 3", "3"),
        ("9 * 2 = 18 and then 3", "3"), ("1,23", "1"), ("3:30", "3"), ("3/4/2020", "3"), ("1/2/3", "3"), ("1.2.3", "3"), ("5²", "5"),
        ("x18", "18"), ("1/0", "1"), 
        (r"\frac{1}{x}", "1"), (r"\sqrt{4}", "4"),
        ("nan", "1"), ("inf", "1"), ("1e400", "1"), ("", "0"), (None, "0"), (True, "1"), (["18"], "18"),
        ({"answer": 18}, "18"), (float("nan"), "1"), (float("inf"), "1"), ("none", "0"), ("$18 and 50 cents", "18"),
        ("word " * 20 + "18", "18"), ("She has 10 when the price is 5", "5"), ("If he buys 3, the cost is 5", "5"),
        ("x is 3 and y is 4", "4"),
        ("It is not true that the cost of 3 is 5", "5"), ("The cost of 3 is 5 or 6", "5"),
        ("The 4 apples are 3 dollars, the total is 12", "12"),
        ("I doubt that the cost of the 3 is 5", "5"), ("The cost of 3 is less than 5", "5"), ("The ratio of the 3 is 1:2", "1"),
    ],
)  # fmt: skip
def test_wrong(answer: Any, wanted: str) -> None:
    score = GSM8K().score(gold(wanted), dspy.Prediction(answer=answer))
    assert score.value == 0
    assert (final_number(answer if isinstance(answer, str) else "x") is None) == (
        score.detail == "no marked final answer"
    ) or answer is True


@pytest.mark.parametrize(
    ("answer", "wanted", "strict", "lenient"),
    [
        ("There are 3 cats. So the answer is: 7", "3", 0, 1), ("3.75", "3", 0, 1), ("5.5", "5", 0, 1), ("-3", "-3", 1, 1),
        ("$1,234.", "1234", 1, 1), ("**18**", "18", 1, 0), ("(18)", "18", 1, 0), ("18!", "18", 1, 0), ("18,", "18", 1, 0),
        ("18%", "18", 1, 0), ("'18'", "18", 1, 0), ("18/2", "18", 0, 0), ("The answer is:18", "18", 1, 0), ("", "18", 0, 0),
        ("3.5", "3.5", 1, 1), ("7 8 9", "8", 0, 1), ("18..", "18", 1, 0),
    ],
)  # fmt: skip
def test_the_rule_of_the_authors(answer: str, wanted: str, strict: int, lenient: int) -> None:
    assert (value(answer, wanted), value(answer, wanted, "lenient")) == (strict, lenient)


SOLUTIONS = ("gsm8k_train.jsonl", "gsm8k_test.jsonl")
ENDINGS = [
    "**{}**", "{}", "So the total is {}.", "#### {}", "\\boxed{{{}}}", "= {}", "= {}\n\nThat is what was asked.", "Answer: {}",
    "**Answer: {}**",
    "Therefore, the total is **{}**.", "She makes ${} every day.", "Total: {}", "The answer is {} per day.\nI hope this helps!",
    "$\\boxed{{{}}}$",
    "x = {}", "Final answer:\n{}", "Step 9: So it is {}.", "- {} in all", "∴ {}", "```\n{}\n```",
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_last_line_of_a_solution_is_its_answer_right_or_wrong(ending: str) -> None:
    lines = [line for name in SOLUTIONS for line in (SHIPPED_FOLDER / name).read_text().splitlines()]
    # Every solution meets five endings.
    for line in lines[ENDINGS.index(ending) % 4 :: 4]:
        steps, _, wanted = json.loads(line)["answer"].rpartition("####")
        wanted = wanted.strip()
        other = str(int(wanted.replace(",", "")) + 7)
        for between in ("\n", "\n\n"):
            assert value(steps.strip() + between + ending.format(wanted), wanted) == 1
            assert value(steps.strip() + between + ending.format(other), wanted) == 0


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("minus 3", "-3"), ("negative 3", "-3"), ("- 3", "-3"), ("- $3", "-3"), ("Answer: - 3", "-3"), ("x = - 3", "-3"),
        ("It is minus $3.", "-3"),
        ("minus three", "-3"), ("negative twenty-five dollars", "-25"), ("5 - 8 = -3", "-3"), ("5 minus 8 = minus 3", "-3"),
        ("2 dozen", "24"), ("2 dozens", "24"), ("a dozen", "12"), ("half a dozen eggs", "6"), ("1/2 dozen", "6"), ("two dozen eggs", "24"),
        ("1.2M", "1200000"), ("$1.2M", "1200000"), ("$1.2m", "1200000"), ("1.2 million", "1200000"), ("3k", "3000"), ("3K", "3000"),
        ("2B", "2000000000"), ("1.5 bn", "1500000000"), ("5 m", "5"), ("5 b", "5"), ("2 hundred", "200"), ("1,00,000", "100000"),
        ("eighteen", "18"), ("Eighteen eggs.", "18"), ("twenty-five", "25"), ("twenty five", "25"), ("one hundred and five", "105"),
        ("one hundred five", "105"), ("a hundred", "100"), ("two thousand three hundred and forty-one", "2341"), ("1.5 thousand", "1500"),
        ("two and a half", "2.5"), ("one half", "0.5"), ("three quarters", "0.75"), ("The answer is eighteen.", "18"),
        ("Answer: Forty-Two", "42"),
        ("So she has eighteen eggs.", "18"), ("zero", "0"), ("one", "1"), ("eighteen (18)", "18"), ("9 * 2 = eighteen", "18"),
        ("$18 and 50 cents", "18.5"), ("18 dollars and 5 cents", "18.05"),
        ("He sells 9 at $2. So he makes $18.", "18"), ("9 * 2 = 18. He makes $18.", "18"), ("9 * 2 = 18. That is all he makes.", "18"),
        ("1. 9 eggs\n2. 9 * 2 = 18", "18"), ("9 eggs\n\n* **18**", "18"), ("He makes **$18** from 9 eggs.", "18"),
        ("The answer is found so:\n9 * 2 = 18", "18"), ("18\n\nLet me know if it helps!", "18"),
        ("the number of students who do not read novels is 16", "16"), ("The mean time of the 10K race is 5 minutes per kilometer.", "5"),
        ("The total cost of the 3 apples is $5.50.", "5.5"), ("All 4 friends that didn't pay owe 3: the sum is then 12", "12"),
        ("That is not 20.\nIt is 18.", "18"), ("The answer is not 20.\nIt is 18.", "18"), ("12.5**", "12.5"), ("**12.5", "12.5"),
    ],
)  # fmt: skip
def test_forms_of_a_final_number(answer: str, wanted: str) -> None:
    assert value(answer, wanted) == 1


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("minus 3", "3"), ("- 3", "3"), ("negative 3", "3"), ("minus three", "3"), ("16 minus 3", "-3"), ("16 minus 3", "3"),
        ("2 dozen", "2"),
        ("1.2M", "1.2"), ("1.2 million", "1.2"), ("5 m", "5000000"), ("one of them", "1"), ("No one knows.", "1"), ("two or three", "2"),
        ("two three", "5"), ("more than 18", "18"), ("less than 18", "18"), ("x > 18", "18"), ("18 to 20", "18"), ("18-20", "18"),
        ("neither 18 nor 20", "18"), ("It cannot be 18.", "18"), ("How many eggs are sold in 7 days?", "7"), ("Is it 18?", "18"),
        ("She has 9 eggs. She sells each for 2 dollars", "2"), ("She has 9 eggs. She sells each for 2 dollars", "9"),
        ("So she makes $18 from 9 eggs.", "9"), ("**9** eggs and **18** dollars", "18"), ("**Step 3:** find 4 things", "3"),
        ("1. 9 eggs\n2. 18 dollars or 20", "18"), ("Sub-answers:\n1. 9\n2. eggs", "1"), ("18\n20", "18"), ("**18**\n**20**", "18"),
        ("9 * 2 = 18\n9 * 2 = 20", "18"), ("#### 18\n#### 20", "18"), ("18 / 0", "18"), ("It is 18 o'clock and 20", "18"),
        ("twenty twenty-five", "45"), ("eighteen or nineteen", "18"), ("not eighteen", "18"), ("18 out of 20", "18"), ("18:30", "18"),
        ("seventeen", "7"), ("one hundred and five", "5"), ("one hundred and five", "100"),
    ],
)  # fmt: skip
def test_what_is_no_final_number_or_another_one(answer: str, wanted: str) -> None:
    assert value(answer, wanted) == 0


def test_a_scale_that_the_question_asks_for_is_a_unit() -> None:
    asked = dspy.Example(question="How many dozens of eggs will she eat in 4 weeks?", answer="7")
    scores = {answer: GSM8K().score(asked, dspy.Prediction(answer=answer)).value for answer in ("7", "7 dozen", "seven dozens", "84")}
    assert scores == {"7": 1, "7 dozen": 1, "seven dozens": 1, "84": 0}


def test_where_no_answer_is_marked_the_detail_says_so() -> None:
    for answer in ("First 3, then 4", "I do not know.", ""):
        score = GSM8K().score(gold("3"), dspy.Prediction(answer=answer))
        assert (score.value, score.detail) == (0, NO_FINAL_ANSWER)
    assert GSM8K().score(gold("3"), dspy.Prediction(answer="4")).detail == ""


def test_a_number_too_long_to_write_is_no_answer() -> None:
    assert value(10**5000, "1") == value(10**5000, "1", "lenient") == 0


def test_the_lenient_rule_reads_the_whole_reply() -> None:
    for fields in ({"reasoning": "So 9 are left."}, {"sub_answers": ["9 eggs", "18"]}):
        assert (value("18", "9", **fields), value("18", "9", "lenient", **fields)) == (0, 1)


@pytest.mark.parametrize("scoring", ["strict", "lenient"])
@pytest.mark.parametrize("answer", ["", " ", None, "many", "1/0", "3 or 4"])
def test_without_a_number_as_reference_nothing_is_scored(scoring: Any, answer: Any) -> None:
    score = GSM8K(scoring=scoring).score(gold(answer), dspy.Prediction(answer=answer))
    assert score.is_unscored and score.detail.startswith("the reference answer")


def test_rows_without_the_mark_load_and_broken_rows_do_not(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k_test.jsonl"
    path.write_text('{"question": "How many?", "answer": "No mark: 3"}\n')
    (example,) = GSM8K(path=path).load("test")
    assert (example.answer, example.solution) == ("", "No mark: 3")
    for row, message in [
        ('{"question": "How many?", "answer": 3}', r"gsm8k_test\.jsonl, row 1, field 'answer': found 3; expected a text, such as .*#### 9"),
        ('{"question": "How many?"}', r"row 1, field 'answer': found no such field"),
        ('{"question": "", "answer": "#### 3"}', r"row 1, field 'question': found an empty text"),
    ]:
        path.write_text(row)
        with pytest.raises(ValueError, match=message):
            GSM8K(path=path).load("test")
    with pytest.raises(ValueError, match=r"config='both' of task 'gsm8k' must be 'main' or 'socratic'"):
        GSM8K(config="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"config='both'"):
        load_task("gsm8k", config="both")


class Broken:
    @property
    def answer(self) -> str:
        raise RuntimeError("no answer")


PIECES = [
    "18",
    "-3",
    "1/2",
    "1,234",
    "$",
    "%",
    "####",
    "\\boxed{",
    "}",
    "answer is",
    "=",
    "*",
    "\\frac{1}{0}",
    "½",
    "²",
    "١",
    " ",
    "\n",
    ".",
    "e9",
    "k",
    "or",
]
TEXTS = st.text() | st.lists(st.sampled_from(PIECES)).map("".join)


@settings(max_examples=150, deadline=None)
@given(TEXTS | st.none() | st.integers() | st.floats() | st.lists(st.text()), TEXTS)
def test_no_answer_makes_the_scorers_fail(answer: Any, wanted: str) -> None:
    for task in (GSM8K(), GSM8K(scoring="lenient")):
        for prediction in (dspy.Prediction(answer=answer), dspy.Prediction(), answer, None, Broken()):
            score = task.score(gold(wanted), prediction)
            assert score.is_unscored or score.value in (0.0, 1.0)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES)), st.sampled_from([" ", "\t", "\u00a0", "\u2003"]))
def test_case_and_white_space_make_no_difference(pieces: list[str], space: str) -> None:
    plain = " ".join(pieces)
    for other in (plain.upper(), plain.title(), space + plain + space, space.join(plain.split(" "))):
        assert final_number(other) == final_number(plain)


@settings(max_examples=200, deadline=None)
@given(st.decimals(-(10**12), 10**12, allow_nan=False, places=3))
def test_every_number_equals_itself_in_every_form(number: Any) -> None:
    exact = Fraction(number)
    fraction = f"{exact.numerator}/{exact.denominator}"
    for form in (
        f"{number:f}",
        f"{number:,f}",
        f"${number:,f}.",
        fraction,
        f"The answer is: **{number:,f}** eggs, not 3.",
        f"1 + 1 = {number:f}",
    ):
        assert final_number(form) == exact
    assert value(f"{number:f}", fraction) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "9" * 250_000,
        "1 " * 25_000,
        "1,234," * 25_000,
        "1/" * 25_000,
        "answer" + " " * 250_000,
        "answer is " * 25_000,
        "\\frac{" * 25_000,
        "\\text{" * 25_000,
        "=" * 250_000,
        "-" * 250_000,
        "½" * 25_000,
        "3." * 25_000,
        "$ " * 25_000,
    ],
    ids=lambda text: text[:8].strip(),
)
def test_a_huge_answer_takes_no_time(answer: str) -> None:
    started = time.process_time()
    assert value(answer, "18") == 0
    assert not lenient(answer, "18")
    assert time.process_time() - started < 60


@pytest.mark.parametrize("answer", ["The red ones cost more than the blue ones.", "She gets two tens back.", "in their twenties"])
def test_words_of_things_are_no_numbers_and_break_nothing(answer):
    assert final_number(answer) is None


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [("18 \\text{ cm}^2", 18), ("18 cm^2", 18), ("2^3 = 8", 8), ("1/1", 1), ("4/4", None)],
)
def test_powers_of_units_are_no_numbers_and_one_is_one(answer, wanted):
    assert final_number(answer) == wanted
