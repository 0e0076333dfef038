"""The kinds of training job: supervised fine-tuning, preference pairs, and rewards by the solver."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, field_validator

from optimizers.finetune.spec import TrainingSpec
from optimizers.labelling.journal import Limits

SOLVER_CALLS = "solver_calls.jsonl"
"""Journal of the solver's calls, beside the folder of a `GroupRewardSpec`'s job."""


class _OneProcess(TrainingSpec):
    """A training that has not been shared out."""

    @field_validator("processes")
    @classmethod
    def _alone(cls, processes: int) -> int:
        if processes > 1:
            raise ValueError(f"processes={processes} is for supervised fine-tuning; DPO and GRPO train in one process, so leave it at 1.")
        return processes

    @field_validator("accelerate_config")
    @classmethod
    def _not_launched(cls, file: str | None) -> str | None:
        if file:
            raise ValueError(f"accelerate_config={file!r} is for supervised fine-tuning; DPO and GRPO train in one process: leave it out.")
        return file


class PreferenceSpec(_OneProcess):
    """Settings of one DPO training (Rafailov et al. 2023, arXiv 2305.18290); the reference is the model to start from."""

    kind: Literal["dpo"] = "dpo"
    """Marks a job as DPO in its `job.json`."""
    beta: float = Field(0.1, gt=0)
    """DPO's beta: the higher it is, the nearer the student stays to the reference."""


class GroupRewardSpec(_OneProcess):
    """Settings of one GRPO training (Shao et al. 2024, arXiv 2402.03300) whose reward is what the solver makes of a decomposition."""

    kind: Literal["grpo"] = "grpo"
    """Marks a job as GRPO in its `job.json`."""
    beta: float = Field(0.0, ge=0)
    """Weight of the KL divergence from the model to start from; 0 leaves it out."""
    group_size: int = Field(4, ge=2)
    """Decompositions that are sampled for each question of a step; `batch_size` is a multiple of it."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature of the decompositions."""
    max_completion: int = Field(96, ge=1)
    """Length of a decomposition in tokens, at most."""
    adapter: str = "line-terse"
    """Prompt format in which the decompositions are read, by its name in `programs.adapter.adapter_by_name`."""
    task: str
    """Name of the task that scores the answers."""
    task_options: dict[str, Any] = Field(default_factory=dict)
    """Options of that task, which also set the limit on subquestions; by default the task's own."""
    solver: str
    """Model string of the LM that answers with the decompositions; the trainer's process asks it. Keys come from the environment."""
    solver_options: dict[str, Any] = Field(default_factory=dict)
    """What `programs.lms.lm` takes beside the solver's model string; by default nothing."""
    solver_adapter: str | None = None
    """Prompt format of the solver; None takes the one that its model was trained on, and `line` for others."""
    solver_threads: int = Field(8, ge=1)
    """Solver calls at a time."""
    reward: Literal["score", "gain", "agreement"] = "score"
    """What a decomposition earns: one of `optimizers.finetune.rewards.REWARDS`."""
    hide_question: bool = False
    """Whether the solver is shown the subquestions alone, without the question."""
    min_share: float = Field(0.5, gt=0, le=1)
    """For `agreement`: the share of the answers to a question that must be equal to the most frequent one."""
    limits: Limits | None = None
    """What the solver's calls may come to, None for any number; under higher limits the same training goes on from its last checkpoint.
"""


KINDS: dict[str, type[TrainingSpec]] = {"sft": TrainingSpec, "dpo": PreferenceSpec, "grpo": GroupRewardSpec}


def spec_from_json(text: str) -> TrainingSpec:
    """The settings in a `job.json`; without a `kind` they are those of supervised fine-tuning.

    Raises:
        ValueError: Unknown kind, or settings that it does not have.
    """
    kind = json.loads(text).get("kind", "sft")
    if kind not in KINDS:
        raise ValueError(f"Unknown kind of training {kind!r}; expected one of {sorted(KINDS)}.")
    return KINDS[kind].model_validate_json(text)
