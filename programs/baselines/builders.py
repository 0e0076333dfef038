"""How the decomposers of `registry` are built: of the teacher's decomposer, the test questions and the run's seed."""

from __future__ import annotations

from collections.abc import Sequence

import dspy

from programs.baselines.controls import Generic, NoDecomposition, OtherQuestion, Reference, Shuffled


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
