"""Decomposers to compare with, by the name that they bear in a condition such as `generic+teacher`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dspy

from programs.baselines.controls import Generic, NoDecomposition, OtherQuestion, Reference, Shuffled
from programs.registry import Registry

BuildControl = Callable[[dspy.Module, Sequence[dspy.Example], int], dspy.Module]
"""Makes the module of the decompose stage out of the teacher's, the test questions and the run's seed."""

CONTROLS: Registry[BuildControl] = Registry(
    "decomposer",
    "divide_or_conquer.controls",
    {name: f"{__name__}:{name}" for name in ("none", "generic", "reference", "shuffled", "other")},
)


def none(teacher: dspy.Module, examples: Sequence[dspy.Example], seed: int) -> dspy.Module:
    """No subquestions."""
    return NoDecomposition()


def generic(teacher: dspy.Module, examples: Sequence[dspy.Example], seed: int) -> dspy.Module:
    """Subquestions that fit any question."""
    return Generic()


def reference(teacher: dspy.Module, examples: Sequence[dspy.Example], seed: int) -> dspy.Module:
    """The data set's own subquestions."""
    return Reference.of(examples)


def shuffled(teacher: dspy.Module, examples: Sequence[dspy.Example], seed: int) -> dspy.Module:
    """The teacher's subquestions in another order."""
    return Shuffled(teacher, seed=seed)


def other(teacher: dspy.Module, examples: Sequence[dspy.Example], seed: int) -> dspy.Module:
    """The teacher's subquestions to another question."""
    return OtherQuestion.of(teacher, examples, seed=seed)
