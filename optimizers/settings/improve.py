"""Rounds of learning from the solver's success: the section `improve`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optimizers.settings.section import MOST_QUESTIONS, LimitedSection, Section
from optimizers.settings.task import TaskConfig


class PreferenceConfig(Section):
    """Settings of DPO; all others are as in `training`."""

    beta: float = Field(0.1, gt=0)
    """DPO's beta: the higher it is, the nearer the student stays to the one that the round starts from."""
    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate."""
    epochs: float = Field(1.0, gt=0, json_schema_extra={"unit": "passes"})
    """Passes over the pairs."""
    batch_size: int = Field(4, ge=1, json_schema_extra={"unit": "pairs"})
    """Pairs in each step."""
    pairs_per_question: int = Field(2, ge=1, json_schema_extra={"unit": "pairs a question"})
    """How many pairs of one question are learned, at most."""


class GroupRewardConfig(Section):
    """Settings of GRPO; all others are as in `training`."""

    steps: int = Field(20, ge=1, json_schema_extra={"unit": "optimizer steps"})
    """Optimizer steps in each round."""
    group_size: int = Field(4, ge=2, json_schema_extra={"unit": "decompositions"})
    """Decompositions that are sampled for each question of a step."""
    questions_per_step: int = Field(1, ge=1, json_schema_extra={"unit": "questions"})
    """Questions in each step."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature of the decompositions."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate."""
    beta: float = Field(0.0, ge=0)
    """Weight of the KL divergence from the student that the round starts from; 0 leaves it out."""


class ImproveDataConfig(Section):
    """How many questions of each split."""

    train: int | None = Field(None, ge=1, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of train questions to decompose in each round; by default as many as `data.train`."""
    dev: int = Field(50, ge=1, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of dev questions; the two-stage score on these decides which round is the best."""
    test: int | None = Field(None, ge=1, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of test questions; by default as many as `data.test`."""


class ImproveConfig(LimitedSection):
    """Rounds of learning from the solver's success: `divide-or-conquer improve`; `run` does not read it."""

    method: Literal["expert", "dpo", "grpo"] = "expert"
    """What a round trains on: right decompositions (`expert`), pairs of a right and a wrong one (`dpo`), or rewards (`grpo`)."""
    student: Literal["S_D-R", "S_D-T"] = "S_D-R"
    """The student that the rounds start from; it is distilled first if it is missing."""
    form: Literal["plain", "feedback"] = "plain"
    """Whether the decomposer sees the solver's first attempt: it does in `feedback`, not in `plain`."""
    reward: Literal["score", "gain", "agreement"] = "score"
    """What a decomposition earns: the solver's `score` with it, the `gain` over the solver's single-stage score, or, without reference
    answers, `agreement`: 1 if it leads to the most frequent answer."""
    min_reward: float = Field(1.0, gt=0, le=1, json_schema_extra={"unit": "score, 0 to 1"})
    """Reward from which on a decomposition counts as right."""
    min_share: float = Field(0.5, gt=0, le=1, json_schema_extra={"unit": "share of the answers"})
    """For `agreement`: the share of the answers to a question that must be equal to the most frequent one."""
    alone: Literal["single-stage", "single-stage-cot"] = "single-stage"
    """For `gain`: the form in which the solver answers by itself."""
    hide_question: bool = False
    """Whether the solver that tries the decompositions is shown the subquestions alone, without the question."""
    samples: int = Field(4, ge=2, json_schema_extra={"unit": "decompositions a question"})
    """Decompositions that are sampled for each question in each round."""
    temperature: float = Field(0.8, gt=0)
    """Sampling temperature of the student's decompositions."""
    prefer: Literal["frequent", "fewer"] = "frequent"
    """Which of several right decompositions to take: the one that was written most often (`frequent`), or the one with the fewest
    subquestions (`fewer`)."""
    rows_per_question: int = Field(1, ge=1, json_schema_extra={"unit": "rows a question"})
    """For `expert`: how many different right decompositions of a question are learned, at most."""
    teacher_rows: bool = True
    """For `expert`: whether a round also trains on the rows of round 0, which are the teacher's."""
    start: Literal["base", "student"] = "base"
    """For `expert`: whether a round trains the base model anew (`base`), or trains the student of the round before further (`student`).
"""
    min_rows: int = Field(20, ge=1, json_schema_extra={"unit": "rows or pairs"})
    """With fewer new rows or pairs than this a round is not trained, and the rounds end."""
    rounds: int = Field(3, ge=1, json_schema_extra={"unit": "rounds"})
    """Number of rounds, at most."""
    patience: int = Field(1, ge=1, json_schema_extra={"unit": "rounds"})
    """The rounds end after so many in a row without a better dev score."""
    task: TaskConfig | None = None
    """Questions other than the run's: train, dev and test questions of this task take their place. The run's task, if not given."""
    data: ImproveDataConfig = ImproveDataConfig()
    """How many questions of each split."""
    dpo: PreferenceConfig = PreferenceConfig()
    """Settings of the method `dpo`."""
    grpo: GroupRewardConfig = GroupRewardConfig()
    """Settings of the method `grpo`."""
    out: str | None = None
    """Folder other than the run's, to improve the same student in several ways; the run's folder, if not given."""
