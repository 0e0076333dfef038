"""The stages of a condition, in the order in which a reader expects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from programs.parts import part_of

_STAGES = ("decompose", "solve")


def stages_of(condition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The records of usage in a condition by stage, in the order in which stages run."""
    found = {name: value for name, value in condition.items() if isinstance(value, Mapping) and {"calls", "input_tokens"} & value.keys()}
    return {name: found[name] for name in sorted(found, key=_place)}


def _place(name: str) -> tuple[str, int]:
    part, stage = part_of(name)
    return part, _STAGES.index(stage) if stage in _STAGES else len(_STAGES)
