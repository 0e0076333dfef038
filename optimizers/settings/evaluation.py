"""What is compared, and what local time costs: the sections `evaluation` and `cost`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from optimizers.conditions import DEFAULT_CONDITIONS
from optimizers.settings.section import Names, Section, no_entries, split_text

PriceList = Annotated[list[Annotated[float, Field(ge=0)]], BeforeValidator(split_text), Field(min_length=2, max_length=4)]
"""Dollars per million input tokens, and per million output tokens; then those of cached and of written input tokens. Also as one text with
commas."""


class EvaluationConfig(Section):
    """Which conditions are compared."""

    conditions: Names = Field(list(DEFAULT_CONDITIONS), min_length=1)
    """Names of the conditions to compare; see docs/paper.md. If `solver` is set and none are given here, the students work for that
    solver."""
    threads: int = Field(16, ge=1, json_schema_extra={"unit": "questions at a time"})
    """Questions that are asked at a time."""
    cascade_samples: int = Field(3, ge=1, lt=1000, json_schema_extra={"unit": "answers"})
    """Answers of the cheap part of a cascade to each question, by which it is seen whether it can be trusted."""
    cascade_temperature: float = Field(0.7, gt=0)
    """Sampling temperature of these answers; the first is the one that the cheap part gives by itself."""
    cascade_threshold: float | None = Field(None, ge=0, le=1, json_schema_extra={"unit": "share of the answers"})
    """Share of these answers that has to agree, or else the dear part is asked. Chosen on the questions of `data.dev`, if not given."""
    cascade_tolerance: float = Field(0.0, ge=0, lt=1, json_schema_extra={"unit": "score, 0 to 1"})
    """How much of the best score on dev the chosen threshold may give up to ask the dear part less often."""


class CostConfig(Section):
    """What calls cost, and a local model's time."""

    local_usd_per_hour: float | None = Field(None, ge=0, json_schema_extra={"unit": "US dollars an hour"})
    """Dollars that an hour of this machine costs; without it, calls of local models have no price."""
    prices: dict[str, PriceList] = Field(default_factory=dict, json_schema_extra={"unit": "US dollars a million tokens"})
    """Dollars per million input tokens and per million output tokens of API models, by model string, for those that LiteLLM does not list
    or lists wrongly: `--cost.prices.openai/my-model 0.4,1.6`. A third number is the price of input tokens that the provider found in its
    prompt cache (by default as the others, so that a bill is never too small), and a fourth that of those that it put there (by default
    1.25 times the others, and twice for those that it keeps for an hour, as Anthropic asks): `0.4,1.6,0.1,0.5`. Prices that LiteLLM lists
    have all of these. A price of a model that the job does not have is refused; `--cost.prices ''` drops those of a file."""
    local_calls_per_second: float = Field(4.0, gt=0, json_schema_extra={"unit": "calls a second"})
    """Calls a second of a local model of 135M parameters, for the minutes that plans show; larger ones are as much slower as they are
    larger. The default suits two cores."""
    trained_tokens_per_second: float = Field(150.0, gt=0, json_schema_extra={"unit": "tokens a second"})
    """Tokens a second of the training of a model of 135M parameters, for the minutes that plans show, likewise. The default suits two
    cores."""

    _may_be_dropped = field_validator("prices", mode="before")(no_entries)
