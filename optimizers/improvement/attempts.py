"""The attempts of a round: the student decomposes, the solver solves, and what came of it becomes training rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from optimizers.evaluation.program_hash import program_hash
from optimizers.finetune.rewards import Rewards, scored
from optimizers.improvement.preference_pairs import Attempt, distinct, pair_row, pairs_of, prompt_row, right_ones, row_of
from optimizers.jobs.jsonlines import line_of, read_json, read_lines, write_json, write_whole
from optimizers.jobs.progress import Progress
from optimizers.labelling.collect import collect
from optimizers.labelling.journal import LimitReached, Limits, digest
from optimizers.labelling.samples import CUT_OFF, UNPARSEABLE, Collected, example_key, inputs_hash
from optimizers.settings.improve import ImproveConfig
from programs.baselines.hidden_question import with_hidden_question
from programs.feedback import FeedbackTwoStage
from programs.lms.ledger import Usage
from programs.modules import SingleStage, TwoStage, module_lm, with_answer_format
from programs.tasks.base import Task

_TARGET = "decompose"

_FAILURE_SHARE = 0.2


class AttemptsFailedError(RuntimeError):
    """Too many calls failed to learn anything from the rest; what was answered is kept."""


@dataclass(frozen=True)
class RoundContext:
    """What all rounds of a job have in common.

    Attributes:
        task: Scores the answers.
        settings: Of the rounds.
        folder: Of traces and rounds.
        rows: Training rows that there are without the rounds, such as the teacher's.
        seed: Of the samples.
        threads: Questions at a time.
        limits: Gives what is left of the limits on calls, tokens and dollars.
        progress: Called with (stage, done, total, note).
    """

    task: Task
    settings: ImproveConfig
    folder: Path
    rows: Sequence[dict[str, Any]]
    seed: int
    threads: int
    limits: Callable[[], Limits]
    progress: Progress


class Attempts:
    """Fills `<folder>/<round>/rows.jsonl` and `tried.json`; every call stands in `<folder>/traces.jsonl`.

    Args:
        context: Of the rounds.
        student: The program as it came; its solver is the judge in every round.
        questions: To decompose in every round.
    """

    def __init__(self, context: RoundContext, student: TwoStage, questions: list[dspy.Example]) -> None:
        self.context, self.student, self.questions = context, student, questions

    def folder(self, number: int) -> Path:
        """A round's folder."""
        return self.context.folder / str(number)

    def rows(self, number: int, program: TwoStage) -> list[dict[str, Any]]:
        """New training rows of a round; from file where the round has been here before with the same questions and student.

        Raises:
            LimitReached: A limit of the settings ended the attempts.
            AttemptsFailedError: More than a fifth of them failed.
        """
        folder = self.folder(number)
        asked = self._asked(program)
        # Earlier versions did not say what they asked.
        if not (folder / "tried.json").exists() or read_json(folder / "tried.json").get("asked", asked) != asked:
            folder.mkdir(parents=True, exist_ok=True)
            rows, tried = self._prompts(number, program) if self.context.settings.method == "grpo" else self._tried(number, program)
            write_whole(folder / "rows.jsonl", map(line_of, rows))
            # Last, as the mark that the rows are all there.
            write_json(folder / "tried.json", {**tried, "rows": len(rows), "asked": asked})
        return list(read_lines(folder / "rows.jsonl"))

    def _asked(self, program: TwoStage) -> str:
        """Hash of what the rows of a round hang on beside the settings: questions with their references, and the student."""
        questions = [[example_key(example), inputs_hash(example), example.get("answer")] for example in self.questions]
        return digest([questions, program_hash(program)])[:16]

    def _tried(self, number: int, program: TwoStage) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        settings = self.context.settings
        seeded = with_decomposer(program, (program.decompose.lm or dspy.settings.lm).copy(seed=self.context.seed))
        tried = with_hidden_question(seeded) if settings.hide_question else seeded
        found = self._collect(tried, f"round {number}: try", settings.samples, {_TARGET: settings.temperature})
        alone, usage = self._alone(number) if settings.reward == "gain" else ({}, {})
        rewards = Rewards(self.context.task, settings.reward, alone, settings.min_share)
        rows: list[dict[str, Any]] = []
        counts = dict.fromkeys(("decompositions", "distinct", "right", "wrong", "unjudged"), 0)
        for example in self.questions:
            samples = found[example_key(example)]
            given = rewards(example, samples)
            attempts = distinct(samples, given, _TARGET)
            rows += self._learned(program, attempts, example_key(example))
            _count(counts, given, attempts, settings.min_reward)
        known = {_message(row) for row in self.context.rows} if settings.method == "expert" and settings.teacher_rows else set()
        costs = {stage: cost.to_dict() for stage, cost in {**found.usage, **usage}.items()}
        notes = {"questions": len(self.questions), **counts, "failed": dict(found.failed), "usage": costs}
        return [row for row in rows if _message(row) not in known], notes

    def _learned(self, program: TwoStage, attempts: Sequence[Attempt], name: str) -> list[dict[str, Any]]:
        settings = self.context.settings
        if settings.method == "dpo":
            pairs = pairs_of(attempts, settings.min_reward, settings.prefer, settings.dpo.pairs_per_question)
            return [pair_row(program, chosen, rejected, name) for chosen, rejected in pairs]
        right = right_ones(attempts, settings.min_reward, settings.prefer)
        return [row_of(program, attempt, name) for attempt in right[: settings.rows_per_question]]

    def _prompts(self, number: int, program: TwoStage) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Prompts for GRPO, which samples for itself; with feedback they need the solver's first attempts."""
        told: dict[str, dict[str, Any]] = {}
        usage: dict[str, Usage] = {}
        if isinstance(program, FeedbackTwoStage):
            found = self._collect(program, f"round {number}: attempts", 1, None)
            told = {one.example_id: call.inputs for one in found.samples for call in one.calls if call.predictor == _TARGET}
            usage = found.usage
        rows = []
        for example in self.questions:
            plain = program.decompose_inputs(example.question, example.get("context") or "")
            if not isinstance(program, FeedbackTwoStage) or example_key(example) in told:
                rows.append(prompt_row(program, told.get(example_key(example), plain), example))
        return rows, {"questions": len(self.questions), "usage": {stage: cost.to_dict() for stage, cost in usage.items()}}

    def _alone(self, number: int) -> tuple[Mapping[str, float | None], dict[str, Usage]]:
        """The solver's single-stage scores, asked once for all rounds; the first round bears the cost."""
        adapters: dict[str, dspy.Adapter | str] = {"answer": self.student.adapter_of("solve")}
        program = SingleStage(chain_of_thought=self.context.settings.alone.endswith("-cot"), adapters=adapters)
        program.set_lm(module_lm(self.student.solve))
        with_answer_format(program, self.context.task)
        found = self._collect(program, "solver alone", 1, None)
        by_id = {example_key(example): example for example in self.questions}
        scores = {
            one.example_id: None if one.error else scored(self.context.task, by_id[one.example_id], dspy.Prediction(**one.prediction))
            for one in found.samples
        }
        return scores, found.usage if number == 1 else {}

    def _collect(self, program: dspy.Module, stage: str, samples: int, temperature: dict[str, float] | None) -> Collected:
        def report(done: int, total: int, failed: int, eta: float | None) -> None:
            self.context.progress(stage, done, total, f"{failed} failed" if failed else "")

        context = self.context
        found = collect(
            program,
            self.questions,
            folder=context.folder,
            samples=samples,
            temperature=temperature,
            threads=context.threads,
            limits=context.limits(),
            progress=report,
        )
        if found.stopped:
            raise LimitReached(found.stopped)
        _check_failures(found)
        return found


