"""Better prompts for the teacher: the section `compile`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from optimizers.settings.models import ModelConfig
from optimizers.settings.section import MOST_QUESTIONS, LimitedSection, Names, read_text

PROMPT_OPTIMIZERS = (
    *("LabeledFewShot", "BootstrapFewShot", "BootstrapFewShotWithRandomSearch", "KNNFewShot"),
    *("COPRO", "MIPROv2", "GEPA", "SIMBA"),
)
"""Names of DSPy's optimizers that `compile` takes."""


class CompileConfig(LimitedSection):
    """How `divide-or-conquer compile` improves the teacher's prompts; `run` does not read it."""

    optimizer: str = "BootstrapFewShotWithRandomSearch"
    """Which of DSPy's prompt optimizers writes the prompts."""
    stages: Names = ["decompose", "solve"]
    """Which stages get better prompts: `decompose`, `solve`, or both; the other stage stays as it is."""
    train: int = Field(40, ge=1, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of questions of the train split that the optimizer takes demos from and learns from."""
    validation: int = Field(40, ge=1, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of further questions of the train split; candidates are compared by their scores on these."""
    dev: int = Field(100, ge=0, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of questions of the dev split for the last comparison, which the optimizer never sees; 0 leaves the comparison out."""
    threads: int = Field(16, ge=1, json_schema_extra={"unit": "questions at a time"})
    """Questions that are asked at a time."""
    prompt_model: ModelConfig | None = None
    """The model that writes instructions for COPRO, MIPROv2, GEPA and SIMBA, at a temperature of 1 unless it names one; the teacher, with
    1,024 tokens of room at least, if not given."""
    settings: dict[str, Annotated[Any, BeforeValidator(read_text)]] = {}
    """The optimizer's own settings, by DSPy's names: `--compile.settings.NAME VALUE`."""
