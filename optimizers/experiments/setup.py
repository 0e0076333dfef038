"""What a configuration comes to before any work: its task, questions and models, each checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import dspy

from optimizers.distilled import TooFewRowsError
from optimizers.experiments.roles import Roles, roles_of
from optimizers.finetune.bases import check_installed
from optimizers.finetune.provider import check_lora_targets
from optimizers.finetune.several_processes import check_gpus
from optimizers.labelling.traces import Traces
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import configured_task, configured_traces, load_splits, refuse_shown, with_their_traces
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
        traces: What is in `labelling.traces`; its decompositions stand beside the questions already.
    """

    config: RunConfig
    task: Task
    splits: Mapping[str, list[dspy.Example]]
    roles: Roles
    traces: Traces | None = None


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
    splits, traces = load_splits(task, config.data), configured_traces(config.labelling)
    if traces is not None:
        splits = with_their_traces(splits, traces)
    refuse_shown(roles.teacher_program, {split: examples for split, examples in splits.items() if split != "train"})
    return Setup(config, task, splits, roles, traces)


def check_before_payment(config: RunConfig, roles: Roles, students: Collection[str] | None = None) -> None:
    """Refuse what a training or the job's limits would fail at later, when calls are paid.

    Args:
        config: The configuration.
        roles: Its models.
        students: Those that it needs; where all are trained, their GPUs and samples are asked for no more. None trains for sure.

    Raises:
        ValueError: A limit in dollars on a model without a price, a device or GPUs that this machine does not have, a package that
            the training needs, names of modules that the student does not have, or several samples of one text.
    """
    check_limits(config)
    check_installed(config.training)
    if students is None or any(not roles.folder_of(name).exists() for name in students):
        check_gpus(config.training)
    if students and config.labelling.traces is None:
        check_samples(config)
    if config.training.device != "auto":
        device_and_dtype(config.training.device)
    check_lora_targets(config.training, roles.configs["student0"].model)


def check_samples(config: RunConfig) -> None:
    """Refuse several decompositions of a question that would be one text.

    Raises:
        ValueError: Names the settings.
    """
    samples = config.labelling.samples
    temperature = config.teacher.temperature if config.labelling.temperature is None else config.labelling.temperature
    if samples > 1 and not temperature:
        raise ValueError(
            f"labelling.samples={samples} without a temperature would be the same text {samples} times; add "
            "--labelling.temperature 0.7 (or --teacher.temperature), or take one sample: --labelling.samples 1."
        )


def check_limits(config: RunConfig) -> None:
    """Refuse limits in dollars on calls that have no price.

    Raises:
        ValueError: Names the role and the model.
    """
    prices = Prices(config.cost.local_usd_per_hour, config.cost.prices)
    judge = config.screening.judge
    if config.max_usd is not None:
        for role, model in {**roles_of(config), "screening.judge": judge or config.teacher}.items():
            prices.check(f"max_usd={config.max_usd:g}", model.model, f"{role} ")
    if config.labelling.max_usd is not None:
        for role, model in {"teacher": config.teacher, **({"screening.judge": judge} if judge else {})}.items():
            prices.check(f"labelling.max_usd={config.labelling.max_usd:g}", model.model, f"{role} ")


def check_rows_to_come(config: RunConfig, questions: int | None = None) -> None:
    """Refuse to label for students that could never have enough rows.

    Args:
        config: The configuration.
        questions: How many there are to train on; by default `data.train`.

    Raises:
        TooFewRowsError: Even with all rows kept there would be fewer than `screening.min_rows`.
    """
    screening = config.screening
    needed = min(screening.min_rows, screening.max_rows or screening.min_rows)
    questions = config.data.train if questions is None else questions
    most = questions * (config.labelling.samples if screening.keep == "all" else 1)
    if most < needed:
        further = f" and {questions - config.data.train} of labelling.traces" if questions > config.data.train else ""
        raise TooFewRowsError(
            f"data.train={config.data.train}{further} gives {most} rows at most, and screening.min_rows={needed} are needed to train a "
            "student; nothing was asked. Add questions (--data.train), or lower --screening.min_rows."
        )
