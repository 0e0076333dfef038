"""What the benchmarks over seeds share: their arguments, and two ways on the same questions, pooled over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from optimizers.evaluation.statistics import Comparison, mean_interval, paired_comparison

Scores = Mapping[str, float | None]
"""Score by question."""


def whole_numbers(text: str) -> list[int]:
    """The value of `--seeds 0,1,2`."""
    return [int(part) for part in text.split(",")]


def setting(text: str) -> tuple[str, str]:
    """One value of `--set KEY=VALUE`."""
    key, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} must be KEY=VALUE, such as training.epochs=3")
    return key, value


def pool(by_seed: Mapping[int, Scores]) -> dict[str, float | None]:
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


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
