"""The stages of a condition, in the order in which a reader expects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from programs.parts import part_of

_STAGES = ("decompose", "solve")

_ANSWERED = ("unparseable", "score")
"""Kinds of `failures` with a reply that was paid for: one that could not be read, or not be scored."""


def stages_of(condition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The records of usage in a condition by stage, in the order in which stages run."""
    found = {name: value for name, value in condition.items() if isinstance(value, Mapping) and {"calls", "input_tokens"} & value.keys()}
    return {name: found[name] for name in sorted(found, key=_place)}


def answered_in(condition: Mapping[str, Any]) -> float:
    """Questions over which the cost of a condition is spread: those whose call failed cost next to nothing, and are none of them."""
    lost = [count for kind, count in (condition.get("failures") or {}).items() if kind not in _ANSWERED]
    n = condition.get("n")
    return float(n - sum(lost)) if isinstance(n, int | float) else 0.0


def _place(name: str) -> tuple[str, int]:
    part, stage = part_of(name)
    return part, _STAGES.index(stage) if stage in _STAGES else len(_STAGES)
