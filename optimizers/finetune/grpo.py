"""GRPO with TRL: the student samples decompositions, and what the solver makes of them is their reward.

Meant for GPUs, where the samples come fast (`accelerate launch`, vLLM); on a CPU it works, but slowly.
"""

from __future__ import annotations

import contextvars
import functools
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
from datasets import Dataset
from dspy.utils.exceptions import AdapterParseError
from trl import GRPOConfig, GRPOTrainer

from optimizers.finetune.arguments import common_arguments
from optimizers.finetune.rewards import agreed, scored
from optimizers.finetune.specs import SOLVER_CALLS, GroupRewardSpec
from optimizers.labelling.journal import Budget, Journal
from optimizers.labelling.journaled_lm import journaled
from programs.adapter import adapter_by_name
from programs.baselines.hidden_question import with_hidden_question
from programs.decomposition import read_decomposition
from programs.lms.catalog import lm
from programs.lms.chat import render
from programs.modules import TwoStage, two_stage
from programs.signatures import Decompose
from programs.tasks.base import Task
from programs.tasks.registry import load_task

RewardFunction = Callable[..., list[float | None]]


class GroupTrainer(GRPOTrainer):
    """TRL's GRPO trainer, for prompts that are rendered already."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # The template wrote every special token; TRL would let the tokenizer add its own.
        return self.processing_class(text=prompts, add_special_tokens=False)["input_ids"], None, {}


def group_trainer(folder: Path, spec: GroupRewardSpec, tokenizer: Any, model: Any, lora: Any, on_cpu: bool) -> GroupTrainer:
    """The trainer of a job of kind `grpo`.

    Args:
        folder: The job's, with `rows.jsonl`: prompts (`messages`) with the `example` that each is of. The solver's calls
            are kept beside it, in `solver_calls.jsonl`, and outlive the job.
        spec: The job's settings.
        tokenizer: The model's.
        model: The policy.
        lora: Settings of peft; None trains all weights.
        on_cpu: Whether to compute log-probabilities in the way that suits a CPU.
    """
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    journal = Journal(folder.with_name(SOLVER_CALLS))
    arguments = GRPOConfig(
        **common_arguments(folder, spec),
        beta=spec.beta,
        num_generations=spec.group_size,
        temperature=spec.temperature,
        max_completion_length=spec.max_completion,
    )
    arguments.warmup_steps = spec.warmup_of(spec.steps_of(len(rows)))
    trainer = GroupTrainer(
        model=model,
        reward_funcs=[solver_reward(spec, [row["example"] for row in rows], journal)],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": render(tokenizer, row["messages"]), "row": at} for at, row in enumerate(rows)]),
        processing_class=tokenizer,
        peft_config=lora,
    )
    if on_cpu:
        from optimizers.finetune.completion_head import add_completion_head

        for causal in filter(None, (model, trainer.ref_model)):
            add_completion_head(causal, spec.temperature)
    return trainer


def solver_reward(spec: GroupRewardSpec, examples: Sequence[dict[str, Any]], journal: Journal) -> RewardFunction:
    """A reward function as `GRPOTrainer` calls it, whose column `row` numbers the examples.

    A decomposition that cannot be read has reward 0; None, which TRL leaves out, stands for an answer that cannot be
    judged. `gain` counts as `score` here: rewards are compared within a question's group, for which the single-stage
    score is the same. It raises `LimitReached` at the limits of `spec`.
    """
    task = load_task(spec.task, **spec.task_options)
    adapters: dict[str, dspy.Adapter | str] | None = {"solve": spec.solver_adapter} if spec.solver_adapter else None
    budget = Budget(spec.limits, journal) if spec.limits else None
    solver = journaled(lm(spec.solver, **spec.solver_options), journal, stage="solve", limits=budget)
    program = two_stage(task, None, solver, adapters)
    program = with_hidden_question(program) if spec.hide_question else program
    fields = [dspy.Example(**example).with_inputs("question", "context") for example in examples]
    answer = functools.partial(_answer, program, adapter_by_name(spec.adapter))

    def reward(completions: list[str], row: list[int], **_: Any) -> list[float | None]:
        with ThreadPoolExecutor(spec.solver_threads) as pool:
            work = [
                pool.submit(contextvars.copy_context().run, answer, fields[at], text) for at, text in zip(row, completions, strict=True)
            ]
            answers = [future.result() for future in work]
        if spec.reward == "agreement":
            return _agreed_by_row(row, answers, spec.min_share)
        return [_judged(task, fields[at], found) for at, found in zip(row, answers, strict=True)]

    return reward


def _answer(program: TwoStage, adapter: dspy.Adapter, example: dspy.Example, text: str) -> dspy.Prediction | None:
    """The solver's answer with the decomposition in `text`; None if there is none in it."""
    try:
        lines = adapter.parse(Decompose, text)["subquestions"]
    except AdapterParseError:
        return None
    found = read_decomposition(lines, program.max_subquestions, example.question)
    if found.state == "unparseable":
        return None
    return program.run_solve(example.question, example.get("context") or "", found.subquestions)[0]


def _judged(task: Task, example: dspy.Example, found: dspy.Prediction | None) -> float | None:
    return 0.0 if found is None else scored(task, example, found)


def _agreed_by_row(rows: list[int], answers: list[dspy.Prediction | None], min_share: float) -> list[float | None]:
    rewards: list[float | None] = [None] * len(rows)
    for row in dict.fromkeys(rows):
        places = [place for place, other in enumerate(rows) if other == row]
        texts = [None if (found := answers[place]) is None else str(found.answer) for place in places]
        for place, value in zip(places, agreed(texts, min_share), strict=True):
            rewards[place] = value
    return rewards
