"""DSPy's prompt optimizers by name: what each is called with, what it may be set to, and how many calls it can make."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy

KNN = "KNNFewShot"

_GIVEN = {"self", "metric", "student", "teacher", "trainset", "valset", "seed", "num_threads", "max_errors", "prompt_model", "task_model",
          "teacher_settings", "reflection_lm", "log_dir", "eval_kwargs", "vectorizer", "few_shot_bootstrap_args", "_kwargs", 
          "verbose", "requires_permission_to_run", "provide_traceback",
          "instruction_proposer", "code_proposer", "track_stats", "restrict"}  # fmt: skip
"""Parameters that are no settings: `compile_prompts` fills them, or nobody should."""

_AUTO = {"light": 6, "medium": 12, "heavy": 18}
"""DSPy's sizes by name, and the candidates of each."""

_LEAST = {"breadth": 2} | dict.fromkeys(
    ("k", "depth", "bsize", "max_steps", "max_rounds", "num_candidates", "num_trials", "num_candidate_programs", "minibatch_size",
     "max_metric_calls", "max_full_evals", "reflection_minibatch_size"), 1)  # fmt: skip
"""Numbers that an optimizer cannot do without; all others may be 0."""


@dataclass(frozen=True)
class Job:
    """What an optimizer works with.

    Attributes:
        student: The program to compile, on journaled LMs.
        train: Questions for demos and reflection.
        validation: Questions to compare candidates by.
        metric: `metric(example, prediction, trace=None)`, a number.
        feedback: GEPA's metric, with words.
        prompt_lm: Writes instructions.
        prompt_adapter: The format in which it is asked; None leaves it to DSPy.
        threads: Questions at a time.
        seed: Of everything that is drawn.
        folder: For the optimizer's own logs.
        settings: Its own settings, defaults filled in.
    """

    student: dspy.Module
    train: list[dspy.Example]
    validation: list[dspy.Example]
    metric: Callable[..., Any]
    feedback: Callable[..., Any]
    prompt_lm: dspy.LM
    prompt_adapter: dspy.Adapter | None
    threads: int
    seed: int
    folder: Path
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class PromptOptimizer:
    """One of DSPy's teleprompters.

    Attributes:
        cls: DSPy's class.
        given: What `compile_prompts` fills in at its construction, by the job.
        compiling: The same for its `compile`.
        questions: At most how many questions it asks the program, from (settings, train, validation, stages).
        prompts: At most how many calls of the prompt model it makes, likewise.
        defaults: Settings that differ from DSPy's, so that the embedded models are done in minutes.
        rewrites: Whether it writes instructions.
        tries_on_train: Whether it compares candidates on training questions, and not only writes demos with them.
        instead: Setting -> the defaults that it takes the place of.
    """

    cls: type
    given: Callable[[Job], dict[str, Any]]
    compiling: Callable[[Job], dict[str, Any]]
    questions: Callable[[Mapping[str, Any], int, int, int], int]
    prompts: Callable[[Mapping[str, Any], int, int, int], int] = lambda *_: 0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rewrites: bool = False
    tries_on_train: bool = False
    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def parameters(self) -> list[str]:
        """Names of its settings, of the constructor and of `compile`."""
        functions: tuple[Any, ...] = (self.cls, getattr(self.cls, "compile"))  # noqa: B009 - of whatever class it is
        names = dict.fromkeys(name for function in functions for name in inspect.signature(function).parameters)
        return [name for name in names if name not in _GIVEN]

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults with what is given put over them.

        Raises:
            ValueError: A setting that it does not have.
        """
        unknown = [name for name in given if name not in self.parameters()]
        if unknown:
            raise ValueError(
                f"{self.cls.__name__} has no setting {unknown[0]!r} in [compile.settings]; expected some of {sorted(self.parameters())}."
            )
        for name, value in given.items():
            self._check(name, value)
        replaced = {old for name, value in given.items() if value is not None for old in self.instead.get(name, ())}
        return {**{name: value for name, value in self.defaults.items() if name not in replaced}, **given}

    def _check(self, name: str, value: Any) -> None:
        """Refuse a value that DSPy would stumble over when the uncompiled program's score is paid."""
        functions: tuple[Any, ...] = (getattr(self.cls, "compile"), self.cls)  # noqa: B009 - of whatever class it is
        known = {key: one.default for function in functions for key, one in inspect.signature(function).parameters.items()}
        usual, least = self.defaults.get(name, known.get(name)), _LEAST.get(name, 0)
        kinds: tuple[type, ...] = (bool,) if isinstance(usual, bool) else (int, float)
        numeric = isinstance(usual, int | float) or name in _LEAST or name == "metric_threshold"
        right = type(value) in kinds and (isinstance(value, bool) or least <= value < math.inf) if numeric and value is not None else True
        if not right:
            expected = "true or false" if kinds == (bool,) else f"a number from {least}"
            raise ValueError(f"compile.settings.{name}={value!r} cannot be: {self.cls.__name__} takes {expected}.")
        if name == "auto" and value not in (None, *_AUTO):
            raise ValueError(f"compile.settings.auto={value!r} is unknown; expected one of {list(_AUTO)}, or none.")

    def run(self, job: Job) -> dspy.Module:
        """Compile `job.student`, and return what DSPy's optimizer returns."""
        early = {name: value for name, value in job.settings.items() if name in inspect.signature(self.cls).parameters}
        late = {name: value for name, value in job.settings.items() if name not in early}
        optimizer = self.cls(**self.given(job), **early)
        return optimizer.compile(job.student, **self.compiling(job), **late)


