"""The kinds of training job: supervised fine-tuning, preference pairs, and rewards by the solver."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from optimizers.finetune.spec import TrainingSpec
from optimizers.labelling.journal import Limits

SOLVER_CALLS = "solver_calls.jsonl"
"""Journal of the solver's calls, beside the folder of a `GroupRewardSpec`'s job."""


class PreferenceSpec(TrainingSpec):
    """Settings of one DPO training (Rafailov et al. 2023, arXiv 2305.18290); the reference is the model to start from."""

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0)
    """How dear it is to leave the reference."""


class GroupRewardSpec(TrainingSpec):
    """Settings of one GRPO training (Shao et al. 2024, arXiv 2402.03300) whose reward is what the solver makes of a decomposition."""

    kind: Literal["grpo"] = "grpo"
    beta: float = Field(0.0, ge=0)
    """Weight of the divergence from the model to start from."""
    group_size: int = Field(4, ge=2)
    """Decompositions a question and step; `batch_size` is a multiple of it."""
    temperature: float = Field(1.0, gt=0)
    max_completion: int = Field(96, ge=1)
    """Tokens of a decomposition."""
    adapter: str = "line-terse"
    """Prompt format that the decompositions are read in."""
    task: str
    task_options: dict[str, Any] = Field(default_factory=dict)
    """Scores the answers, and sets the limit on subquestions."""
    solver: str
    solver_options: dict[str, Any] = Field(default_factory=dict)
    """Model string and options of the LM that the trainer's process asks; keys come from the environment."""
    solver_adapter: str | None = None
    solver_threads: int = Field(8, ge=1)
    reward: Literal["score", "gain", "agreement"] = "score"
    hide_question: bool = False
    """Whether the solver is told the subquestions alone."""
    min_share: float = Field(0.5, gt=0, le=1)
    """Of `agreement`: see `optimizers.finetune.rewards`."""
    limits: Limits | None = None
    """What the solver's calls may come to; the same training goes on from its last checkpoint under higher ones."""


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
