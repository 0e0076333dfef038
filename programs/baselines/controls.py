"""Decomposers to compare with, for `TwoStage(decompose=...)`: fixed, reference, shuffled or unrelated subquestions.

How much better than these a decomposer does shows what its decompositions are worth. `Generic` and `NoDecomposition`
ask no LM, `Reference` has a task's own subquestions, and `Shuffled` and `OtherQuestion` spoil those of another
decomposer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from programs.decomposition import read_decomposition
from programs.signatures import NO_DECOMPOSITION
from programs.tasks.base import normalize_answer

GENERIC_SUBQUESTIONS = ("What is given?", "What is asked?")


class _Fixed(dspy.Module):
    """A decomposer without an LM."""

    def _subquestions(self, question: str, context: str) -> list[str]:
        raise NotImplementedError

    def forward(self, question: str, context: str = "", max_subquestions: int | None = None) -> dspy.Prediction:
        """Returns `subquestions`, whatever `max_subquestions` is: `TwoStage` counts it."""
        del max_subquestions
        return dspy.Prediction(subquestions=self._subquestions(question, context))

    async def aforward(self, question: str, context: str = "", max_subquestions: int | None = None) -> dspy.Prediction:
        """The same as `forward`, which waits for nothing."""
        return self.forward(question, context, max_subquestions)


class Generic(_Fixed):
    """Subquestions that fit any question: how much a decomposition helps that says nothing about the question."""

    def _subquestions(self, question: str, context: str) -> list[str]:
        return list(GENERIC_SUBQUESTIONS)


class NoDecomposition(_Fixed):
    """No subquestions: the solver's prompt by itself (the rows "-" + S_E of the paper's Tables 3 and 8)."""

    def _subquestions(self, question: str, context: str) -> list[str]:
        return [NO_DECOMPOSITION]


@dataclass(frozen=True)
class _Data:
    """Keeps large tables out of DSPy's search for predictors, which walks through every list and dict of a module."""

    value: Any


class Reference(_Fixed):
    """A task's reference subquestions: how far a solver comes with decompositions that are known to be right.

    Args:
        subquestions: (question, context) -> its subquestions; none of them means that it needs no decomposition. A
            decomposer that is not shown the context finds them by the question alone.

    Raises:
        ValueError: Subquestions that are one text; and when asked, a question that is not among them, or one that is there
            with different subquestions.
    """

    def __init__(self, subquestions: Mapping[tuple[str, str], Sequence[str]]) -> None:
        super().__init__()
        self._known = _Data(_by_question((*key, found) for key, found in subquestions.items()))

    @classmethod
    def of(cls, examples: Iterable[dspy.Example]) -> Reference:
        """The `subquestions` of some examples; an example without any needs no decomposition."""
        made = cls({})
        made._known = _Data(_by_question((e.question, e.get("context") or "", e.get("subquestions") or []) for e in examples))
        return made

    def _subquestions(self, question: str, context: str) -> list[str]:
        found = self._known.value.get(_key(question, context), [])
        if len(found) == 1:
            return list(found[0]) or [NO_DECOMPOSITION]
        if found:
            raise ValueError(
                f"{question!r} has {len(found)} different references; tell them apart by their contexts (decomposer_sees_context=True)."
            )
        raise ValueError(f"There is no reference for {question!r}; make it of the examples that are asked: Reference.of(examples).")


