"""A metric of DSPy's as a `Score`: whatever it takes and gives, and without an end to the job where it fails."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import dspy

from programs.tasks.base import Score

_log = logging.getLogger(__name__)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_metric(metric: Any) -> None:
    """Refuse what is no metric before anything is paid.

    Raises:
        ValueError: It cannot be called with an example and a prediction, or is asynchronous.
    """
    if not callable(metric):
        raise ValueError(f"metric={metric!r} cannot be called; pass a function metric(example, prediction).")
    if inspect.iscoroutinefunction(metric) or inspect.iscoroutinefunction(type(metric).__call__):
        raise ValueError(f"metric={_name(metric)} is asynchronous; pass a function that returns the score itself.")
    parameters = _parameters(metric)
    taken = [one for one in parameters if one.kind in _POSITIONAL]
    if parameters and len(taken) < 2 and not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        raise ValueError(f"metric={_name(metric)} takes {len(taken)} arguments; it is called as metric(example, prediction).")


def score_by(metric: Callable[..., Any], example: dspy.Example, prediction: Any) -> Score:
    """What a metric says of a prediction.

    It is called as `dspy.Evaluate` calls it, with None for all that it wants beyond an example and a prediction (`trace`, and
    `pred_name` and `pred_trace` of GEPA's metrics).

    Raises:
        ValueError: It gave no score.
    """
    required = [one for one in _parameters(metric) if one.default is inspect.Parameter.empty]
    more = len([one for one in required if one.kind in _POSITIONAL]) - 2
    named = {one.name: None for one in required if one.kind is inspect.Parameter.KEYWORD_ONLY}
    return as_score(metric(example, prediction, *[None] * more, **named))


def as_score(given: Any) -> Score:
    """A bool, a number from 0 to 1, a `Score`, or a `dspy.Prediction` with a `score`, as a `Score`; None is no judgement.

    Raises:
        ValueError: Anything else.
    """
    if isinstance(given, Score):
        return given
    if given is None:
        return Score.unscored("the metric returned None")
    if isinstance(given, dspy.Example) and "score" in given:
        return as_score(given["score"])
    if isinstance(given, bool | int | float) or (hasattr(given, "item") and getattr(given, "shape", None) == ()):
        return Score(float(given))
    raise ValueError(
        f"the metric returned {given!r}; expected a bool, a number from 0 to 1, a Score, or a dspy.Prediction with score= (and feedback=)"
    )


class MetricScorer:
    """Scores by a metric; where that fails the answer is unscored, and the failure is counted.

    Args:
        metric: See `score_by`; None scores nothing.

    Attributes:
        failures: What went wrong -> how often.
        first: What went wrong -> the first time: the example, and what was said.
    """

    def __init__(self, metric: Callable[..., Any] | None) -> None:
        self._metric = metric
        self.failures: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def __call__(self, example: dspy.Example, prediction: Any, key: str = "") -> Score:
        """The score; `key` names the example in messages."""
        if self._metric is None:
            return Score.unscored("no metric")
        try:
            score = score_by(self._metric, example, prediction)
        except Exception as error:
            return self._failed(key, f"the metric raised {type(error).__name__}", " ".join(str(error).split()))
        return self._failed(key, score.detail, "") if score.detail == "the metric returned None" else score

    def _failed(self, key: str, kind: str, said: str) -> Score:
        self.failures[kind] += 1
        if kind not in self.first:
            self.first[kind] = f"example {key!r}" + (f": {said[:300]}" if said else "")
            _log.warning("%s at %s; such rows are unscored.", kind, self.first[kind])
        return Score.unscored(kind)

    def summary(self) -> str:
        """All failures in words; empty if there were none."""
        return "; ".join(f"{count} times {kind}, the first at {self.first[kind]}" for kind, count in self.failures.most_common())


def _parameters(metric: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(metric).parameters.values())
    except (TypeError, ValueError):
        return []


def _name(metric: Any) -> str:
    return getattr(metric, "__name__", type(metric).__name__)
