"""Whether decomposing helps the solver at all, and training the student: what a student that decomposes is worth hangs on both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.reports.blocks import count_text, is_number, percent, signed_points
from optimizers.reports.read import REFERENCE, WITHOUT
from optimizers.reports.verdicts import difference_words, outcome

PLAIN = {WITHOUT: "without subquestions", "single-stage": "asked directly", "single-stage-cot": "by chain of thought"}
"""Conditions in which the solver gets no subquestions (paper, Table 1), in words."""

_SHOWN = 0.001
"""The smallest difference that percent with one decimal show."""

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
    told = ", ".join(f"{percent(rival[1]['score'])} {PLAIN[rival[0]]} ({rival[0]}{_paired(rival, teacher)})" for rival in better or level)
    verdict = (
        "A student that equals this teacher as a decomposer is of no use to this solver."
        if better
        else "So nothing here shows that decomposing helps this solver, and a student that equals this teacher shows it no more."
    )
    how = "does better" if better else "scores no less"
    return f"The solver {how} without the teacher's subquestions: {told}; {percent(teacher['score'])} with them ({REFERENCE}). {verdict}"


def _paired(rival: Rival, teacher: Mapping[str, Any]) -> str:
    """The difference on the questions scored in both, where the two scores are of others and show another one."""
    _, entry, found = rival
    if found is None or not is_number(found.get("delta")) or abs(entry["score"] - teacher["score"] - found["delta"]) < _SHOWN:
        return ""
    return f"; {signed_points(100 * found['delta'])} points on the {count_text(found.get('n'))} questions scored in both"


def no_gain(trained: str, entry: Mapping[str, Any], untrained: str, before: Mapping[str, Any], found: Mapping[str, Any] | None) -> str:
    """That a student decomposes no better than the same model before its training; empty where it scores more, or nothing tells.

    Args:
        trained: Name of the trained student's condition.
        entry: Its entry, with `score`.
        untrained: Name of the condition with the same model, untrained.
        before: Its entry.
        found: The comparison of the two, trained less untrained; None if untested.
    """
    if not is_number(before.get("score")) or _lead((trained, entry, found), before) > 0:
        return ""
    scores = f"{trained} {percent(entry.get('score'))}, {percent(before['score'])} untrained ({untrained})"
    size = f", {difference_words(found)}" if found is not None and is_number(found.get("delta")) else ""
    if outcome(found) == "lower":
        advice = "Use it as it was, or have it learn from a teacher that helps more."
        return f"Training made the student worse as a decomposer: {scores}{size}. {advice}"
    return f"Nothing shows that training made the student a better decomposer: {scores}{size}."


def _lead(rival: Rival, teacher: Mapping[str, Any]) -> float:
    """On the questions scored in both, where that is known; below 0 without a score."""
    _, entry, found = rival
    if found is not None and is_number(found.get("delta")):
        return float(found["delta"])
    return float(entry["score"] - teacher["score"]) if is_number(entry.get("score")) else -1.0
