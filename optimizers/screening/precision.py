"""How often a policy is right: precision and recall against the reference answers, on the same samples, and its price."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from optimizers.evaluation.passages import passage_key
from optimizers.evaluation.statistics import Interval, mean_interval
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.labelling.samples import Collected, example_key
from optimizers.screening.lm_policy import AskingPolicy
from optimizers.screening.policy import Policy, verdict
from optimizers.screening.screen import Readable
from optimizers.screening.votes import Scorer
from programs.lms.ledger import Usage

FILE = "screening.json"


def measure(
    policy: Policy, collected: Collected, examples: Iterable[dspy.Example], score: Scorer, min_score: float = 1.0
) -> dict[str, Any]:
    """A policy held against the oracle, sample by sample: before duplicates go and `keep` chooses.

    Args:
        policy: One that asks must be prepared, as `screen` leaves it.
        collected: The teacher's samples; those that failed or cannot be read are nobody's to judge, and left out.
        examples: With reference answers where there are any; a sample that cannot be scored counts in `kept` alone.
        score: The task's `score`.
        min_score: What the oracle calls right.

    Returns:
        `policy`; `samples`, `scored`, `right`, `kept` (counts) and `dropped` by reason; `precision` (of the scored samples
        that are kept, the right ones) and `recall` (of the right ones, those that are kept), each with `estimate`, `ci95`
        (see `clustered_share`) and `n`, None where nothing could be counted; `cost` as `Usage.to_dict()`.
    """
    reasons: Counter[str | None] = Counter()
    precision: dict[str, list[bool]] = defaultdict(list)
    recall: dict[str, list[bool]] = defaultdict(list)
    passages: dict[str, int] = {}
    scored = 0
    for example, sample in Readable(collected, examples):
        given = score(example, dspy.Prediction(**sample.prediction))
        reason = verdict(policy, example, sample, lambda given=given: given)[0]  # type: ignore[misc]
        reasons[reason] += 1
        if given.is_unscored:
            continue
        scored, right, key = scored + 1, given.value >= min_score, example_key(example)
        passages.setdefault(key, passage_key(example.get("context"), len(passages)))
        if reason is None:
            precision[key].append(right)
        if right:
            recall[key].append(reason is None)
    return {
        "policy": policy.name,
        "samples": reasons.total(),
        "scored": scored,
        "right": sum(map(len, recall.values())),
        "kept": reasons.pop(None, 0),
        "dropped": dict(reasons.most_common()),
        "precision": _share(precision, passages),
        "recall": _share(recall, passages),
        "cost": cost_of(policy).to_dict(),
    }


def cost_of(policy: Any) -> Usage:
    """What a policy's calls cost, over all runs in its folder."""
    asked = policy.asked if isinstance(policy, AskingPolicy) else None
    return sum(asked.usage.values(), Usage()) if asked else Usage()


def clustered_share(outcomes: Mapping[str, Sequence[bool]], passages: Mapping[str, Hashable] | None = None) -> Interval:
    """The share of True with its 95 % interval, where samples of the same question hang together.

    With one sample a question it is Wilson's interval, and so it is for a share of 0 or 1, for as many questions. Else each
    question counts as one, by what it adds to the share (the linearised ratio; Cochran 1977, Sampling Techniques, chapter 6).

    Args:
        outcomes: For each question those of its samples.
        passages: The passage of each question, as of `mean_interval`; None where each has its own.

    Returns:
        `n` counts samples.
    """
    hits = {key: float(sum(found)) for key, found in outcomes.items() if found}
    counts = {key: float(len(outcomes[key])) for key in hits}
    n = int(sum(counts.values()))
    share = sum(hits.values()) / n if n else math.nan
    shared = [passages[key] for key in hits] if passages is not None else None
    if n == len(counts) or share in (0.0, 1.0):
        return mean_interval([hits[key] / counts[key] for key in hits], passages=shared)._replace(n=n)
    found = mean_interval([share + (hits[key] - share * counts[key]) * len(counts) / n for key in hits], passages=shared)
    return Interval(share, max(0.0, found.low), min(1.0, found.high), n)


def _share(outcomes: Mapping[str, Sequence[bool]], passages: Mapping[str, int]) -> dict[str, Any]:
    found = clustered_share(outcomes, passages)
    estimate, low, high = (None if math.isnan(value) else value for value in found[:3])
    return {"estimate": estimate, "ci95": [low, high], "n": found.n}


def write_measures(
    notes: Path, prepared: Iterable[tuple[Policy, Collected]], examples: Sequence[dspy.Example], score: Scorer, min_score: float
) -> None:
    """Measure policies on the samples that each was prepared for, into `screening.json`."""
    records = [measure(policy, collected, examples, score, min_score) for policy, collected in prepared]
    write_json(notes / FILE, {"policies": records})


def read_measures(notes: Path) -> list[dict[str, Any]]:
    """What `write_measures` wrote; empty if there is no such file."""
    return list(read_json(notes / FILE).get("policies", []))


def screening_cost(notes: Path, policies: Iterable[str]) -> Usage:
    """What some policies cost, by `screening.json`."""
    wanted = set(policies)
    return sum((Usage.from_dict(record["cost"]) for record in read_measures(notes) if record["policy"] in wanted), Usage())
