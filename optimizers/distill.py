"""`BootstrapDistill`: a teleprompter that distils named predictors of a program into a small local model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy
from dspy.teleprompt.bootstrap_finetune import FinetuneTeleprompter

from optimizers.finetune.augment import AugmentSpec
from optimizers.finetune.provider import TRLProvider, base_folder
from optimizers.finetune.rows import Rewrite, RowMaker, decomposes, teachers_own
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import Progress, train
from optimizers.labelling.collect import collect
from optimizers.labelling.journal import Limits
from optimizers.labelling.samples import Collected, Examples, example_key
from optimizers.screening import Asking
from optimizers.screening.lm_policy import check_asking
from optimizers.screening.policy import Decision, Policy, policy_by_name
from optimizers.screening.screen import count_drops, screen
from programs.adapter import adapter_name
from programs.lms.artifacts import Artifact, home
from programs.lms.catalog import lm as make_lm
from programs.tasks.base import Score, scorer_of


class TooFewRowsError(ValueError):
    """Screening left fewer rows than a training needs; nothing was trained, the traces are kept."""


@dataclass
class Distilled:
    """What a distillation did, attached to the compiled program as `.distilled`.

    Attributes:
        artifacts: Predictor name -> the model that was trained for it.
        rows: Predictor name -> training rows (`id` and `messages`); those that no teacher wrote bear their `origin`, and
            stand behind the others.
        decisions: One per (example, sample): kept, or the reason why not.
        collected: The teacher's samples and what they cost.
        policy: What judged them; one that asks has its replies and their cost in `.asked`.
    """

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    collected: Collected | None = None
    policy: Policy | None = None


class BootstrapDistill(FinetuneTeleprompter):
    """Trains the LM of some predictors on a teacher's calls, and leaves all others as they are.

    Against `dspy.BootstrapFinetune`: predictors are chosen by name, one bad teacher row costs that row alone, rows are
    screened by a policy, nothing is paid for twice, and a failed training raises.

        optimizer = BootstrapDistill(metric=task.metric, policy="oracle", folder="runs/mine")
        student = optimizer.compile(TwoStage(), trainset=task.load("train", 200), teacher=teacher_program)

    Args:
        metric: `metric(example, prediction) -> float`; needed by the policy `oracle`.
        targets: Names of predictors to train (as in `named_predictors()`); by default those of the decomposer.
        policy: `none` (S_D-T), `oracle` (S_D-R); without reference answers `self_consistency`, `agreement` or `judge`; or a
            `Policy`, such as `optimizers.screening.SelfConsistency(votes=9)`.
        samples: Teacher samples a question.
        keep: `first` right sample of a question, `all` distinct right ones, or that with the `fewest` subquestions.
        temperature: Of the teacher's samples; needed if `samples` > 1.
        min_score: Metric value that counts as right.
        min_rows: Fewest rows to train on.
        adapter: Prompt format of the student: `line-terse` for this package's programs, else DSPy's configured one.
        training: Settings of the fine-tuning; its `base` is ignored.
        folder: Traces and artifacts; a folder under `$DIVIDE_OR_CONQUER_HOME` by default. The same folder continues.
        student_folder: Where the artifacts go instead of `<folder>/student`.
        joint: One model for all targets, trained on the rows of all, in place of one a target.
        rewrite: `rewrite(outputs, example) -> outputs`: the target to learn in place of the teacher's outputs.
        max_rows: Rows to train on at most, drawn by `row_seed`; None takes all.
        augment: Further rows for decomposers, made from those that were drawn; None or the default makes none.
        replace: Move an artifact of other rows or settings aside and train again; without it, it is refused.
        threads: Teacher calls at a time.
        limits: Where labelling and screening stop.
        artifact_names: Predictor name -> folder name of its artifact; that of the first target, where `joint`.
        progress: Called with (stage, done, total, note) while labelling and training.
    """

    def __init__(
        self,
        metric: Callable[..., float] | None = None,
        *,
        targets: Sequence[str] | None = None,
        policy: str | Policy = "none",
        samples: int = 1,
        keep: str = "first",
        temperature: float | None = None,
        min_score: float = 1.0,
        min_rows: int = 20,
        adapter: str | None = None,
        training: TrainingSpec | None = None,
        folder: Path | str | None = None,
        threads: int = 8,
        limits: Limits | None = None,
        artifact_names: dict[str, str] | None = None,
        student_folder: Path | None = None,
        joint: bool = False,
        rewrite: Rewrite | None = None,
        max_rows: int | None = None,
        row_seed: int = 0,
        augment: AugmentSpec | None = None,
        replace: bool = False,
        progress: Callable[[str, int, int, str], None] | None = None,
    ) -> None:
        super().__init__(train_kwargs=(training or TrainingSpec()).model_dump(exclude={"base"}))
        if policy == "oracle" and metric is None:
            raise ValueError("policy='oracle' keeps what the metric calls right: pass metric=, for example task.metric.")
        if isinstance(policy, str):
            policy_by_name(policy, min_score)
        self.metric, self.policy, self.keep, self.min_score = metric, policy, keep, min_score
        self.targets = list(targets) if targets is not None else None
        self.samples, self.temperature, self.threads = samples, temperature, threads
        self.min_rows, self.adapter = min_rows, adapter
        self.training = training or TrainingSpec()
        self.folder = Path(folder) if folder else home() / "distill"
        self.limits = limits or Limits()
        self.artifact_names = artifact_names or {}
        self.student_folder = student_folder or self.folder / "student"
        self.joint, self.rewrite = joint, rewrite
        self.max_rows, self.row_seed = max_rows, row_seed
        self.augment, self.replace = augment or AugmentSpec(), replace
        self.progress = progress

    def compile(
        self, student: dspy.Module, *, trainset: Examples, teacher: dspy.Module | None = None, valset: Examples | None = None
    ) -> dspy.Module:
        """A copy of `student` whose target predictors run on freshly trained models.

        Args:
            student: Its target predictors' LMs are what is trained (`embedded/base`, `hf/...`, `local/...`).
            trainset: Questions for the teacher, with inputs marked.
            teacher: A program whose predictors have the same names; the student itself by default.
            valset: Questions whose teacher calls give the dev loss that picks the best checkpoint.

        Raises:
            ValueError: Unknown target, or a target whose LM cannot be trained.
            TooFewRowsError: Fewer than `min_rows` rows for a target.
            TrainingError: Training failed.
        """
        teacher = teacher or student
        self._bases(student, self._targets(student, teacher))
        distilled = self.prepare(student, trainset=trainset, teacher=teacher)
        self.check_rows(distilled)
        dev = self.prepare(student, trainset=valset, teacher=teacher, split="dev") if valset else None
        return self.fit(student, distilled, dev)

    def fit(self, student: dspy.Module, distilled: Distilled, dev: Distilled | None = None) -> dspy.Module:
        """Train on rows that `prepare` made, and return what `compile` returns.

        Args:
            student: As in `compile`.
            distilled: Of the training questions.
            dev: Of the dev questions, whose loss picks the best checkpoint.

        Raises:
            TooFewRowsError: Fewer than `min_rows` rows for a target.
            TrainingError: Training failed.
        """
        self.check_rows(distilled)
        targets = self._targets(student, student)
        bases, dev_rows = self._bases(student, targets), dev.rows if dev else {}
        for group in [list(targets)] if self.joint else [[name] for name in targets]:
            rows, held_out = ([row for name in group for row in source.get(name, [])] for source in (distilled.rows, dev_rows))
            artifact = self._train(group[0], bases[group[0]], rows, held_out, student)
            distilled.artifacts |= dict.fromkeys(group, artifact)
        return self._compiled(student, distilled)

    def _bases(self, student: dspy.Module, targets: dict[str, dspy.Predict]) -> dict[str, str]:
        return {name: _trainable(name, predictor.lm or dspy.settings.lm) for name, predictor in targets.items()}

    def prepare(
        self, student: dspy.Module, *, trainset: list[dspy.Example], teacher: dspy.Module | None = None, split: str = "train"
    ) -> Distilled:
        """Label and screen without training: what `compile` would train on.

        Args:
            student: Gives the signatures and demos that the rows are rendered with.
            trainset: Questions for the teacher.
            teacher: As in `compile`.
            split: A word for the progress display.
        """
        teacher = teacher or student
        targets = self._targets(student, teacher)
        policy = policy_by_name(self.policy, self.min_score) if isinstance(self.policy, str) else self.policy
        check_asking(policy, teacher, self.limits)
        collected = self._collect(teacher, trainset, split)
        decisions = self._screen(collected, trainset, policy, teacher, split)
        maker = RowMaker(targets, self._adapter_name(student), self.rewrite, self.max_rows, self.row_seed, self.augment)
        kept = {(decision.example_id, decision.sample) for decision in decisions if decision.kept}
        rows = maker.of(collected, kept, {example_key(example): example for example in trainset})
        if split == "train":
            rows = maker.chosen(rows, collected)
        return Distilled(rows=rows, decisions=decisions, collected=collected, policy=policy)

    def _targets(self, student: dspy.Module, teacher: dspy.Module) -> dict[str, dspy.Predict]:
        named = dict(student.named_predictors())
        chosen = self.targets if self.targets is not None else [name for name in named if name.split(".")[0] == "decompose"]
        unknown = [name for name in chosen if name not in named] or ([] if chosen else ["decompose"])
        if unknown:
            raise ValueError(f"The student has no predictor {unknown[0]!r}; it has {list(named)}. Name the ones to train in targets=.")
        missing = [name for name in chosen if name not in dict(teacher.named_predictors())]
        if missing:
            raise ValueError(f"The teacher has no predictor {missing[0]!r}; its predictors must bear the student's names.")
        if self.augment.is_on and not any(decomposes(named[name]) for name in chosen):
            raise ValueError(f"augment= is for predictors of question -> subquestions, and none of {chosen} is one; leave it out.")
        return {name: named[name] for name in chosen}

    def _calls_progress(self, stage: str) -> Callable[[int, int, int, float | None], None]:
        def report(done: int, total: int, failed: int, eta: float | None) -> None:
            if self.progress:
                self.progress(stage, done, total, f"{failed} failed" if failed else "")

        return report

    def _collect(self, teacher: dspy.Module, examples: list[dspy.Example], split: str) -> Collected:
        return collect(
            teacher,
            examples,
            folder=self.folder,
            samples=self.samples,
            temperature=self.temperature,
            threads=self.threads,
            limits=self.limits,
            progress=self._calls_progress(f"label {split}"),
        )

    def _screen(
        self, collected: Collected, examples: list[dspy.Example], policy: Policy, teacher: dspy.Module, split: str
    ) -> list[Decision]:
        asking = Asking(
            teacher,
            self.folder,
            threads=self.threads,
            limits=self.limits,
            score=scorer_of(self.metric) or self._score,
            progress=self._calls_progress(f"screen {split}"),
        )
        return screen(collected, examples, policy, score=self._score, keep=self.keep, min_score=self.min_score, asking=asking)

    def _score(self, example: dspy.Example, prediction: Any) -> Score:
        return Score(float(self.metric(example, prediction))) if self.metric else Score.unscored("no metric")

    def _adapter_name(self, student: dspy.Module) -> str:
        if self.adapter:
            return self.adapter
        if hasattr(student, "adapter_of"):
            return "line-terse"
        return adapter_name(dspy.settings.adapter) if dspy.settings.adapter else "chat"

    def check_rows(self, distilled: Distilled) -> None:
        """Refuse to train a target on too few of the teacher's rows.

        Raises:
            TooFewRowsError: Fewer than `min_rows`; says what became of the others.
        """
        for name, rows in distilled.rows.items():
            if len(own := teachers_own(rows)) < self.min_rows:
                drops = count_drops(distilled.decisions).items()
                dropped = ", ".join(f"{count} {reason}" for reason, count in drops) or "none dropped"
                raise TooFewRowsError(
                    f"Only {len(own)} rows for {name!r}, at least {self.min_rows} are needed; nothing was trained. Of "
                    f"{len(distilled.decisions)} teacher samples: {dropped}. Add questions, look at {self.folder / 'samples.jsonl'}, or "
                    "lower screening.min_rows."
                )

    def _train(self, name: str, base: str, rows: list[dict[str, Any]], dev: list[dict[str, Any]], student: dspy.Module) -> Artifact:
        folder_name = self.artifact_names.get(name, name)
        return train(
            rows,
            self.training.model_copy(update={"base": base_folder(base)}),
            self.student_folder / folder_name,
            name=folder_name,
            adapter=self._adapter_name(student),
            base=base,
            dev_rows=dev,
            progress=self._training_progress(folder_name),
            replace=self.replace,
        )

    def _training_progress(self, name: str) -> Progress:
        def report(step: int, steps: int, loss: float | None) -> None:
            if self.progress:
                self.progress(f"train {name}", step, steps, "" if loss is None else f"loss {loss:.3f}")

        return report

    def _compiled(self, student: dspy.Module, distilled: Distilled) -> dspy.Module:
        compiled = student.deepcopy()
        originals = dict(student.named_predictors())
        provider = TRLProvider(self.student_folder, adapter=self._adapter_name(student))
        for name, predictor in compiled.named_predictors():
            predictor.lm = originals[name].lm
            if name in distilled.artifacts:
                predictor.lm = make_lm(distilled.artifacts[name].model_string)
                predictor.lm.provider = provider
        compiled.distilled = distilled
        return compiled


def _trainable(name: str, model: dspy.LM | None) -> str:
    if model is None:
        raise ValueError(f"Predictor {name!r} of the student has no LM; set one that can be trained, for example lm('embedded/base').")
    base_folder(model.model)
    return model.model
