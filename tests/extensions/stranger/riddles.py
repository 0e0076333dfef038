"""A task: where questions come from, and how an answer is judged."""

from __future__ import annotations

from typing import Any

import dspy

from programs.tasks.base import Score, Task


class Riddles(Task):
    """Questions that count up.

    Args:
        place: Where everybody lives.
    """

    name = "riddles"
    summary = "Where does number N live?"

    def __init__(self, place: str = "Rome") -> None:
        self.place = place

    def load(self, split: str, limit: int | None = None) -> list[dspy.Example]:
        """See `Task.load`; any number of examples."""
        self.check_split(split)
        questions = (f"Where does {split} number {number} live?" for number in range(12 if limit is None else limit))
        examples = (
            dspy.Example(id=f"{split}-{n}", context="", question=question, answer=self.place) for n, question in enumerate(questions)
        )
        return [example.with_inputs("context", "question") for example in examples]

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """1.0 where the answer names the place."""
        return Score(float(example.answer in str(prediction.answer)))
