"""What screens: a policy judges the samples of one example, and says of each that it drops why.

`none` keeps what can be read (S_D-T in the paper), `oracle` what led the teacher itself to the right answer (S_D-R), `gain`
what it needed for that. Without reference answers, `self_consistency`, `agreement` and `judge` ask LMs. A policy of your own
is a class with a name, and with `configured` and `planned` if it needs them: see `Policy`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import dspy

from optimizers.labelling.samples import Sample
from programs.registry import Registry, accepted, converted, missing_option
from programs.tasks.base import Score

WRONG_ANSWER, UNSCORED = "wrong_answer", "unscored"

Scorer = Callable[[dspy.Example, Any], Score]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one sample.

    Attributes:
        example_id: The example's `id`.
        sample: Number of the teacher's run on it.
        reason: Why it was dropped; None if it was kept.
        state: State of its decomposition (`ok`, `none_needed`, `over_limit`, ...); empty if the run failed.
        score: Of the teacher's own answer, in [0, 1]; None if the policy did not ask, or it cannot be judged.
        cut_off: Whether a reply behind the decomposition was cut off, so that there is no answer of the teacher's.
    """

    example_id: str
    sample: int
    reason: str | None
    state: str = ""
    score: float | None = None
    cut_off: bool = False

    @property
    def kept(self) -> bool:
        """Whether a student learns from it."""
        return self.reason is None


@runtime_checkable
class Policy(Protocol):
    """Judges one readable sample by itself; `screen` sees to failed runs, duplicates and `keep`.

    One that has to ask LMs first is an `AskingPolicy`: `screen` calls its `prepare` before the first `judge`. The class may
    also have `answer_free = True` (it sees no reference answer), `looks_at_no_answer = True` (nor one of the teacher's, so that it
    may judge a decomposition whose solver's reply was cut off), `configured(settings, models)` (a class method; see
    `configured_policy`) and `planned(settings, questions, samples)` (see `planned_calls`).

    Attributes:
        name: What users type, and what reports show.
    """

    name: str

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Score]) -> tuple[str | None, float | None]:
        """Judge one sample.

        Args:
            example: The question with its reference answer.
            sample: What the teacher did with it.
            score: Gives the score of the teacher's answer, where the policy wants it.

        Returns:
            The reason to drop it, or None to keep it; and the score, or None.
        """
        ...


class PolicyModels(NamedTuple):
    """What a configured policy may ask.

    Attributes:
        judge: Gives the LM of `screening.judge`, or the teacher's.
        single_stage: Gives the teacher as a `SingleStage` of a form: `single-stage`, `single-stage-cot`, ...
    """

    judge: Callable[[], dspy.LM]
    single_stage: Callable[[str], dspy.Module]


class PlannedCalls(NamedTuple):
    """The calls that a policy makes of a role (`teacher`, `judge`) in a stage (`decompose`, `solve`, `answer`, `reason`, `judge`)."""

    role: str
    stage: str
    calls: int


POLICIES: Registry[type[Any]] = Registry(
    "screening policy",
    "divide_or_conquer.policies",
    {
        "none": "optimizers.screening.unscreened:KeepReadable",
        "oracle": "optimizers.screening.oracle:KeepRight",
        "self_consistency": "optimizers.screening.self_consistency:SelfConsistency",
        "agreement": "optimizers.screening.agreement:Agreement",
        "judge": "optimizers.screening.judge:Judge",
        "gain": "optimizers.screening.gain:Gain",
    },
    ", or a Policy object of your own",
)
"""Policies by name: the class of each."""


def policy_by_name(name: str, min_score: float = 1.0) -> Policy:
    """A policy of `POLICIES` with its defaults.

    Args:
        name: Of `POLICIES`.
        min_score: What counts as right, for policies that look at the reference answer.

    Raises:
        ValueError: Unknown name; names those there are.
    """
    cls = POLICIES.get(name)
    return cls(**accepted(cls, {"min_score": min_score}))


def configured_policy(name: str, settings: Any, models: PolicyModels) -> Policy:
    """A policy of `POLICIES` as the section `screening` of a configuration sets it.

    Args:
        name: Of `POLICIES`.
        settings: The section. The policy that it names is made with its `options`, if it has no `configured`.
        models: What the policy may ask.

    Raises:
        ValueError: Unknown name, or an option that the policy does not have.
    """
    cls, options = POLICIES.get(name), settings.options if name == settings.policy else {}
    check_options(name, options)
    if hasattr(cls, "configured"):
        return cls.configured(settings, models)
    given = {**accepted(cls, {"min_score": settings.min_score}), **converted(f"policy {name!r}", cls, options)}
    lacking = missing_option(cls, given)
    if lacking:
        raise ValueError(f"screening.options: policy {name!r} needs {lacking!r}: add --screening.options.{lacking} VALUE.")
    return cls(**given)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a policy does not have.

    Raises:
        ValueError: Names the first, and those that it has.
    """
    cls = POLICIES.get(name)
    parameters = [] if hasattr(cls, "configured") else list(inspect.signature(cls).parameters)
    unknown = sorted(set(options) - set(parameters))
    if unknown:
        raise ValueError(f"screening.options: policy {name!r} has no option {unknown[0]!r}; it has {parameters or 'none'}.")


def planned_calls(name: str, settings: Any, questions: int, samples: int) -> list[PlannedCalls]:
    """The calls that a policy makes for so many questions and samples in all, for `--dry-run`."""
    cls = POLICIES.get(name)
    return list(cls.planned(settings, questions, samples)) if hasattr(cls, "planned") else []


def answer_free() -> list[str]:
    """Names of the policies that see no reference answer, and so can be measured against those that there are."""
    return [name for name, policy in POLICIES.usable().items() if getattr(policy, "answer_free", False)]


def verdict(policy: Policy, example: dspy.Example, sample: Sample, score: Callable[[], Score]) -> tuple[str | None, float | None]:
    """What a policy judges of a sample, checked.

    Raises:
        ValueError: Anything else than a reason or None, and a score or None.
    """
    found = policy.judge(example, sample, score)
    fits = isinstance(found, tuple) and len(found) == 2 and (found[0] is None or (isinstance(found[0], str) and found[0] != ""))
    if not fits:
        raise ValueError(
            f"The policy {policy.name!r} gave {found!r} for a sample; `judge` must give (reason to drop it or None, score or None)."
        )
    return found
