"""What the sections of a configuration have in common, and values that a command line gives as text."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from optimizers.labelling.journal import Limits

MOST_QUESTIONS = 1_000_000
"""Of a split; more would take hours to make or to read before anything is said."""


def paths_as_texts(given: Any) -> Any:
    """The values of a section, with the texts of those that are a `Path`, as notebooks have them."""
    if not isinstance(given, dict):
        return given
    return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}


class Section(BaseModel):
    """A section of the configuration: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _paths(cls, given: Any) -> Any:
        return paths_as_texts(given)


def is_section(annotation: Any) -> bool:
    """Whether a field's annotation is a section, of ours or another model of pydantic."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


class LimitedSection(Section):
    """Limits at which a part of a job stops making calls, and goes on with what it has; None is no limit."""

    max_calls: int | None = Field(None, ge=1, json_schema_extra={"unit": "calls"})
    """LM calls at most, failed ones included; never exceeded. No limit, if not given."""
    max_tokens: int | None = Field(None, ge=1, json_schema_extra={"unit": "tokens"})
    """Input and output tokens together, at most; exceeded by no more than the calls under way. No limit, if not given."""
    max_usd: float | None = Field(None, gt=0, json_schema_extra={"unit": "US dollars"})
    """Dollars at most, by the models' prices; exceeded by no more than the calls under way. No limit, if not given."""

    def limits(self, failure_share: float = 1.0, job: Limits | None = None) -> Limits:
        """The limits for the calls of a folder.

        Args:
            failure_share: Share of failed runs at which to stop; 1 never stops for that.
            job: Limits of the whole job, which hold too.
        """
        return Limits(self.max_calls, self.max_tokens, self.max_usd, failure_share, job=job)


def split_text(value: Any) -> Any:
    """A list also from the text that a command line gives, its items joined by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def read_text(value: Any) -> Any:
    """A value as it is, or read from the text that a command line gives: 3, 0.5, true, none, or a word."""
    if not isinstance(value, str):
        return value
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def texts(settings: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested settings behind its dotted name; those of a list have the list's."""
    if isinstance(settings, str):
        yield where, settings
    elif isinstance(settings, Mapping):
        for key, inner in settings.items():
            yield from texts(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(settings, list | tuple):
        for inner in settings:
            yield from texts(inner, where)


def no_entries(value: Any) -> Any:
    """No entry for the empty text, by which a command line drops those of a recipe."""
    return {} if value == "" else value


Names = Annotated[list[str], BeforeValidator(split_text)]
"""Words, also as one text with commas."""

Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], BeforeValidator(split_text)]
"""Seeds, also as one text with commas."""

Counts = Annotated[list[Annotated[int, Field(ge=1)]], BeforeValidator(split_text)]
"""Numbers from 1, also as one text with commas."""
