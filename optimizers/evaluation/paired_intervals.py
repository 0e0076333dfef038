"""Intervals of a paired difference that agree with its test: they leave 0 out exactly where p < 1 - level.

A mean difference is the share of questions that differ at all times the mean of those that do. Each has an exact
interval: Clopper and Pearson's for the share, the inverted test for the mean. Both are melded into one (Fay and Lumbard
2021, Statistics in Medicine 40: confidence intervals compatible with the exact McNemar's or sign test). Such intervals
err on the wide side: a bootstrap, or a score interval, leaves 0 out of 3 wins and no loss, of which the test says 0.25.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Nodes of the quadrature: with 64, bounds are right to about 1e-4 for all tables tried.
_NODES = 64

# Patterns of a batch: 64 MB as floats, which the product makes of them. A multiple of 4 leaves the stream of signs what it is in one batch.
_BATCH, _SIGNS = 1000, 8_000_000


def mcnemar_bounds(n: int, wins: int, losses: int, level: float = 0.95) -> tuple[float, float]:
    """Bounds of (wins - losses) / n that agree with the exact McNemar test.

    Args:
        n: Paired questions, at least 1.
        wins: Questions that the first alone has right.
        losses: Questions that the second alone has right.
        level: Confidence level in (0, 1).

    Returns:
        Bounds in [-1, 1].
    """
    tail = (1 - level) / 2
    return _lower_bound(n, wins, losses, tail), 0.0 - _lower_bound(n, losses, wins, tail)


@lru_cache(maxsize=4096)
def _lower_bound(n: int, wins: int, losses: int, tail: float) -> float:
    """The `tail` quantile of (2 share of wins - 1) x rate, both drawn from their lower confidence distributions."""
    from scipy import special

    differing = wins + losses
    if wins == 0:
        return -_highest_rate(n, differing, tail)
    below = float(special.betainc(wins, losses + 1, 0.5))
    if below < tail:
        return _positive_bound(n, wins, losses, tail, below)
    if differing == n:
        return min(0.0, float(2 * special.betaincinv(wins, losses + 1, tail) - 1))
    return _negative_bound(n, wins, losses, tail, below)


def _highest_rate(n: int, seen: int, tail: float) -> float:
    """Clopper and Pearson's upper bound on the rate of what was seen `seen` times in `n`."""
    from scipy import special

    return 1.0 if seen == n else float(special.betaincinv(seen + 1, n - seen, 1 - tail))


def _positive_bound(n: int, wins: int, losses: int, tail: float, below: float) -> float:
    from scipy import special

    nodes, weights = _quadrature()
    excess = 2 * special.betaincinv(wins, losses + 1, below + (1 - below) * nodes) - 1
    differing = wins + losses

    def missing(bound: float) -> float:
        import numpy as np

        return float(below + (1 - below) * weights @ special.betainc(differing, n - differing + 1, np.minimum(1, bound / excess)) - tail)

    return _root(missing, 0.0, 1.0)


def _negative_bound(n: int, wins: int, losses: int, tail: float, below: float) -> float:
    from scipy import special

    nodes, weights = _quadrature()
    excess = 1 - 2 * special.betaincinv(wins, losses + 1, below * nodes)
    differing = wins + losses

    def missing(bound: float) -> float:
        import numpy as np

        return float(below * weights @ special.betaincc(differing + 1, n - differing, np.minimum(1, -bound / excess)) - tail)

    return _root(missing, -1.0, 0.0)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing function is 0; the end that is nearer to 0 where rounding leaves no change of sign."""
    from scipy.optimize import brentq

    if function(low) >= 0 or function(high) <= 0:
        return 0.0
    return float(brentq(function, low, high, xtol=1e-8))


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Any, Any]:
    """Gauss and Legendre's nodes and weights on [0, 1]."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return (nodes + 1) / 2, weights / 2


def sign_flip(differences: NDArray[np.float64], level: float, seed: int, resamples: int) -> tuple[float, float, float]:
    """Bounds of a mean difference and the p value of the sign-flip test, from the same patterns of signs.

    Where the signs of a subset are flipped, the test compares the mean of that subset with the hypothesis, so that means of
    subsets are the inverted test (Hartigan 1969, typical values). It takes differences for symmetric about their mean.

    Args:
        differences: One a paired question, at least one, in [-1, 1].
        level: Confidence level in (0, 1).
        seed: Of the patterns, where they are not all of them, and of the draws of the rate.
        resamples: About how many patterns are drawn; with 2**(questions that differ) of at most that, each is taken.

    Returns:
        Low, high and the two-sided p value.
    """
    import numpy as np

    differing, n = differences[np.abs(differences) > 1e-12], len(differences)
    tail = (1 - level) / 2
    if len(differing) == 0:
        margin = _highest_rate(n, 0, tail)
        return -margin, margin, 1.0
    rng = np.random.default_rng(seed)
    means = _subset_means(differing, rng, resamples)
    # No subset at all bounds nothing: it counts as the least and as the most that the mean may be.
    lower, upper = np.nan_to_num(means, nan=-1.0), np.nan_to_num(means, nan=1.0)
    least, most = _rates(n, len(differing), len(means), rng)
    # The first rank whose share is not below the tail, so that 0 is left out where p < 1 - level and nowhere else.
    rank = math.ceil(tail * len(means) - 1e-9) - 1
    low = np.sort(lower * np.where(lower > 0, least, most))[rank]
    high = np.sort(upper * np.where(upper < 0, least, most))[-1 - rank]
    share = min(int((lower <= 0).sum()), int((upper >= 0).sum())) / len(means)
    return float(low), float(high), min(1.0, 2 * share)


def _subset_means(values: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Means of all subsets, each as often, or of random ones and the empty one; NaN for the empty one."""
    import numpy as np

    size = len(values)
    if 2**size <= resamples:
        patterns = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
        return np.tile(_means_of(patterns, values), -(-resamples // 2**size))
    drawn, batch = [np.array([math.nan])], min(_BATCH, max(4, _SIGNS // size // 4 * 4))
    for start in range(0, resamples, batch):
        drawn.append(_means_of(rng.integers(0, 2, (min(batch, resamples - start), size), dtype=np.int8), values))
    return np.concatenate(drawn)


def _means_of(patterns: NDArray[Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded, so that a sum of 0.1, 0.2 and -0.3 is a tie with 0."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        return np.round(patterns @ values / patterns.sum(axis=1, dtype=np.int64), 12)


def _rates(n: int, differing: int, size: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper confidence distribution of the share of questions that differ (Clopper and Pearson), evenly drawn."""
    import numpy as np
    from scipy import special

    quantiles = (rng.permutation(size) + 0.5) / size
    least = special.betaincinv(differing, n - differing + 1, quantiles)
    return least, np.ones(size) if differing == n else special.betaincinv(differing + 1, n - differing, quantiles)
