"""Metrics of DSPy's: whatever they take and give."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import dspy

from programs.tasks.base import Score, as_score

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_metric(metric: Any, who: str = "") -> None:
    """Refuse what is no metric before anything is paid; `who` names it in place of `metric=` and its name.

    Raises:
        ValueError: It cannot be called with an example and a prediction, is a class, or is asynchronous.
    """
    if inspect.isclass(metric):
        raise ValueError(f"{who or f'metric={metric.__name__}'} is a class; make one of its objects first, and pass that.")
    if not callable(metric):
        raise ValueError(f"{who or f'metric={metric!r}'} cannot be called; pass a function metric(example, prediction).")
    who = who or f"metric={getattr(metric, '__name__', type(metric).__name__)}"
    if inspect.iscoroutinefunction(metric) or inspect.iscoroutinefunction(type(metric).__call__):
        raise ValueError(f"{who} is asynchronous; pass a function that returns the score itself.")
    parameters = _parameters(metric)
    taken = [one for one in parameters if one.kind in _POSITIONAL]
    if parameters and len(taken) < 2 and not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        raise ValueError(f"{who} takes {len(taken)} arguments; it is called as metric(example, prediction).")


def score_by(metric: Callable[..., Any], example: dspy.Example, prediction: Any, *, who: str = "the metric") -> Score:
    """What a metric says of a prediction.

    It is called as `dspy.Evaluate` calls it, with None for all that it wants beyond an example and a prediction (`trace`, and
    `pred_name` and `pred_trace` of GEPA's metrics).

    Raises:
        ValueError: It gave no score.
    """
    required = [one for one in _parameters(metric) if one.default is inspect.Parameter.empty]
    more = len([one for one in required if one.kind in _POSITIONAL]) - 2
    named = {one.name: None for one in required if one.kind is inspect.Parameter.KEYWORD_ONLY}
    return as_score(metric(example, prediction, *[None] * more, **named), who)


def _parameters(metric: Any) -> list[inspect.Parameter]:
    # `dspy.Module` takes whatever its `forward` does.
    metric = metric.forward if isinstance(metric, dspy.Module) and hasattr(metric, "forward") else metric
    try:
        return list(inspect.signature(metric).parameters.values())
    except (TypeError, ValueError):
        return []
