"""Conditions that a run's report speaks of, and how two of them compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.conditions import CONTROLS, stages_in
from optimizers.reports.blocks import interval_of, is_number
from optimizers.reports.read import RunFiles

UNTRAINED = "student0+teacher"

_NO_STUDENTS = ("none", "reference", "teacher", "student0", "fewshot", *CONTROLS)
_STUDENTS = ("S_D-R+teacher", "S_D-T+teacher")


def student_condition(conditions: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The condition that headlines speak of: a trained student that decomposes for the teacher."""
    pairs = ((name, stages_in(name)) for name in conditions)
    others = (name for name, stages in pairs if stages and stages[1] == "teacher" and stages[0] not in _NO_STUDENTS)
    known = (name for name in _STUDENTS if name in conditions)
    return next((name for name in (*known, *others) if is_number(conditions[name].get("score"))), None)


def paired_comparison_of(run: RunFiles, a: str, b: str) -> Mapping[str, Any] | None:
    """The comparison of `a` with `b`, turned round if the run holds the reverse."""
    return next((found for record in run.records("comparisons") if (found := oriented(record, a, b))), None)


def oriented(record: Mapping[str, Any], a: str, b: str) -> Mapping[str, Any] | None:
    """The comparison `record` as one of `a` with `b`, turned round if it is the reverse; None if it is of others."""
    if (record.get("a"), record.get("b")) == (a, b):
        return record
    if (record.get("a"), record.get("b")) != (b, a) or not is_number(record.get("delta")):
        return None
    low, high = interval_of(record)
    bounds = [-high, -low] if is_number(low) and is_number(high) else None
    counts = {"wins": record.get("losses"), "losses": record.get("wins")}
    return {**record, "a": a, "b": b, "delta": -record["delta"], "ci95": bounds, **counts}
