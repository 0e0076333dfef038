"""How good a decomposition is, by what the solver answers with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from optimizers.jobs.scorer_costs import score_metered
from optimizers.labelling.samples import Sample
from programs.tasks import Task, equal_answers
from programs.tasks.base import abstains

REWARDS = ("score", "gain", "agreement")
"""The solver's score; its gain over the solver's single-stage score; or, without reference answers, agreement with the majority."""


def scored(task: Task, example: dspy.Example, prediction: Any) -> float | None:
    """The task's score of an answer; None where it cannot be judged."""
    score = score_metered(task, example, prediction)
    return None if score.is_unscored else score.value


def agreed(answers: Sequence[str | None], min_share: float) -> list[float | None]:
    """1 for each answer that is the majority's, 0 for the others; all None where no majority is large enough.

    Majority votes as rewards without labels: Zuo et al. 2025, "TTRL: Test-Time Reinforcement Learning", arXiv 2504.16084.

    Args:
        answers: One for each decomposition of the same question; None where there is no answer, which counts against the share.
        min_share: Share of all answers that must equal the most frequent one by `equal_answers`. Of equally
            frequent ones the first counts. An answer that says that there is none (`ABSTENTIONS`) never wins.
    """
    candidates = [answer for answer in answers if answer is not None and not abstains(answer)]
    votes = [[float(equal_answers(answer, candidate)) for answer in answers] for candidate in candidates]
    winning = max(votes, key=sum, default=[])
    if sum(winning) == 0 or sum(winning) < min_share * len(answers):
        return [None] * len(answers)
    return list(winning)


class Rewards:
    """The rewards of one question's decompositions.

    Args:
        task: Scores the answers.
        reward: One of `REWARDS`.
        alone: Example id -> the solver's single-stage score; needed by `gain`.
        min_share: See `agreed`.

    Raises:
        ValueError: Unknown reward.
    """

    def __init__(self, task: Task, reward: str = "score", alone: Mapping[str, float | None] | None = None, min_share: float = 0.5) -> None:
        if reward not in REWARDS:
            raise ValueError(f"Unknown reward {reward!r}; expected one of {list(REWARDS)}.")
        self.task, self.reward, self.alone, self.min_share = task, reward, alone or {}, min_share

    def __call__(self, example: dspy.Example, samples: Sequence[Sample]) -> list[float | None]:
        """One reward for each sample, None where it cannot be given.

        A decomposition that cannot be read scores 0, whatever the solver answered without it. Runs that failed (no
        answer came) have no reward.
        """
        if self.reward == "agreement":
            return agreed([None if sample.failure else str(sample.prediction.get("answer")) for sample in samples], self.min_share)
        scores = [self._score(example, sample) for sample in samples]
        if self.reward == "score":
            return scores
        alone = self.alone.get(example.id)
        return [None if score is None or alone is None else score - alone for score in scores]

    def _score(self, example: dspy.Example, sample: Sample) -> float | None:
        if sample.prediction.get("state") == "unparseable":
            return 0.0
        return None if sample.error else scored(self.task, example, dspy.Prediction(**sample.prediction))
