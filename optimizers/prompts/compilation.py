"""One compilation: its configuration, models, questions and folder, checked before any call."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy

from optimizers.experiments.roles import check_keys, of_setting
from optimizers.jobs.folder import JobFolder
from optimizers.jobs.progress import Progress, no_progress
from optimizers.labelling.journal import Limits
from optimizers.prompts.candidates import DEV, TRAIN, VALIDATION, Candidate, Watch, Watched
from optimizers.prompts.dspy_optimizers import PromptOptimizer, check_questions, optimizer_by_name
from optimizers.settings.models import ModelConfig
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import configured_task, loaded, refuse_overlap, refuse_shown
from optimizers.settings.views import REACH, compile_settings, filled_in, reach_of
from programs.adapter import TerseLineAdapter
from programs.compiled.few_shot import FewShot
from programs.compiled.frozen import Frozen
from programs.compiled.state import STAGES, CompiledPrompts
from programs.lms.catalog import lm as make_lm
from programs.lms.ledger import Ledger, Prices
from programs.lms.model_strings import is_local
from programs.modules import TwoStage, with_answer_format
from programs.signatures import Decompose, Solve
from programs.tasks.base import identity

_SIGNATURES: dict[str, type[dspy.Signature]] = {"decompose": Decompose, "solve": Solve}
_MAY_DIFFER = (
    REACH | reach_of(["compile.prompt_model"]) | {"out", *(f"compile.{name}" for name in ("max_calls", "max_tokens", "max_usd", "threads"))}
)


PROMPT_TEMPERATURE = 1.0
"""Of the prompt model, as DSPy's documentation has it for GEPA; COPRO and MIPROv2 name theirs in each call."""

PROMPT_TOKENS = 1024
"""Room for instructions where the teacher writes them: its own limit is that of an answer."""


