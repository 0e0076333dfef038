"""Numbers of answers that only the question tells apart."""

from fractions import Fraction

import pytest

from programs.tasks._asked_numbers import asked_number

EGGS = "A hen house gives 210 eggs a week. The farmer keeps 18 and packs the rest in boxes of 12. How many boxes does he fill?"
MUFFINS = "Lena bakes 36 muffins, gives a third away and sells the rest for $2.50 each. How much money does she earn?"
WORKS = "Ein Werk stellt an jedem Arbeitstag 2.500 Schrauben her. Wie viele Schrauben stellt es an 30 Tagen her?"
NOTEBOOKS = "Marie achète 3 cahiers à 2,40 € et 5 stylos à 1,20 €. Combien paie-t-elle en tout ?"


@pytest.mark.parametrize(
    ("answer", "question", "wanted"),
    [
        ("He fills 16 boxes of 12 eggs.", EGGS, 16),
        ("16 of the 20 boxes are full.", EGGS, 16),
        ("Lena earns $60 by selling the remaining 24 muffins for $2.50 each.", MUFFINS, 60),
        ("210 - 18 = 192 eggs a week, so he fills 192 / 12 = 16 boxes of 12", EGGS, 16),
        ("So he fills 16 boxes of 12 before the 2nd day.", EGGS, 16),
        ("24 × $2.50 = $60 for 36 muffins", MUFFINS, 60),
        ("The answer is 24 muffins * $2.50 = $60", MUFFINS, 60),
        ("75.000 Schrauben", WORKS, 75000),
        ("La somme est de 1 013 200.", NOTEBOOKS, 1013200),
        ("13 200", EGGS, None),
        ("CHF 13'200.50", EGGS, "13200.5"),
        ("13’200", NOTEBOOKS, 13200),
        ("13,20 €", NOTEBOOKS, "13.2"),
        ("1.234,50 €", NOTEBOOKS, "1234.5"),
        ("1.234.567", EGGS, 1234567),
        ("Antwort: 60,00 $", MUFFINS, 60),
        ("The answer is $60,50.", MUFFINS, "60.5"),
        ("1.260,00 Euro", MUFFINS, 1260),
        ("$60,500", MUFFINS, 60500),
        ("$3,40, $5,60", MUFFINS, None),
        # Where the question is English, a comma stands between thousands and a point before decimals.
        ("1.125", "How many pounds are the two pieces of 0.500 and 0.625 pounds?", "1.125"),
        ("75.000", EGGS, 75),
        ("13,200", NOTEBOOKS, 13200),
        # Still no answer: nothing says which one is meant.
        ("He fills 16 or 12 boxes.", EGGS, None),
        ("16 boxes, 12 eggs, 18 kept", EGGS, None),
        ("He fills 16 boxes and leaves 7 eggs.", EGGS, None),
        ("He keeps 18 of 210 eggs.", EGGS, None),
        ("13,20", "2 + 2?", None),
    ],
)
def test_asked_number(answer, question, wanted):
    assert asked_number(answer, question) == (None if wanted is None else Fraction(wanted))


TIPS = "How many tips does the guide have?"


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI, I cannot. But here are 3 tips.", "I need one more piece of information.", "There is no way to know whether it is 7.",
        "It is impossible to tell if there are 7.", "Question 5 cannot be answered.", "The question lacks information about the 4 friends.",
        "Error code: 500", "Error 429: rate limit.", "503 Service Unavailable", "Request failed with status code 429",
        "ValueError: invalid literal for int() with base 10", "Answer: It is impossible to tell whether there are 4.",
        "There are 4 friends, but I cannot determine how many came.", "Only 4 friends are mentioned, so I cannot answer.",
        "There are 4 friends. The number of visits cannot be determined.", "I do not have enough information about the 2 of them.",
        "The passage does not say whether there are 3.",
        "It is unclear whether the guide has 3.", "We don't have sufficient data on the 3.",
        "With only 4 friends known, it's not possible to say.", "I'm sorry, but I can't assist with 4.",
        "I'm sorry, but I cannot answer this question. Please provide one.", "The answer cannot be determined from the 3 sentences.",
        "There are 2 + 3 = 5 tips in it. The rest is not given in the text. So we cannot provide an answer.",
        "Die Frage kann nicht beantwortet werden, es gibt nur 3 Tipps.", "Ich kann nicht sagen, ob es 3 sind.",
        "Je ne peux pas dire s'il y en a 3.", "No puedo determinar si hay 3.", "我无法确定是否有3个。", "情報が足りません。3つだけです。",
    ],
)  # fmt: skip
def test_refusals_and_errors_have_no_number(answer):
    """LLMs and servers write them; what they name would by chance be right."""
    assert asked_number(answer, TIPS) is None


@pytest.mark.parametrize(
    ("answer", "question", "wanted"),
    [
        ("It cannot be 7, so it is 8", TIPS, 8),
        ("7, but I cannot verify this.", TIPS, 7),
        ("About 7, but I cannot say exactly.", TIPS, 7),
        ("I cannot say exactly, but it is about 7.", TIPS, 7),
        ("The answer is 18. I cannot help further.", TIPS, 18),
        ("So the answer is 18 tips although the price is unknown", TIPS, 18),
        ("She makes $18 a day. The text does not mention her costs.", "How much does she make?", 18),
        ("I don't know the number directly, so we compute 3 + 4 = 7.", TIPS, 7),
        ("The passage does not state her age, but 2020 - 1990 = 30, so she is 30.", "How old is she?", 30),
        ("7 could not be identified.", "How many people could not be identified?", 7),
        ("7 of them cannot be determined.", "How many values cannot be determined?", 7),
        ("7 words are unknown.", "How many words are unknown to him?", 7),
        ("I need 7 more apples.", "How many more apples do you need?", 7),
        ("Error code: 500", "Which error code was sent?", 500),
    ],
)
def test_what_is_told_beside_a_refusal_or_asked_for_by_its_words_is_an_answer(answer, question, wanted):
    assert asked_number(answer, question) == wanted
