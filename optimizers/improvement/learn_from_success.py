"""`LearnFromSuccess`: a teleprompter that goes on training a decomposer on what its own decompositions led the solver to.

Each round the student decomposes every question several times, the solver tries each decomposition, and the student is
trained on the outcome: on the right ones (expert iteration: Anthony et al. 2017, arXiv 1705.08439; for language models
Zelikman et al. 2022, STaR, arXiv 2203.14465, and Singh et al. 2023, ReST-EM, arXiv 2312.06585), on pairs of right and
wrong ones (DPO), or by rewards (GRPO). A round's folder holds all that it did, so that a killed job goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
from dspy.teleprompt.bootstrap_finetune import FinetuneTeleprompter

from optimizers.evaluation.answers import answers
from optimizers.evaluation.evaluate import evaluate
from optimizers.finetune.provider import base_folder, check_base
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.specs import SOLVER_CALLS, GroupRewardSpec, PreferenceSpec
from optimizers.finetune.train import train
from optimizers.improvement.attempts import Attempts, AttemptsFailedError, RoundContext, on_lms, with_decomposer
from optimizers.improvement.preference_pairs import format_of
from optimizers.improvement.rounds import Learned, Round, like, paid_in, usage_of
from optimizers.jobs.display import ShowsProgress
from optimizers.jobs.jsonlines import read_json
from optimizers.jobs.progress import Shown
from optimizers.labelling.collect import TRACES
from optimizers.labelling.journal import Budget, Journal, LimitReached, Limits, paid_beside
from optimizers.labelling.journaled_lm import journaled
from optimizers.labelling.samples import Examples
from optimizers.settings.improve import ImproveConfig
from optimizers.settings.models import ModelConfig
from optimizers.settings.splits import refuse_overlap
from optimizers.settings.task import TaskConfig
from programs.lms.artifacts import Artifact
from programs.lms.engine import unload_all
from programs.lms.ledger import Usage, summed
from programs.lms.trained_prompts import prompts_of_model
from programs.modules import TwoStage
from programs.tasks.base import Task


class LearnFromSuccess(ShowsProgress, FinetuneTeleprompter):
    """Rounds of learning from the solver's success.

        optimizer = LearnFromSuccess(task, ImproveConfig(method="dpo"), folder="runs/mine/rounds", base="embedded/base")
        better = optimizer.compile(program, trainset=task.load("train", 200), valset=task.load("dev", 50))

    Args:
        task: Scores the answers.
        settings: Of the rounds; its `student`, `form`, `task`, `data` and `out` are for `improve` alone.
        folder: For traces and rounds; the same folder continues.
        training: Settings of the fine-tuning; its `base` is ignored.
        base: Model string that `start = "base"` trains anew; by default the student's own.
        rows: Further training rows (`messages`) for `expert`, such as the teacher's.
        task_config: How GRPO's process finds the task; other methods have no use for it.
        solver: How GRPO's process finds the solver, likewise.
        threads: Questions at a time.
        seed: Of the samples.
        progress: As of `BootstrapDistill`.
        job_limits: Gives the limits of the whole job for the calls in a file; None where there are none.
    """

    def __init__(
        self,
        task: Task,
        settings: ImproveConfig | None = None,
        *,
        folder: Path | str,
        training: TrainingSpec | None = None,
        base: str | None = None,
        rows: Sequence[dict[str, Any]] = (),
        task_config: TaskConfig | None = None,
        solver: ModelConfig | None = None,
        threads: int = 8,
        seed: int = 0,
        progress: Shown = None,
        job_limits: Callable[[Path], Limits | None] = lambda own: None,
    ) -> None:
        super().__init__()
        self.task, self.settings, self.folder = task, settings or ImproveConfig(), Path(folder)
        self.training, self.base, self.rows = training or TrainingSpec(), base, list(rows)
        self.task_config, self.solver = task_config, solver
        self.threads, self.seed, self.progress = threads, seed, progress
        if self.settings.method == "grpo" and not (task_config and solver):
            raise ValueError("method='grpo' asks the solver from the trainer's process: pass task_config= and solver=.")
        self.limits, self.job_limits = self.settings.limits(), job_limits

    def compile(
        self, student: dspy.Module, *, trainset: Examples, teacher: dspy.Module | None = None, valset: Examples | None = None
    ) -> dspy.Module:
        """A copy of `student` with the decomposer of the best round, and what was done as `.learned`.

        Args:
            student: A `TwoStage` whose decomposer is a model of this process; whoever solves in it is the judge.
            trainset: Questions to decompose; with reference answers unless the reward is `agreement`.
            teacher: None: the student learns from itself.
            valset: Dev questions with reference answers, whose score says when to stop.

        Raises:
            ValueError: A student that cannot be trained, no dev questions, or questions in both sets.
            TrainingError: A training failed.
        """
        if teacher is not None:
            raise ValueError("LearnFromSuccess takes no teacher: the student learns from what its own decompositions led to.")
        model = _check(student, trainset, valset or [])
        check_hidden(self.settings, trainset)
        assert isinstance(student, TwoStage)
        learned = Learned()
        attempts = Attempts(self._context(), student, list(trainset))
        with self.showing():
            try:
                learned.rounds.append(self._measured(0, student, model, valset or [], learned))
                while not (learned.incomplete or self._ends(learned)):
                    self._go_on(learned, attempts, valset or [])
            except (LimitReached, AttemptsFailedError) as stop:
                learned.incomplete = str(stop)
        learned.ended = learned.incomplete or learned.ended
        compiled = with_decomposer(student, learned.best.program.decompose.lm)
        compiled.learned = learned
        return compiled

    def _context(self) -> RoundContext:
        return RoundContext(
            task=self.task,
            settings=self.settings,
            folder=self.folder,
            rows=self.rows,
            seed=self.seed,
            threads=self.threads,
            limits=lambda: self.limits_but(self.folder / TRACES),
            progress=self.tell,
        )

    def _ends(self, learned: Learned) -> bool:
        done, stale = learned.rounds[-1].number, learned.rounds[-1].number - learned.best.number
        if not learned.ended and done >= self.settings.rounds:
            learned.ended = f"all {done} rounds are done"
        if not learned.ended and stale >= self.settings.patience:
            learned.ended = f"the dev score has not risen for {stale} round{'s' if stale > 1 else ''}"
        return bool(learned.ended)

    def _go_on(self, learned: Learned, attempts: Attempts, devset: list[dspy.Example]) -> None:
        """One round more; or the reason why there is none."""
        before = learned.rounds[-1]
        number = before.number + 1
        rows = attempts.rows(number, before.program)
        if len(rows) < self._fewest():
            what = "pairs of right and wrong decompositions" if self.settings.method == "dpo" else "right decompositions"
            learned.ended = f"round {number} found {len(rows)} new {what}, {self.settings.min_rows} are needed"
            return
        artifact = self._trained(number, before, rows)
        program = with_decomposer(before.program, like(before.program.decompose.lm, artifact.model_string))
        found = self._measured(number, program, artifact.model_string, devset, learned)
        found.tried, found.training = read_json(attempts.folder(number) / "tried.json"), artifact.manifest["metrics"]
        tried = {stage: Usage.from_dict(cost) for stage, cost in found.tried["usage"].items()}
        found.usage = summed([found.usage, tried, self._paid_by_trainer(number)])
        learned.rounds.append(found)

    def _fewest(self) -> int:
        return 1 if self.settings.method == "grpo" else self.settings.min_rows

    def _trained(self, number: int, before: Round, rows: list[dict[str, Any]]) -> Artifact:
        unload_all()  # the trainer's process needs the memory more
        anew = self.settings.method == "expert" and self.settings.start == "base" and self.base
        base = self.base if anew and self.base else before.model
        if self.settings.method == "expert" and self.settings.teacher_rows:
            rows = [*self.rows, *rows]
        update: dict[str, Any] = {"base": base_folder(base)}
        if self.settings.method == "grpo":
            update["limits"] = self.limits_but(self.folder / str(number) / SOLVER_CALLS)
        return train(
            rows,
            self.spec(before.program).model_copy(update=update),
            self.folder / str(number) / "student",
            name=f"{self.settings.method}-{number}",
            adapter=format_of(before.program),
            base=base,
            prompts=prompts_of_model(before.model),
            progress=functools.partial(self._report_training, number),
        )

    def _report_training(self, number: int, step: int, steps: int, loss: float | None) -> None:
        self.tell(f"round {number}: train", step, steps, "" if loss is None else f"loss {loss:.3f}")

    def spec(self, program: TwoStage) -> TrainingSpec:
        """The settings of a round's training, but for where it starts."""
        # DPO and GRPO train in one process.
        settings, common = self.settings, self.training.model_dump(exclude={"base", "processes", "accelerate_config"})
        if settings.method == "expert":
            return self.training
        if settings.method == "dpo":
            return PreferenceSpec(**{**common, **settings.dpo.model_dump(exclude={"pairs_per_question"})})
        assert self.task_config is not None
        assert self.solver is not None
        own = settings.grpo.model_dump(exclude={"steps", "questions_per_step"})
        own |= {"max_steps": settings.grpo.steps, "batch_size": settings.grpo.group_size * settings.grpo.questions_per_step}
        own |= {"task": self.task_config.name, "task_options": self.task_config.options(), "adapter": format_of(program)}
        own |= {"solver": self.solver.model, "solver_options": self.solver.lm_options(batches=False), "solver_adapter": self.solver.adapter}
        own |= {
            "hide_question": settings.hide_question,
            "reward": settings.reward,
            "min_share": settings.min_share,
            "solver_threads": self.threads,
        }
        most = program.decompose.lm.kwargs.get("max_tokens")
        return GroupRewardSpec(**{**common, **own, **({"max_completion": most} if most else {})})

    def _paid_by_trainer(self, number: int) -> dict[str, Usage]:
        path = self.folder / str(number) / SOLVER_CALLS
        return {"solve": paid_in(path)} if path.exists() else {}

    def limits_but(self, own: Path) -> Limits:
        """The limits for calls that are kept in the file `own`, less what all other files of the folder have cost."""
        return replace(self.limits, elsewhere=paid_beside([self.folder], own), job=self.job_limits(own))

    def _measured(self, number: int, program: TwoStage, model: str, devset: list[dspy.Example], learned: Learned) -> Round:
        path = self.folder / str(number) / "dev.jsonl"
        try:
            lines = self.ask(program, devset, path, f"round {number}: dev")
        except LimitReached as limit:
            learned.incomplete = str(limit)
            lines = answers(path, devset)
        return Round(number, model, program, lines, complete=learned.incomplete is None, usage=usage_of(lines))

    def ask(self, program: TwoStage, examples: list[dspy.Example], out: Path, stage: str, task: Task | None = None) -> list[dict[str, Any]]:
        """`evaluate` with every call in the journal and within the limits; `task` scores in place of the optimizer's own.

        Raises:
            LimitReached: Of the settings; what was asked is in `out`.
        """
        limits = self.limits_but(self.folder / TRACES)
        with Journal(self.folder / TRACES) as journal:
            wrap = functools.partial(journaled, journal=journal, limits=Budget(limits, journal))
            report = functools.partial(self.tell, stage)
            return evaluate(on_lms(program, wrap), task or self.task, examples, out=out, threads=self.threads, progress=report)


def _check(student: dspy.Module, trainset: list[dspy.Example], devset: list[dspy.Example]) -> str:
    """The model string of the student's decomposer."""
    if not isinstance(student, TwoStage) or not isinstance(student.decompose, dspy.Predict):
        raise ValueError("The student must be a TwoStage whose `decompose` is a dspy.Predict, as its prompt is what is trained.")
    if not devset:
        raise ValueError("There are no dev questions to say when to stop; pass valset=, or set improve.data.dev.")
    refuse_overlap({"train": trainset, "dev": devset})
    model = student.decompose.lm or dspy.settings.lm
    if model is None:
        raise ValueError("The student's decomposer has no LM; set one that can be trained, for example lm('embedded/base').")
    check_base(model.model)
    return str(model.model)


def check_hidden(settings: ImproveConfig, questions: Sequence[dspy.Example]) -> None:
    """Refuse to hide questions that are all that the solver could answer from.

    Raises:
        ValueError: A question without a context.
    """
    bare = next((example for example in questions if not example.get("context")), None) if settings.hide_question else None
    if bare is not None:
        raise ValueError(
            f"improve.hide_question=true leaves the solver nothing to answer from where there is no context: {bare.question!r}. "
            "Leave it out for such questions."
        )
