"""Paired comparisons of an experiment's grid, and what its controls say: is it the decomposition, or the longer prompt?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimizers.reports.blocks import (
    Block,
    Bullets,
    Table,
    Text,
    count_text,
    missing_text,
    p_text,
    percent,
    percent_interval,
    points_difference,
    points_interval,
)
from optimizers.reports.cells import Cell, comparison, gap, in_domain, is_student, label, roles, tests_of, words_of
from optimizers.reports.read import RunFiles
from optimizers.reports.verdicts import outcome, outcome_words


def comparisons(run: RunFiles) -> list[Block]:
    """All paired comparisons."""
    records = run.records("comparisons")
    if not records:
        return [missing_text("No two conditions were compared in this experiment.")]
    real = sum(outcome(record) in ("higher", "lower") for record in records)
    text = (
        f"{real} of {len(records)} differences can be shown: their interval leaves 0 out, and p is below 0.05 after Holm's correction over "
        "the whole grid, each pair counted once. Delta is A less B in points on the questions scored in both; where no difference can be "
        "shown, that is no proof of equality. Intervals are not corrected."
    )
    columns = ["A", "B", "Trained on", "Tested on", "Ablation", "Questions", "Delta, points", "95% interval", "p", "p after Holm"]
    columns += ["A better", "B better", "Ties", "Seed", "Verdict on A"]
    return [Text(text), Table(columns, [_comparison_row(record) for record in records], frozenset({*range(5), 14}))]


def _comparison_row(record: Mapping[str, Any]) -> list[str]:
    words = words_of(record, "a", "b", "train", "test", "ablation")
    counts = [count_text(record.get(key)) for key in ("wins", "losses", "ties", "seed")]
    return [
        *words,
        count_text(record.get("n")),
        points_difference(record),
        points_interval(record),
        p_text(record.get("p")),
        p_text(record.get("p_holm")),
        *counts,
        outcome_words(record),
    ]


# Controls
_CONTROLS = {
    "none": "no subquestions",
    "shuffled": "the teacher's in another order",
    "other": "those of another question",
    "generic": "ones that fit any question",
    "reference": "the data set's own",
}

_LENGTH = ("other", "generic")


def controls(run: RunFiles) -> list[Block]:
    """The teacher's subquestions against controls before the same solver: the decomposition, or the longer prompt?"""
    rows, sentences = [], []
    for test in tests_of(run):
        found = {roles(cell.get("condition")): cell for cell in in_domain(run, test)}
        for solver in dict.fromkeys(solver for decomposer, solver in found if decomposer in _CONTROLS and not is_student(solver)):
            teacher = found.get(("teacher", solver))
            there = {name: found[name, solver] for name in _CONTROLS if (name, solver) in found}
            rows += [_control_row(run, test, name, cell, teacher) for name, cell in there.items()]
            sentences += [f"{test}, solver {solver}: {_control_words(run, teacher, there)}"] if teacher else []
    if not rows:
        return [missing_text("No control decomposition was run, so a gain of decomposing cannot be told from that of a longer prompt.")]
    columns = ["Tested on", "Condition", "Subquestions", "Score", "95% interval", "Teacher's subquestions instead"]
    told = Bullets(sentences) if sentences else missing_text("The teacher's own subquestions were not run before these solvers.")
    return [told, Table(columns, rows, frozenset({0, 1, 2, 5}))]


def _control_row(run: RunFiles, test: str, name: str, cell: Cell, teacher: Cell | None) -> list[str]:
    against = gap(run, teacher, cell) if teacher else "not run"
    return [test, label(run, cell), _CONTROLS[name], percent(cell.get("score")), percent_interval(cell), against]


def _control_words(run: RunFiles, teacher: Cell, there: Mapping[str, Cell]) -> str:
    results = {name: outcome(comparison(run, teacher, cell)) for name, cell in there.items()}
    known = {
        "higher": "the teacher's subquestions do better than {}",
        "none": "no difference can be shown to {}",
        "lower": "they do worse than {}",
        "untested": "not tested against {}",
    }
    told = [text.format(", ".join(n for n in results if results[n] == key)) for key, text in known.items() if key in results.values()]
    if results.get("none") == "lower":
        return "; ".join(told) + ". So these subquestions cost the solver more than they give: without any it does better."
    return "; ".join(told) + ". " + _control_verdict([results[name] for name in _LENGTH if name in results])


def _control_verdict(lengths: Sequence[str]) -> str:
    """`lengths`: how the teacher fares against subquestions that lengthen the prompt as much but say nothing of the question."""
    if not lengths or "untested" in lengths:
        return "Whether it is the decomposition or the longer prompt is therefore open."
    if set(lengths) == {"higher"}:
        return "So it is the decomposition: subquestions that only lengthen the prompt do not do as well."
    if "higher" not in lengths:
        return (
            "So nothing shows that it is the decomposition: subquestions that only lengthen the prompt do as well, as far as can be told."
        )
    return "So it is not settled whether it is the decomposition or the longer prompt: one control does as well, as far as can be told."
