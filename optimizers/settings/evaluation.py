"""What is compared, and what local time costs: the sections `evaluation` and `cost`."""

from __future__ import annotations

from pydantic import Field

from optimizers.conditions import DEFAULT_CONDITIONS
from optimizers.settings.section import Names, Section


class EvaluationConfig(Section):
    """What is compared."""

    conditions: Names = list(DEFAULT_CONDITIONS)
    """See docs/paper.md; with a solver of its own and none given, the students work for that solver."""
    threads: int = Field(16, ge=1)
    """Questions at a time."""


class CostConfig(Section):
    """What a local model's time costs."""

    local_usd_per_hour: float | None = Field(None, ge=0)
    """Dollars an hour of this machine; without it local calls have no price."""
    local_calls_per_second: float = Field(4.0, gt=0)
    """Of a local model, for plans: by default the embedded ones on two cores."""
    trained_tokens_per_second: float = Field(150.0, gt=0)
    """Of a training, for plans; likewise."""
