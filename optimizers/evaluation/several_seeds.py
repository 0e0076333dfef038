"""Statistics of several trainings on the same test questions: questions and seeds are both samples.

Scores of one question under several seeds go together, and so do those of one seed on all questions. A difference has to
hold against both: by Student's t over seeds, with what questions add that is common to all seeds, and by the paired test of
the questions' means over seeds. With two seeds t is wide, which is all that two trainings can say. With one seed the
interval speaks of that training alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from optimizers.evaluation.statistics import RESAMPLES, Comparison, Interval, mean_interval, paired_comparison, retention

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Scores = Mapping[Hashable, Mapping[str, float | None]]
"""Seed -> question id -> score in [0, 1], None or NaN where unscored."""


def crossed_mean(scores: Scores, level: float = 0.95) -> Interval:
    """Mean over seeds and the questions that are scored under all of them, with its interval.

    Args:
        scores: See `Scores`.
        level: Confidence level in (0, 1).

    Returns:
        The wider of both intervals on either side; NaNs without a question. `n` counts questions.
    """
    matrix, ids = _matrix(scores)
    if matrix.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    questions = mean_interval(list(_means(matrix, ids).values()), level)
    return _widened(questions, _spread(matrix).margin(level), 0.0, 1.0)


def crossed_retention(
    scores: Scores, reference: Mapping[str, float | None], level: float = 0.95, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The share of the reference's score that is kept: mean of `scores` over mean of `reference`, on the same questions.

    Args:
        scores: See `Scores`.
        reference: Score by question id, such as the teacher's.
        level, seed, resamples: As in `retention`.

    Returns:
        The wider of both intervals on either side; NaNs where the reference scores 0 throughout, and the bounds alone where
        it does so in a resample.
    """
    matrix, ids = _matrix({**{("scores", key): value for key, value in scores.items()}, ("reference",): reference})
    mine, other = matrix[:-1], matrix[-1:]
    if matrix.size == 0 or not other.any() or not scores:
        return Interval(math.nan, math.nan, math.nan, len(ids))
    questions = retention(_means(mine, ids), _means(other, ids), level, seed=seed, resamples=resamples)
    # The ratio is off by the mean of these over the mean of the reference.
    spread = _spread(mine - questions.estimate * other)
    return _widened(questions, spread.margin(level) / float(other.mean()), 0.0, 1 / float(other.mean()))


