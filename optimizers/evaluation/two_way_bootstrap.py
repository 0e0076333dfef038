"""Statistics of several trainings on the same test questions: questions and seeds are both samples.

Scores of one question under several seeds go together, and so do those of one seed on all questions. The bootstrap
draws both at once (the pigeonhole bootstrap: Owen 2007, Annals of Applied Statistics 1), which errs on the side of wide
intervals. Of S seeds it draws S - 1, since drawing S of a few would make them look less varied than they are (Rao and
Wu 1988). With one seed the interval speaks of that training alone.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

from optimizers.evaluation.statistics import RESAMPLES, Comparison, Interval, mean_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Scores = Mapping[Hashable, Mapping[str, float | None]]
"""Seed -> question id -> score in [0, 1], None or NaN where unscored."""

_BATCH = 1000


def crossed_mean(scores: Scores, level: float = 0.95, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean over seeds and the questions that are scored under all of them, with its interval.

    Args:
        scores: See `Scores`.
        level: Confidence level in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Number of resamples of the bootstrap.

    Returns:
        NaNs without a question; `n` counts questions. Where all scores are equal, the bounds follow from Wilson's bound on
        an outcome that was not seen.
    """
    matrix = _matrix(scores)
    if matrix.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    draws = _draws(matrix, seed, resamples)
    low, high = _bounds(draws, float(matrix.mean()), matrix.shape[1], level, 0.0, 1.0)
    return Interval(float(matrix.mean()), low, high, matrix.shape[1])


def crossed_retention(
    scores: Scores, reference: Mapping[str, float | None], level: float = 0.95, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The share of the reference's score that is kept: mean of `scores` over mean of `reference`, on the same questions.

    Args:
        scores: See `Scores`.
        reference: Score by question id, such as the teacher's.
        level, seed, resamples: As in `crossed_mean`.

    Returns:
        NaNs where the reference scores 0 throughout; the bounds alone where it does so in a resample.
    """
    import numpy as np

    matrix = _matrix({**{("scores", key): value for key, value in scores.items()}, ("reference",): reference})
    mine, other = matrix[:-1], matrix[-1:]
    if matrix.size == 0 or not other.any() or not scores:
        return Interval(math.nan, math.nan, math.nan, matrix.shape[1])
    ratio = float(mine.mean() / other.mean())
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = _draws(mine, seed, resamples) / _draws(other, seed, resamples)
    if not np.isfinite(draws).all():
        return Interval(ratio, math.nan, math.nan, matrix.shape[1])
    low, high = _bounds(draws, ratio, matrix.shape[1], level, 0.0, 1 / float(other.mean()))
    return Interval(ratio, low, high, matrix.shape[1])


def crossed_comparison(a: Scores, b: Scores, level: float = 0.95, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """`a` against `b`, paired by seed and question; `delta` is the mean of score(a) - score(b).

    Args:
        a: See `Scores`; only seeds that both have count.
        b: Scores to compare with, in the same form.
        level, seed, resamples: As in `crossed_mean`.

    Returns:
        The p value is the bootstrap's, twice the smaller share of resamples on either side of 0; `n`, wins, losses and ties
        count questions, each by its mean difference over the seeds.
    """
    seeds = sorted(a.keys() & b.keys(), key=str)
    both = _matrix({(name, one): scores[one] for name, scores in (("a", a), ("b", b)) for one in seeds})
    if both.size == 0:
        return Comparison(0, math.nan, math.nan, math.nan, math.nan, 0, 0, 0)
    differences = both[: len(seeds)] - both[len(seeds) :]
    delta, n = float(differences.mean()), differences.shape[1]
    draws = _draws(differences, seed, resamples)
    low, high = _bounds(draws, delta, n, level, -1.0, 1.0)
    tail = 1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    means = differences.mean(axis=0)
    wins, losses = int((means > 0).sum()), int((means < 0).sum())
    return Comparison(n, delta, low, high, min(1.0, 2 * tail / (resamples + 1)), wins, losses, n - wins - losses)


def _matrix(scores: Scores) -> NDArray[np.float64]:
    """Seeds x questions, of the questions that are scored under every seed, in a fixed order."""
    import numpy as np

    rows = list(scores.values())
    shared = set.intersection(*({key for key, score in row.items() if _is_scored(score)} for row in rows)) if rows else set()
    return np.array([[row[key] for key in sorted(shared)] for row in rows], dtype=np.float64).reshape(len(rows), len(shared))


def _is_scored(score: float | None) -> bool:
    return score is not None and not math.isnan(score)


def _draws(matrix: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Means of resamples. Matrices of as many questions get the same questions under the same seed, and so stay paired."""
    import numpy as np

    seeds, questions = matrix.shape
    taken = max(1, seeds - 1)
    of_seeds, of_questions = np.random.default_rng([seed, 0, seeds]), np.random.default_rng([seed, 1])
    means = []
    for start in range(0, resamples, _BATCH):
        size = min(_BATCH, resamples - start)
        rows = of_seeds.multinomial(taken, [1 / seeds] * seeds, size) / taken
        columns = of_questions.multinomial(questions, [1 / questions] * questions, size) / questions
        means.append(((rows @ matrix) * columns).sum(axis=1))
    return np.concatenate(means)


def _bounds(draws: NDArray[np.float64], estimate: float, n: int, level: float, least: float, most: float) -> tuple[float, float]:
    import numpy as np

    if np.ptp(draws) < 1e-12:
        margin = mean_interval([0.0] * n, level).high * max(1.0, most)
        return max(least, estimate - margin), min(most, estimate + margin)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
