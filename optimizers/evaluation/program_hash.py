"""What tells two programs apart: whatever shapes their prompts and texts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from programs.adapter import adapter_name
from programs.module_settings import public_settings

_SHAPING = ("seed", "max_subquestions", "decomposer_sees_context", "nearest")


def made_by(program: str, example: dspy.Example) -> str:
    """Hash of a program, and of the reference subquestions, which some decomposers show."""
    return _digest([program, example.get("subquestions")])


def program_hash(program: dspy.Module) -> str:
    """Hash of what shapes a program's prompts and texts: modules, instructions, demos, models and their sampling settings."""
    found: list[Any] = []
    for name, module in program.named_sub_modules():
        settings = [getattr(module, setting, None) for setting in _SHAPING]
        found.append([name, type(module).__name__, settings, _prompt_of(module) if isinstance(module, dspy.Predict) else None])
        # Only where there are any, so that answers on file from before stay known.
        found += [[name, further] for further in (_adapters_of(module), _further(module)) if further]
    return _digest(found)


def _further(module: dspy.Module) -> dict[str, Any]:
    return {key: value for key, value in public_settings(module).items() if key not in _SHAPING}


def _adapters_of(module: dspy.Module) -> dict[str, str]:
    """The formats that a program sets for its stages, by stage."""
    return {stage: adapter_name(adapter) for stage, adapter in getattr(module, "fixed_adapters", {}).items()}


def _prompt_of(predictor: dspy.Predict) -> list[Any]:
    lm = predictor.lm or dspy.settings.lm
    model = [lm.model, _options(lm)] if isinstance(lm, dspy.LM) else None
    return [model, predictor.signature.instructions, [dict(demo) for demo in predictor.demos]]


def _options(lm: dspy.LM) -> dict[str, Any]:
    """What shapes the texts of an LM; of a journaled one also those options that its engine adds to the requests."""
    engine = getattr(lm, "engine", None)  # a plain BaseLM has none
    return {**{key: value for key, value in lm.kwargs.items() if key not in CLIENT_KEYS}, **getattr(engine, "further", {})}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