def crossed_comparison(a: Scores, b: Scores, level: float = 0.95, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """`a` against `b`, paired by seed and question; `delta` is the mean of score(a) - score(b).

    Args:
        a: See `Scores`; only seeds that both have count.
        b: Scores to compare with, in the same form.
        level, seed, resamples: As in `paired_comparison`.

    Returns:
        The larger of both p values, and the wider of both intervals on either side; `n`, wins, losses and ties count
        questions, each by its mean difference over the seeds.
    """
    seeds = sorted(a.keys() & b.keys(), key=str)
    both, ids = _matrix({(name, one): scores[one] for name, scores in (("a", a), ("b", b)) for one in seeds})
    mine, other = both[: len(seeds)], both[len(seeds) :]
    questions = paired_comparison(_means(mine, ids), _means(other, ids), level, seed=seed, resamples=resamples)
    return questions if both.size == 0 else _over_seeds(questions, _spread(mine - other), level)


def nested_comparison(a: Scores, b: Scores, level: float = 0.95, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """As `crossed_comparison`, where each seed has questions of its own, and so the questions' noise is in that of the seeds.

    Args:
        a: See `Scores`; only seeds that both have count. A question that several seeds have counts once, by its means.
        b: Scores to compare with, in the same form.
        level, seed, resamples: As in `paired_comparison`.

    Returns:
        As `crossed_comparison`.
    """
    seeds = sorted(a.keys() & b.keys(), key=str)
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    deltas, counts = [], []
    for matrix, ids in (_matrix({"a": a[one], "b": b[one]}) for one in seeds):
        for key, pair in zip(ids, matrix.T.tolist(), strict=True):
            pairs[key].append(pair)
        if ids:
            deltas.append(float((matrix[0] - matrix[1]).mean()))
            counts.append(len(ids))
    mine, other = ({key: fmean(pair[side] for pair in found) for key, found in pairs.items()} for side in (0, 1))
    questions = paired_comparison(mine, other, level, seed=seed, resamples=resamples)
    return _over_seeds(questions, _spread_between(deltas, counts), level)


def _over_seeds(questions: Comparison, spread: _Spread, level: float) -> Comparison:
    """`questions`, with the noise of seeds: the larger p, and the wider interval on either side."""
    if questions.n == 0:
        return questions
    delta, margin = questions.delta, spread.margin(level)
    low, high = min(questions.low, delta - margin), max(questions.high, delta + margin)
    return questions._replace(low=max(-1.0, low), high=min(1.0, high), p=max(questions.p, spread.p(delta)))


class _Spread(NamedTuple):
    """Variances of a mean over seeds x questions.

    Attributes:
        seeds: Of the means of seeds, over their number; holds the noise of single answers too. 0 for one seed.
        questions: What questions add that is the same under all seeds.
        freedom: Degrees of freedom of `seeds`.
    """

    seeds: float
    questions: float
    freedom: int

    def margin(self, level: float) -> float:
        """Half the width of the interval at `level`: the parts have quantiles of their own, and add up in squares."""
        from scipy import stats

        if self.freedom == 0:
            return 0.0
        tail = (1 - level) / 2
        return math.hypot(stats.t.isf(tail, self.freedom) * math.sqrt(self.seeds), stats.norm.isf(tail) * math.sqrt(self.questions))

    def p(self, delta: float) -> float:
        """The level at which the margin just reaches `delta`."""
        from scipy.optimize import brentq

        if self.freedom == 0 or self.margin(1 - 1e-12) < abs(delta):
            return 0.0
        return float(1.0 if delta == 0 else brentq(lambda p: self.margin(1 - p) - abs(delta), 1e-12, 1.0, xtol=1e-12))


def _spread(matrix: NDArray[np.float64]) -> _Spread:
    """By the mean squares of a crossed layout without repeats (Searle, Casella and McCulloch 1992, section 4.3)."""
    seeds, questions = matrix.shape
    if seeds < 2:
        return _Spread(0.0, 0.0, 0)
    of_seeds, of_questions = matrix.mean(axis=1), matrix.mean(axis=0)
    variance = float(of_seeds.var(ddof=1)) / seeds
    if questions < 2:
        return _Spread(variance, 0.0, seeds - 1)
    rest = matrix - of_seeds[:, None] - of_questions + matrix.mean()
    noise = float((rest**2).sum()) / ((seeds - 1) * (questions - 1) * seeds * questions)
    return _Spread(variance, max(0.0, float(of_questions.var(ddof=1)) / questions - noise), seeds - 1)


def _spread_between(deltas: list[float], counts: list[int]) -> _Spread:
    """Of means of seeds that have questions of their own, weighted by their numbers."""
    if len(deltas) < 2:
        return _Spread(0.0, 0.0, 0)
    shares = [count / sum(counts) for count in counts]
    centre = math.fsum(share * delta for share, delta in zip(shares, deltas, strict=True))
    squares = math.fsum((share * (delta - centre)) ** 2 for share, delta in zip(shares, deltas, strict=True))
    return _Spread(squares * len(deltas) / (len(deltas) - 1), 0.0, len(deltas) - 1)


def _matrix(scores: Scores) -> tuple[NDArray[np.float64], list[str]]:
    """Seeds x questions, of the questions that are scored under every seed, in a fixed order; and these questions."""
    import numpy as np

    rows = list(scores.values())
    shared = set.intersection(*({key for key, score in row.items() if _is_scored(score)} for row in rows)) if rows else set()
    ids = sorted(shared)
    return np.array([[row[key] for key in ids] for row in rows], dtype=np.float64).reshape(len(rows), len(ids)), ids


def _is_scored(score: float | None) -> bool:
    return score is not None and not math.isnan(score)


def _means(matrix: NDArray[np.float64], ids: list[str]) -> dict[str, float]:
    """Mean over seeds by question."""
    return dict(zip(ids, matrix.mean(axis=0).tolist(), strict=True)) if ids else {}


def _widened(found: Interval, margin: float, least: float, most: float) -> Interval:
    """`found`, reaching at least `margin` to either side; bounds that are not known stay so."""
    low, high = max(least, found.estimate - margin), min(most, found.estimate + margin)
    return found._replace(low=min(found.low, low), high=max(found.high, high))
