"""A metric of DSPy's that ends no job where it fails."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import dspy

from optimizers.jobs.scorer_costs import SCORER
from programs.lms.ledger import Usage, metered
from programs.tasks.base import NO_JUDGEMENT, ScaleError, Score
from programs.tasks.metrics import score_by

_log = logging.getLogger(__name__)


class MetricScorer:
    """Scores by a metric; where that fails the answer is unscored, and the failure is counted.

    Args:
        metric: See `programs.tasks.metrics.score_by`; None scores nothing.

    Attributes:
        failures: What went wrong -> how often.
        first: What went wrong -> the first time: the example, and what was said.
        usage: What the metric has asked of LMs.
    """

    def __init__(self, metric: Callable[..., Any] | None) -> None:
        self._metric = metric
        self.failures: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.usage = Usage()

    def __call__(self, example: dspy.Example, prediction: Any, key: str = "") -> Score:
        """The score; `key` names the example in messages.

        Raises:
            ScaleError: The metric has another scale.
        """
        if self._metric is None:
            return Score.unscored("no metric")
        with metered(SCORER) as meter:
            score = self._judged(self._metric, example, prediction, key)
        self.usage += meter.total
        return score

    def _judged(self, metric: Callable[..., Any], example: dspy.Example, prediction: Any, key: str) -> Score:
        try:
            score = score_by(metric, example, prediction)
        except ScaleError:
            raise
        except Exception as error:
            return self._failed(key, f"the metric raised {type(error).__name__}", " ".join(str(error).split()))
        return self._failed(key, score.detail, "") if score.detail == f"the metric {NO_JUDGEMENT}" else score

    def _failed(self, key: str, kind: str, said: str) -> Score:
        self.failures[kind] += 1
        if kind not in self.first:
            self.first[kind] = f"example {key!r}" + (f": {said[:300]}" if said else "")
            _log.warning("%s at %s; such rows are unscored.", kind, self.first[kind])
        return Score.unscored(kind)

    def summary(self) -> str:
        """All failures in words; empty if there were none."""
        return "; ".join(f"{count} times {kind}, the first at {self.first[kind]}" for kind, count in self.failures.most_common())
