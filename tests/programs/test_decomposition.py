"""States of a decomposition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.decomposition import STATES, read_decomposition


def test_questions_are_kept_once_each_in_order():
    found = read_decomposition(["Here they are:", "a?", "b?", "a?"], 3)
    assert (found.subquestions, found.state) == (["a?", "b?"], "ok")


def test_no_decomposition_is_a_state_of_its_own():
    for line in ("No decomposition", "no decomposition.", "**No decomposition**"):
        assert read_decomposition([line], 3).state == "none_needed"


def test_talk_without_a_question_is_unparseable():
    assert read_decomposition(["The mayor of Rockford is RockCorp."], 3)[:2] == ([], "unparseable")
    assert read_decomposition(None, 3).state == read_decomposition([], 3).state == "unparseable"


def test_what_is_over_the_limit_is_counted_and_used():
    assert read_decomposition(["a?", "b?", "c?"], 2)[:2] == (["a?", "b?", "c?"], "over_limit")
    on_one_line = "Who is he? What is his job? Where was he born? When was he born? Why did he go?"
    assert read_decomposition(on_one_line, 3).state == read_decomposition([on_one_line], 3).state == "over_limit"


@given(st.lists(st.text()), st.integers(1, 5))
def test_always_a_known_state(lines, limit):
    found = read_decomposition(lines, limit)
    assert found.subquestions == read_decomposition(lines, None).subquestions
    assert (len(found.subquestions) > limit) == (found.state == "over_limit")
    assert found.state in STATES
    assert bool(found.subquestions) == (found.state in {"ok", "over_limit"})


LONG = "Ann has 3 bags. Each holds 4 pears. How many pears has she?"


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (LONG, "none_needed"),
        ("How many pears has she?", "none_needed"),
        ("how many pears  has she", "none_needed"),
        ("How many pears are in a bag?", "ok"),
        ("How many pears are in a bag? How many has she?", "ok"),
        ("many pears has she?", "ok"),
        ("Each holds 4 pears. How many pears has she?", "ok"),
    ],
)
def test_the_question_alone_again_says_that_it_needs_none(line, state):
    assert read_decomposition([line], 3, LONG).state == state


def test_the_question_again_behind_others_is_their_last_step():
    lines = ["How many pears are in a bag?", "How many pears has she?"]
    assert read_decomposition(lines, 3, LONG) == (lines, "ok", lines)


def test_a_question_of_two_alone_again_says_that_it_needs_none():
    both = "Who is the king? Where was he born?"
    assert read_decomposition([both], 3, both).state == "none_needed"
