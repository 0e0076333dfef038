"""What a program's modules work with beside their predictors: settings, hints, tables; another value gives other prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dspy
from pydantic import BaseModel

CHANGING = ("stage", "history", "callbacks", "traces", "train")
"""Attributes that say nothing of a module: drawn at random, or changed while it works."""


def setting_text(value: Any) -> str | None:
    """A list, dict, set or pydantic object as JSON, the same in every process; None for an empty one, and for what is no JSON."""
    if not value or not isinstance(value, list | tuple | set | frozenset | Mapping | BaseModel):
        return None
    try:
        if isinstance(value, BaseModel):
            return value.model_dump_json()
        return json.dumps(sorted(value) if isinstance(value, set | frozenset) else value, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return None


def public_settings(module: dspy.Module) -> dict[str, Any]:
    """The settings of a module by name, its predictors and what begins with an underscore apart; none of a predictor."""
    if isinstance(module, dspy.Predict):
        return {}
    named = {name: value for name, value in vars(module).items() if not name.startswith("_") and name not in CHANGING}
    found = {name: value if isinstance(value, str | int | float) else setting_text(value) for name, value in named.items()}
    return {name: value for name, value in found.items() if value is not None}
