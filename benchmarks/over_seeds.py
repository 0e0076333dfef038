"""Two ways on the same questions, pooled over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.evaluation.statistics import Comparison, mean_interval, paired_comparison

Scores = Mapping[str, float | None]
"""Score by question."""


def scores_of(lines: Iterable[Mapping[str, Any]]) -> Scores:
    """Of lines as `evaluate` writes them."""
    return {line["id"]: line["score"] for line in lines}


def pool(by_seed: Mapping[int, Scores]) -> Scores:
    """Scores by seed and question in one."""
    return {f"{seed}/{question}": score for seed, scores in by_seed.items() for question, score in scores.items()}


def compared(better: Mapping[int, Scores], plain: Mapping[int, Scores]) -> Comparison:
    """Paired and pooled; the interval is over questions, not over trainings."""
    return paired_comparison(pool(better), pool(plain))


def difference_cells(better: Mapping[int, Scores], plain: Mapping[int, Scores]) -> list[str]:
    """Cells of a table: questions, both means, difference in points, p, and the difference of each seed."""
    pooled = compared(better, plain)
    means = [f"{mean_interval(list(pool(scores).values())).estimate:.1%}" for scores in (plain, better)]
    delta = f"{100 * pooled.delta:+.1f} ({100 * pooled.low:+.1f} to {100 * pooled.high:+.1f})"
    each = ", ".join(f"{100 * paired_comparison(better[seed], plain[seed]).delta:+.1f}" for seed in better)
    return [str(pooled.n), *means, delta, f"{pooled.p:.2g}", each]
