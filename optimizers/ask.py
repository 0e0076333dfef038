"""One question, asked once: what `divide-or-conquer ask` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from optimizers.experiments.roles import check_keys
from optimizers.jobs.display import showing
from optimizers.jobs.jsonlines import read_json
from optimizers.jobs.progress import Progress, Shown
from optimizers.settings.models import ModelConfig
from programs.lms.catalog import lm
from programs.modules import TRAINED, TwoStage


def ask_once(question: str, context: str = "", decomposer: str = "embedded/teacher", solver: str = "embedded/teacher",
             max_subquestions: int | None = None, progress: Shown = False) -> dspy.Prediction:  # fmt: skip
    """Decompose and solve one question.

    Args:
        question: The question.
        context: A passage that the answer stands in; may be empty. A decomposer that was trained without passages sees the
            question alone.
        decomposer: Model string, or the path of a student, a checkpoint folder or a GGUF file.
        solver: The same.
        max_subquestions: The limit that the decomposer is told; by default the one that it was trained under, and 3 otherwise.
        progress: Which stage is under way, and with which model; see `Shown`. Nothing by default.

    Raises:
        ValueError: An empty question, an unknown model, a student that its run could not train, or an API model without its key.
    """
    if not question.strip():
        raise ValueError("The question is empty; give one as the first argument.")
    decomposer, solver = _model(decomposer), _model(solver)
    check_keys({"--decomposer": ModelConfig(model=decomposer), "--solver": ModelConfig(model=solver)})
    program = TwoStage(max_subquestions=TRAINED if max_subquestions is None else max_subquestions)
    program.decompose.set_lm(lm(decomposer))
    program.solve.set_lm(lm(solver))
    with showing(progress) as shown, dspy.context(callbacks=[*dspy.settings.callbacks, _Told(program, shown)]):
        return program(question=question, context=context)


class _Told(BaseCallback):
    """Tells which stage of a program is under way: a server's first answer, or a model to be loaded, may take a minute."""

    def __init__(self, program: TwoStage, progress: Progress) -> None:
        self._stages = {id(getattr(program, stage)): stage for stage in program.stages}
        self._progress = progress
        self._under_way: dict[str, str] = {}

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        stage = self._stages.get(id(instance))
        if stage:
            self._under_way[call_id] = stage
            self._progress(stage, 0, 1, f"waiting for {instance.lm.model}")

    def on_module_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        stage = self._under_way.pop(call_id, "")
        if stage:
            self._progress(stage, 1, 1, "")


def _model(name: str) -> str:
    path = Path(name).expanduser()
    if not path.exists() and (why := read_json(path.parent.parent / "skipped.json").get(path.name)):
        raise ValueError(f"{name} was not trained: {why}")
    if any((path / file).exists() for file in ("manifest.json", "config.json")):
        return f"local/{name}"
    return f"gguf/{name}" if name.lower().endswith(".gguf") and path.is_file() else name
