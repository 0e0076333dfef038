"""Compiled prompts on file: the instructions and demos of a two-stage program, put into other programs by stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from programs.adapter import adapter_from_state, adapter_state
from programs.compiled.few_shot import FewShot
from programs.compiled.worked_examples import examples_state
from programs.modules import TwoStage
from programs.tasks.base import normalize_answer

STAGES = TwoStage.stages


@dataclass(frozen=True)
class CompiledPrompts:
    """What `compile` saved: a DSPy state, which holds no LM and no key.

    Attributes:
        path: Where it was read.
        state: The state as read from JSON; its entry `compiled` says what was compiled, and how.
    """

    path: Path
    state: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> CompiledPrompts:
        """The prompts in a `program.json`, or in the folder that has one; of a `.jsonl`, the package's own with its few-shot examples.

        Raises:
            ValueError: No such file, or not the state of a two-stage program; see also `examples_state`.
        """
        file = Path(path) / "program.json" if Path(path).is_dir() else Path(path)
        if file.suffix == ".jsonl":
            return cls(file, examples_state(file))
        try:
            state = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"No compiled program in {str(file)!r} ({error}); give the program.json that `compile` wrote.") from error
        known = state if isinstance(state, dict) else {}
        for stage in STAGES:
            if not isinstance(known.get(stage), dict) or "signature" not in known[stage] or "demos" not in known[stage]:
                raise ValueError(f"{file} is no two-stage program: it has no stage {stage!r}; give the program.json that `compile` wrote.")
        return cls(file, state)

    @property
    def stages(self) -> list[str]:
        """The stages whose prompts were compiled."""
        return list(self.state.get("compiled", {}).get("stages", STAGES))

    @property
    def seed(self) -> int | None:
        """The seed of the compilation, where it is noted."""
        found = self.state.get("compiled")
        return found.get("seed") if isinstance(found, Mapping) else None

    def shown(self, examples: Iterable[dspy.Example]) -> list[dspy.Example]:
        """Those of `examples` that the program shows as demos, or was compiled with (as far as its file says).

        A demo without a context is one of any question of the same words, where the file does not say what it was
        compiled with.
        """
        about = self.state.get("compiled")
        noted = set(about.get("questions") or ()) if isinstance(about, Mapping) else set()
        demos = {_words_of(demo) for stage in STAGES for demo in self.state[stage]["demos"]}
        return [
            example
            for example in examples
            if question_digest(example) in noted or _words_of(example) in demos or (not noted and (_words_of(example)[0], "") in demos)
        ]

    def put_into(self, program: TwoStage, stages: Iterable[str] = STAGES) -> None:
        """Give stages of `program` their compiled prompts; its LMs stay, and so does a prompt format that it fixes itself."""
        formats = self.state.get("adapters", {})
        for stage in stages:
            if stage not in self.stages:
                continue
            before = getattr(program, stage)
            predictor = FewShot(before.signature)
            predictor.load_state({**self.state[stage], "lm": None})
            predictor.lm = before.lm
            setattr(program, stage, predictor)
            if stage in formats:
                program.fix_adapter(stage, adapter_from_state(formats[stage]))


def question_digest(example: Mapping[str, Any] | dspy.Example) -> str:
    """A short hash of a question with its context, as both are written."""
    text = json.dumps([example["question"], example.get("context") or ""])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _words_of(example: Mapping[str, Any] | dspy.Example) -> tuple[str, str]:
    return normalize_answer(str(example.get("question") or "")), normalize_answer(str(example.get("context") or ""))


def program_state(program: TwoStage, about: Mapping[str, Any]) -> dict[str, Any]:
    """The state of `program` for `CompiledPrompts`, without LMs, and with the format that each stage was compiled in.

    Args:
        program: With an LM set for each stage, by itself or in DSPy's settings.
        about: What to note of the compilation; `stages` are those compiled.
    """
    from dspy.utils.saving import get_dependency_versions

    bare = program.deepcopy()
    bare.set_lm(None)
    state = {stage: getattr(bare, stage).dump_state() for stage in STAGES}
    adapters = {stage: adapter_state(program.adapter_of(stage), stage) for stage in STAGES}
    return {**state, "adapters": adapters, "compiled": dict(about), "metadata": {"dependency_versions": get_dependency_versions()}}


def load_program(path: str | Path, lm: dspy.LM | None = None, **options: Any) -> TwoStage:
    """The program that `compile` saved.

    Args:
        path: Its `program.json`, or the folder with it.
        lm: For both stages; by default DSPy's configured one.
        **options: Of `TwoStage`: `max_subquestions` and `decomposer_sees_context` are the task's, and not in the file.

    Raises:
        ValueError: No such program.
    """
    program = TwoStage(**options)
    CompiledPrompts.read(path).put_into(program)
    if lm is not None:
        program.set_lm(lm)
    return program
