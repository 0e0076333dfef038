"""Which teacher rows are learned from: the section `screening`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from optimizers.screening.policy import POLICIES, answer_free
from optimizers.settings.models import ModelConfig
from optimizers.settings.section import Names, Section, read_text
from programs.tasks.base import ABSTENTIONS


class ScreeningConfig(Section):
    """Which of the teacher's decompositions become training rows."""

    policy: str = "oracle"
    """The policy that screens for the students S_D-R and S_E-R: `oracle` and `gain` go by reference answers, others need
    none; see docs/screening.md."""
    votes: int = Field(5, ge=1, json_schema_extra={"unit": "replies"})
    """Solutions that `self_consistency` samples for a decomposition; single-stage answers that `agreement` samples for a question."""
    share: float = Field(0.6, gt=0, le=1, json_schema_extra={"unit": "share of the votes"})
    """For `self_consistency`: the share of the votes that has to agree."""
    temperature: float = Field(0.7, gt=0)
    """Sampling temperature of the votes."""
    single_stage: Literal["single-stage", "single-stage-cot", "single-stage-short"] = "single-stage"
    """For `agreement`: the form of its single-stage attempts."""
    abstentions: Names = list(ABSTENTIONS)
    """Answers that say that there is no answer; `self_consistency` and `agreement` never keep them. Empty the list where one can be right.
"""
    judge: ModelConfig | None = None
    """The model that judges for the policy `judge`; the teacher, if not given."""
    measure: Names = []
    """Further policies whose precision and recall are measured by the reference answers. It costs their calls; no student is trained on
    what they keep."""
    min_score: float = Field(1.0, gt=0, le=1, json_schema_extra={"unit": "score, 0 to 1"})
    """Score from which on an answer counts as right; below 1 for tasks that give part marks."""
    keep: Literal["first", "all", "fewest"] = "first"
    """Which of several samples of a question to keep: the `first` right one, `all` distinct right ones, or the right one with the `fewest`
    subquestions."""
    min_rows: int = Field(20, ge=1, json_schema_extra={"unit": "rows"})
    """Fewer rows than this are not trained on."""
    max_rows: int | None = Field(None, ge=1, json_schema_extra={"unit": "rows"})
    """How many of the kept rows to train on, drawn at random; all, if not given."""
    row_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the draw by `max_rows`."""
    options: dict[str, Annotated[Any, BeforeValidator(read_text)]] = {}
    """Arguments of a policy that another package brings: `--screening.options.NAME VALUE`."""

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, name: str) -> str:
        POLICIES.get(name)
        return name

    @field_validator("options")
    @classmethod
    def _without_none(cls, options: dict[str, Any]) -> dict[str, Any]:
        # TOML has no null: an option that is not given has its default.
        return {name: value for name, value in options.items() if value is not None}

    @field_validator("measure")
    @classmethod
    def _measurable(cls, names: list[str]) -> list[str]:
        # Asked once, as it loads every policy; not at all where nothing is measured.
        known = answer_free() if names else []
        for name in names:
            if name not in known:
                raise ValueError(f"{name!r} cannot be held against the reference answers; expected some of {known}")
        return names
