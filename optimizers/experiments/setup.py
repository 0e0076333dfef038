"""What a configuration comes to before any work: its task, questions and models, each checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import dspy

from optimizers.experiments.roles import Roles
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import configured_task, load_splits, refuse_shown
from programs.tasks.base import Task


class Setup(NamedTuple):
    """A configuration with what it names.

    Attributes:
        config: The configuration.
        task: The task that students are trained on.
        splits: Questions by split: `train`, `dev` where there is one, `test`.
        roles: The models, and the programs of the conditions.
    """

    config: RunConfig
    task: Task
    splits: Mapping[str, list[dspy.Example]]
    roles: Roles


def set_up(config: RunConfig, student_folder: Path, demos: Callable[[], list[dspy.Example]] = list, keys: bool = True) -> Setup:
    """Load what a configuration names.

    Args:
        config: The configuration.
        student_folder: Where the artifacts of the students are.
        demos: Gives the demos of the few-shot decomposer.
        keys: Whether the keys of API models have to be there; a plan needs none.

    Raises:
        ValueError: Unknown task or model, a key that is missing, questions that stand in two splits, or a compiled
            program that knows questions of dev or test.
    """
    task = configured_task(config.task, config.seed)
    roles = Roles(config, student_folder, demos, keys)
    splits = load_splits(task, config.data)
    refuse_shown(roles.teacher_program, {split: examples for split, examples in splits.items() if split != "train"})
    return Setup(config, task, splits, roles)
