"""Questions and seeds as samples: cases with known answers, coverage by simulation."""

import math

import numpy as np
import pytest

from optimizers.evaluation.several_seeds import crossed_comparison, crossed_mean, crossed_retention
from optimizers.evaluation.statistics import mean_interval, paired_comparison


def scores(matrix):
    return {seed: {f"q{i}": float(value) for i, value in enumerate(row)} for seed, row in enumerate(matrix)}


def test_estimates_are_means_of_what_is_scored_under_every_seed():
    given = {0: {"a": 1.0, "b": 0.0, "c": None}, 1: {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}}
    found = crossed_mean(given)
    assert (found.estimate, found.n) == (0.75, 2)
    assert crossed_retention(given, {"a": 1.0, "b": 1.0, "c": 1.0}).estimate == 0.75
    other = {0: {"a": 0.0, "b": 0.0}, 1: {"a": 1.0, "b": 0.0}, 2: {"a": 0.0, "b": 0.0}}
    compared = crossed_comparison(given, other)
    assert (compared.n, compared.delta, compared.wins, compared.losses, compared.ties) == (2, 0.5, 2, 0, 0)


def test_a_difference_is_the_same_whichever_way_round():
    rng = np.random.default_rng(0)
    a, b = (scores(rng.random((3, 40)) < p) for p in (0.8, 0.6))
    there, back = crossed_comparison(a, b), crossed_comparison(b, a)
    assert there.delta == -back.delta and there.p == pytest.approx(back.p)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.low < there.delta < there.high


def test_conditions_that_agree_everywhere_are_not_taken_for_certain():
    rng = np.random.default_rng(1)
    a = scores(rng.random((3, 50)) < 0.5)
    same = crossed_comparison(a, a)
    assert same.delta == 0 and same.p == 1 and -0.1 < same.low < 0 < same.high < 0.1
    perfect = crossed_retention(scores(np.ones((3, 50))), dict.fromkeys((f"q{i}" for i in range(50)), 1.0))
    assert perfect.estimate == 1 and 0.9 < perfect.low < 1 == perfect.high


def test_without_data_there_is_no_claim():
    assert math.isnan(crossed_mean({}).estimate)
    assert crossed_comparison({}, {}).n == 0
    assert crossed_comparison({0: {"a": 1.0}}, {1: {"a": 1.0}}).n == 0
    assert math.isnan(crossed_retention({0: {"a": 1.0}}, {"a": 0.0}).estimate)


@pytest.mark.parametrize(("seed_sd", "question_sd", "noise_sd"), [(0.3, 0.0, 0.1), (0.0, 1.0, 0.1), (0.2, 1.0, 0.5)])
def test_intervals_cover_the_truth_as_often_as_they_say_or_more(seed_sd, question_sd, noise_sd):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        matrix = 0.1 + rng.normal(0, seed_sd, (6, 1)) + rng.normal(0, question_sd, (1, 60)) + rng.normal(0, noise_sd, (6, 60))
        found = crossed_comparison(scores(matrix), scores(np.zeros((6, 60))), resamples=199)
        covered += found.low <= 0.1 <= found.high
    assert covered / 300 >= 0.92


def test_a_clear_difference_is_seen_and_noise_seldom_is():
    rng = np.random.default_rng(3)
    questions = rng.random(200)
    draw = lambda shift: scores(rng.random((3, 200)) < np.clip(questions + shift, 0, 1))  # noqa: E731
    assert crossed_comparison(draw(0.25), draw(0.0)).p < 0.01
    false = sum(crossed_comparison(draw(0.0), draw(0.0), resamples=199).p < 0.05 for _ in range(100))
    assert false <= 10


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("question_sd", [0.0, 1.0])
def test_trainings_that_differ_by_chance_are_seldom_told_apart(seeds, seed_sd, question_sd):
    rng, repeats, seen = np.random.default_rng([seeds, int(10 * seed_sd), int(question_sd)]), 200, 0
    for _ in range(repeats):
        base = rng.normal(0.7, 1.5, 60)

        def condition(base=base):
            logit = base + rng.normal(0, question_sd, 60) + rng.normal(0, seed_sd, (seeds, 1))
            return scores(rng.random((seeds, 60)) < 1 / (1 + np.exp(-logit)))

        found = crossed_comparison(condition(), condition(), resamples=199)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
        seen += found.p < 0.05
    # Three standard errors above 5 % of 200.
    assert seen / repeats <= 0.096


def test_one_seed_is_judged_by_its_questions():
    rng = np.random.default_rng(4)
    a, b = (scores(rng.random((1, 40)) < p) for p in (0.8, 0.6))
    assert crossed_comparison(a, b) == paired_comparison(a[0], b[0])
    assert crossed_mean(a) == mean_interval(list(a[0].values()))