class Compilation:
    """One compilation: everything is checked when it is made, and done by `optimizers.prompts.compile`.

    Args:
        config: What to do.
        progress: See `Progress`.

    Raises:
        ValueError: Before any work: unknown optimizer, setting, stage, task or model; limits that are too low.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None) -> None:
        self.config, self.progress = config, progress or no_progress
        self.folder = Path(config.out)
        self.optimizer: PromptOptimizer = optimizer_by_name(config.compile.optimizer)
        self.settings = self.optimizer.settings(config.compile.settings)
        self.stages = _stages(config.compile.stages)
        self.task = configured_task(config.task, config.seed)
        models = {"teacher": config.teacher, "compile.prompt_model": self.prompt_model}
        self._models = models
        self.lms = {role: self._lm(role) for role in models}
        self.start = CompiledPrompts.read(config.teacher.program) if config.teacher.program else None
        self.splits = self._splits()
        refuse_shown(self.start, {split: self.splits[split] for split in (VALIDATION, DEV)})
        outputs = {stage: list(_SIGNATURES[stage].output_fields) for stage in self.stages}
        check_questions(config.compile.optimizer, self.settings, self.splits[TRAIN], outputs)
        self.ledger = Ledger(Prices(config.cost.local_usd_per_hour, config.cost.prices))
        self._check_formats()
        self._check_limits()

    def _lm(self, role: str) -> dspy.LM:
        model = self._models[role]
        try:
            return make_lm(model.model, **model.lm_options(batches=False))
        except ValueError as error:
            raise ValueError(of_setting(self.config, role, error)) from error

    def open_folder(self) -> None:
        """Make the folder, or go on in it.

        Raises:
            ValueError: It holds something else, or a compilation of another configuration; shows the difference. Or a key is missing,
                which a plan does not need.
        """
        check_keys(self._models)
        folder = JobFolder(self.folder, "compilation", "compile.toml")
        folder.open(compile_settings(self.config), _MAY_DIFFER, filled_in(compile_settings))

    @property
    def prompt_model(self) -> ModelConfig:
        """Who writes instructions, at a temperature above 0: asked at 0, small LMs write the given ones again and again."""
        model = self.config.compile.prompt_model or _as_writer(self.config.teacher)
        return model if model.temperature is not None else model.model_copy(update={"temperature": PROMPT_TEMPERATURE})

    def _splits(self) -> dict[str, list[dspy.Example]]:
        sizes = self.config.compile
        asked = [self._prepared(example) for example in loaded(self.task, "train", sizes.train + sizes.validation)]
        dev = [self._prepared(example) for example in loaded(self.task, "dev", sizes.dev)] if sizes.dev else []
        refuse_overlap({"train": asked, "dev": dev})
        # The seed's only say in optimizers that have none of their own.
        random.Random(self.config.seed).shuffle(asked)
        known = {identity(example) for example in asked[: sizes.train]}
        validation = [example for example in asked[sizes.train :] if identity(example) not in known]
        if not validation:
            raise ValueError(f"All {sizes.validation} validation questions stand among the {sizes.train} training questions as well.")
        return {TRAIN: asked[: sizes.train], VALIDATION: validation, DEV: dev}

    def _prepared(self, example: dspy.Example) -> dspy.Example:
        """The example as a demo of either stage."""
        fields = {"context": "", **example.toDict(), "max_subquestions": self.task.max_subquestions}
        return dspy.Example(**fields).with_inputs("question", "context")

    def program(self, watch: Watch | None = None, frozen: bool = True) -> TwoStage:
        """The uncompiled program without LMs, which it takes from DSPy's settings; what is not compiled is frozen."""
        fixed = self.config.teacher.adapter
        adapters: dict[str, dspy.Adapter | str] | None = dict.fromkeys(STAGES, fixed) if fixed else None
        parts: dict[str, Any] = {stage: FewShot(signature) for stage, signature in _SIGNATURES.items()}
        options: dict[str, Any] = {"max_subquestions": self.task.max_subquestions, "adapters": adapters}
        options["decomposer_sees_context"] = self.task.decomposer_sees_context
        program = Watched(watch, **parts, **options) if watch else TwoStage(**parts, **options)
        if self.start:
            self.start.put_into(program)
        with_answer_format(program, self.task)
        if watch and frozen:
            for stage in [stage for stage in STAGES if stage not in self.stages]:
                setattr(program, stage, Frozen(getattr(program, stage)))
        return program

    def with_prompts(self, candidate: Candidate, watch: Watch | None = None) -> TwoStage:
        """The program of a candidate."""
        program = self.program(watch)
        for stage, state in candidate.stages.items():
            predictor = FewShot(_SIGNATURES[stage])
            predictor.load_state(state)
            setattr(program, stage, predictor)
        return program

    def _check_formats(self) -> None:
        if not self.optimizer.rewrites:
            return
        with dspy.context(lm=self.lms["teacher"]):
            program = self.program()
            idle = [stage for stage in self.stages if isinstance(program.adapter_of(stage), TerseLineAdapter)]
        if idle:
            raise ValueError(
                f"{self.config.compile.optimizer} writes instructions, and the prompt format 'line-terse' of {self.config.teacher.model!r} "
                f"shows none, so that nothing would change. Add --teacher.adapter line, or choose an optimizer of demos alone, such as "
                f"BootstrapFewShot."
            )

    def limits(self) -> Limits:
        """The lower of the limits of `compile` and of the whole job, which are the same calls here."""
        own, whole = self.config.compile, self.config

        def lowest(*values: Any) -> Any:
            return min((value for value in values if value is not None), default=None)

        return Limits(
            lowest(own.max_calls, whole.max_calls),
            lowest(own.max_tokens, whole.max_tokens),
            lowest(own.max_usd, whole.max_usd),
            failure_share=1.0,
        )

    def _check_limits(self) -> None:
        given = self.limits()
        needed = 2 * (len(self.splits[VALIDATION]) + 2 * len(self.splits[DEV]))
        if given.calls is not None and given.calls <= needed:
            raise ValueError(
                f"compile.max_calls={given.calls} leaves nothing to the optimizer: {needed} calls go into the uncompiled program's "
                f"score and the last comparison. Raise it, or lower compile.validation and compile.dev."
            )
        for lm in self.lms.values():
            if given.usd is not None:
                self.ledger.prices.check(f"compile.max_usd={given.usd:g}", lm.model)

    def questions(self) -> int:
        """At most how many questions will be answered, those of the last comparison among them."""
        train, validation, dev = (len(self.splits[split]) for split in (TRAIN, VALIDATION, DEV))
        return self.optimizer.questions(self.settings, train, validation, len(self.stages)) + 2 * validation + 2 * dev


def _as_writer(teacher: ModelConfig) -> ModelConfig:
    """The teacher as the prompt model: without the temperature of its answers, and with room for instructions."""
    if teacher.max_tokens is None and not is_local(teacher.model):
        return teacher.model_copy(update={"temperature": None})
    return teacher.model_copy(update={"temperature": None, "max_tokens": max(teacher.max_tokens or 0, PROMPT_TOKENS)})


def _stages(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in STAGES]
    if unknown or not names:
        raise ValueError(f"compile.stages={list(names)} must name some of {list(STAGES)}.")
    return [stage for stage in STAGES if stage in names]
