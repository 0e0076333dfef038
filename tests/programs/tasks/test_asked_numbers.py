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
        ("75.000 Schrauben", WORKS, 75000),
        ("13,20 €", NOTEBOOKS, "13.2"),
        ("1.234,50 €", NOTEBOOKS, "1234.5"),
        ("1.234.567", EGGS, 1234567),
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