def _check_failures(found: Collected) -> None:
    # A student that writes what cannot be read is what learning is for; calls that fail are not.
    failed = {reason: count for reason, count in found.failed.items() if reason not in (UNPARSEABLE, CUT_OFF)}
    if sum(failed.values()) > _FAILURE_SHARE * found.done:
        reasons = ", ".join(f"{count} {reason}" for reason, count in failed.items())
        raise AttemptsFailedError(
            f"{sum(failed.values())} of {found.done} attempts failed ({reasons}); see {found.folder / 'traces.jsonl'}"
        )


def with_decomposer(program: TwoStage, model: dspy.LM) -> TwoStage:
    """A copy of a program with another LM for its decomposer; the LMs of the others are the very same."""
    made = on_lms(program, lambda lm: lm)
    made.decompose.lm = model
    return made


def on_lms(program: TwoStage, wrap: Callable[[dspy.LM], dspy.LM]) -> TwoStage:
    """A copy of a program whose predictors use `wrap` of their LMs, made once an LM."""
    made = program.deepcopy()
    twins: dict[int, dspy.LM] = {}
    for (_, original), (_, predictor) in zip(program.named_predictors(), made.named_predictors(), strict=True):
        own = original.lm or dspy.settings.lm
        if id(own) not in twins:
            twins[id(own)] = wrap(own)
        predictor.lm = twins[id(own)]
    return made


def _count(counts: dict[str, int], rewards: Sequence[float | None], attempts: Sequence[Attempt], min_reward: float) -> None:
    judged = [reward for reward in rewards if reward is not None]
    right = sum(reward >= min_reward for reward in judged)
    counts["decompositions"] += len(rewards)
    counts["distinct"] += len(attempts)
    counts["right"] += right
    counts["wrong"] += len(judged) - right
    counts["unjudged"] += len(rewards) - len(judged)


def _message(row: Mapping[str, Any]) -> str:
    return json.dumps(row["messages"])