class Shuffled(dspy.Module):
    """Another decomposer's subquestions in another order, so that `#1` and its like point elsewhere.

    The order depends on the question and the seed alone, and two or more subquestions never keep the order they came in.

    Args:
        decompose: Any module that maps (context, question, max_subquestions) to `subquestions`.
        seed: Another seed gives another order, where there is one.
    """

    def __init__(self, decompose: dspy.Module, seed: int = 0) -> None:
        super().__init__()
        self.decompose = decompose
        self.seed = seed

    def forward(self, question: str, context: str = "", max_subquestions: int | None = None) -> dspy.Prediction:
        """Returns `subquestions`; a reply without questions comes back as it was."""
        reply = self.decompose(**_inputs(question, context, max_subquestions))
        return self._shuffled(reply.subquestions, question)

    async def aforward(self, question: str, context: str = "", max_subquestions: int | None = None) -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        reply = await self.decompose.acall(**_inputs(question, context, max_subquestions))
        return self._shuffled(reply.subquestions, question)

    def _shuffled(self, lines: Sequence[str] | None, question: str) -> dspy.Prediction:
        # Read first: talk between the questions is dropped later, and moving it would leave their order as it was.
        questions = read_decomposition(lines, None).subquestions
        order = list(questions)
        rng = random.Random(f"{self.seed}/{question}")
        while order == questions and len(questions) > 1:
            rng.shuffle(order)
        return dspy.Prediction(subquestions=order or list(lines or []))


class OtherQuestion(dspy.Module):
    """Another decomposer's subquestions to a different question: as fluent as those to the question asked, but about something else.

    The question that is asked, the pool and the seed alone decide which one it is, and it is never the same question.
    Its context is passed on if the question that is asked has one.

    Args:
        decompose: Any module that maps (context, question, max_subquestions) to `subquestions`.
        questions: The pool, as (question, context); the question that is asked need not be in it.
        seed: Another seed picks other questions.

    Raises:
        ValueError: Fewer than 2 distinct questions.
    """

    def __init__(self, decompose: dspy.Module, questions: Iterable[tuple[str, str]], seed: int = 0) -> None:
        super().__init__()
        pool: dict[str, tuple[str, str]] = {}
        for question, context in questions:
            pool.setdefault(normalize_answer(question), (question, context))
        if len(pool) < 2:
            raise ValueError(f"The pool has {len(pool)} distinct questions, and at least 2 are needed; give more examples.")
        self.decompose = decompose
        self.seed = seed
        # Sorted, so that the choice does not hang on the order of the examples.
        self._pool = _Data(sorted(pool.items()))

    @classmethod
    def of(cls, decompose: dspy.Module, examples: Iterable[dspy.Example], seed: int = 0) -> OtherQuestion:
        """With the questions of some examples as the pool."""
        return cls(decompose, [(example.question, example.get("context") or "") for example in examples], seed)

    def other(self, question: str) -> tuple[str, str]:
        """The (question, context) that is decomposed in place of `question`."""
        pool, own = self._pool.value, normalize_answer(question)
        rng = random.Random(f"{self.seed}/{own}")
        place = rng.randrange(len(pool))
        if pool[place][0] == own:
            place = (place + rng.randrange(1, len(pool))) % len(pool)
        return pool[place][1]

    def forward(self, question: str, context: str = "", max_subquestions: int | None = None) -> dspy.Prediction:
        """Returns what the decomposer says to the other question."""
        return self.decompose(**self._asked(question, context, max_subquestions))

    async def aforward(self, question: str, context: str = "", max_subquestions: int | None = None) -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        return await self.decompose.acall(**self._asked(question, context, max_subquestions))

    def _asked(self, question: str, context: str, max_subquestions: int | None) -> dict[str, Any]:
        other, other_context = self.other(question)
        return _inputs(other, other_context if context else "", max_subquestions)


def _inputs(question: str, context: str, max_subquestions: int | None) -> dict[str, Any]:
    inputs = {"context": context, "question": question}
    return inputs if max_subquestions is None else {**inputs, "max_subquestions": max_subquestions}


def _key(question: str, context: str) -> tuple[str, str]:
    return " ".join(question.split()), " ".join(context.split())


def _by_question(rows: Iterable[tuple[str, str, Sequence[str]]]) -> dict[tuple[str, str], list[list[str]]]:
    """The different references under each question with its context, and under the question alone."""
    found: dict[tuple[str, str], list[list[str]]] = {}
    for question, context, subquestions in rows:
        if isinstance(subquestions, str):
            raise ValueError(f"The subquestions of {question!r} are one text, {subquestions!r}; give a list, one item a subquestion.")
        for key in {_key(question, context), _key(question, "")}:
            references = found.setdefault(key, [])
            if list(subquestions) not in references:
                references.append(list(subquestions))
    return found
