"""Decomposers to compare with, by the name that they bear in a condition such as `generic+teacher`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from programs.registry import Registry

BuildControl = Callable[..., Any]
"""`build(teacher, examples, seed)` makes the `dspy.Module` of the decompose stage: of the teacher's, which maps (context, question,
max_subquestions) to `subquestions`, of the test questions, and of the run's seed."""

CONTROLS: Registry[BuildControl] = Registry(
    "decomposer",
    "divide_or_conquer.controls",
    {name: f"programs.baselines.builders:{name}" for name in ("none", "generic", "reference", "shuffled", "other")},
)
