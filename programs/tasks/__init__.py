"""Tasks by name: `load_task("multihop").load("test", 100)`."""

from programs.tasks._equality import equal_answers
from programs.tasks.base import NO_FINAL_ANSWER, SPLITS, Score, Task, each_once, exact_match, normalize_answer, overlapping
from programs.tasks.registry import TASKS, load_task, task_class, task_names

__all__ = [
    "NO_FINAL_ANSWER",
    "SPLITS",
    "TASKS",
    "Score",
    "Task",
    "each_once",
    "equal_answers",
    "exact_match",
    "load_task",
    "normalize_answer",
    "overlapping",
    "task_class",
    "task_names",
]
