"""Better prompts for the teacher: the section `compile`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from optimizers.settings.models import ModelConfig
from optimizers.settings.section import LimitedSection, Names, read_text


class CompileConfig(LimitedSection):
    """How `divide-or-conquer compile` improves the teacher's prompts; `run` has no use for it."""

    optimizer: str = "BootstrapFewShotWithRandomSearch"
    """One of DSPy's, see `optimizers.prompts.dspy_optimizers.OPTIMIZERS`."""
    stages: Names = ["decompose", "solve"]
    """What is compiled: `decompose`, `solve`, or both; the other stage stays as it is."""
    train: int = Field(40, ge=1)
    """Questions of the train split to take demos from and to reflect on."""
    validation: int = Field(40, ge=1)
    """Further questions of the train split, by which candidates are compared."""
    dev: int = Field(100, ge=0)
    """Questions of the dev split, kept back for the last comparison; 0 leaves it out."""
    threads: int = Field(16, ge=1)
    """Questions at a time."""
    prompt_model: ModelConfig | None = None
    """Writes instructions for COPRO, MIPROv2, GEPA and SIMBA; the teacher, if not given."""
    settings: dict[str, Annotated[Any, BeforeValidator(read_text)]] = {}
    """The optimizer's own settings, by DSPy's names."""
