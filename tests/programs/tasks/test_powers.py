"""Powers in answers: their value where they have one, and no digit of theirs taken for the answer."""

from __future__ import annotations

from fractions import Fraction

import pytest

from programs.tasks._numbers import final_number

READ = [
    ("10^3", 1000),
    ("The answer is 10^3.", 1000),
    ("Answer: 2^5 = 32", 32),
    (r"\boxed{10^{3}}", 1000),
    ("Answer: 2^10 bytes", 1024),
    ("Answer: 10^-3", Fraction(1, 1000)),
    ("Answer: 3 x 10^4", 30000),
    ("Answer: 3×10⁴", 30000),
    ("Answer: 1.2×10⁻³", Fraction(12, 10000)),
    ("2^3 * 5 = 40", 40),
    ("Answer: 12 cm^3", 12),
    ("Answer: -2^2", -4),
]
NOT_READ = ["Answer: 3^2.5", "Answer: 2^2^3", "Answer: 0^-1", "Answer: 10^n", "Answer: 9999^99", "Answer: 1.5^2", "18²"]


@pytest.mark.parametrize(("text", "value"), READ)
def test_a_power_is_its_value(text, value):
    assert final_number(text) == value


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_no_plain_power_is_no_number(text):
    assert final_number(text) is None
