"""Intervals and tests for scores of the same test questions under several conditions.

Every condition answers the same questions, so differences are judged by pairs. Where scores are 0 or 1 the methods are
Wilson's interval and the exact McNemar test; elsewhere Student's t with a score of 0 and one of 1 put in, and a sign-flip
permutation test. The interval of a difference agrees with its test (`paired_intervals`). Where several questions stand on one
passage, as in DROP, they are right or wrong together: then passages are taken for the sample too, by Student's t over their sums
(the linearised mean of clusters; Cochran 1977, Sampling Techniques, chapter 9), and the wider bounds and the larger p count. scipy
is loaded at the first call, so that importing this module costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from optimizers.evaluation.paired_intervals import mcnemar_bounds, sign_flip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 9999

# Resamples are drawn in batches: all of them at once for 10,000 questions would fill 800 MB.
_BATCH = 1000

_MOST_ALONE = 2000
"""Questions up to which resamples are drawn question by question: the jackknife of scipy's BCa takes time and memory by their square."""

_COUNTS = 8_000_000
"""Counts of a batch of resamples: 64 MB."""

Passages = Mapping[Any, Hashable] | None
"""Question id -> passage, the same for questions on the same one."""


class Interval(NamedTuple):
    """An estimate with its confidence interval.

    Attributes:
        estimate: NaN without any observation.
        low: Lower bound; NaN where no interval can be given, as without any observation.
        high: Upper bound; NaN as `low`.
        n: Observations behind it.
    """

    estimate: float
    low: float
    high: float
    n: int


class Comparison(NamedTuple):
    """Condition `a` against condition `b` on the questions that are scored in both.

    Attributes:
        n: Paired questions.
        delta: Mean of score(a) - score(b): positive where `a` is better.
        low: Lower bound of the paired interval of `delta`, which leaves out 0 exactly where `p` is below 1 - level.
        high: Upper bound.
        p: Two-sided p value of "no difference", before any correction for many comparisons (see `holm`).
        wins: Questions on which `a` scores higher.
        losses: Questions on which `b` scores higher.
        ties: The others.
    """

    n: int
    delta: float
    low: float
    high: float
    p: float
    wins: int
    losses: int
    ties: int

    def to_dict(self) -> dict[str, Any]:
        """What a file of results says of it: the bounds as `ci95`, all else under its own name."""
        counts = {"wins": self.wins, "losses": self.losses, "ties": self.ties}
        return {"n": self.n, "delta": self.delta, "ci95": [self.low, self.high], "p": self.p, **counts}


def mean_interval(scores: Sequence[float | None], level: float = 0.95, passages: Sequence[Hashable] | None = None) -> Interval:
    """Mean of `scores` with its interval: Wilson's where all are 0 or 1, else Student's t with a 0 and a 1 put in.

    Scores that are put in stand for those not yet seen, as in the plus-four interval of a rate (Agresti and Coull 1998):
    of 20 scores of 0.8 and more, neither t nor a bootstrap knows that one in 30 is 0, and holds the mean in 7 of 10 cases.

    Args:
        scores: One a question. NaN and None (unscored) are left out; `n` tells how many remain.
        level: Confidence level in (0, 1).
        passages: One a question, the same for those on the same passage; None where each has its own.

    Returns:
        NaNs for no score. Bounds lie in [0, 1], or between the least and the largest score where that is wider.

    Raises:
        ValueError: `level` is outside (0, 1).
    """
    from scipy import stats

    _check_open_unit("level", level)
    values = _array([score for score in scores if _is_scored(score)])
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    if _is_binary(values):
        low, high = stats.binomtest(int(values.sum()), len(values)).proportion_ci(level, method="wilson")
    else:
        low, high = _bounded_t(values, level)
    mean = float(values.mean())
    shared = [key for key, score in zip(passages, scores, strict=True) if _is_scored(score)] if passages is not None else None
    margin = _over_passages(values - mean, shared).margin(level)
    least, most = min(0.0, float(values.min())), max(1.0, float(values.max()))
    return Interval(mean, min(float(low), max(least, mean - margin)), max(float(high), min(most, mean + margin)), len(values))


