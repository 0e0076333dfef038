"""The registry of tasks, and `load_task`, which makes one by its name."""

from __future__ import annotations

import inspect
from typing import Any

from programs.registry import Registry, converted, missing_option
from programs.tasks.base import Task

TASKS: Registry[type[Task]] = Registry(
    "task",
    "divide_or_conquer.tasks",
    {
        "bamboogle": "programs.tasks.bamboogle:Bamboogle",
        "drop": "programs.tasks.drop:Drop",
        "gsm8k": "programs.tasks.gsm8k:GSM8K",
        "jsonl": "programs.tasks.jsonl:JsonlTask",
        "mixture": "programs.tasks.mixture:Mixture",
        "multihop": "programs.tasks.multihop:MultiHop",
    },
    ". For a file of your own, use task 'jsonl' with its path",
)
"""The class of each task."""


def task_names() -> list[str]:
    """Names that `load_task` takes."""
    return TASKS.names()


def task_class(name: str) -> type[Task]:
    """The class behind a task's name.

    Raises:
        ValueError: No such task; names those there are.
    """
    return TASKS.get(name)


def load_task(name: str, **options: Any) -> Task:
    """A task by name, with its options as keyword arguments.

    Args:
        name: One of `task_names()`.
        **options: The task's own: see its class.

    Raises:
        ValueError: Unknown name, an option that the task does not have, or none of one that it needs.
    """
    cls = task_class(name)
    parameters = inspect.signature(cls, eval_str=True).parameters
    unknown = sorted(set(options) - set(parameters))
    if unknown:
        own = " A file of your own is read by --task jsonl." if unknown[0] in ("path", "columns", "scorer") else ""
        raise ValueError(f"Task {name!r} has no option {unknown[0]!r}; it has {list(parameters)}.{own}")
    lacking = missing_option(cls, options)
    if lacking:
        raise ValueError(f"Task {name!r} needs {lacking!r}: add --task.{lacking} VALUE. It is {cls.summary}.")
    return cls(**converted(f"task {name!r}", cls, options))
