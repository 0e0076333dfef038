"""`compile_prompts`: DSPy's prompt optimizers on the teacher's two stages, within a budget, resumable, with every candidate shown.

Every LM call goes through a journal, so that a killed compilation repeats no call: it runs again from the start, with the same
seed, and what was asked before is answered from the file. A limit ends it by `LimitReached`, which no `except Exception` of an
optimizer stops; what the candidates scored is known from the program itself, so that the best one so far is returned.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dspy
import tqdm

from optimizers.cast import check_keys
from optimizers.config import ModelConfig, RunConfig
from optimizers.distillation import Progress, no_progress, task_options
from optimizers.main_job import logging_to
from optimizers.prompt_candidates import DEV, TRAIN, VALIDATION, Candidate, Watch, Watched
from optimizers.prompt_folder import open_compile_folder
from optimizers.prompt_optimizers import PromptOptimizer, check_questions, optimizer_by_name
from optimizers.prompt_run import CompilationRun, Compiled
from optimizers.traces import Journal
from programs.adapter import TerseLineAdapter
from programs.compiled import STAGES, CompiledPrompts
from programs.few_shot import FewShot
from programs.frozen import Frozen
from programs.lms.catalog import lm as make_lm
from programs.lms.ledger import Ledger, Prices, recording
from programs.modules import TwoStage
from programs.signatures import Decompose, Solve
from programs.tasks.base import identity, load_task, overlapping

_SIGNATURES: dict[str, type[dspy.Signature]] = {"decompose": Decompose, "solve": Solve}


def compile_prompts(config: RunConfig | dict[str, Any], progress: Progress | None = None) -> Compiled:
    """Optimise the prompts of the teacher's stages as `[compile]` says; the same call again continues a killed one.

    Args:
        config: A `RunConfig`, or its fields as nested dicts.
        progress: Called with (stage, done, total, note).

    Returns:
        The best program so far, with `incomplete` where a limit was reached or the optimizer failed.

    Raises:
        ValueError: A configuration that cannot work, said before any call.
        RuntimeError: Too many calls of the uncompiled program failed; or another job is working in the folder.
        KeyboardInterrupt: As it came, after the best so far was saved.
    """
    job = Compilation(RunConfig.model_validate(config), progress)
    open_compile_folder(job.config)
    with logging_to(job.folder / "log.txt"), _quiet_dspy(job.folder / "log.txt"):
        return job.run()


class Compilation:
    """One compilation: everything is checked when it is made, and done by `run`.

    Args:
        config: What to do.
        progress: See `Progress`.

    Raises:
        ValueError: Before any work: unknown optimizer, setting, stage, task or model; limits that are too low.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None) -> None:
        self.config, self.settings_of_run = config, config.compile
        self.progress = progress or no_progress
        self.folder = Path(config.out)
        self.optimizer: PromptOptimizer = optimizer_by_name(config.compile.optimizer)
        self.settings = self.optimizer.settings(config.compile.settings)
        self.stages = _stages(config.compile.stages)
        self.task = load_task(config.task.name, **task_options(config.task, config.seed))
        models = {"teacher": config.teacher, "compile.prompt_model": self.prompt_model}
        check_keys(models)
        self.lms = {role: make_lm(model.model, **model.options()) for role, model in models.items()}
        self.start = CompiledPrompts.read(config.teacher.program) if config.teacher.program else None
        self.splits = self._splits()
        outputs = {stage: list(_SIGNATURES[stage].output_fields) for stage in self.stages}
        check_questions(config.compile.optimizer, self.settings, self.splits[TRAIN], outputs)
        self.ledger = Ledger(Prices(config.cost.local_usd_per_hour))
        self._check_formats()
        self._check_limits()

    @property
    def prompt_model(self) -> ModelConfig:
        """Who writes instructions."""
        return self.config.compile.prompt_model or self.config.teacher

    def _splits(self) -> dict[str, list[dspy.Example]]:
        sizes = self.config.compile
        asked = [self._prepared(example) for example in self.task.load("train", sizes.train + sizes.validation)]
        dev = [self._prepared(example) for example in self.task.load("dev", sizes.dev)] if sizes.dev else []
        shared = overlapping({"train": asked, "dev": dev})
        if shared:
            raise ValueError(f"{len(shared)} questions stand both in train and in dev, the first: {shared[0][2]!r}. Take them out of one.")
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

    def _check_limits(self) -> None:
        given = self.config.compile
        needed = 2 * (len(self.splits[VALIDATION]) + 2 * len(self.splits[DEV]))
        if given.max_calls is not None and given.max_calls <= needed:
            raise ValueError(
                f"compile.max_calls={given.max_calls} leaves nothing to the optimizer: {needed} calls go into the uncompiled program's "
                f"score and the last comparison. Raise it, or lower compile.validation and compile.dev."
            )
        for lm in self.lms.values():
            if given.max_usd is not None:
                self.ledger.prices.check(f"compile.max_usd={given.max_usd:g}", lm.model)

    def run(self) -> Compiled:
        """Compile; see `compile_prompts`."""
        log = self.folder / "evaluations.jsonl"
        rewrites = self.config.compile.optimizer == "GEPA"
        with Journal(self.folder / "traces.jsonl") as journal, recording(self.ledger):
            watch = Watch(self.task, self.splits, self.stages, self.ledger, log, self._reporter(), unread=rewrites)
            run = CompilationRun(self, watch, journal)
            try:
                return run.outcome()
            finally:
                run.stop()
                watch.close()

    def _reporter(self) -> Callable[[int], None]:
        total = self.questions()
        return lambda answered: self.progress(f"compile {self.config.compile.optimizer}", answered, max(total, answered), "")

    def questions(self) -> int:
        """At most how many questions will be answered, those of the last comparison among them."""
        train, validation, dev = (len(self.splits[split]) for split in (TRAIN, VALIDATION, DEV))
        return self.optimizer.questions(self.settings, train, validation, len(self.stages)) + 2 * validation + 2 * dev


def _stages(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in STAGES]
    if unknown or not names:
        raise ValueError(f"compile.stages={list(names)} must name some of {list(STAGES)}.")
    return [stage for stage in STAGES if stage in names]


@contextlib.contextmanager
def _quiet_dspy(log: Path) -> Iterator[None]:
    """Send what DSPy logs to a file, and what it prints nowhere: the screen shows this package's own progress."""
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger, usual = logging.getLogger("dspy"), tqdm.tqdm.__init__
    logger.addHandler(handler)
    dspy.disable_logging()
    tqdm.tqdm.__init__ = functools.partialmethod(usual, disable=True)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        tqdm.tqdm.__init__ = usual
        dspy.enable_logging()
        logger.removeHandler(handler)
        handler.close()
