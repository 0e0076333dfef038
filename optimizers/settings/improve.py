"""Rounds of learning from the solver's success: the section `improve`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optimizers.settings.section import LimitedSection, Section
from optimizers.settings.task import TaskConfig


class PreferenceConfig(Section):
    """DPO; what is not here is as in `training`."""

    beta: float = Field(0.1, gt=0)
    """How dear it is to leave the student that a round starts from."""
    learning_rate: float = Field(5e-5, gt=0)
    """Peak rate."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the pairs."""
    batch_size: int = Field(4, ge=1)
    """Pairs a step."""
    pairs_per_question: int = Field(2, ge=1)
    """Pairs of one question at most."""


class GroupRewardConfig(Section):
    """GRPO; what is not here is as in `training`."""

    steps: int = Field(20, ge=1)
    """Optimizer steps a round."""
    group_size: int = Field(4, ge=2)
    """Decompositions a question."""
    questions_per_step: int = Field(1, ge=1)
    """Questions whose decompositions make one step."""
    temperature: float = Field(1.0, gt=0)
    """Of the decompositions."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak rate."""
    beta: float = Field(0.0, ge=0)
    """Weight of the divergence from the student that a round starts from."""


class ImproveDataConfig(Section):
    """How many questions, of the split of the same name."""

    train: int | None = Field(None, ge=1)
    """To decompose in each round; by default as many as `data.train`."""
    dev: int = Field(50, ge=1)
    """Whose two-stage score decides which round is the best."""
    test: int | None = Field(None, ge=1)
    """By default as many as `data.test`."""


class ImproveConfig(LimitedSection):
    """Rounds of learning from the solver's success: `divide-or-conquer improve`; `run` has no use for it."""

    method: Literal["expert", "dpo", "grpo"] = "expert"
    """Train on what was right, on pairs of right and wrong, or by rewards."""
    student: Literal["S_D-R", "S_D-T"] = "S_D-R"
    """Where round 0 stands; distilled first if it is missing."""
    form: Literal["plain", "feedback"] = "plain"
    """Whether the decomposer sees the solver's first attempt."""
    reward: Literal["score", "gain", "agreement"] = "score"
    """The solver's score with the decomposition; that less its single-stage score; or the majority's answer."""
    min_reward: float = 1.0
    """From which on a decomposition is right."""
    min_share: float = Field(0.5, gt=0, le=1)
    """Of the answers to one question that must be equal, for `agreement`."""
    alone: Literal["single-stage", "single-stage-cot"] = "single-stage"
    """How the solver answers by itself, for `gain`."""
    hide_question: bool = False
    """Whether the solver that tries the decompositions is told the subquestions alone, in place of the question too."""
    samples: int = Field(4, ge=2)
    """Decompositions a question and round."""
    temperature: float = Field(0.8, gt=0)
    """Of the student's decompositions."""
    prefer: Literal["frequent", "fewer"] = "frequent"
    """Of several right decompositions: the one that was written most often, or the one with the fewest subquestions."""
    rows_per_question: int = Field(1, ge=1)
    """Distinct right decompositions to learn at most, by `expert`."""
    teacher_rows: bool = True
    """Whether `expert` trains on the rows of round 0 too."""
    start: Literal["base", "student"] = "base"
    """Whether `expert` trains the base anew, or the student of the round before further."""
    min_rows: int = Field(20, ge=1)
    """New rows or pairs without which a round is not trained and the rounds end."""
    rounds: int = Field(3, ge=1)
    """Rounds at most."""
    patience: int = Field(1, ge=1)
    """Rounds without a rise of the dev score after which it is over."""
    task: TaskConfig | None = None
    """Other questions than the run's: its training, dev and test questions take their place."""
    data: ImproveDataConfig = ImproveDataConfig()
    """How many questions."""
    dpo: PreferenceConfig = PreferenceConfig()
    """Of the method `dpo`."""
    grpo: GroupRewardConfig = GroupRewardConfig()
    """Of the method `grpo`."""
    out: str | None = None
    """Another folder than the run's, for several ways from the same student."""