def paired_comparison(
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    level: float = 0.95,
    *,
    passages: Passages = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """`a` against `b` on the questions that both have a score for; `delta` is score(a) - score(b).

    Where all scores are 0 or 1, p is the exact McNemar test (McNemar 1947; a binomial test on the discordant pairs), else a
    paired permutation test that flips signs. The interval is the melded one of that test, see `paired_intervals`; it covers
    the true difference as often as it says or more.

    Args:
        a: Score by question id, in [0, 1]; NaN or None where unscored.
        b: The same for the other condition.
        level: Confidence level in (0, 1).
        passages: Question id -> passage, the same for questions on the same one; a question that is missing has its own.
        seed: Seed of the permutations.
        resamples: Number of permutations. The test is exact where 2**(questions that differ) is at most that.

    Returns:
        NaN for delta, bounds and p without any paired question. Where scores never differ, the bounds follow from Clopper
        and Pearson's bound on the rate of questions on which they would.

    Raises:
        ValueError: `level` is outside (0, 1).
    """
    _check_open_unit("level", level)
    x, y, shared = _paired(a, b, passages)
    n = len(x)
    if n == 0:
        return Comparison(0, math.nan, math.nan, math.nan, math.nan, 0, 0, 0)
    differences = x - y
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    if _is_binary(x) and _is_binary(y):
        (low, high), p = mcnemar_bounds(n, wins, losses, level), mcnemar(wins, losses)
    else:
        low, high, p = sign_flip(differences, level, seed, resamples)
    delta = float(differences.mean())
    over = _over_passages(differences - delta, shared)
    low, high = min(low, max(-1.0, delta - over.margin(level))), max(high, min(1.0, delta + over.margin(level)))
    return Comparison(n, delta, low, high, max(p, over.p(delta)), wins, losses, n - wins - losses)


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided McNemar p value from the discordant pairs; 1 without any."""
    from scipy import stats

    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p values that are read together (Holm 1979).

    Args:
        p_values: In any order. NaN (a comparison without data) stays NaN and is not counted as a test.

    Returns:
        Corrected p values in the order given, at most 1, never below the uncorrected ones.

    Raises:
        ValueError: A p value is outside [0, 1].
    """
    for p in p_values:
        if not (math.isnan(p) or 0 <= p <= 1):
            raise ValueError(f"A p value must be in [0, 1] or NaN, got {p}.")
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected = [math.nan] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = worst
    return corrected


def retention(
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    level: float = 0.95,
    *,
    passages: Passages = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The share of the score of `b` that `a` keeps: mean(a) / mean(b) on the questions scored in both.

    Args:
        a: Score by question id, such as the student's in the teacher's place; NaN or None where unscored.
        b: Score by question id of the reference.
        level: Confidence level in (0, 1).
        passages: As of `paired_comparison`.
        seed: Seed of the bootstrap.
        resamples: Number of resamples of the bootstrap, which draws questions, so that pairs stay together.

    Returns:
        All NaN where `b` scores 0 throughout or no question is paired. The bounds alone are NaN where `b` scores 0 in a
        resample, so that the ratio has no bound. Of scores in [0, 1] the bounds are never nearer than those of the paired
        difference over the mean of `b`, so that 1 is inside wherever no difference can be shown.

    Raises:
        ValueError: `level` is outside (0, 1).
    """
    _check_open_unit("level", level)
    x, y, shared = _paired(a, b, passages)
    if len(x) == 0 or y.mean() == 0:
        return Interval(math.nan, math.nan, math.nan, len(x))
    ratio = float(x.mean() / y.mean())
    few = len(x) <= _MOST_ALONE
    low, high = _bootstrap(_ratio, (x, y), level, seed, resamples) if few else _counted_bootstrap((x, y), level, seed, resamples)
    if max(x.max(), y.max()) <= 1 and not math.isnan(low):
        found, top = paired_comparison(a, b, level, passages=passages, seed=seed, resamples=resamples), float(y.mean())
        margin = _over_passages(x - ratio * y, shared).margin(level) / top
        low = min(low, max(0.0, 1 + found.low / top), max(0.0, ratio - margin))
        high = max(high, min(1 / top, max(1 + found.high / top, ratio + margin)))
    return Interval(ratio, low, high, len(x))


def questions_needed(delta: float, discordant_rate: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Test questions with which the exact McNemar test sees a difference with probability `power`.

    Args:
        delta: The true difference of the two accuracies, such as 0.03; its sign does not matter.
        discordant_rate: Share of questions that just one of the two answers right; at least `delta`.
        power: In (0, 1).
        alpha: Two-sided level in (0, 1).

    Returns:
        The number found by halving. Power of an exact test rises with small steps back, so read it as "about".

    Raises:
        ValueError: A value is out of range; names it.
    """
    _check_open_unit("power", power)
    _check_open_unit("alpha", alpha)
    if not 0 < abs(delta) <= discordant_rate <= 1:
        raise ValueError(
            f"Expected 0 < |delta| <= discordant_rate <= 1, got delta={delta} and discordant_rate={discordant_rate}: the accuracies "
            "cannot differ by more than the share of questions on which the two disagree."
        )
    enough = 1
    while _mcnemar_power(enough, abs(delta), discordant_rate, alpha) < power:
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if _mcnemar_power(middle, abs(delta), discordant_rate, alpha) < power:
            too_few = middle
        else:
            enough = middle
    return enough


def _check_open_unit(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"`{name}` must be in the open interval (0, 1), got {value}.")


def _is_scored(score: float | None) -> bool:
    return score is not None and not math.isnan(score)


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(values, dtype=np.float64)


def _is_binary(values: NDArray[np.float64]) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _paired(
    a: Mapping[str, float | None], b: Mapping[str, float | None], passages: Passages
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Hashable] | None]:
    """Scores of `a` and `b` on the ids scored in both, and their passages; sorted, so that a file's order does not move the bootstrap."""
    ids = sorted((key for key in a.keys() & b.keys() if _is_scored(a[key]) and _is_scored(b[key])), key=str)
    shared = None if passages is None else [passages.get(key, key) for key in ids]
    return _array([a[key] for key in ids]), _array([b[key] for key in ids]), shared


class _OverPassages(NamedTuple):
    """The standard error of a mean over passages, and its degrees of freedom; none where passages are no sample of their own."""

    error: float = 0.0
    freedom: int = 0

    def margin(self, level: float) -> float:
        """Half the width of the interval at `level`."""
        from scipy import stats

        return float(stats.t.isf((1 - level) / 2, self.freedom)) * self.error if self.freedom else 0.0

    def p(self, delta: float) -> float:
        """Two-sided p value of a difference."""
        from scipy import stats

        return 2 * float(stats.t.sf(abs(delta) / self.error, self.freedom)) if self.error else 0.0


def _over_passages(deviations: NDArray[np.float64], passages: Sequence[Hashable] | None) -> _OverPassages:
    """Of deviations from a mean, one a question. Of a single passage nothing can be told but what holds on it."""
    import numpy as np

    places: dict[Hashable, int] = {}
    of_each = [places.setdefault(key, len(places)) for key in passages or ()]
    count = len(places)
    if count in (0, 1, len(of_each)):
        return _OverPassages()
    squares = float((np.bincount(of_each, deviations) ** 2).sum())
    return _OverPassages(math.sqrt(squares * count / (count - 1)) / len(of_each), count - 1)


def _bounded_t(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Student's interval with a score at each end of the scale put in; holds the mean of those that were seen."""
    import numpy as np
    from scipy import stats

    least, most, mean = min(0.0, float(values.min())), max(1.0, float(values.max())), float(values.mean())
    with_ends = np.append(values, [least, most])
    margin = stats.t.isf((1 - level) / 2, len(values) + 1) * with_ends.std(ddof=1) / math.sqrt(len(with_ends))
    centre = float(with_ends.mean())
    return max(least, min(mean, centre - margin)), min(most, max(mean, centre + margin))


def _ratio(x: NDArray[np.float64], y: NDArray[np.float64], axis: int = -1) -> Any:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return x.mean(axis=axis) / y.mean(axis=axis)


def _bootstrap(
    statistic: Callable[..., Any], data: tuple[NDArray[np.float64], ...], level: float, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Bounds by BCa, by percentiles where BCa is undefined; NaN for one observation or a statistic without a bound."""
    import numpy as np
    from scipy import stats

    if len(data[0]) < 2:
        return math.nan, math.nan
    options: dict[str, Any] = {"paired": True, "vectorized": True, "confidence_level": level, "batch": _BATCH}
    with np.errstate(divide="ignore", invalid="ignore"), _quiet():
        result = stats.bootstrap(data, statistic, n_resamples=resamples, method="BCa", rng=seed, **options)
        if not np.isfinite(result.bootstrap_distribution).all():
            return math.nan, math.nan
        if not np.isfinite(result.confidence_interval).all():
            result = stats.bootstrap(data, statistic, n_resamples=0, method="percentile", bootstrap_result=result, **options)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _counted_bootstrap(data: tuple[NDArray[np.float64], ...], level: float, seed: int, resamples: int) -> tuple[float, float]:
    """Bounds of `_ratio` by BCa (Efron 1987); NaN for a ratio without a bound.

    A resample is how often it has each of the distinct observations, of which scores have few: its counts are drawn, and no questions.
    """
    import numpy as np
    from scipy import special

    (x, y), counts = np.unique(np.stack(data), axis=1, return_counts=True)
    n, rng, left = counts.sum(), np.random.default_rng(seed), resamples
    drawn: list[NDArray[np.float64]] = []
    while left:
        times = rng.multinomial(n, counts / n, size=min(left, max(1, _COUNTS // len(counts))))
        drawn.append(_ratio((times @ x)[:, None], (times @ y)[:, None]))
        left -= len(times)
    ratios = np.concatenate(drawn)
    if not np.isfinite(ratios).all():
        return math.nan, math.nan
    ratio, without = counts @ x / (counts @ y), (counts @ x - x) / (counts @ y - y)
    moved = counts @ without / n - without
    skewness = counts @ moved**3 / (6 * (counts @ moved**2) ** 1.5) if moved.any() else 0.0
    bias = special.ndtri(((ratios < ratio).mean() + (ratios <= ratio).mean()) / 2)
    ends = bias + special.ndtri([(1 - level) / 2, (1 + level) / 2])
    shares = special.ndtr(bias + ends / (1 - skewness * ends))
    low, high = np.quantile(ratios, shares if np.isfinite(shares).all() else [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _quiet() -> Any:
    """Silences scipy's warning that BCa is undefined, which is handled here."""
    import warnings

    return warnings.catch_warnings(action="ignore")


def _mcnemar_power(n: int, delta: float, discordant_rate: float, alpha: float) -> float:
    """Probability that the exact test rejects, over the numbers of discordant pairs that `n` questions may give."""
    import numpy as np
    from scipy.stats import binom

    pairs = np.arange(*binom.interval(1 - 1e-9, n, discordant_rate) + np.array([0, 1]))
    share = (discordant_rate + delta) / (2 * discordant_rate)
    # The largest count in the lower tail with P(X <= count) <= alpha / 2; `ppf` gives the first above or equal to it.
    count = binom.ppf(alpha / 2, pairs, 0.5)
    count -= binom.cdf(count, pairs, 0.5) > alpha / 2
    rejects = binom.cdf(count, pairs, share) + binom.sf(pairs - count - 1, pairs, share)
    return float((binom.pmf(pairs, n, discordant_rate) * rejects).sum())
