"""Where the spread between runs of one student comes from: the training rows, the training, or the decoding.

A single run's score says nothing of what another seed would have given. Several runs, each named by its three seeds,
let the variance of the mean score be split.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

Run = tuple[Any, Any, Any]

FACTORS = ("data", "training", "sampling")


@dataclass(frozen=True)
class Variance:
    """Variance components of the mean score of one student, in squared units of the score.

    Attributes:
        mean: Mean score over all runs, each counted once.
        n_questions: Questions that were scored in every run; the others are left out.
        cells: Runs.
        data: Variance between sets of training rows; None where it is not estimated.
        training: Variance between trainings (initialisation, order) on the same rows; None as `data`.
        sampling: Variance between decodings of one trained student; None as `data`.
        question_sd: For context, in points (hundredths): the standard error of `mean` from the finite number of test
            questions, sd(mean score of a question) / sqrt(n_questions). None for a single question.
        levels: Sets of rows, trainings and decodings that were seen, each counted within the one above.
        includes: What an estimated component holds beside its own: {"training": ["sampling"]} where each training was
            decoded once, so that the two cannot be told apart.
    """

    mean: float
    n_questions: int
    cells: int
    data: float | None
    training: float | None
    sampling: float | None
    question_sd: float | None
    levels: Mapping[str, int]
    includes: Mapping[str, list[str]]

    @property
    def sd(self) -> dict[str, float | None]:
        """Standard deviation of each component in points (hundredths of the score)."""
        return {name: None if (value := getattr(self, name)) is None else 100 * math.sqrt(value) for name in FACTORS}

    def to_dict(self) -> dict[str, Any]:
        """All by name, with `sd`, for JSON."""
        return {**asdict(self), "sd": self.sd}


def variance_components(scores: Mapping[Run, Mapping[str, float | None]]) -> Variance:
    """Split the variance of the mean score into data, training and sampling, by ANOVA for nested random effects.

    The model is score(i, j, k) = mean + data(i) + training(i, j) + sampling(i, j, k): decodings within trainings
    within sets of rows. Sums of squares are set equal to their expectations, which are linear in the components also
    where the design is unbalanced (method of moments; coefficients: Gates and Shiue 1962, "The Analysis of Variance of
    the S-Stage Hierarchal Classification", Technometrics 4; Searle, Casella and McCulloch 1992, "Variance Components").
    The estimates are unbiased; negative ones are set to 0 at the end, after they have entered those above them.

    The questions are the same in all runs and count as fixed: what they add is `question_sd`, not a component. A run's
    luck on single questions is part of the component that it comes from.

    Args:
        scores: Score by question id, in [0, 1], None or NaN where unscored; keys are (data seed, training seed, sampling
            seed). The same training seed under two data seeds means two trainings.

    Returns:
        Components of a factor that never varies within the one above are None, "not estimated"; see `includes`. Of few
        levels an estimate is rough: with k of them its relative standard error is sqrt(2 / (k - 1)) at best.

    Raises:
        ValueError: No run, a key that is not three seeds, or no question that is scored in all runs.
    """
    _check_runs(scores)
    questions = _shared_questions(scores)
    means = {run: fmean(_score(scores[run][question]) for question in questions) for run in scores}
    by_question = [fmean(_score(scores[run][question]) for run in scores) for question in questions]
    components, includes = _components(means)
    return Variance(
        mean=fmean(means.values()),
        n_questions=len(questions),
        cells=len(means),
        **components,
        question_sd=100 * stdev(by_question) / math.sqrt(len(questions)) if len(questions) > 1 else None,
        levels={name: len(_sizes(means, depth)) for depth, name in enumerate(FACTORS, 1)},
        includes=includes,
    )


def _check_runs(scores: Mapping[Run, Any]) -> None:
    if not scores:
        raise ValueError("There are no runs to split the variance of; give the scores of at least one.")
    for run in scores:
        if not isinstance(run, tuple) or len(run) != len(FACTORS):
            raise ValueError(f"A run is named by (data seed, training seed, sampling seed), got {run!r}.")


def _shared_questions(scores: Mapping[Run, Mapping[str, float | None]]) -> list[str]:
    scored = [{question for question, score in run.items() if score is not None and not math.isnan(score)} for run in scores.values()]
    shared = set.intersection(*scored)
    if not shared:
        raise ValueError(
            f"No question is scored in all of the {len(scores)} runs, which have {[len(run) for run in scored]} scored ones; "
            "evaluate them on the same test questions, or leave out the runs that failed."
        )
    return sorted(shared, key=str)


def _score(score: float | None) -> float:
    assert score is not None
    return score


def _components(means: Mapping[Run, float]) -> tuple[dict[str, float | None], dict[str, list[str]]]:
    """Estimates from the innermost factor outwards, each less what the inner ones add to its sum of squares."""
    centre = fmean(means.values())
    centred = {run: mean - centre for run, mean in means.items()}
    raw: dict[int, float] = {}
    includes: dict[str, list[str]] = {}
    pending: list[str] = []
    for depth in (3, 2, 1):
        name = FACTORS[depth - 1]
        if len(_sizes(means, depth)) == len(_sizes(means, depth - 1)):
            pending.append(name)
            continue
        inner = sum(_weight(means, depth, deeper) * value for deeper, value in raw.items())
        raw[depth] = (_sum_of_squares(centred, depth) - inner) / _weight(means, depth, depth)
        if pending:
            includes[name], pending = pending[::-1], []
    return {name: max(0.0, raw[depth]) if depth in raw else None for depth, name in enumerate(FACTORS, 1)}, includes


def _sizes(runs: Iterable[Run], depth: int) -> Counter[tuple[Any, ...]]:
    """Runs in each group of the factor at `depth`; depth 0 is all of them."""
    return Counter(run[:depth] for run in runs)


def _sum_of_squares(values: Mapping[Run, float], depth: int) -> float:
    """Between the groups at `depth`, within those one above."""
    return _uncorrected(values, depth) - _uncorrected(values, depth - 1)


def _uncorrected(values: Mapping[Run, float], depth: int) -> float:
    totals: dict[tuple[Any, ...], float] = {}
    for run, value in values.items():
        totals[run[:depth]] = totals.get(run[:depth], 0.0) + value
    sizes = _sizes(values, depth)
    return math.fsum(total**2 / sizes[group] for group, total in totals.items())


def _weight(runs: Iterable[Run], depth: int, component: int) -> float:
    """Coefficient of a component at least as deep as `depth` in the expected sum of squares at `depth`."""
    parts = _sizes(runs, component)
    inner, outer = _sizes(runs, depth), _sizes(runs, depth - 1)
    return math.fsum(size**2 * (1 / inner[part[:depth]] - 1 / outer[part[: depth - 1]]) for part, size in parts.items())
