"""Whether decomposing helps the solver at all: what a student that decomposes is worth hangs on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.reports.blocks import is_number, percent
from optimizers.reports.read import REFERENCE, WITHOUT
from optimizers.reports.verdicts import outcome

PLAIN = {WITHOUT: "without subquestions", "single-stage": "asked directly", "single-stage-cot": "by chain of thought"}
"""Conditions in which the solver gets no subquestions (paper, Table 1), in words."""

Rival = tuple[str, Mapping[str, Any], Mapping[str, Any] | None]


def no_benefit(teacher: Mapping[str, Any] | None, rivals: Iterable[Rival]) -> str:
    """That the solver scores as high with no subquestions as with the teacher's; empty where it scores less, or nothing tells.

    Args:
        teacher: The teacher in both stages: an entry with `score`.
        rivals: Name, entry, and comparison with the teacher (rival less teacher, None if untested) of each of `PLAIN` that was run.
    """
    if teacher is None or not is_number(teacher.get("score")):
        return ""
    level = [rival for rival in rivals if _lead(rival, teacher) >= 0]
    better = [rival for rival in level if outcome(rival[2]) == "higher"]
    if not level:
        return ""
    told = ", ".join(f"{percent(entry['score'])} {PLAIN[name]} ({name})" for name, entry, _ in better or level)
    verdict = (
        "A student that equals this teacher as a decomposer is of no use to this solver."
        if better
        else "So nothing here shows that decomposing helps this solver, and a student that equals this teacher shows it no more."
    )
    how = "does better" if better else "scores no less"
    return f"The solver {how} without the teacher's subquestions: {told}; {percent(teacher['score'])} with them ({REFERENCE}). {verdict}"


def _lead(rival: Rival, teacher: Mapping[str, Any]) -> float:
    """On the questions scored in both, where that is known; below 0 without a score."""
    _, entry, found = rival
    if found is not None and is_number(found.get("delta")):
        return float(found["delta"])
    return float(entry["score"] - teacher["score"]) if is_number(entry.get("score")) else -1.0
