"""Identities of the statistics: against formulas written out here, worked examples and small simulations."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizers.evaluation.paired_intervals import mcnemar_bounds, sign_flip
from optimizers.evaluation.statistics import Interval, holm, mcnemar, mean_interval, paired_comparison, questions_needed, retention

NAN = math.nan
p_values = st.lists(st.floats(0, 1), max_size=12)
binary = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=40)


def by_id(scores):
    return {f"q{i}": score for i, score in enumerate(scores)}


def wilson(k, n, z=1.959963984540054):
    centre, spread = (k + z * z / 2) / (n + z * z), z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return max(0.0, centre - spread), min(1.0, centre + spread)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 20), (13, 20), (20, 20), (930, 1000)])
def test_mean_interval_of_zeros_and_ones_is_wilsons(right, n):
    interval = mean_interval([1.0] * right + [0.0] * (n - right))
    assert interval == pytest.approx((right / n, *wilson(right, n), n), abs=1e-12)


def test_mean_interval_leaves_unscored_answers_out():
    assert mean_interval([1.0, NAN, 0.0, None]) == mean_interval([1.0, 0.0])


@pytest.mark.parametrize("scores", [[], [NAN, None]])
def test_mean_interval_of_nothing_is_nan(scores):
    assert mean_interval(scores) == pytest.approx(Interval(NAN, NAN, NAN, 0), nan_ok=True)


def test_mean_interval_degenerate_fractions():
    assert mean_interval([0.3]) == pytest.approx((0.3, 0.0, 1.0, 1))
    one, several, many = mean_interval([0.5] * 2), mean_interval([0.5] * 5), mean_interval([0.5] * 1000)
    assert one.low < several.low < many.low < 0.5 < many.high < several.high < one.high
    assert many.high - many.low < 0.01


@pytest.mark.parametrize("level", [0, 1, -0.5, 95])
def test_a_bad_level_fails_even_on_no_data(level):
    for call in (lambda: mean_interval([], level), lambda: paired_comparison({}, {}, level), lambda: retention({}, {}, level)):
        with pytest.raises(ValueError, match=r"open interval \(0, 1\)"):
            call()


SKEWED = {
    "middling F1": ([0, 0.4, 0.5, 0.67, 0.8, 1.0], [0.3, 0.1, 0.1, 0.1, 0.1, 0.3]),
    "good F1": ([0, 0.4, 0.67, 0.8, 1.0], [0.03, 0.02, 0.03, 0.02, 0.9]),
    "poor F1": ([0, 0.2, 0.4, 0.67, 1.0], [0.9, 0.03, 0.03, 0.02, 0.02]),
    "a rare failure": ([0, 0.5, 1.0], [0.02, 0.01, 0.97]),
    "nearly all alike": ([0, 0.5], [0.02, 0.98]),
}


@pytest.mark.parametrize("n", [1, 2, 5, 10, 20, 50, 100, 200])
@pytest.mark.parametrize("name", SKEWED)
def test_the_interval_of_skewed_part_marks_covers_the_mean(name, n):
    """A bootstrap holds the mean in 4 to 90 % of these where all or nearly all scores of a sample are alike."""
    rng, (marks, shares) = np.random.default_rng([n, len(name)]), SKEWED[name]
    drawn, truth = rng.choice(marks, (300, n), p=shares), float(np.dot(marks, shares))
    found = [mean_interval(list(scores)) for scores in drawn]
    # Wilson's, which a sample of zeros and ones gets, dips to 92 % of its own; 300 repeats have a standard error of 1.3 %.
    assert np.mean([one.low - 1e-9 <= truth <= one.high + 1e-9 for one in found]) >= 0.9
    assert all(0 <= one.low <= one.estimate <= one.high <= 1 for one in found)


def test_fractional_interval_covers_the_mean_in_a_simulation():
    rng = np.random.default_rng(1)
    intervals = [mean_interval(list(rng.beta(4, 2, 40))) for _ in range(120)]
    covered = np.mean([interval.low <= 4 / 6 <= interval.high for interval in intervals])
    # The standard error of 95 % over 120 repeats is 2 %.
    assert 0.88 <= covered <= 1


def tables(n, wins, losses, repeats, rng):
    """Counts of wins and losses of `repeats` test sets, and the share of their intervals that hold the true difference."""
    drawn = rng.multinomial(n, [wins, losses, 1 - wins - losses], size=repeats)
    bounds = [mcnemar_bounds(n, int(won), int(lost)) for won, lost, _ in drawn]
    return drawn, np.array(bounds), np.mean([low - 1e-9 <= wins - losses <= high + 1e-9 for low, high in bounds])


@pytest.mark.parametrize("n", [10, 50, 100, 200, 500])
@pytest.mark.parametrize("discordant", [0.02, 0.04, 0.2, 0.5])
@pytest.mark.parametrize("won", [0.5, 0.8, 1.0])
def test_the_paired_interval_covers_the_truth_as_often_as_it_says_or_more(n, discordant, won):
    drawn, bounds, covered = tables(n, discordant * won, discordant * (1 - won), 400, np.random.default_rng([n, int(100 * discordant)]))
    # 400 repeats have a standard error of 1.1 % at 95 %.
    assert covered >= 0.93
    for (wins, losses, _), (low, high) in zip(drawn[:50], bounds, strict=False):
        assert (low > 0 or high < 0) == (mcnemar(int(wins), int(losses)) < 0.05)


@pytest.mark.parametrize(("n", "wins", "losses"), [(100, 3, 0), (10, 3, 0), (100, 4, 0), (8, 5, 0), (500, 9, 2)])
def test_a_difference_that_the_test_does_not_see_is_in_no_interval(n, wins, losses):
    a = [1.0] * wins + [0.0] * (n - wins)
    b = [0.0] * wins + [1.0] * losses + [0.0] * (n - wins - losses)
    found = paired_comparison(by_id(a), by_id(b))
    assert found.p > 0.05 and found.low < 0 < found.delta < found.high
    kept = retention(by_id([1.0] * n), by_id([1.0] * (n - wins) + [0.0] * wins))
    assert losses or n < 10 or kept.low < 1 < kept.high


def test_paired_bounds_are_the_quantiles_that_sampling_gives():
    rng, size = np.random.default_rng(5), 400_000
    for n, wins, losses in ((100, 10, 2), (100, 6, 5), (30, 20, 10)):
        differing = wins + losses
        share = rng.beta(wins, losses + 1, size)
        rate = np.where(
            share > 0.5,
            rng.beta(differing, n - differing + 1, size),
            1 if differing == n else rng.beta(differing + 1, max(1, n - differing), size),
        )
        assert mcnemar_bounds(n, wins, losses)[0] == pytest.approx(np.quantile((2 * share - 1) * rate, 0.025), abs=0.004)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.5, 1.0]), st.sampled_from([0.0, 0.4, 0.5, 1.0])), min_size=1, max_size=30))
def test_the_interval_of_part_marks_leaves_0_out_where_the_test_does(pairs):
    a, b = by_id([x for x, _ in pairs]), by_id([y for _, y in pairs])
    found, mirrored = paired_comparison(a, b, resamples=499), paired_comparison(b, a, resamples=499)
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
    assert -1 <= found.low <= found.high <= 1
    assert mirrored[2:5] == pytest.approx((-found.high, -found.low, found.p))


@pytest.mark.parametrize("n", [10, 20, 50, 100])
@pytest.mark.parametrize(("rate", "shift"), [(0.05, 0.0), (0.05, 0.3), (0.3, 0.3), (1.0, 0.0), (1.0, 0.3)])
def test_the_interval_of_part_marks_covers_the_truth(n, rate, shift):
    rng, repeats = np.random.default_rng([n, int(100 * rate), int(10 * shift)]), 150
    marks = np.array([0, 0.4, 0.5, 0.67, 0.8, 1.0])
    a = rng.choice(marks, (repeats, n), p=[0.3, 0.1, 0.1, 0.1, 0.1, 0.3])
    other = rng.choice(marks, (repeats, n), p=[0.3 + shift, 0.1, 0.1, 0.1, 0.1, 0.3 - shift])
    b = np.where(rng.random((repeats, n)) < rate, other, a)
    bounds = [sign_flip(difference, 0.95, 0, 399)[:2] for difference in a - b]
    # Three standard errors of 95 % over 150 repeats.
    assert np.mean([low <= rate * shift <= high for low, high in bounds]) >= 0.897


def test_one_shared_question_with_a_part_mark_is_compared():
    found = paired_comparison({"1": 0.4, "2": 1.0}, {"1": 0.9, "3": 1.0})
    assert found == pytest.approx((1, -0.5, -1, 1, 1, 0, 1, 0))


def test_mcnemar_is_the_binomial_tail():
    for wins, losses in product(range(12), range(12)):
        n = wins + losses
        tail = sum(math.comb(n, k) for k in range(max(wins, losses), n + 1)) / 2**n
        assert mcnemar(wins, losses) == pytest.approx(min(1.0, 2 * tail))


@settings(max_examples=25, deadline=None)
@given(binary)
def test_comparison_of_binary_scores(pairs):
    a, b = by_id([x for x, _ in pairs]), by_id([y for _, y in pairs])
    result, mirrored = paired_comparison(a, b, resamples=499), paired_comparison(b, a, resamples=499)
    assert result.delta == pytest.approx(np.mean(list(a.values())) - np.mean(list(b.values())))
    assert (mirrored.delta, mirrored.wins, mirrored.losses) == pytest.approx((-result.delta, result.losses, result.wins))
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))
    assert result.p == mirrored.p == mcnemar(result.wins, result.losses)
    assert result.wins + result.losses + result.ties == result.n == len(pairs)
    assert -1 <= result.low <= result.delta <= result.high <= 1


def test_comparison_pairs_by_id_and_skips_what_one_side_did_not_score():
    a = {"1": 1.0, "2": 0.0, "3": 1.0, "4": None, "only a": 1.0}
    b = {"3": 0.0, "2": 0.0, "1": 1.0, "4": 1.0, "5": NAN}
    result = paired_comparison(a, b)
    assert (result.n, result.wins, result.losses, result.ties) == (3, 1, 0, 2)
    assert result == paired_comparison(dict(reversed(a.items())), b)


def test_sign_flip_test_of_fractions_is_the_count_over_all_sign_patterns():
    a, b = [0.9, 0.4, 0.8, 0.55, 0.7, 0.3], [0.5, 0.45, 0.6, 0.25, 0.1, 0.2]
    differences = np.subtract(a, b)
    means = [abs(np.mean(differences * signs)) for signs in product([1, -1], repeat=len(a))]
    expected = np.mean([mean >= abs(differences.mean()) - 1e-12 for mean in means])
    assert paired_comparison(by_id(a), by_id(b)).p == pytest.approx(expected)


def test_agreement_everywhere_is_not_certainty():
    same = by_id([1.0] * 15 + [0.0] * 5)
    result = paired_comparison(same, same)
    # Clopper and Pearson's bound on what was seen in none of 20.
    bound = 1 - 0.025 ** (1 / 20)
    assert result == pytest.approx((20, 0, -bound, bound, 1.0, 0, 0, 20))
    kept = retention(same, same)
    assert kept == pytest.approx((1, 1 - bound / 0.75, 1 + bound / 0.75, 20))
    marks = by_id([0.5] * 20)
    assert paired_comparison(marks, marks)[:5] == pytest.approx((20, 0, -bound, bound, 1.0))
    right, wrong = by_id([1.0] * 20), by_id([0.0] * 20)
    found = paired_comparison(right, wrong)
    assert (found.delta, found.high) == pytest.approx((1, 1)) and 0.6 < found.low < 1
    assert retention(wrong, right) == pytest.approx((0, 0, 1 - found.low, 20))


def test_a_comparison_in_a_file_has_all_that_was_counted():
    found = paired_comparison({"1": 1.0, "2": 1.0, "3": 0.0}, {"1": 0.0, "2": 1.0, "3": 0.0})
    record = found.to_dict()
    assert record["ci95"] == [found.low, found.high]
    assert {key: record[key] for key in record if key != "ci95"} == {
        key: value for key, value in found._asdict().items() if key not in ("low", "high")
    }


def test_comparison_without_pairs_is_nan():
    result = paired_comparison({"x": 1.0}, {"y": 1.0})
    assert (result.n, result.wins, result.ties) == (0, 0, 0)
    assert all(math.isnan(value) for value in (result.delta, result.low, result.high, result.p))


def test_holm_worked_example():
    # 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1 raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, NAN, 0.04]) == pytest.approx([0.02, NAN, 0.04], nan_ok=True)
    assert holm([]) == []


@given(p_values)
def test_holm_is_bounded_monotone_and_never_below(values):
    corrected = holm(values)
    assert all(p <= q <= min(1.0, len(values) * p) + 1e-12 for p, q in zip(values, corrected, strict=True))
    in_order = [corrected[i] for i in sorted(range(len(values)), key=values.__getitem__)]
    assert in_order == sorted(in_order)


@given(p_values, st.randoms())
def test_holm_follows_the_order_given(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    assert holm([values[i] for i in order]) == [holm(values)[i] for i in order]


@given(p_values, st.integers(0, 12))
def test_holm_ignores_nan(values, where):
    with_nan = holm([*values[:where], NAN, *values[where:]])
    assert [p for p in with_nan if not math.isnan(p)] == holm(values)


@pytest.mark.parametrize("p", [-0.1, 1.2, math.inf])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(ValueError, match=str(p)):
        holm([0.1, p])


def test_retention_is_the_ratio_of_means_and_its_interval_holds_it():
    rng = np.random.default_rng(3)
    a, b = rng.random(80) < 0.7, rng.random(80) < 0.8
    kept = retention(by_id(a.astype(float)), by_id(b.astype(float)))
    assert kept.estimate == pytest.approx(a.mean() / b.mean())
    assert kept.low < kept.estimate < kept.high
    assert kept.n == 80


@pytest.mark.parametrize(("a", "b", "n"), [({}, {}, 0), ({"1": 1.0}, {"1": 0.0}, 1)])
def test_retention_of_nothing_is_nan(a, b, n):
    assert retention(a, b) == pytest.approx((NAN, NAN, NAN, n), nan_ok=True)


def test_retention_has_no_bound_where_the_reference_is_nearly_always_wrong():
    kept = retention(by_id([1.0, 0.0, 1.0, 0.0]), by_id([1.0, 0.0, 0.0, 0.0]))
    assert kept == pytest.approx((2, NAN, NAN, 4), nan_ok=True)


@pytest.mark.parametrize(("delta", "rate"), [(0.1, 0.2), (0.05, 0.1), (0.3, 0.3)])
def test_questions_needed_gives_the_power_in_a_simulation(delta, rate):
    n, rng = questions_needed(delta, rate), np.random.default_rng(4)
    draws = rng.multinomial(n, [(rate + delta) / 2, (rate - delta) / 2, 1 - rate], size=1500)
    power = np.mean([mcnemar(int(wins), int(losses)) <= 0.05 for wins, losses, _ in draws])
    # Three standard errors of a power of 0.8 over 1,500 draws.
    assert power == pytest.approx(0.8, abs=0.031 + 1 / n)


def test_questions_needed_is_near_the_normal_approximation_and_symmetric():
    # Miettinen (1968): n = (z_a sqrt(rate) + z_b sqrt(rate - delta^2))^2 / delta^2; the exact test needs somewhat more.
    delta, rate = 0.03, 0.1
    approximate = (1.959964 * math.sqrt(rate) + 0.841621 * math.sqrt(rate - delta**2)) ** 2 / delta**2
    exact = questions_needed(delta, rate)
    assert approximate < exact < 1.12 * approximate
    assert questions_needed(-delta, rate) == exact
    assert questions_needed(delta, rate, power=0.9) > exact


@pytest.mark.parametrize(("delta", "rate"), [(0, 0.1), (0.2, 0.1), (0.1, 1.5)])
def test_questions_needed_names_what_is_out_of_range(delta, rate):
    with pytest.raises(ValueError, match=f"delta={delta}"):
        questions_needed(delta, rate)


def on_passages(rng, passages, of_each):
    """Right and wrong answers of two conditions, each of which finds some passages easy and some hard, and is neither better."""
    easy = rng.beta(1, 1, size=(2, passages))
    scores = rng.random((2, passages, of_each)) < easy[:, :, None]
    return *(by_id(one.ravel().astype(float)) for one in scores), {f"q{at}": at // of_each for at in range(passages * of_each)}


def test_questions_of_one_passage_count_for_less_than_as_many_of_their_own():
    rng = np.random.default_rng(5)
    drawn = [on_passages(rng, 20, 10) for _ in range(200)]
    alone = [paired_comparison(a, b).p < 0.05 for a, b, _ in drawn]
    together = [paired_comparison(a, b, passages=passages).p < 0.05 for a, b, passages in drawn]
    assert np.mean(alone) > 0.2 and np.mean(together) < 0.09
    means = [mean_interval([*a.values()], passages=[*passages.values()]) for a, _, passages in drawn]
    assert np.mean([one.low <= 0.5 <= one.high for one in means]) > 0.91
    kept = [retention(a, b, passages=passages, resamples=99) for a, b, passages in drawn[:40]]
    assert np.mean([one.low <= 1 <= one.high for one in kept]) > 0.85


def test_the_margin_over_passages_is_students_t_of_their_sums():
    # Two passages of three and one question: sums of deviations from 0.75 are 0.75 and -0.75.
    found = mean_interval([1, 1, 1, 0], passages="aaab")
    assert (found.low, found.high) == (0.0, 1.0)
    a, b = by_id([1.0] * 30), by_id([0.0] * 20 + [1.0] * 10)
    found = paired_comparison(a, b, passages={f"q{at}": at // 10 for at in range(30)})
    error = math.sqrt((10 / 3) ** 2 * 2 + (20 / 3) ** 2) * math.sqrt(3 / 2) / 30
    assert (found.low, found.high) == pytest.approx((2 / 3 - 4.302653 * error, 1))
    assert found.p == pytest.approx(0.183503, abs=1e-5)


@given(binary, st.integers(1, 5))
def test_passages_never_narrow_an_interval_and_bounds_and_p_stay_of_one_mind(pairs, size):
    a, b = (by_id([pair[side] for pair in pairs]) for side in (0, 1))
    passages = {f"q{at}": at // size for at in range(len(pairs))}
    plain, found = paired_comparison(a, b), paired_comparison(a, b, passages=passages)
    assert found.low <= plain.low and found.high >= plain.high and found.p >= plain.p
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    if size == 1 or len(pairs) <= size:
        assert found == plain and mean_interval([*a.values()], passages=[*passages.values()]) == mean_interval([*a.values()])


def test_importing_loads_neither_scipy_nor_a_model_library():
    code = "import sys, optimizers.evaluation.statistics; print({'dspy', 'torch', 'scipy', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
