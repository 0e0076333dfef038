"""The policies of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optimizers.policies.agreement import Agreement
from optimizers.policies.judge import Judge
from optimizers.policies.self_consistency import SelfConsistency
from optimizers.students import StudentRecipe

if TYPE_CHECKING:
    from optimizers.cast import Cast
    from optimizers.config import ScreeningConfig

ANSWER_FREE = (SelfConsistency.name, Agreement.name, Judge.name)


def policy_name(recipe: StudentRecipe, screening: ScreeningConfig) -> str:
    """What screens a student: `oracle` in its recipe means that it is screened, by whatever the configuration says."""
    return screening.policy if recipe.policy == "oracle" else recipe.policy


def configured_policy(name: str, screening: ScreeningConfig, cast: Cast) -> Any:
    """What `BootstrapDistill` takes as `policy`: an answer-free one with the settings of the section `screening`."""
    if name == SelfConsistency.name:
        return SelfConsistency(screening.votes, screening.share, screening.temperature, screening.abstentions)
    if name == Agreement.name:
        return Agreement(
            screening.votes, screening.temperature, cast.single_stage(screening.single_stage, "teacher"), screening.abstentions
        )
    if name == Judge.name:
        return Judge(cast.judge(), adapter=(screening.judge and screening.judge.adapter) or "line")
    return name
