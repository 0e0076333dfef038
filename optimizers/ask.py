"""One question, asked once: what `divide-or-conquer ask` does."""

from __future__ import annotations

from pathlib import Path

import dspy

from optimizers.experiments.roles import check_keys
from optimizers.settings.models import ModelConfig
from programs.lms.catalog import lm
from programs.lms.model_strings import is_local
from programs.modules import TwoStage


def ask_once(question: str, context: str = "", decomposer: str = "embedded/teacher", solver: str = "embedded/teacher",
             max_subquestions: int = 4) -> dspy.Prediction:  # fmt: skip
    """Decompose and solve one question.

    Args:
        question: The question.
        context: A passage that the answer stands in; may be empty. A decomposer of this process sees the question alone,
            as the embedded models were trained; others see the passage too.
        decomposer: Model string, or the folder of a student artifact.
        solver: Model string.
        max_subquestions: The limit that the decomposer is told.

    Raises:
        ValueError: An empty question, an unknown model, or an API model without its key.
    """
    if not question.strip():
        raise ValueError("The question is empty; give one as the first argument.")
    decomposer, solver = _model(decomposer), _model(solver)
    check_keys({"--decomposer": ModelConfig(model=decomposer), "--solver": ModelConfig(model=solver)})
    program = TwoStage(max_subquestions=max_subquestions, decomposer_sees_context=not is_local(decomposer))
    program.decompose.set_lm(lm(decomposer))
    program.solve.set_lm(lm(solver))
    return program(question=question, context=context)


def _model(name: str) -> str:
    return f"local/{name}" if (Path(name) / "manifest.json").exists() else name
