"""Costs by hand, and the Pareto front against its definition."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.evaluation.costs import MEASURES, amortised, break_even, cost_per_question, one_off_cost, pareto_front
from programs.lms.ledger import Prices, Usage

API, LOCAL = "openai/gpt-x", "local/S_D-R@1"
PRICES = Prices(local_usd_per_hour=0.36, overrides={API: (1.0, 2.0)})
TEACHER = {"decompose": API, "solve": API}
STUDENT = {"decompose": LOCAL, "solve": API}


def usage(tokens_in, tokens_out, seconds, usd=None, cached=0):
    return Usage(100, cached, 0, tokens_in, tokens_out, seconds, usd).to_dict()


def cell(n=100, **stages):
    return {"n": n, "score": 0.9, "states": {"ok": n}, "failures": {}, **stages}


def teacher(**options):
    return cell(decompose=usage(30_000, 5_000, 100.0, 0.04), solve=usage(50_000, 20_000, 300.0, 0.09), **options)


def student():
    return cell(decompose=usage(30_000, 5_000, 50.0), solve=usage(50_000, 20_000, 300.0, 0.09))


def test_cost_by_stage_and_total():
    costs = cost_per_question(teacher(), TEACHER, PRICES)
    assert list(costs["stages"]) == ["decompose", "solve"]
    expected = {"input_tokens": 300, "output_tokens": 50, "seconds": 1.0, "usd": 0.0004, "output_only_usd": 50 * 2 / 1e6}
    assert costs["stages"]["decompose"] == {"model": API, **{key: pytest.approx(value) for key, value in expected.items()}}
    assert costs["total"] == pytest.approx(
        {"input_tokens": 800, "output_tokens": 250, "seconds": 4.0, "usd": 0.0013, "output_only_usd": 250 * 2 / 1e6}
    )


def test_output_only_is_the_papers_figure():
    # Table 1, GSM8K: GPT-3.5 decomposes 1,319 questions for $0.13 at $0.002 per 1,000 output tokens: 49 each.
    costs = cost_per_question(cell(1319, decompose=usage(200_000, 65_000, 1.0)), TEACHER, Prices(overrides={API: (1.0, 2.0)}))
    assert costs["total"]["output_only_usd"] * 1319 == pytest.approx(0.13)
    assert costs["total"]["usd"] * 1319 == pytest.approx(0.33)


def test_local_seconds_are_priced_by_the_hour_and_not_by_the_token():
    cost = cost_per_question(student(), STUDENT, PRICES)["stages"]["decompose"]
    assert cost["usd"] == pytest.approx(0.5 / 3600 * 0.36)
    assert cost["output_only_usd"] is None
    # As the paper priced Vicuna-13B: GPT-3.5's price by the ratio of parameters.
    priced = Prices(overrides={LOCAL: (0.0742, 0.148)})
    assert cost_per_question(student(), {**STUDENT, "solve": LOCAL}, priced)["total"]["output_only_usd"] == pytest.approx(250 * 0.148 / 1e6)


def test_dollars_are_unknown_without_a_price_and_so_is_their_total():
    costs = cost_per_question(student(), STUDENT, Prices(overrides={API: (1.0, 2.0)}))
    assert costs["stages"]["decompose"]["usd"] is None
    assert costs["stages"]["solve"]["usd"] == pytest.approx(0.0009)
    assert costs["total"]["usd"] is costs["total"]["output_only_usd"] is None
    assert costs["total"]["output_tokens"] == 250


def test_what_a_cache_answered_has_no_known_cost():
    costs = cost_per_question(cell(decompose=usage(30, 5, 1.0, 0.1), solve=usage(30, 5, 1.0, 0.1, cached=1)), TEACHER, PRICES)
    assert set(costs["stages"]["solve"].values()) == {API, None}
    assert set(costs["total"].values()) == {None}
    assert costs["stages"]["decompose"]["input_tokens"] == 0.3


@pytest.mark.parametrize(("failures", "answered"), [({"LMTransportError": 20}, 80), ({"unparseable": 20, "score": 5}, 100), ({}, 100)])
def test_questions_whose_call_failed_make_no_answer_cheaper(failures, answered):
    costs = cost_per_question({**teacher(), "failures": failures}, TEACHER, PRICES)
    assert costs["total"]["usd"] == pytest.approx(0.13 / answered)


def test_a_condition_of_which_every_call_failed_is_not_free_and_pays_nothing_back():
    unasked = cell(solve=Usage(100, 0, 100, 0, 0, 1.0, 0.0).to_dict()) | {"failures": {"LMTransportError": 100}}
    costs = cost_per_question(unasked, TEACHER, PRICES)
    assert set(costs["total"].values()) == {None}
    assert break_even(costs, cost_per_question(teacher(), TEACHER, PRICES), dict.fromkeys(MEASURES, 1.0)).usd.questions is None


def test_a_condition_without_a_counted_stage_is_not_free():
    assert set(cost_per_question(cell(), TEACHER, PRICES)["total"].values()) == {None}


def test_bad_cells_are_named():
    with pytest.raises(ValueError, match="n=0"):
        cost_per_question(teacher(n=0), TEACHER)
    with pytest.raises(ValueError, match="stage 'solve'"):
        cost_per_question(teacher(), {"decompose": API})


def test_labelling_is_shared_and_training_is_not():
    labelling = usage(40_000, 8_000, 120.0, 0.06)
    assert amortised(labelling, 3) == pytest.approx({"input_tokens": 40_000 / 3, "output_tokens": 8_000 / 3, "seconds": 40.0, "usd": 0.02})
    cost = one_off_cost(labelling, 1800.0, students=3, prices=PRICES)
    assert cost == pytest.approx({"input_tokens": 40_000 / 3, "output_tokens": 8_000 / 3, "seconds": 1840.0, "usd": 0.02 + 0.18})
    assert one_off_cost(labelling, 1800.0)["usd"] is None
    with pytest.raises(ValueError, match="students=0"):
        amortised(labelling, 0)


def found(one_off, student_cell=None, prices=PRICES):
    before, after = cost_per_question(teacher(), TEACHER, prices), cost_per_question(student_cell or student(), STUDENT, prices)
    return break_even(after, before, one_off)


def test_break_even_by_hand():
    result = found({"input_tokens": 3000, "output_tokens": 75, "seconds": 10.2, "usd": 0.7})
    # $0.0004 less half a second of the machine; half a second; the tokens of the teacher's decompositions.
    assert result.usd == (2000, 0.7, pytest.approx(0.00035), None)
    assert result.seconds == (21, 10.2, pytest.approx(0.5), None)
    assert result.input_tokens == (10, 3000, pytest.approx(300), None)
    assert result.output_tokens == (2, 75, pytest.approx(50), None)
    assert json.loads(json.dumps(result.to_dict()))["seconds"]["questions"] == 21


@given(st.floats(0, 1e6), st.floats(1e-6, 1e3), st.floats(1e-6, 1e3))
def test_break_even_is_the_first_number_that_covers_the_cost(spent, before, after):
    one_off = dict.fromkeys(MEASURES, spent)
    costs = [{"stages": {"a": {"model": API, **dict.fromkeys(MEASURES, x)}}, "total": dict.fromkeys(MEASURES, x)} for x in (after, before)]
    result = break_even(*costs, one_off).usd
    if before - after <= 1e-9 * before:
        assert result.questions is None
        assert "no saving" in result.reason
    else:
        assert result.questions * (before - after) >= spent * (1 - 1e-6) - 1e-6
        assert result.questions == 0 or (result.questions - 1) * (before - after) < spent


def test_tokens_are_told_where_no_price_is_known():
    unpriced = cell(decompose=usage(30_000, 5_000, 100.0), solve=usage(50_000, 20_000, 300.0))
    models = {"decompose": "embedded/teacher@1", "solve": "embedded/teacher@1"}
    no_prices = Prices()
    before = cost_per_question(unpriced, models, no_prices)
    after = cost_per_question(student(), {**models, "decompose": LOCAL}, no_prices)
    result = break_even(after, before, one_off_cost(usage(4000, 800, 60.0), 100.0, prices=no_prices))
    assert result.usd.questions is None
    assert "local_usd_per_hour" in result.usd.reason
    assert (result.output_tokens.questions, result.seconds.questions) == (16, 320)


def test_no_saving_is_never_paid_back():
    slow = cell(decompose=usage(30_000, 5_000, 200.0), solve=usage(50_000, 20_000, 300.0, 0.09))
    result = found(dict.fromkeys(MEASURES, 1.0), slow)
    assert (result.seconds.questions, result.seconds.saved) == (None, pytest.approx(-1.0))
    assert "takes 1 more a question" in result.seconds.reason
    assert result.input_tokens.questions == 1
    same = cost_per_question(teacher(), TEACHER, PRICES)
    assert "saves none" in break_even(same, same, dict.fromkeys(MEASURES, 1.0)).usd.reason


def test_an_unknown_one_off_cost_is_said():
    result = found({"input_tokens": 10, "output_tokens": 10, "seconds": 10, "usd": None})
    assert result.usd.questions is None
    assert result.usd.saved == pytest.approx(0.00035)
    assert "labelling and training" in result.usd.reason


def test_a_student_that_does_without_the_teacher_saves_all_of_its_tokens():
    alone = cost_per_question(student(), {"decompose": LOCAL, "solve": "local/other"}, PRICES)
    result = break_even(alone, cost_per_question(teacher(), TEACHER, PRICES), dict.fromkeys(MEASURES, 1600.0))
    assert (result.input_tokens.saved, result.input_tokens.questions) == (800, 2)


points = st.dictionaries(st.text(max_size=3), st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12)


def dominates(a, b):
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(points)
def test_pareto_front_is_what_nothing_dominates(given_points):
    front = pareto_front(given_points)
    assert set(front) == {name for name, point in given_points.items() if not any(dominates(q, point) for q in given_points.values())}
    assert len(front) == len(set(front))
    assert [given_points[name][0] for name in front] == sorted(given_points[name][0] for name in front)


@given(points, st.randoms())
def test_pareto_front_does_not_depend_on_the_order(given_points, random):
    names = list(given_points)
    random.shuffle(names)
    assert set(pareto_front({name: given_points[name] for name in names})) == set(pareto_front(given_points))


def test_pareto_ties():
    assert pareto_front({"b": (1, 5), "a": (1, 5), "dear": (2, 5), "worse": (1, 4), "better": (3, 6)}) == ["b", "a", "better"]
    assert pareto_front({}) == []


@pytest.mark.parametrize("point", [(None, 1.0), (1.0, math.nan), (math.inf, 1.0)])
def test_pareto_names_an_unknown_point(point):
    with pytest.raises(ValueError, match="'x'"):
        pareto_front({"x": point, "y": (1.0, 1.0)})
