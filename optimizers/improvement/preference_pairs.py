"""What a student learns from its own attempts: the decompositions that led the solver to the answer, and those that did not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import dspy

from optimizers.labelling.samples import Sample
from programs.adapter import adapter_name
from programs.modules import TwoStage
from programs.signatures import NO_DECOMPOSITION


@dataclass(frozen=True)
class Attempt:
    """One distinct decomposition of a question.

    Attributes:
        inputs: What the decompose stage was given.
        lines: What it wrote; its subquestions alone, where there are any.
        reward: See `optimizers.finetune.rewards`.
        sample: Number of the first sample that has it.
        count: Samples that have it.
        readable: Whether it is a decomposition at all.
    """

    inputs: dict[str, Any]
    lines: tuple[str, ...]
    reward: float
    sample: int
    count: int
    readable: bool

    def rank(self, prefer: str) -> tuple[int, ...]:
        """The lower the better; ties go to the first sample."""
        return (len(self.lines), -self.count, self.sample) if prefer == "fewer" else (-self.count, self.sample)


def distinct(samples: Sequence[Sample], rewards: Sequence[float | None], target: str) -> list[Attempt]:
    """The decompositions of one question that have a reward, each once.

    Args:
        samples: Of one question.
        rewards: One a sample.
        target: Name of the predictor that decomposes.
    """
    found: dict[tuple[str, ...], Attempt] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    for sample, reward in zip(samples, rewards, strict=True):
        lines, inputs = _lines(sample), next((call.inputs for call in sample.calls if call.predictor == target), None)
        if reward is None or inputs is None or not lines:
            continue
        counts[lines] += 1
        found.setdefault(lines, Attempt(inputs, lines, reward, sample.sample, 1, sample.prediction["state"] != "unparseable"))
    return [Attempt(**{**vars(attempt), "count": counts[lines]}) for lines, attempt in found.items()]


def _lines(sample: Sample) -> tuple[str, ...]:
    """A decomposition as the program read it; one that cannot be read as it was written."""
    if sample.prediction.get("state") == "unparseable":
        return tuple(sample.prediction.get("lines") or ())
    return tuple(sample.prediction.get("subquestions") or [NO_DECOMPOSITION])


def right_ones(attempts: Sequence[Attempt], min_reward: float, prefer: str = "frequent") -> list[Attempt]:
    """Attempts that can be read and reach `min_reward`, the best first."""
    return sorted((one for one in attempts if one.readable and one.reward >= min_reward), key=lambda one: one.rank(prefer))


def pairs_of(attempts: Sequence[Attempt], min_reward: float, prefer: str = "frequent", count: int = 2) -> list[tuple[Attempt, Attempt]]:
    """Up to `count` pairs (right, wrong) of one question, the preferred and the most frequent wrong ones first.

    A wrong one misses `min_reward`. Each is used again only when the other side has no fresh one left.
    """
    right = right_ones(attempts, min_reward, prefer)
    wrong = sorted((one for one in attempts if one.reward < min_reward), key=lambda one: (-one.count, one.sample))
    # Down the diagonal first: each side's next best with the other's.
    ranked = sorted(product(enumerate(right), enumerate(wrong)), key=lambda pair: (abs(pair[0][0] - pair[1][0]), pair[0][0] + pair[1][0]))
    return [(chosen, rejected) for (_, chosen), (_, rejected) in ranked[:count]]


def row_of(program: TwoStage, attempt: Attempt, example_id: str) -> dict[str, Any]:
    """A training row: the chat with which the student will be asked, and the decomposition as its reply."""
    predictor = program.decompose
    adapter = program.adapter_of("decompose")
    chat = adapter.format_finetune_data(predictor.signature, predictor.demos, attempt.inputs, {"subquestions": list(attempt.lines)})
    return {"id": example_id, "sample": attempt.sample, "reward": attempt.reward, "messages": chat["messages"]}


def pair_row(program: TwoStage, chosen: Attempt, rejected: Attempt, example_id: str) -> dict[str, Any]:
    """A training row for DPO: `row_of` the chosen one, with the text that is `rejected` under the same prompt."""
    worse = row_of(program, rejected, example_id)
    return {
        **row_of(program, chosen, example_id),
        "rejected": worse["messages"][-1]["content"],
        "rejected_reward": rejected.reward,
    }


def prompt_row(program: TwoStage, inputs: dict[str, Any], example: dspy.Example) -> dict[str, Any]:
    """A training row for GRPO: the prompt alone, with the example that the reward is found by."""
    predictor = program.decompose
    messages = program.adapter_of("decompose").format(predictor.signature, predictor.demos, inputs)
    return {"id": example.id, "messages": messages, "example": _plain(example)}


def _plain(example: dspy.Example) -> dict[str, Any]:
    return json.loads(json.dumps(example.toDict(), default=str))


def format_of(program: TwoStage) -> str:
    """Name of the prompt format that the decomposer is asked in."""
    return adapter_name(program.adapter_of("decompose"))
