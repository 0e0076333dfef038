"""A configured task with its questions."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from optimizers.evaluation.leakage import Repeats
from optimizers.labelling.traces import Traces, read_traces, with_traces
from optimizers.settings.labelling import LabellingConfig
from optimizers.settings.task import DataConfig, TaskConfig
from programs.compiled.state import CompiledPrompts
from programs.tasks.base import Task, each_once, overlapping
from programs.tasks.registry import load_task, task_class


def task_options(task: TaskConfig, seed: int) -> dict[str, Any]:
    """The task's options, with the run's seed where the task has one and is given none."""
    options = task.options()
    seeded = "seed" in inspect.signature(task_class(task.name)).parameters
    return {"seed": seed, **options} if seeded else options


def configured_task(task: TaskConfig, seed: int) -> Task:
    """The task itself, with its options and the run's seed.

    Raises:
        ValueError: No such task, or an option that it does not have.
    """
    return load_task(task.name, **task_options(task, seed))


def loaded(task: Task, split: str, count: int) -> list[dspy.Example]:
    """Questions of a split, as many as are asked for.

    Raises:
        ValueError: Fewer, one without `id` or `question`, or one twice among those that scores are told of.
    """
    examples = list(task.load(split, count) or ())
    if len(examples) != count:
        raise ValueError(f"Task {task.name!r} gave {len(examples)} questions of {split}, and {count} were asked for.")
    for example in examples:
        lacking = [field for field in ("id", "question") if not example.get(field)]
        if lacking:
            raise ValueError(f"A {split} question of task {task.name!r} has no {lacking[0]!r}: {example.toDict()!r:.200}.")
    if split != "train" and (more := count - len(each_once(examples))):
        raise ValueError(
            f"Task {task.name!r} gave {more} of {count} {split} questions more than once, with the same context. Copies are answered "
            "alike, so that intervals would be too narrow: let its `load` give each once, as programs.tasks.each_once does."
        )
    return examples


def load_splits(task: Task, sizes: DataConfig) -> dict[str, list[dspy.Example]]:
    """The questions of every split that has any.

    Raises:
        ValueError: Questions that stand in two splits.
    """
    splits = {split: loaded(task, split, count) for split, count in sizes.model_dump().items() if count}
    refuse_overlap(splits)
    return splits


def configured_traces(labelling: LabellingConfig) -> Traces | None:
    """What is in `labelling.traces`; None if none are set.

    Raises:
        ValueError: Nothing there, or nothing that can be used.
    """
    return read_traces(labelling.traces, labelling.trace_columns or "") if labelling.traces else None


def with_their_traces(splits: dict[str, list[dspy.Example]], traces: Traces) -> dict[str, list[dspy.Example]]:
    """Splits whose train and dev questions have their traces, and the traces' own questions behind those of train.

    Raises:
        ValueError: No question is left to train on.
    """
    reported = [example for split in ("dev", "test") for example in splits.get(split, [])]
    repeats = Repeats(reported)
    asked = {split: splits.get(split, []) for split in ("train", "dev")}
    found = with_traces(asked, traces, lambda example: repeats.leak(example) is not None)
    if not found["train"]:
        raise ValueError(f"No question is left to train on. {traces.summary()}")
    return {**splits, **{split: examples for split, examples in found.items() if examples}}


def refuse_traces(labelling: LabellingConfig, command: str) -> None:
    """Refuse traces in a job that cannot take them.

    Raises:
        ValueError: There are some.
    """
    if labelling.traces:
        raise ValueError(f"labelling.traces={labelling.traces!r} is for `run`, not for `{command}`; leave it out.")


def refuse_overlap(splits: dict[str, list[dspy.Example]]) -> None:
    """Refuse questions that stand in two splits.

    Raises:
        ValueError: There are any; names the first.
    """
    shared = overlapping(splits)
    if shared:
        first, second, question = shared[0]
        raise ValueError(f"{len(shared)} questions stand both in {first} and in {second}, the first: {question!r}. Take them out of one.")


def refuse_shown(program: CompiledPrompts | None, reported: Mapping[str, Iterable[dspy.Example]]) -> None:
    """Refuse a compiled program that knows questions by which it, or a student of it, is measured or chosen.

    Args:
        program: Of the teacher; None knows nothing.
        reported: Questions by split.

    Raises:
        ValueError: It shows one as a demo, or was compiled with one; names the first.
    """
    if program is None:
        return
    seed = "" if program.seed is None else f" (--seed {program.seed})"
    for split, examples in reported.items():
        known = program.shown(examples)
        if known:
            raise ValueError(
                f"{len(known)} {split} questions stand among the demos of {program.path}, or were used to compile it, the first: "
                f"{known[0].question!r}. Scores on them would be too high. Take the seed that it was compiled with{seed}, which splits one "
                f"file as it did, or give the questions of {split} in another file, or compile again."
            )
