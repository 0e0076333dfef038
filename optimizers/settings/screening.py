"""Which teacher rows are learned from: the section `screening`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from optimizers.screening.policy import POLICIES, answer_free
from optimizers.settings.models import ModelConfig
from optimizers.settings.section import Names, Section, read_text
from programs.tasks.base import ABSTENTIONS


class ScreeningConfig(Section):
    """Which teacher decompositions become rows."""

    policy: str = "oracle"
    """Of the students that are screened (S_D-R, S_E-R): by reference answers, or without; see docs/screening.md."""
    votes: int = Field(5, ge=1)
    """Samples that `self_consistency` takes of a solution, and `agreement` of a single-stage answer."""
    share: float = Field(0.6, gt=0, le=1)
    """Part of the votes that has to agree for `self_consistency`."""
    temperature: float = Field(0.7, gt=0)
    """Of the votes."""
    single_stage: Literal["single-stage", "single-stage-cot", "single-stage-short"] = "single-stage"
    """How `agreement` asks."""
    abstentions: Names = list(ABSTENTIONS)
    """Answers that say that there is none: never kept by `self_consistency` and `agreement`. Empty where they can be right."""
    judge: ModelConfig | None = None
    """The model that judges for `judge`; the teacher, if not given."""
    measure: Names = []
    """Further policies to hold against the reference answers, for their calls' price; no student is trained on them."""
    min_score: float = Field(1.0, ge=0, le=1)
    """Score of an answer that counts as right, for tasks with part marks."""
    keep: Literal["first", "all", "fewest"] = "first"
    """With several samples: the first right one, all distinct right ones, or the right one with the fewest subquestions."""
    min_rows: int = Field(20, ge=1)
    """Fewer rows than this are not trained on."""
    max_rows: int | None = Field(None, ge=1)
    """Train on that many of the kept rows; all by default."""
    row_seed: int = 0
    """Draws them."""
    options: dict[str, Annotated[Any, BeforeValidator(read_text)]] = {}
    """Arguments of a policy that another package brings: `--screening.options.NAME VALUE`."""

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, name: str) -> str:
        POLICIES.get(name)
        return name

    @field_validator("measure")
    @classmethod
    def _measurable(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in answer_free():
                raise ValueError(f"{name!r} cannot be held against the reference answers; expected some of {answer_free()}")
        return names
