"""The two parts of a cascade, and how their stages are named; imports no DSPy, so that reports may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIRST, SECOND = "first", "second"
"""The cheap part and the dear one; the names stand before those of their stages in `usage`."""

WAY = ("route", "agreement", "escalated", "votes", "first_answer", "errors")
"""What the prediction of a cascade says of the way that it went."""


def stage_in(part: str, stage: str) -> str:
    """The name of a stage in the `usage` of a cascade; `stage_in("first", "solve")` is `first_solve`."""
    return f"{part}_{stage}"


def part_of(stage: str) -> tuple[str, str]:
    """The part of a cascade that a stage belongs to, and its name there; an empty part for stages of other programs."""
    part, _, own = stage.partition("_")
    return (part, own) if own and part in (FIRST, SECOND) else ("", stage)


def model_of(stage: str, models: Mapping[str, Any], default: Any = "") -> Any:
    """The model of a stage; one that `models` does not name is asked of whoever solves or answers in the same part."""
    part, _ = part_of(stage)
    names = [stage, *(stage_in(part, own) if part else own for own in ("solve", "answer"))]
    return next((models[name] for name in names if models.get(name)), default)
