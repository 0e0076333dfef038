"""What a configuration comes to before any work: its task, questions and models, each checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import dspy

from optimizers.experiments.roles import Roles
from optimizers.finetune.provider import check_lora_targets
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import configured_task, load_splits, refuse_shown
from programs.lms.devices import device_and_dtype
from programs.lms.ledger import Prices
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


def check_before_payment(config: RunConfig, roles: Roles) -> None:
    """Refuse what a training or the job's limits would fail at later, when calls are paid.

    Raises:
        ValueError: A limit in dollars on a model without a price, a device that this machine does not have, or names of modules
            that the student does not have.
    """
    prices = Prices(config.cost.local_usd_per_hour, config.cost.prices)
    if config.max_usd is not None:
        for role, model in {**roles.configs, "screening.judge": config.screening.judge or config.teacher}.items():
            prices.check(f"max_usd={config.max_usd:g}", model.model, f"{role} ")
    if config.labelling.max_usd is not None:
        asked = {"teacher": config.teacher, **({"screening.judge": config.screening.judge} if config.screening.judge else {})}
        for role, model in asked.items():
            prices.check(f"labelling.max_usd={config.labelling.max_usd:g}", model.model, f"{role} ")
    if config.training.device != "auto":
        device_and_dtype(config.training.device)
    check_lora_targets(config.training, roles.configs["student0"].model)
