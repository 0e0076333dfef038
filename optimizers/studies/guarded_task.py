"""A task whose metric raises on no answer: one bad one must not end a trial. A wrong scale, which spoils all, does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import dspy

from optimizers.jobs.scorer_costs import score_metered
from programs.tasks.base import ScaleError, Score, Task

T = TypeVar("T")
METRIC_RAISED = "the metric raised"
_TAKEN_OVER = (
    *("name", "summary", "measure", "typical_characters", "path", "scoring", "answer_format"),
    *("max_subquestions", "decomposer_sees_context"),
)


class GuardedTask(Task):
    """Another task that counts an answer on which the metric raises as wrong.

    Args:
        task: The task.
        errors: Gets what was raised, by question.
    """

    def __init__(self, task: Task, errors: dict[str, str]) -> None:
        self._task, self._errors = task, errors
        for name in _TAKEN_OVER:
            setattr(self, name, getattr(task, name))

    def load(self, split: str, limit: int | None = None) -> list[dspy.Example]:
        """As in the wrapped task."""
        return self._task.load(split, limit)

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """As in the wrapped task; 0.0 with the reason where it raises."""
        return self._guarded(example, lambda: score_metered(self._task, example, prediction), lambda why: Score(0.0, why))

    def metric(self, example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        """As in the wrapped task; 0.0 where it raises."""
        return self._guarded(example, lambda: self._task.metric(example, prediction, trace), lambda why: 0.0)

    def _guarded(self, example: dspy.Example, judge: Callable[[], T], failed: Callable[[str], T]) -> T:
        try:
            return judge()
        except ScaleError:
            raise
        except Exception as error:
            why = f"{METRIC_RAISED} {type(error).__name__}: {error}"[:300]
            self._errors[str(example.id)] = why
            return failed(why)
