"""Variance components: worked examples, identities, and simulations with known components."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizers.evaluation.variance import variance_components

BALANCED = [(d, t, s) for d in range(3) for t in range(3) for s in range(2)]
# One to three trainings a data seed, one to three decodings a training.
UNBALANCED = [(d, t, s) for d in range(5) for t in range(1 + d % 3) for s in range(1 + (d + t) % 3)]
VARIANCES = (0.004, 0.002, 0.001)


def of_means(means):
    """Scores of two questions each, around the mean of each run."""
    return {run: {"q1": mean - 0.25, "q2": mean + 0.25} for run, mean in means.items()}


def test_balanced_worked_example():
    means = dict(zip([(d, t, s) for d in "ab" for t in (0, 1) for s in (0, 1)], [1, 3, 5, 7, 10, 14, 20, 24], strict=True))
    found = variance_components(of_means(means))
    # Within trainings 2 + 2 + 8 + 8 over 4; trainings 2, 6, 12, 22 around 4 and 17: 2 x (8 + 50) over 2; data 2 x 4 x 6.5 ** 2 over 1.
    ms_sampling, ms_training, ms_data = 20 / 4, 116 / 2, 338 / 1
    assert found.sampling == pytest.approx(ms_sampling)
    assert found.training == pytest.approx((ms_training - ms_sampling) / 2)
    assert found.data == pytest.approx((ms_data - ms_training) / 4)
    assert (found.mean, found.cells, found.n_questions) == (pytest.approx(10.5), 8, 2)
    assert found.levels == {"data": 2, "training": 4, "sampling": 8}
    assert found.includes == {}
    assert found.sd["sampling"] == pytest.approx(100 * math.sqrt(5))


def test_unbalanced_worked_example():
    # One-way with groups of 1 and 3: n0 = 4 - (1 + 9) / 4 = 1.5; means 0 and 4 around 3, within 1 + 0 + 1 over 2.
    means = {(0, 0, 0): 0.0, (0, 1, 0): 3.0, (0, 1, 1): 4.0, (0, 1, 2): 5.0}
    found = variance_components(of_means(means))
    assert found.sampling == pytest.approx(1.0)
    assert found.training == pytest.approx((12 - 1) / 1.5)
    assert found.data is None and found.sd["data"] is None


def test_negative_estimates_are_cut_at_zero():
    found = variance_components(of_means({(0, 0, 0): 0.0, (0, 0, 1): 1.0, (0, 1, 0): 0.0, (0, 1, 1): 1.0}))
    assert (found.training, found.sampling) == (0.0, pytest.approx(0.5))


def test_a_negative_inner_estimate_counts_in_full_further_out():
    # Trainings agree better than their decodings allow: MS 0.5 and 0; (data mean square 4 x 0.5 - 0) / 4.
    means = {(d, t, s): d + s for d in (0, 1) for t in (0, 1) for s in (0, 1)}
    found = variance_components(of_means(means))
    assert (found.data, found.training, found.sampling) == (pytest.approx(0.5), 0.0, pytest.approx(0.5))


@pytest.mark.parametrize(
    ("runs", "estimated", "includes"),
    [
        ([(0, 0, 0)], set(), {}),
        ([(0, 0, 0), (0, 0, 1)], {"sampling"}, {}),
        ([(0, 0, 0), (0, 1, 0)], {"training"}, {"training": ["sampling"]}),
        ([(0, 0, 0), (1, 0, 0)], {"data"}, {"data": ["training", "sampling"]}),
        ([(0, 0, 0), (1, 0, 0), (1, 0, 1)], {"data", "sampling"}, {"data": ["training"]}),
        ([(0, 0, 0), (0, 1, 0), (1, 0, 0)], {"data", "training"}, {"training": ["sampling"]}),
    ],
)
def test_what_never_varies_is_not_estimated(runs, estimated, includes):
    found = variance_components(of_means({run: 0.1 * i for i, run in enumerate(runs)}))
    assert {name for name in ("data", "training", "sampling") if getattr(found, name) is not None} == estimated
    assert found.includes == includes


def test_runs_of_one_factor_give_the_sample_variance():
    values = [0.5, 0.61, 0.58, 0.4]
    for place in range(3):
        means = {tuple(i if at == place else 0 for at in range(3)): value for i, value in enumerate(values)}
        found = variance_components(of_means(means))
        assert getattr(found, ("data", "training", "sampling")[place]) == pytest.approx(np.var(values, ddof=1))


def test_equal_training_seeds_of_two_data_seeds_are_two_trainings():
    same = variance_components(of_means({(0, 0, 0): 0.1, (0, 1, 0): 0.2, (1, 0, 0): 0.4, (1, 1, 0): 0.7}))
    other = variance_components(of_means({(0, 0, 0): 0.1, (0, 1, 0): 0.2, (1, 7, 0): 0.4, (1, 8, 0): 0.7}))
    assert same == other
    assert same.levels["training"] == 4


def simulated(design, rng):
    """Means of runs of which each component is drawn anew."""
    effects = [{part: rng.normal(0, math.sqrt(v)) for part in {run[:i] for run in design}} for i, v in enumerate(VARIANCES, 1)]
    return {run: 0.6 + sum(effect[run[:i]] for i, effect in enumerate(effects, 1)) for run in design}


@pytest.mark.parametrize("design", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_estimates_are_right_on_average(design, monkeypatch):
    rng = np.random.default_rng(5)
    # Without the cut, whose upward bias is known: the moments themselves are unbiased.
    monkeypatch.setattr("optimizers.evaluation.variance.max", lambda _, raw: raw, raising=False)
    found = [variance_components(of_means(simulated(sorted(design), rng))) for _ in range(1000)]
    for name, truth in zip(("data", "training", "sampling"), VARIANCES, strict=True):
        estimates = np.array([getattr(one, name) for one in found])
        standard_error = estimates.std(ddof=1) / math.sqrt(len(estimates))
        assert standard_error < 0.1 * truth
        assert abs(estimates.mean() - truth) < 4 * standard_error


def test_sampling_noise_of_binary_answers_is_found_from_the_answers_alone():
    rng = np.random.default_rng(6)
    n, rate = 100, 0.7
    scores = {(0, 0, s): {f"q{i}": float(rng.random() < rate) for i in range(n)} for s in range(400)}
    # The variance of a mean of n coins; its estimate from 400 has a relative standard error of sqrt(2 / 399), 7 %.
    assert variance_components(scores).sampling == pytest.approx(rate * (1 - rate) / n, rel=0.25)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.tuples(*[st.integers(0, 2)] * 3), st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_order_and_level_do_not_matter_and_scale_is_squared(means, random):
    runs = list(means)
    random.shuffle(runs)
    found, shuffled = variance_components(of_means(means)), variance_components(of_means({run: means[run] for run in runs}))
    moved = variance_components(of_means({run: 3 + 2 * mean for run, mean in means.items()}))
    for name in ("data", "training", "sampling"):
        value = getattr(found, name)
        assert (value is None) == (getattr(moved, name) is None) == (getattr(shuffled, name) is None)
        if value is not None:
            assert value >= 0
            assert getattr(shuffled, name) == pytest.approx(value, abs=1e-12)
            assert getattr(moved, name) == pytest.approx(4 * value, abs=1e-12)


def test_only_questions_scored_in_all_runs_count():
    scores = {
        (0, 0, 0): {"a": 1.0, "b": 0.0, "c": None, "d": 1.0, "only": 1.0},
        (0, 0, 1): {"a": 0.0, "b": 0.0, "c": 1.0, "d": math.nan},
    }
    found = variance_components(scores)
    assert (found.n_questions, found.mean) == (2, 0.25)
    assert found.sampling == pytest.approx(0.125)
    # Questions average 0.5 and 0: sd sqrt(0.125), over sqrt(2).
    assert found.question_sd == pytest.approx(25.0)


def test_a_single_question_has_no_standard_error():
    assert variance_components({(0, 0, 0): {"a": 1.0}}).question_sd is None


def test_to_dict_is_json():
    found = variance_components(of_means({(0, 0, 0): 0.5, (0, 1, 0): 0.7}))
    read = json.loads(json.dumps(found.to_dict()))
    assert read["training"] == pytest.approx(0.02)
    assert read["sd"] == {"data": None, "training": pytest.approx(100 * math.sqrt(0.02)), "sampling": None}
    assert read["levels"] == {"data": 1, "training": 2, "sampling": 2}
    assert {"mean", "n_questions", "cells", "question_sd", "includes"} < read.keys()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "no runs"),
        ({(0, 1): {"a": 1.0}}, r"got \(0, 1\)"),
        ({"abc": {"a": 1.0}}, "got 'abc'"),
        ({(0, 0, 0): {"a": 1.0}, (0, 0, 1): {"b": 1.0}}, r"2 runs, which have \[1, 1\]"),
    ],
)
def test_bad_input_is_named(scores, message):
    with pytest.raises(ValueError, match=message):
        variance_components(scores)


def test_importing_loads_no_library():
    code = "import sys, optimizers.evaluation.variance; print({'dspy', 'torch', 'scipy', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
