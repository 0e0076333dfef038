"""The students of one training task: label, screen, train. Every step reads files and does what is missing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from optimizers.conditions import FEEDBACK_STUDENTS
from optimizers.distill import BootstrapDistill
from optimizers.distilled import Distilled, TooFewRowsError
from optimizers.experiments.roles import decompose_demos, policy_name, slug
from optimizers.experiments.setup import Setup
from optimizers.experiments.students import RECIPES, StudentRecipe
from optimizers.finetune.augment import check_augment
from optimizers.finetune.rows import teachers_own
from optimizers.jobs.jsonlines import line_of, read_json, write_json, write_whole
from optimizers.jobs.progress import Progress, no_progress, say
from optimizers.labelling.collect import TRACES
from optimizers.labelling.given import Answers
from optimizers.labelling.journal import Limits
from optimizers.labelling.samples import Collected, example_key
from optimizers.labelling.traces import traces_of
from optimizers.screening.lm_policy import check_asking
from optimizers.screening.policy import WRONG_ANSWER, Policy, PolicyModels, answer_free, configured_policy
from optimizers.screening.precision import write_measures
from programs.lms.engine import unload_all
from programs.lms.ledger import Usage, summed
from programs.modules import SingleStage, TwoStage, with_answer_format
from programs.tasks.base import Task
from programs.tasks.scorers import accepted_by

STANDS_IN_TEST = "stands_in_test"
"""Why a further row was not made: it repeats a question that is reported."""

DEMOS = 4
"""Demos of the few-shot decomposer."""


_LENIENT = ("number", "contains")
"""Scorers that take more than equal texts for right."""

_log = logging.getLogger("divide_or_conquer")


class LabellingStoppedError(RuntimeError):
    """A limit or too many failures ended labelling or screening before its time; what was paid for is kept."""


class Distillation:
    """Labels the training questions once, and trains every student that is asked for.

    Args:
        setup: Says how to label, screen and train, and has the training task, its questions and the models.
        labels: Folder of traces and samples. Several configurations may share it: a call is made once.
        students: Of `TRAINED`.
        notes: Folder of `labelling.json` and `rows.jsonl`, which are this configuration's own; `labels` by default.
        reported: Questions whose scores are reported or chosen by, which no further row may repeat; by default those of dev
            and test.
        progress: See `Progress`.

    Raises:
        ValueError: Rows are to be made that the task cannot have; see `check_augment`.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        labels: Path,
        students: list[str],
        notes: Path | None = None,
        reported: Sequence[dspy.Example] | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.config, self.task, self.splits, self.roles, self._traces = setup
        self.labels, self.students, self.progress = labels, students, progress
        self.notes = notes or labels
        own = [example for split in ("dev", "test") for example in self.splits.get(split, [])]
        self.reported = own if reported is None else list(reported)
        check_augment(self.config.augment, self.task)

    def label(self) -> None:
        """Run the teachers on the training questions: `traces.jsonl`, `samples.jsonl`, `labelling.json`."""
        self._check_policies()
        if self._traces is not None:
            say(self._traces.summary())
        # The two-stage teacher writes the few-shot demos too, so that it labels whatever students there are.
        asked = {RECIPES[student].teacher for student in self.students}
        further = [RECIPES[name] for name in ("S_C-T", FEEDBACK_STUDENTS[0]) if RECIPES[name].teacher in asked]
        recipes = RECIPES["S_D-T"], *further
        collected = [self._labelled(recipe) for recipe in recipes]
        # Students' dev rows are of the teacher's calls too: paid here, where they are counted.
        if self.splits.get("dev") and self.students:
            collected += [self._labelled(recipe, "dev") for recipe in recipes]
        self._note_labelling(collected)
        for part in collected:
            self.check_complete("Labelling", part)

    def _labelled(self, recipe: StudentRecipe, split: str = "train") -> Collected:
        distilled = self._prepared(self._distiller("S_D-T", recipe), recipe, split)
        assert distilled.collected is not None
        return distilled.collected

    def _note_labelling(self, parts: list[Collected]) -> None:
        stages = summed(part.usage for part in parts)
        usage = sum(stages.values(), Usage())
        noted = {
            "questions": len(parts[0]),
            **({"dev_questions": len(self.splits["dev"])} if self.splits.get("dev") else {}),
            "samples": sum(part.done for part in parts),
            "failed": sum(sum(part.failed.values()) for part in parts),
            **usage.to_dict(),
            "stages": {stage: cost.to_dict() for stage, cost in stages.items()},
            "failures": dict(sum((part.failed for part in parts), Counter())),
            **self._note_traces(parts),
        }
        stopped = [part.stopped for part in parts if part.stopped]
        if stopped:
            noted["stopped"] = stopped[0]
        self.notes.mkdir(parents=True, exist_ok=True)
        write_json(self.notes / "labelling.json", noted)

    def _note_traces(self, parts: list[Collected]) -> dict[str, Any]:
        """How many runs were taken from traces; every row that could not be is in `traces.json`."""
        if self._traces is None:
            return {}
        told = {"file": self.config.labelling.traces, **self._traces.to_dict()}
        self.notes.mkdir(parents=True, exist_ok=True)
        write_json(self.notes / "traces.json", told)
        counts = {name: len(told[name]) for name in ("refused", "kept_out")}
        return {"traced": sum(part.traced for part in parts), "traces": {**told, **counts}}

    def check_complete(self, stage: str, collected: Collected | None) -> None:
        """Refuse to go on with calls that were stopped, unless `labelling.partial` allows it.

        Args:
            stage: `Labelling` or `Screening`, for the message.
            collected: Its calls; None where there were none.

        Raises:
            LabellingStoppedError: They were stopped before their time.
        """
        if collected is None or not collected.stopped or self.config.labelling.partial:
            return
        raise LabellingStoppedError(
            f"{stage} stopped: {collected.stopped}. {collected.done} teacher runs are kept in {self.labels / 'samples.jsonl'}. The same "
            f"command continues once the cause is gone (a limit may be raised in the same folder); to go on with what there is, add "
            f"--labelling.partial true."
        )

    def screen(self) -> dict[str, Distilled]:
        """Rows of every student under its policy, kept or with the reason why not: `rows.jsonl`."""
        plain = {name: self.prepare(name) for name in self.students if not RECIPES[name].matched}
        fewest = min((len(teachers_own(rows)) for distilled in plain.values() for rows in distilled.rows.values()), default=None)
        matched = {name: self.prepare(name, fewest) for name in self.students if RECIPES[name].matched}
        prepared = {name: (plain | matched)[name] for name in self.students}
        self._write_rows(prepared)
        self._measure()
        return prepared

    def policy_of(self, student: str) -> str:
        """The name of the policy that screens a student."""
        return policy_name(RECIPES[student], self.config.screening)

    def _policies(self) -> list[str]:
        """The policies that screen the students, and those that are measured beside them."""
        return list(dict.fromkeys([*map(self.policy_of, self.students), *self.config.screening.measure]))

    def _check_policies(self) -> None:
        """Refuse a policy that cannot work before the teacher is paid."""
        teacher = self._programs(RECIPES["S_D-T"])[1]
        for name in self._policies():
            check_asking(self._policy(name), teacher, self._limits())

    def _policy(self, name: str) -> Policy:
        models = PolicyModels(self.roles.judge, lambda form: with_answer_format(self.roles.single_stage(form, "teacher"), self.task))
        return configured_policy(name, self.config.screening, models)

    def _measure(self) -> None:
        """Hold the policies that see no reference answers against those that are there: `screening.json`."""
        recipe, names = RECIPES["S_D-T"], self._policies()
        if set(names) & set(answer_free()):
            found = [self._prepared(self._distiller("S_D-T", recipe, policy=name), recipe) for name in dict.fromkeys(["none", *names])]
            prepared = [(one.policy, one.collected) for one in found if one.policy and one.collected]
            write_measures(self.notes, prepared, self.splits["train"], self.task.score, self.config.screening.min_score)

    def distill(self, skip: tuple[type[Exception], ...] = ()) -> tuple[dspy.Module | None, dict[str, str]]:
        """Train every student that has no artifact yet.

        Args:
            skip: Errors by which a student is left out, the others being trained all the same.

        Returns:
            The program of the last student that there is, None without one; and by student left out, why.
        """
        program, skipped = None, {}
        for name, distilled in self.screen().items():
            try:
                program = self.train(name, distilled)
            except skip as error:
                _log.error("%s: %s", name, error)
                say(f"{name} is left out: {error}")
                skipped[name] = str(error)
        return program, skipped

    def ready(self, name: str) -> Distilled:
        """One student with all that it needs: its labels, its rows, and its artifact, made where they are missing.

        Raises:
            LabellingStoppedError: Labelling was stopped before its time.
            TooFewRowsError: Fewer rows than `screening.min_rows`.
        """
        distilled = self.prepare(name)
        parts = [self._labelled(RECIPES[name], split) for split in ("train", "dev") if self.splits.get(split)]
        self._note_labelling(parts)
        for part in parts:
            self.check_complete("Labelling", part)
        self._write_rows({name: distilled})
        self.train(name, distilled)
        return distilled

    def train(self, name: str, distilled: Distilled) -> dspy.Module:
        """Train one student, unless it has its artifact, on the rows that `screen` found.

        Raises:
            TooFewRowsError: Fewer than `screening.min_rows`; nothing was trained.
            TrainingError: Training failed.
            ValueError: The artifact is damaged.
        """
        if self.roles.folder_of(name).exists():
            self.roles.artifact_of(name)
        recipe, rows = RECIPES[name], max(map(len, distilled.rows.values()))
        distiller = self._distiller(name, recipe, rows if recipe.matched else self.config.screening.max_rows)
        try:
            distiller.check_rows(distilled)
        except TooFewRowsError as error:
            raise TooFewRowsError(f"{error}{_other_scorers(self.task, self.splits['train'], distilled)}") from None
        if told := _other_scorers(self.task, self.splits["train"], distilled):
            say(f"{name}:{told}")
        dev = self.prepare(name, split="dev") if self.splits.get("dev") else None
        unload_all()  # the trainer's process needs the memory more
        return distiller.fit(self._programs(recipe)[0], distilled, dev)

    def demos(self) -> list[dspy.Example]:
        """Teacher decompositions as demos: those of the first questions that can be read."""
        recipe = RECIPES["S_D-T"]
        collected = self._labelled(recipe)
        examples = {example.id: example for example in self.splits["train"]}
        chosen = [(examples[s.example_id], s.prediction["subquestions"]) for s in collected.samples if s.prediction.get("state") == "ok"]
        return decompose_demos(self.roles.two_stage(self.task, "teacher", "teacher"), chosen[:DEMOS])

    def prepare(self, name: str, max_rows: int | None = None, split: str = "train") -> Distilled:
        """The rows of a student, labelled and screened where that is not on file.

        Args:
            name: The student.
            max_rows: In place of `screening.max_rows`.
            split: Whose questions.

        Raises:
            LabellingStoppedError: Screening was stopped before its time.
        """
        recipe = RECIPES[name]
        return self._prepared(self._distiller(name, recipe, max_rows or self.config.screening.max_rows), recipe, split)

    def check_rows(self, name: str, distilled: Distilled) -> None:
        """Refuse to train a student on too few rows; see `BootstrapDistill.check_rows`."""
        self._distiller(name, RECIPES[name], self.config.screening.max_rows).check_rows(distilled)

    def _prepared(self, distiller: BootstrapDistill, recipe: StudentRecipe, split: str = "train") -> Distilled:
        student, teacher = self._programs(recipe)
        distilled = distiller.prepare(student, trainset=self.splits[split], teacher=teacher, split=split)
        if split == "train":
            self.check_complete("Screening", getattr(distilled.policy, "asked", None))
        return distilled

    def _programs(self, recipe: StudentRecipe) -> tuple[TwoStage | SingleStage, TwoStage | SingleStage]:
        """The program whose predictors are trained, on the untuned student, and the teacher's."""
        if recipe.teacher == "feedback":
            return self.roles.feedback(self.task, "student0", "solver"), self.roles.feedback(self.task, "teacher", "teacher")
        if recipe.teacher != "two-stage":
            student, teacher = (self.roles.single_stage(recipe.teacher, role) for role in ("student0", "teacher"))
            return with_answer_format(student, self.task), with_answer_format(teacher, self.task)
        solver = "student0" if "solve" in recipe.stages else "solver"
        return self.roles.two_stage(self.task, "student0", solver), self.roles.two_stage(self.task, "teacher", "teacher")

    def _distiller(self, name: str, recipe: StudentRecipe, max_rows: int | None = None, policy: str | None = None) -> BootstrapDistill:
        labelling, screening, training = self.config.labelling, self.config.screening, self.config.training
        return BootstrapDistill(
            metric=self.task.metric,
            targets=recipe.stages,
            policy=self._policy(policy or policy_name(recipe, screening)),
            samples=labelling.samples,
            keep=screening.keep,
            min_score=screening.min_score,
            temperature=labelling.temperature,
            min_rows=min(screening.min_rows, max_rows or screening.min_rows),
            adapter=self.config.student.adapter,
            training=training.seeded(self.config.seed),
            folder=self.labels,
            threads=labelling.threads,
            limits=self._limits(),
            artifact_names={recipe.stages[0]: slug(name)},
            student_folder=self.roles.folder_of(name).parent,
            joint=len(recipe.stages) > 1,
            rewrite=recipe.rewrite,
            max_rows=max_rows,
            row_seed=screening.row_seed,
            # Students of equal numbers of rows are told apart by their stage alone.
            reported=self.reported,
            augment=None if recipe.matched or "decompose" not in recipe.stages else self.config.augment,
            replace=True,
            progress=self.progress,
            answers=self._answers(),
        )

    def _answers(self) -> Answers:
        """What is done about the answers of traces, for all students alike: else one would make the labels anew that another has."""
        if any("solve" in RECIPES[student].stages for student in self.students):
            return "ask"
        names = self._policies()
        looking = {name for name in names if not getattr(self._policy(name), "looks_at_no_answer", False)}
        if looking & set(answer_free()):
            return "take"
        if looking:
            return "referenced"
        # How often a policy is right is measured by the answers that there are references for.
        measured = set(names) & set(answer_free()) and any(traces_of(one) and one.get("answer") for one in self.splits["train"])
        return "referenced" if measured else "skip"

    def _limits(self) -> Limits:
        job = self.config.job_limits(self.labels / TRACES)
        return self.config.labelling.limits(self.config.labelling.failure_share, job)

    def _write_rows(self, prepared: Mapping[str, Distilled]) -> None:
        questions = {example.id: example.question for example in self.splits["train"]}
        self.notes.mkdir(parents=True, exist_ok=True)
        found = (_row_lines(student, self.policy_of(student), distilled, questions) for student, distilled in prepared.items())
        write_whole(self.notes / "rows.jsonl", (line_of(line) for lines in found for line in lines))


