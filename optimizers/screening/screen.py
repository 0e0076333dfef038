"""Which of the teacher's decompositions a student learns from. Every one that is left out has a reason."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

from optimizers.labelling.samples import CUT_OFF, UNPARSEABLE, Sample, example_key, is_cut_after_decomposing
from optimizers.labelling.values import Types, encoded
from optimizers.screening.lm_policy import Asking, AskingPolicy
from optimizers.screening.policy import Decision, Policy, Scorer, policy_by_name, verdict

KEEP = ("first", "all", "fewest")
DUPLICATE, NOT_FIRST, NOT_FEWEST = "duplicate", "not_first", "not_fewest"
_PASSED_OVER = {"first": NOT_FIRST, "fewest": NOT_FEWEST}
TEACHER_ERROR = "teacher_error:"
"""Start of the reason of a run that raised; the kind of error follows."""


Refusal = Callable[[Sample], str | None]
"""Why no policy judges a sample; None if one does."""


def is_readable(sample: Sample) -> bool:
    """Whether the program could read the decomposition (or has none that could be unreadable)."""
    return sample.prediction.get("state") != UNPARSEABLE


def decomposition_key(sample: Sample) -> Any:
    """What makes two samples the same: their subquestions; for programs without, all that the predictors put out."""
    made = sample.prediction["subquestions"] if "subquestions" in sample.prediction else [call.outputs for call in sample.calls]
    return json.dumps(encoded(made, Types()), sort_keys=True)


def screen(
    samples_by_example: Mapping[str, Sequence[Sample]] | Iterable[Sample],
    examples: Iterable[dspy.Example],
    policy: str | Policy = "oracle",
    *,
    score: Scorer,
    keep: str = "first",
    min_score: float = 1.0,
    usable: Callable[[Sample], bool] = is_readable,
    asking: Asking | None = None,
    decompositions: bool = False,
) -> list[Decision]:
    """Decide on every sample of every example.

    More subquestions than allowed (`over_limit`) are no reason to drop: all are used, and `state` says so.

    Args:
        samples_by_example: Example id -> samples, as `collect` returns them, read one example at a time; or all samples.
        examples: With reference answers; an example without samples has no decisions.
        policy: One of `POLICIES`, or an object: one of them with other settings, such as `SelfConsistency(votes=9)`, or
            your own.
        score: The task's `score`, called with the example and the teacher's prediction.
        keep: `first` keeps the first sample that the policy keeps, `all` every distinct one, `fewest` the first of those
            with the fewest subquestions (`No decomposition` has none).
        min_score: What `oracle` calls right, above 0 and up to 1 (default 1.0).
        usable: Whether a sample can be used at all; those that cannot are `unparseable`.
        asking: For a policy that asks LMs: the teacher, and the folder for the calls.
        decompositions: Whether decompositions alone are learned from. A policy that looks at no answer then judges also those
            whose solver's reply was cut off; else they are `cut_off`, as the teacher has no answer there.

    Returns:
        One decision a sample, in the order of the examples and of the sample numbers.

    Raises:
        ValueError: Unknown policy or `keep`, `min_score` not above 0 and up to 1, or a policy that asks without `asking`.
    """
    if keep not in KEEP:
        raise ValueError(f"Unknown keep={keep!r}; expected one of {list(KEEP)}.")
    if not 0 < min_score <= 1:
        raise ValueError(f"min_score={min_score} must be above 0 and at most 1: scores are between 0 and 1, and from 0 on all is right.")
    judge = policy_by_name(policy, min_score) if isinstance(policy, str) else policy
    if not getattr(judge, "name", ""):
        raise ValueError(f"The policy class {type(judge).__name__} has no `name`, by which its rows are counted; give it one.")
    by_example = samples_by_example if isinstance(samples_by_example, Mapping) else _grouped(samples_by_example)
    examples = list(examples)
    unsolved = decompositions and getattr(judge, "looks_at_no_answer", False)
    refusal = functools.partial(_refusal, usable=usable, unsolved=unsolved)
    decisions: list[Decision] = []
    if isinstance(judge, AskingPolicy):
        if asking is None:
            raise ValueError(f"policy={judge.name!r} asks LMs; pass asking=Asking(teacher, folder), with the teacher that was sampled.")
        judge.prepare(Readable(by_example, examples, refusal), replace(asking, score=asking.score or score))
    for example in examples:
        samples = by_example.get(example_key(example), ())
        decisions += _decide(example, samples, judge, score, keep, refusal)
    return decisions


def _refusal(sample: Sample, usable: Callable[[Sample], bool] = is_readable, unsolved: bool = False) -> str | None:
    """The reason of failed and unreadable samples; `unsolved` lets whole decompositions through whose solver was cut off."""
    if sample.error and not (unsolved and is_cut_after_decomposing(sample)):
        return sample.error if sample.error in (UNPARSEABLE, CUT_OFF) else TEACHER_ERROR + sample.error.removeprefix("error:")
    return None if usable(sample) else UNPARSEABLE


@dataclass(frozen=True)
class Readable(Iterable[tuple[dspy.Example, Sample]]):
    """The samples that a policy judges, each with its example: all but failed and unreadable ones; can be gone over any number of times.

    Attributes:
        by_example: Example id -> samples.
        examples: Of which samples are wanted.
        refusal: Why a sample cannot be used.
    """

    by_example: Mapping[str, Sequence[Sample]]
    examples: Iterable[dspy.Example]
    refusal: Refusal = _refusal

    def __iter__(self) -> Iterator[tuple[dspy.Example, Sample]]:
        for example in self.examples:
            for sample in self.by_example.get(example_key(example), ()):
                if self.refusal(sample) is None:
                    yield example, sample


def _grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.example_id, []).append(sample)
    return grouped


def _decide(
    example: dspy.Example, samples: Sequence[Sample], policy: Policy, score: Scorer, keep: str, refusal: Refusal
) -> Iterator[Decision]:
    ordered = sorted(samples, key=lambda one: one.sample)
    judged = [_reason(example, sample, policy, score, refusal) for sample in ordered]
    good = [sample for sample, (reason, _) in zip(ordered, judged, strict=True) if reason is None]
    chosen = None if keep == "all" or not good else min(good, key=_length) if keep == "fewest" else good[0]
    seen: set[Any] = set()
    for sample, (reason, value) in zip(ordered, judged, strict=True):
        if reason is None:
            key = decomposition_key(sample)
            passed_over = chosen is not None and sample is not chosen
            reason = DUPLICATE if key in seen else _PASSED_OVER[keep] if passed_over else None
            seen.add(key)
        cut = is_cut_after_decomposing(sample)
        yield Decision(sample.example_id, sample.sample, reason, sample.prediction.get("state") or "", value, cut)


def _length(sample: Sample) -> int:
    """Subquestions of a sample; 0 for programs without."""
    return len(sample.prediction.get("subquestions") or ())


def _reason(example: dspy.Example, sample: Sample, policy: Policy, score: Scorer, refusal: Refusal) -> tuple[str | None, float | None]:
    refused = refusal(sample)
    if refused is not None:
        return refused, None
    return verdict(policy, example, sample, lambda: score(example, dspy.Prediction(**sample.prediction)))


def count_drops(decisions: Iterable[Decision]) -> dict[str, int]:
    """Reason -> how many samples were dropped for it, the most frequent first."""
    return dict(Counter(decision.reason for decision in decisions if decision.reason is not None).most_common())
