"""Two ways on the same questions, over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.evaluation.several_seeds import crossed_comparison, nested_comparison
from optimizers.evaluation.statistics import Comparison, mean_interval, paired_comparison
from optimizers.reports.blocks import p_text, percent, points_difference, points_interval

Scores = Mapping[str, float | None]
"""Score by question."""


def scores_of(lines: Iterable[Mapping[str, Any]]) -> Scores:
    """Of lines as `evaluate` writes them."""
    return {line["id"]: line["score"] for line in lines}


def compared(better: Mapping[int, Scores], plain: Mapping[int, Scores]) -> Comparison:
    """Paired, over questions and trainings: crossed where all seeds have the same questions, as a data file gives them."""
    asked = {frozenset(scores) for scores in [*better.values(), *plain.values()]}
    return (crossed_comparison if len(asked) == 1 else nested_comparison)(better, plain)


def difference_cells(better: Mapping[int, Scores], plain: Mapping[int, Scores]) -> list[str]:
    """Cells of a table: questions, both means, difference in points, p, and the difference of each seed."""
    found = compared(better, plain)
    means = [percent(mean_interval([one for own in scores.values() for one in own.values()]).estimate) for scores in (plain, better)]
    each = ", ".join(points_difference(paired_comparison(better[seed], plain[seed]).to_dict()) for seed in better)
    shown = found.to_dict()
    return [str(found.n), *means, f"{points_difference(shown)} ({points_interval(shown)})", p_text(found.p), each]
