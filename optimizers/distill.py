"""`BootstrapDistill`: a teleprompter that distils named predictors of a program into a small local model."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy
from dspy.teleprompt.bootstrap_finetune import FinetuneTeleprompter

from optimizers.distilled import Distilled, TooFewRowsError, check_rows, left_out_words
from optimizers.evaluation.leakage import Repeats
from optimizers.finetune.augment import AugmentSpec
from optimizers.finetune.bases import check_installed
from optimizers.finetune.provider import TRLProvider, base_folder, check_base
from optimizers.finetune.rows import Rewrite, RowMaker, decomposes
from optimizers.finetune.seconds import labelling_seconds, training_seconds
from optimizers.finetune.several_processes import check_gpus
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.targets import check_adapter, check_chat_template, check_formats, check_target
from optimizers.finetune.train import Progress, train
from optimizers.jobs.display import ShowsProgress
from optimizers.jobs.progress import Shown, expect
from optimizers.labelling.collect import check_examples, check_keys, collect
from optimizers.labelling.given import Answers, takes_traces
from optimizers.labelling.journal import Limits
from optimizers.labelling.samples import Collected, Examples, example_key
from optimizers.labelling.traces import Source, read_traces, with_traces
from optimizers.screening import Asking
from optimizers.screening.lm_policy import AskingPolicy, check_asking
from optimizers.screening.metric import MetricScorer
from optimizers.screening.policy import Decision, Policy, policy_by_name
from optimizers.screening.screen import KEEP, screen
from programs.adapter import adapter_name, configured_format
from programs.lms.artifacts import NAME, Artifact, home
from programs.lms.catalog import lm as make_lm
from programs.lms.trained_prompts import TrainedPrompt, trained_prompt
from programs.modules import Staged
from programs.program_copy import all_predictors, copy_program
from programs.tasks.base import Score, scorer_of
from programs.tasks.metrics import check_metric, score_by

if TYPE_CHECKING:
    pass

_log = logging.getLogger(__name__)


class BootstrapDistill(ShowsProgress, FinetuneTeleprompter):
    """Trains the LM of some predictors on a teacher's calls, and leaves all others as they are.

    Against `dspy.BootstrapFinetune`: predictors are chosen by name, one bad teacher row costs that row alone, rows are
    screened by a policy, nothing is paid for twice, and a failed training raises.

        optimizer = BootstrapDistill(metric=task.metric, policy="oracle", folder="runs/mine")
        student = optimizer.compile(TwoStage(), trainset=task.load("train", 200), teacher=teacher_program)

    Args:
        metric: Needed by the policy `oracle`. `metric(example, prediction)`, with `trace` or GEPA's further arguments or without,
            gives a bool, a number from 0 to 1, a `Score`, or a `dspy.Prediction` with `score`. Where it gives None or raises, the
            answer is unscored, which is counted. Another scale than 0 to 1 raises `programs.tasks.base.ScaleError`; labels are kept.
        targets: Names of predictors to train (as in `named_predictors()`, and those of compiled submodules too); by default
            those of the decomposer.
        policy: `none` (S_D-T), `oracle` (S_D-R), `gain`; without reference answers `self_consistency`, `agreement` or `judge`; or a
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
        reported: Questions that will be asked to measure the student, which no further row may repeat.
        replace: Move an artifact of other rows or settings aside and train again; without it, it is refused.
        threads: Teacher calls at a time.
        limits: Where labelling and screening stop.
        artifact_names: Predictor name -> folder name of its artifact; that of the first target, where `joint`.
        progress: By default `compile` shows how far it is, with the time left; see `optimizers.jobs.display`. False shows nothing; a
            function is called in its place with (stage, done, total, note), by `prepare` and `fit` too.
        traces: Decompositions that some program has made already, which stand in the teacher's place: a file, a folder, or rows, such as
            `lm.history`; see `optimizers.labelling.traces.read_traces`. A question that has one is not asked of the teacher; those that
            the trainset does not have are trained on too, unless they repeat one of `reported` or of the valset. What could not be
            taken, and why, is in `.traces`.
        trace_columns: Names of columns in `traces` that differ, as "question=frage,subquestions=teile".
        answers: What is done about the answer behind a trace's decomposition, as of `collect`; by default what policy and targets need.

    Raises:
        ValueError: A setting that cannot work.
    """

    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
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
        reported: Examples | None = None,
        replace: bool = False,
        progress: Shown = None,
        traces: Source | None = None,
        trace_columns: str | Mapping[str, str] = "",
        answers: Answers | None = None,
    ) -> None:
        super().__init__(train_kwargs=(training or TrainingSpec()).model_dump(exclude={"base"}))
        if policy == "oracle" and metric is None:
            raise ValueError("policy='oracle' keeps what the metric calls right: pass metric=, for example task.metric.")
        if isinstance(policy, str):
            policy_by_name(policy, min_score)
        if metric is not None:
            check_metric(metric)
        _check_numbers(keep, min_score, samples=samples, threads=threads, min_rows=min_rows, max_rows=max_rows)
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
        self.augment, self.reported = augment or AugmentSpec(), reported or []
        self.replace = replace
        self.progress = progress
        if trace_columns and traces is None:
            raise ValueError(f"trace_columns={trace_columns!r} would have no effect without traces=; give these, or leave it out.")
        self.traces = None if traces is None else read_traces(traces, trace_columns)
        self.answers = answers

    def compile(
        self, student: dspy.Module, *, trainset: Examples, teacher: dspy.Module | None = None, valset: Examples | None = None
    ) -> dspy.Module:
        """A copy of `student` whose target predictors run on freshly trained models.

        Args:
            student: Its target predictors' LMs are what is trained (`embedded/base`, `hf/...`, `local/...`, `gguf/...`).
            trainset: Questions for the teacher, with inputs marked.
            teacher: A program whose predictors have the same names; the student itself by default.
            valset: Questions whose teacher calls give the dev loss that picks the best checkpoint.

        Raises:
            ValueError: Unknown target, a target that cannot be trained or that the teacher has with other fields, a prompt format
                that cannot be trained, or bad examples; all before the first call.
            TooFewRowsError: Fewer than `min_rows` rows for a target.
            TrainingError: Training failed.
        """
        teacher = teacher or student
        trainset, valset = self._with_traces(teacher, trainset, valset or [])
        self._check_training(student, self._targets(student, teacher), [trainset, *([valset] if valset else [])])
        with self.showing() as shown:
            expect(shown, lambda: self._outline(student, teacher, len(trainset), len(valset or [])))
            distilled = self._prepared(student, trainset, teacher, "train")
            self.check_rows(distilled)
            dev = self._prepared(student, valset, teacher, "dev") if valset else None
            return self.fit(student, distilled, dev)

    def _outline(self, student: dspy.Module, teacher: dspy.Module, train: int, dev: int) -> dict[str, float]:
        """About how many seconds each stage will take, under the names that the progress gives them."""
        targets, samples = self._targets(student, teacher), self.samples
        bases = self._bases(targets)
        asked = [used.model if (used := one.lm or dspy.settings.lm) else "" for _, one in all_predictors(teacher)]
        runs = {split: count * samples for split, count in (("train", train), ("dev", dev)) if count}
        labels = {f"label {split}": labelling_seconds(asked, count, self.threads) for split, count in runs.items()}
        rows = min(train * (samples if self.keep == "all" else 1), self.max_rows or train * samples)
        trained = {
            f"train {self._folder_name(group[0])}": training_seconds(self.training, bases[group[0]], rows * len(group))
            for group in self._groups(list(targets))
        }
        return {**labels, **trained}

    def _check_training(self, student: dspy.Module, targets: dict[str, dspy.Predict], examples: Sequence[Examples]) -> None:
        """Refuse what could not be trained before anything is paid."""
        check_installed(self.training)
        bases = self._bases(targets)
        if self.joint and len(set(bases.values())) > 1:
            raise ValueError(f"joint=True trains one model for all targets, and they are on {bases}; give all the same LM, or joint=False.")
        for model in set(bases.values()):
            check_chat_template(model)
        fixed = self._fixed_adapters(student, list(targets))
        if fixed - {self._adapter_name(student, list(targets))}:
            raise ValueError(f"The student asks in the format {sorted(fixed)}, and adapter={self.adapter!r} would train another; give one.")
        names = [self._folder_name(group[0]) for group in self._groups(list(targets))]
        if not all((self.student_folder / name).exists() for name in names):
            check_gpus(self.training)
        wrong = [name for name in names if not NAME.fullmatch(name) or names.count(name) > 1]
        if wrong:
            raise ValueError(
                f"Artifact name {wrong[0]!r}: give each target a name of its own of letters, digits, . _ and - in artifact_names=."
            )
        for split in examples:
            check_examples(split)
        self._check_number_of_rows(student, len(examples[0]))

    def _check_number_of_rows(self, student: dspy.Module, questions: int) -> None:
        if self.max_rows is not None and self.max_rows < self.min_rows:
            raise ValueError(f"max_rows={self.max_rows} is below min_rows={self.min_rows}, so that nothing could be trained; change one.")
        # Other programs may call a target several times.
        most = questions * (self.samples if self.keep == "all" else 1)
        if isinstance(student, Staged) and most < self.min_rows:
            raise TooFewRowsError(
                f"{questions} questions give {most} rows at most, and at least {self.min_rows} are needed; nothing was asked. Add "
                "questions, or lower min_rows (in a run: screening.min_rows)."
            )

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
        bases, dev_rows = self._bases(targets), dev.rows if dev else {}
        for group in self._groups(list(targets)):
            rows, held_out = ([row for name in group for row in source.get(name, [])] for source in (distilled.rows, dev_rows))
            prompts = {name: self._prompt(student, name, targets[name], distilled) for name in group}
            artifact = self._train(group[0], bases[group[0]], rows, held_out, student, prompts)
            distilled.artifacts |= dict.fromkeys(group, artifact)
        return self._compiled(student, distilled)

    def _groups(self, targets: list[str]) -> list[list[str]]:
        """Targets that are one model."""
        return [targets] if self.joint else [[name] for name in targets]

    def _folder_name(self, target: str) -> str:
        """The name of a target's artifact: its own, or the predictor's in the letters that a name may have (`subs-0-.p`)."""
        return self.artifact_names.get(target) or re.sub(r"[^A-Za-z0-9._-]+", "-", target).strip("-._")

    def _bases(self, targets: dict[str, dspy.Predict]) -> dict[str, str]:
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
        if split == "train":
            trainset, _ = self._with_traces(teacher, trainset, [])
        return self._prepared(student, trainset, teacher, split)

    def _with_traces(self, teacher: dspy.Module, train: Examples, dev: Examples) -> tuple[Examples, Examples]:
        """The questions with the traces that are of them, and those of the traces behind the trainset."""
        if self.traces is None:
            return train, dev
        if not takes_traces(teacher):
            names = [name for name, _ in all_predictors(teacher)]
            raise ValueError(f"traces= needs a teacher with one predictor of question -> subquestions, and nothing else; it has {names}.")
        repeats = Repeats([*self.reported, *dev])
        found = with_traces({"train": train, "dev": dev}, self.traces, lambda example: repeats.leak(example) is not None)
        _log.info("%s", self.traces.summary())
        return found["train"], found["dev"]

    def _prepared(self, student: dspy.Module, trainset: Examples, teacher: dspy.Module, split: str) -> Distilled:
        targets = self._targets(student, teacher)
        adapter = self._adapter_name(student, list(targets))
        for name, predictor in targets.items():
            check_target(name, predictor, dict(all_predictors(teacher))[name], adapter, rewritten=self.rewrite is not None)
        policy = policy_by_name(self.policy, self.min_score) if isinstance(self.policy, str) else self.policy
        check_asking(policy, teacher, self.limits)
        if isinstance(policy, AskingPolicy):
            check_keys(used for _, asked in all_predictors(policy.program(teacher)) if (used := asked.lm or dspy.settings.lm))
        collected = self._collect(teacher, trainset, split, self.answers or _answers_for(policy, targets))
        if type(student) is type(teacher):
            check_formats(targets, adapter, collected.formats)
        scorer = MetricScorer(self.metric)
        decisions = self._screen(collected, trainset, policy, teacher, split, scorer, list(targets))
        self.tell(f"screen {split}", len(decisions), len(decisions), f"{sum(one.kept for one in decisions)} kept")
        repeats = Repeats(self.reported) if self.augment.is_on else None
        maker = RowMaker(targets, adapter, self.rewrite, self.max_rows, self.row_seed, self.augment, repeats=repeats)
        kept = {(decision.example_id, decision.sample) for decision in decisions if decision.kept}
        rows = maker.of(collected, kept, {example_key(example): example for example in trainset})
        if split == "train":
            rows = maker.chosen(rows, collected)
        if maker.left_out:
            _log.warning("%s", left_out_words(maker.left_out))
        return Distilled({}, rows, decisions, collected, policy, maker.left_out, scorer.summary(), maker.repeated, scorer.usage)

    def _targets(self, student: dspy.Module, teacher: dspy.Module) -> dict[str, dspy.Predict]:
        named = dict(all_predictors(student))
        chosen = self.targets if self.targets is not None else [name for name in named if name.split(".")[0] == "decompose"]
        unknown = [name for name in chosen if name not in named] or ([] if chosen else ["decompose"])
        if unknown:
            raise ValueError(
                f"The student has no predictor {unknown[0]!r}; it has {list(named)}. Name the ones to train in targets=; a predictor that "
                "is made in `forward`, or held by an object that is no dspy.Module, has no name: make it an attribute of a module."
            )
        there = dict(all_predictors(teacher))
        missing = [name for name in chosen if name not in there]
        if missing:
            raise ValueError(
                f"The teacher has no predictor {missing[0]!r}, only {list(there)}; its predictors must bear the student's names."
            )
        if self.augment.is_on and not any(decomposes(named[name]) for name in chosen):
            raise ValueError(f"augment= is for predictors of question -> subquestions, and none of {chosen} is one; leave it out.")
        return {name: named[name] for name in chosen}

    def _calls_progress(self, stage: str) -> Callable[[int, int, int, float | None], None]:
        def report(done: int, total: int, failed: int, eta: float | None) -> None:
            self.tell(stage, done, total, f"{failed} unusable" if failed else "")

        return report

    def _collect(self, teacher: dspy.Module, examples: list[dspy.Example], split: str, answers: Answers) -> Collected:
        return collect(
            teacher,
            examples,
            folder=self.folder,
            samples=self.samples,
            temperature=self.temperature,
            threads=self.threads,
            limits=self.limits,
            progress=self._calls_progress(f"label {split}"),
            answers=answers,
        )

    def _screen(
        self,
        collected: Collected,
        examples: list[dspy.Example],
        policy: Policy,
        teacher: dspy.Module,
        split: str,
        scorer: MetricScorer,
        targets: Sequence[str],
    ) -> list[Decision]:
        metric = self.metric
        decompositions = all(name.split(".")[0] == "decompose" for name in targets)
        asking = Asking(
            teacher,
            self.folder,
            threads=self.threads,
            limits=self.limits,
            # How two answers compare: what fails there is no failure of the metric, which sees no reference.
            score=(scorer_of(metric) or functools.partial(score_by, metric)) if metric else scorer,
            progress=self._calls_progress(f"screen {split}"),
        )

        def score(example: dspy.Example, prediction: Any) -> Score:
            return scorer(example, prediction, example_key(example))

        return screen(
            collected,
            examples,
            policy,
            score=score,
            keep=self.keep,
            min_score=self.min_score,
            asking=asking,
            decompositions=decompositions,
        )

    def _adapter_name(self, student: dspy.Module, targets: Sequence[str]) -> str:
        """The prompt format that the student will be asked in, and so has to learn.

        Raises:
            ValueError: One that cannot be trained, or several.
        """
        fixed = self._fixed_adapters(student, targets)
        if self.adapter:
            name = self.adapter
        elif hasattr(student, "adapter_of"):
            if len(fixed) > 1:
                raise ValueError(f"The student's targets {list(targets)} ask in different formats, {sorted(fixed)}; fix the same for all.")
            name = next(iter(fixed), "line-terse")
        else:
            name = configured_format()
        check_adapter(name)
        return name

    def _fixed_adapters(self, student: dspy.Module, targets: Sequence[str]) -> set[str]:
        """Formats that the program itself sets for the stages of the targets."""
        stages = {target.split(".")[0] for target in targets}
        return {adapter_name(adapter) for stage, adapter in getattr(student, "fixed_adapters", {}).items() if stage in stages}

    def check_rows(self, distilled: Distilled) -> None:
        """Refuse to train a target on too few of the teacher's rows.

        Raises:
            TooFewRowsError: Fewer than `min_rows`; says what became of the others.
        """
        check_rows(distilled, self.min_rows, self.folder / "samples.jsonl")

    def _prompt(self, student: dspy.Module, name: str, predictor: dspy.Predict, distilled: Distilled) -> TrainedPrompt:
        collected = distilled.collected
        asked = [call.inputs for sample in (collected.samples if collected else []) for call in sample.calls if call.predictor == name]
        return trained_prompt(predictor, self._adapter_name(student, [name]), asked)

    def _train(
        self,
        name: str,
        base: str,
        rows: list[dict[str, Any]],
        dev: list[dict[str, Any]],
        student: dspy.Module,
        prompts: dict[str, TrainedPrompt],
    ) -> Artifact:
        folder_name = self._folder_name(name)
        return train(
            rows,
            self.training.model_copy(update={"base": base_folder(base)}),
            self.student_folder / folder_name,
            name=folder_name,
            adapter=self._adapter_name(student, list(self._targets(student, student))),
            base=base,
            dev_rows=dev,
            prompts=prompts,
            progress=self._training_progress(folder_name),
            replace=self.replace,
        )

    def _training_progress(self, name: str) -> Progress:
        def report(step: int, steps: int, loss: float | None) -> None:
            note = "loading the model" if not step else ""
            self.tell(f"train {name}", step, steps, note if loss is None else f"loss {loss:.3f}")

        return report

    def _compiled(self, student: dspy.Module, distilled: Distilled) -> dspy.Module:
        compiled = copy_program(student)
        originals = dict(all_predictors(student))
        provider = TRLProvider(self.student_folder, adapter=self._adapter_name(student, list(distilled.artifacts)))
        for name, predictor in all_predictors(compiled):
            predictor.lm = originals[name].lm
            if name in distilled.artifacts:
                predictor.lm = make_lm(distilled.artifacts[name].model_string)
                predictor.lm.provider = provider
        compiled.distilled = distilled
        return compiled


def _trainable(name: str, model: dspy.LM | None) -> str:
    if model is None:
        raise ValueError(f"Predictor {name!r} of the student has no LM; set one that can be trained, for example lm('embedded/base').")
    check_base(model.model)
    return model.model


def _check_numbers(keep: str, min_score: float, **least_one: int | None) -> None:
    if keep not in KEEP:
        raise ValueError(f"Unknown keep={keep!r}; expected one of {list(KEEP)}.")
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score={min_score} must be between 0 and 1, as scores are.")
    for name, value in least_one.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value} must be at least 1" + ("; None takes all rows." if name == "max_rows" else "."))


def _answers_for(policy: Policy, targets: Iterable[str]) -> Answers:
    """What is done about the answers of traces: rows of the solver's are made by asking it, and a policy may look at an answer."""
    if any(name.split(".")[0] != "decompose" for name in targets):
        return "ask"
    return "skip" if getattr(policy, "looks_at_no_answer", False) else "take"
