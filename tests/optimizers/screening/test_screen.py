from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.labelling.samples import Call, Sample
from optimizers.screening.policy import Decision, Policy
from optimizers.screening.screen import KEEP, count_drops, screen
from programs.tasks.base import Score, exact_match

EXAMPLE = dspy.Example(id="a", question="q?", answer="Rome").with_inputs("question")


def sample(number: int, answer: str = "Rome", lines: tuple[str, ...] = ("Who?",), state: str = "ok", error: str | None = None) -> Sample:
    prediction = {} if error else {"subquestions": list(lines), "state": state, "answer": answer}
    return Sample("a", number, [Call("decompose", {}, {"subquestions": list(lines)})], prediction, {}, error)


def score(example: dspy.Example, prediction: Any) -> Score:
    return exact_match(prediction.answer, [example.answer])


def reasons(samples: list[Sample], policy: str | Policy, **options: Any) -> list[str | None]:
    return [decision.reason for decision in screen({"a": samples}, [EXAMPLE], policy, score=score, **options)]


MIXED = [
    sample(0, answer="Paris", lines=("Which?",)),
    sample(1, error="error:LMServerError"),
    sample(2),
    sample(3, lines=("Other?",), state="over_limit"),
    sample(4),
    sample(5, state="unparseable", lines=()),
    sample(6, error="unparseable"),
    sample(7, error="timeout"),
]


def test_oracle_keeps_the_first_right_one() -> None:
    assert reasons(MIXED, "oracle") == [
        "wrong_answer",
        "teacher_error:LMServerError",
        None,
        "not_first",
        "duplicate",
        "unparseable",
        "unparseable",
        "teacher_error:timeout",
    ]


def test_oracle_keeps_all_distinct_right_ones_and_over_limit_is_no_reason() -> None:
    decisions = screen({"a": MIXED}, [EXAMPLE], "oracle", score=score, keep="all")
    assert [(d.sample, d.state, d.score) for d in decisions if d.kept] == [(2, "ok", 1.0), (3, "over_limit", 1.0)]
    assert decisions[4].reason == "duplicate"


def test_none_keeps_what_can_be_read_right_or_wrong_without_scoring() -> None:
    assert reasons(MIXED, "none")[0] is None
    assert reasons(MIXED, "none")[2] == "not_first"
    assert [i for i, reason in enumerate(reasons(MIXED, "none", keep="all")) if reason is None] == [0, 2, 3]
    assert screen({"a": MIXED}, [EXAMPLE], "none", score=lambda *_: pytest.fail("scored"))[0].score is None


def test_a_none_needed_decomposition_is_kept_like_any_other() -> None:
    assert reasons([sample(0, lines=(), state="none_needed")], "oracle") == [None]


def test_an_answer_that_cannot_be_judged_is_not_called_wrong() -> None:
    nothing = dspy.Example(id="a", question="q?", answer="").with_inputs("question")
    assert screen({"a": [sample(0)]}, [nothing], "oracle", score=score)[0].reason == "unscored"


def test_min_score() -> None:
    half = screen({"a": [sample(0)]}, [EXAMPLE], "oracle", score=lambda *_: Score(0.5), min_score=0.5)
    assert half == [Decision("a", 0, None, "ok", 0.5)]
    assert screen({"a": [sample(0)]}, [EXAMPLE], "oracle", score=lambda *_: Score(0.5))[0].reason == "wrong_answer"


def test_a_policy_of_ones_own() -> None:
    class Short:
        name = "short"

        def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Score]) -> tuple[str | None, float | None]:
            return ("too_long" if len(sample.prediction["subquestions"]) > 1 else None), None

    assert isinstance(Short(), Policy)
    assert reasons([sample(0, lines=("a?", "b?")), sample(1)], Short()) == ["too_long", None]


def test_samples_may_come_as_a_plain_iterable_and_in_any_order() -> None:
    decisions = screen(iter([sample(1), sample(0)]), [EXAMPLE], "oracle", score=score)
    assert [(d.sample, d.reason) for d in decisions] == [(0, None), (1, "duplicate")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"policy": "best"},
            r"Unknown screening policy 'best'; expected one of \['none', 'oracle', 'self_consistency'",
        ),
        ({"keep": "some"}, r"Unknown keep='some'; expected one of \['first', 'all', 'fewest'\]"),
        ({"min_score": 2}, "min_score=2 must be above 0 and at most 1"),
    ],
)
def test_unknown_values_are_named_with_the_valid_ones(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        screen({}, [], score=score, **options)


@given(
    st.lists(
        st.tuples(st.sampled_from(["Rome", "Paris"]), st.sampled_from(["a?", "b?"]), st.sampled_from([None, "unparseable", "error:X"])),
        max_size=8,
    ),
    st.sampled_from(["none", "oracle"]),
    st.sampled_from(KEEP),
)
def test_every_sample_has_one_decision_and_every_drop_a_reason(rows: list[tuple[str, str, str | None]], policy: str, keep: str) -> None:
    samples = [sample(i, answer, (line,), error=error) for i, (answer, line, error) in enumerate(rows)]
    decisions = screen({"a": samples}, [EXAMPLE], policy, score=score, keep=keep)
    assert [d.sample for d in decisions] == list(range(len(rows)))
    kept = [d for d in decisions if d.kept]
    assert sum(count_drops(decisions).values()) + len(kept) == len(rows)
    possible = {line for answer, line, error in rows if error is None and (policy == "none" or answer == "Rome")}
    assert len(kept) == (len(possible) if keep == "all" else min(1, len(possible)))