def _row_lines(student: str, policy: str, distilled: Distilled, questions: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    samples = distilled.collected.samples if distilled.collected and distilled.collected.traced else ()
    places = {(sample.example_id, sample.sample): sample.place for sample in samples if sample.place}
    for target, found in distilled.rows.items():
        rows = {(row["id"], row["sample"]): row for row in found}
        for decision in distilled.decisions:
            row = rows.get((decision.example_id, decision.sample), {})
            yield {
                "id": decision.example_id,
                "sample": decision.sample,
                "question": questions[decision.example_id],
                "student": student,
                "target": target,
                "policy": policy,
                "kept": decision.kept,
                "reason": decision.reason,
                "messages": row.get("messages"),
                **({"overwritten": True} if row.get("overwritten") else {}),
                **({"cut_off": True} if decision.cut_off else {}),
                **({"traced": place} if (place := places.get((decision.example_id, decision.sample))) else {}),
            }
        made = {"student": student, "target": target, "policy": RECIPES[student].policy, "kept": True, "reason": None}
        yield from ({**row, **made} for row in found if "origin" in row)
    left_out = {"student": student, "target": next(iter(distilled.rows), None), "policy": policy, "kept": False, "reason": STANDS_IN_TEST}
    yield from ({"id": row["sources"][0], "sample": 0, **row, **left_out, "messages": None} for row in distilled.repeated)


def _other_scorers(task: Task, examples: Sequence[dspy.Example], distilled: Distilled) -> str:
    """Which scorers would take answers for right that the own one does not: of an LLM that answers in sentences that may be most."""
    if task.name != "jsonl" or distilled.collected is None:
        return ""
    by_id = {example_key(example): example for example in examples}
    wrong = {(decision.example_id, decision.sample) for decision in distilled.decisions if decision.reason == WRONG_ANSWER}
    answers = [
        (by_id[sample.example_id], dspy.Prediction(**sample.prediction))
        for sample in distilled.collected.samples
        if (sample.example_id, sample.sample) in wrong
    ]
    counts = {name: count for name, count in accepted_by(_LENIENT, answers).items() if count and name != task.scoring}
    found = [f"{count} by --task.scorer {name}" for name, count in counts.items()]
    told = (
        f" Another scorer takes some of the {len(answers)} wrong answers for right: {', '.join(found)}; look at them (samples.jsonl) "
        "before you choose it."
    )
    return told if found else ""


def noted_labelling(notes: Path) -> dict[str, Any]:
    """What labelling cost and failed at, from `labelling.json`."""
    return read_json(notes / "labelling.json")