class NearestFewShot:
    """What `dspy.KNNFewShot` does, in a form that can be saved: demos are bootstrapped once, the nearest picked at a call.

    DSPy's class bootstraps the neighbours of a question again at every call, and what it returns cannot be saved.

    Args:
        metric, metric_threshold, max_rounds: As of `dspy.BootstrapFewShot`.
        k: Demos shown for a question.
        max_labeled_demos: Examples to keep as they are, where the program did not get them right; all by default.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        k: int = 3,
        metric_threshold: float | None = None,
        max_rounds: int = 1,
        max_labeled_demos: int | None = None,
    ) -> None:
        if k < 1:
            raise ValueError(f"k={k} must be at least 1.")
        self.k, self.max_labeled_demos = k, max_labeled_demos
        self.settings = {"metric": metric, "metric_threshold": metric_threshold, "max_rounds": max_rounds}

    def compile(self, student: dspy.Module, *, trainset: list[dspy.Example]) -> dspy.Module:
        """A copy of `student` whose `FewShot` predictors hold a demo an example, and show the nearest."""
        picking, count = student.deepcopy(), len(trainset)
        for _, predictor in picking.named_predictors():
            predictor.nearest = self.k
        labeled = count if self.max_labeled_demos is None else self.max_labeled_demos
        bootstrap = dspy.BootstrapFewShot(max_bootstrapped_demos=count, max_labeled_demos=labeled, **self.settings)
        return bootstrap.compile(picking, trainset=trainset)


def _bootstrapping(job: Job) -> dict[str, Any]:
    return {"metric": job.metric}


def _trained(job: Job) -> dict[str, Any]:
    return {"trainset": job.train}


def _validated(job: Job) -> dict[str, Any]:
    return {"trainset": job.train, "valset": job.validation}


def _gepa(job: Job) -> dict[str, Any]:
    given = {"metric": job.feedback, "reflection_lm": job.prompt_lm, "num_threads": job.threads, "seed": job.seed}
    if job.prompt_adapter:
        from dspy.teleprompt.gepa import InstructionProposer

        given["instruction_proposer"] = InstructionProposer(adapter=job.prompt_adapter)
    # A repeated score is no news to a metric in words that sees one stage; the warning is.
    return {**given, "log_dir": str(job.folder), "warn_on_score_mismatch": False}


def _mipro(job: Job) -> dict[str, Any]:
    # The seed goes to the constructor: compile(seed=0) is ignored (DSPy issue 10321).
    return {"metric": job.metric, "prompt_model": job.prompt_lm, "task_model": dspy.settings.lm, "num_threads": job.threads,
            "seed": job.seed, "log_dir": str(job.folder), "track_stats": False}  # fmt: skip


def _copro_rounds(s: Mapping[str, Any], stages: int) -> int:
    """Instructions scored: with several stages COPRO scores all that it has, again in every round."""
    return stages * s["breadth"] * (sum(range(1, s["depth"] + 1)) if stages > 1 else s["depth"])


def _gepa_calls(s: Mapping[str, Any], train: int, validation: int, stages: int) -> int:
    if s.get("max_metric_calls"):
        return int(s["max_metric_calls"]) + validation + 2 * int(s["reflection_minibatch_size"])
    if s.get("max_full_evals"):
        return int(s["max_full_evals"]) * (train + validation) + validation
    candidates = _AUTO[s["auto"]]
    return int(dspy.GEPA.auto_budget(Any, stages, candidates, validation)) + validation


def _mipro_sizes(s: Mapping[str, Any], stages: int) -> tuple[int, int]:
    """Candidates of demos and instructions, and trials."""
    if not s.get("auto"):
        return int(s["num_candidates"]), int(s["num_trials"])
    candidates = _AUTO[s["auto"]]
    return candidates, int(max(4 * stages * math.log2(candidates), 1.5 * candidates))


def _mipro_calls(s: Mapping[str, Any], train: int, validation: int, stages: int) -> int:
    candidates, trials = _mipro_sizes(s, stages)
    full = 2 + trials // 5 if s.get("minibatch", True) else 0
    return candidates * train + (trials + 1 + full) * validation


_SMALL = {"max_bootstrapped_demos": 2, "max_labeled_demos": 2, "metric_threshold": 1.0}
"""A metric threshold, as DSPy takes any score above 0 for a success."""

OPTIMIZERS: dict[str, PromptOptimizer] = {
    "LabeledFewShot": PromptOptimizer(dspy.LabeledFewShot, lambda job: {}, _trained, lambda *_: 0, defaults={"k": 4}),
    "BootstrapFewShot": PromptOptimizer(
        dspy.BootstrapFewShot, _bootstrapping, _trained, lambda s, train, *_: train * int(s.get("max_rounds", 1)), defaults=_SMALL
    ),
    "BootstrapFewShotWithRandomSearch": PromptOptimizer(
        dspy.BootstrapFewShotWithRandomSearch,
        lambda job: {**_bootstrapping(job), "num_threads": job.threads},
        _validated,
        lambda s, train, validation, _: (s["num_candidate_programs"] + 1) * train + (s["num_candidate_programs"] + 3) * validation,
        defaults={**_SMALL, "num_candidate_programs": 4},
    ),
    KNN: PromptOptimizer(
        NearestFewShot,
        lambda job: {"metric": job.metric},
        _trained,
        lambda s, train, *_: train * int(s.get("max_rounds", 1)),
        defaults={"k": 3, "metric_threshold": 1.0},
    ),
    "COPRO": PromptOptimizer(
        dspy.COPRO,
        lambda job: {"metric": job.metric, "prompt_model": job.prompt_lm},
        lambda job: {"trainset": job.validation, "eval_kwargs": {"num_threads": job.threads}},
        lambda s, train, validation, stages: _copro_rounds(s, stages) * validation,
        lambda s, train, validation, stages: stages * (s["breadth"] * s["depth"] - 1),
        defaults={"breadth": 3, "depth": 2, "init_temperature": 1.0},
        rewrites=True,
    ),
    "MIPROv2": PromptOptimizer(
        dspy.MIPROv2,
        _mipro,
        _validated,
        _mipro_calls,
        lambda s, train, validation, stages: 10 + _mipro_sizes(s, stages)[0] * stages * 2 + stages + 1,
        defaults={**_SMALL, "auto": None, "num_candidates": 4, "num_trials": 6, "minibatch": False},
        rewrites=True,
        instead={"auto": ("num_candidates", "num_trials", "minibatch")},
    ),
    "GEPA": PromptOptimizer(
        dspy.GEPA,
        _gepa,
        _validated,
        _gepa_calls,
        lambda s, train, validation, stages: _gepa_calls(s, train, validation, stages) // (2 * int(s["reflection_minibatch_size"])),
        defaults={"max_metric_calls": 240, "reflection_minibatch_size": 3},
        rewrites=True,
        tries_on_train=True,
        instead={"auto": ("max_metric_calls",), "max_full_evals": ("max_metric_calls",)},
    ),
    "SIMBA": PromptOptimizer(
        dspy.SIMBA,
        lambda job: {"metric": job.metric, "prompt_model": job.prompt_lm, "num_threads": job.threads},
        lambda job: {**_trained(job), "seed": job.seed},
        lambda s, train, *_: s["max_steps"] * s["bsize"] * (2 * s["num_candidates"] + 1) + (s["num_candidates"] + 1) * train,
        lambda s, *_: s["max_steps"] * (s["num_candidates"] + 1),
        tries_on_train=True,
        defaults={"bsize": 16, "num_candidates": 3, "max_steps": 2, "max_demos": 2},
        rewrites=True,
    ),
}
"""By the name that `compile.optimizer` takes."""


def optimizer_by_name(name: str) -> PromptOptimizer:
    """One of `OPTIMIZERS`.

    Raises:
        ValueError: No such optimizer; names those there are.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"Unknown compile.optimizer {name!r}; expected one of {sorted(OPTIMIZERS)}.")
    return OPTIMIZERS[name]


def check_questions(optimizer: str, settings: Mapping[str, Any], train: Sequence[dspy.Example], outputs: Mapping[str, list[str]]) -> None:
    """Refuse what the optimizer would stumble over after it has been paid for.

    Args:
        optimizer: Name.
        settings: With defaults.
        train: Its questions.
        outputs: Stage -> its output fields.

    Raises:
        ValueError: Too few questions, or questions without the references that demos are made of.
    """
    if optimizer == "SIMBA" and len(train) < settings["bsize"]:
        raise ValueError(f"SIMBA's bsize={settings['bsize']} is more than compile.train={len(train)} questions; lower it, or raise that.")
    if optimizer != "LabeledFewShot":
        return
    for stage, names in outputs.items():
        lacking = [name for name in names if all(example.get(name) is None for example in train)]
        if lacking:
            raise ValueError(
                f"LabeledFewShot has no demos for the stage {stage!r}: the task's questions have no reference {lacking[0]!r}. "
                "Use BootstrapFewShot, which lets the teacher write them, or compile the other stage alone (compile.stages)."
            )
