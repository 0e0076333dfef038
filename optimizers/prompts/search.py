"""A compilation at work: scores the uncompiled program, lets DSPy's optimizer go within the budget, and compares."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from typing import Any

import dspy

from optimizers.evaluation.passages import passages_of
from optimizers.evaluation.statistics import Comparison, paired_comparison
from optimizers.jobs.scorer_costs import keep_scorer_costs
from optimizers.labelling.journal import Budget, Journal, LimitReached, Limits
from optimizers.labelling.journaled_lm import journaled
from optimizers.prompts.candidates import DEV, TRAIN, VALIDATION, Candidate, Compiled, Watch
from optimizers.prompts.compilation import Compilation
from optimizers.prompts.dspy_optimizers import Job
from optimizers.prompts.results import write_results
from programs.adapter import LineAdapter, adapter_by_name
from programs.lms.model_strings import is_local

_log = logging.getLogger("divide_or_conquer")

_FAILURE_SHARE = 0.2


class CompilationRun:
    """A compilation at work: scores the uncompiled program, lets the optimizer go, and compares."""

    def __init__(self, job: Compilation, watch: Watch, journal: Journal) -> None:
        self.job, self.watch, self.journal = job, watch, journal
        self.limits = job.limits()
        # Two budgets: threads that an optimizer leaves behind must not spend what is kept for the last comparison.
        self.budget, self.reserved = Budget(self.limits, journal), Budget(self.limits, journal)
        self.base = watch.candidate(job.program(watch))
        self.found: Candidate | None = None
        self.incomplete: str | None = None
        self.failed = False

    def outcome(self) -> Compiled:
        """Compile, save, and return what was found, whatever stopped it."""
        try:
            self._compile()
        except LimitReached as limit:
            less = self.budget.limits != self.limits
            self.incomplete = f"{limit}{', as the rest is kept to score what was found' if less else ''}"
        except KeyboardInterrupt:
            self.incomplete = "interrupted"
            self.stop()
            self._save(None)
            raise
        return self._save(self._last_comparison())

    def _compile(self) -> None:
        self._score(self.base, VALIDATION)
        self._check_failures()
        self._score(self.base, DEV)
        self.budget.limits = self._for_the_optimizer()
        found = self._optimize()
        if found is not None:
            self.found = self.watch.candidate(found)
            self._score(self.found, VALIDATION)

    def _for_the_optimizer(self) -> Limits:
        """The limits less what scoring the result will cost, by what the uncompiled program did."""
        usage, limits = self.base.cost(), self.limits
        calls = None if limits.calls is None else max(0, limits.calls - usage.calls)
        tokens = None if limits.tokens is None else max(0, limits.tokens - usage.input_tokens - usage.output_tokens)
        usd = None if limits.usd is None else max(0.0, limits.usd - (usage.usd or 0.0))
        return Limits(calls, tokens, usd)

    def _optimize(self) -> dspy.Module | None:
        before = self.watch.answered
        try:
            with self._settings(self.budget):
                return self.job.optimizer.run(self._job())
        except Exception as error:
            if isinstance(error, ValueError | TypeError | AssertionError) and self.watch.answered == before:
                raise ValueError(f"{self.job.config.compile.optimizer} cannot work like this: {error}") from error
            _log.exception("the optimizer failed")
            self.failed = True
            self.incomplete = f"{self.job.config.compile.optimizer} failed: {_told(error)}"
            return None
        finally:
            self._end(self.budget)

    def _job(self) -> Job:
        job = self.job
        logs = job.folder / "optimizer"
        # GEPA would take up its own checkpoint, and draw otherwise than before; the journal answers what was asked already.
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        self.watch.rescue = self._rescue
        return Job(
            student=job.program(self.watch),
            train=job.splits[TRAIN],
            validation=job.splits[VALIDATION],
            metric=self.watch.metric,
            feedback=self.watch.feedback,
            prompt_lm=self._lm("compile.prompt_model", self.budget),
            prompt_adapter=self._prompt_adapter(),
            threads=job.config.compile.threads,
            seed=job.config.seed,
            folder=logs,
            settings=job.settings,
        )

    def _prompt_adapter(self) -> dspy.Adapter | None:
        """How the prompt model is asked: in lines where it is a small model of this process, else as DSPy asks."""
        model = self.job.prompt_model
        if model.adapter:
            return adapter_by_name(model.adapter)
        return LineAdapter() if is_local(model.model) else None

    def _rescue(self, example: dspy.Example, prediction: Any) -> bool | None:
        """Whether the uncompiled solver answers right with the reference subquestions."""
        reference = example.get("subquestions")
        if not reference or list(prediction.get("subquestions") or []) == list(reference):
            return None
        solved, _ = self.job.program().run_solve(example.question, example.context, list(reference))
        return self.job.task.metric(example, solved) >= 1

    def _lm(self, role: str, budget: Budget) -> dspy.LM:
        return journaled(self.job.lms[role], self.journal, stage="prompts" if "prompt" in role else None, limits=budget)

    @contextlib.contextmanager
    def _settings(self, budget: Budget) -> Iterator[None]:
        # DSPy gives up at the tenth question that fails; here failures are counted and shown.
        settings: dict[str, Any] = {"max_errors": 10**9, "trace": None, "disable_history": True}
        with dspy.context(lm=self._lm("teacher", budget), adapter=self._prompt_adapter(), **settings):
            yield

    def _score(self, candidate: Candidate, split: str) -> None:
        """Ask a candidate every question of a split."""
        questions = [example for example in self.job.splits[split] if example.id not in candidate.scores.get(split, {})]
        if questions:
            evaluate = dspy.Evaluate(devset=questions, metric=self.watch.metric, num_threads=self.job.config.compile.threads)
            with self._settings(self.reserved):
                evaluate(self.job.with_prompts(candidate, self.watch))

    def _check_failures(self) -> None:
        failures = self.base.failures
        if len(failures) > _FAILURE_SHARE * self.base.asked(VALIDATION):
            raise RuntimeError(
                f"{len(failures)} of {self.base.asked(VALIDATION)} questions failed with the uncompiled program, the first: "
                f"{next(iter(failures.values()))}. What was answered is kept in {self.journal.path}; the same command continues."
            )

    def _last_comparison(self) -> Comparison | None:
        best = self.best()
        if best is self.base or not self.job.splits[DEV]:
            return None
        try:
            self._score(best, DEV)
        except LimitReached as limit:
            self.incomplete = self.incomplete or str(limit)
        finally:
            self._end(self.reserved)
        return paired_comparison(best.scores.get(DEV, {}), self.base.scores.get(DEV, {}), passages=passages_of(self.job.splits[DEV]))

    def best(self) -> Candidate:
        """The best by validation; among equals what the optimizer returned, else the first."""
        scored = [candidate for candidate in self.watch.candidates.values() if self.watch.is_complete(candidate)]
        return max(scored, key=lambda one: (_mean(one), one is self.found, -one.number), default=self.base)

    def _save(self, dev: Comparison | None) -> Compiled:
        best = self.best()
        program = self.job.with_prompts(best)
        program.set_lm(self.job.lms["teacher"])
        candidates = sorted(self.watch.candidates.values(), key=lambda one: one.number)
        compiled = Compiled(
            optimizer=self.job.config.compile.optimizer,
            program=program,
            folder=self.job.folder,
            candidates=candidates,
            best=best,
            found=self.found,
            dev=dev,
            incomplete=self.incomplete,
            failed=self.failed,
            paid=self.journal.paid,
        )
        seen = [*self.job.splits[TRAIN], *self.job.splits[VALIDATION]]
        keep_scorer_costs(self.job.folder, self.job.ledger)
        write_results(compiled, self.job.config, self.job.settings, self.job.stages, seen)
        return compiled

    def stop(self) -> None:
        """Make no further call, and wait for those under way: they are paid for."""
        self._end(self.budget)
        self._end(self.reserved)

    def _end(self, budget: Budget) -> None:
        budget.reached = budget.reached or "the optimizer has ended"
        self.journal.drain()


def _told(error: BaseException) -> str:
    """An error with its cause, on one line; those of DSPy often bear the model's name alone."""
    found = [error, *([error.__cause__] if error.__cause__ else [])]
    return ", as ".join(" ".join(f"{type(one).__name__}: {one}".split())[:400] for one in found)


def _mean(candidate: Candidate) -> float:
    estimate = candidate.interval().estimate
    return estimate if estimate == estimate else 0.0
