"""The answers of a condition, summed up."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optimizers.evaluation.passages import passage_key
from optimizers.evaluation.reply_counts import ReplyCounts
from optimizers.evaluation.statistics import mean_interval
from programs.decomposition import STATES
from programs.lms.ledger import Usage
from programs.parts import FIRST, SECOND


def summarise(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A condition's entry of `metrics.json`: score with interval, states, failures, and what each stage cost.

    Args:
        lines: Of a condition; gone over once, so that they need not be in memory.

    Returns:
        `passages` among others, on how many the scored questions stand, where some share one.
    """
    scores, measures, replies, passages = array("d"), _Measures(), ReplyCounts(), array("Q")
    states, failures, usage = Counter[str](), Counter[str](), dict[str, Usage]()
    routes = _Routes()
    for line in lines:
        replies.add(line)
        routes.add(line)
        if line["score"] is not None:
            passages.append(passage_key(line.get("context"), len(scores)))
            scores.append(line["score"])
            measures.add(line.get("measures") or {})
        # A program with one stage has no decomposition to count.
        if line["state"] and "decompose" in line["usage"]:
            states[line["state"]] += 1
        if line["error"]:
            failures[line["error"].split(":")[0]] += 1
        for stage, used in line["usage"].items():
            usage[stage] = usage.get(stage, Usage()) + Usage.from_dict(used)
    interval, different = mean_interval(scores, passages=passages), len(set(passages))
    return {
        "n": replies.n,
        "scored": len(scores),
        **({"passages": different} if different < len(scores) else {}),
        "score": interval.estimate,
        "ci95": [interval.low, interval.high],
        "measures": measures.to_dict(passages),
        "unparsed": replies.unparsed,
        "counts": replies.to_dict(),
        "states": {state: states.get(state, 0) for state in STATES} if states else {},
        "failed": failures.total(),
        "failures": dict(failures),
        **routes.to_dict(),
        **{stage: used.to_dict() for stage, used in usage.items()},
    }


class _Routes:
    """Of a cascade, how many questions went which way, and why to the dear part; nothing of other programs."""

    def __init__(self) -> None:
        self._ways: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._failed = 0

    def add(self, line: Mapping[str, Any]) -> None:
        if not line.get("route"):
            return
        self._ways[line["route"]] += 1
        if line["escalated"]:
            self._reasons[line["escalated"]] += 1
        self._failed += bool(line["errors"])

    def to_dict(self) -> dict[str, Any]:
        if not self._ways:
            return {}
        found = {"first": self._ways[FIRST], "second": self._ways[SECOND]}
        return {"routes": {**found, "reasons": dict(self._reasons), "with_failed_votes": self._failed}}


class _Measures:
    """Mean and interval of the further measures of a task, over the scored lines; 0 where a line lacks one that others have."""

    def __init__(self) -> None:
        self._n = 0
        self._found: dict[str, array[float]] = {}

    def add(self, measures: Mapping[str, float]) -> None:
        for name in measures:
            if name not in self._found:
                self._found[name] = array("d", [0.0]) * self._n
        for name, values in self._found.items():
            values.append(measures.get(name, 0.0))
        self._n += 1

    def to_dict(self, passages: Sequence[int]) -> dict[str, Any]:
        intervals = {name: mean_interval(values, passages=passages) for name, values in self._found.items()}
        return {name: {"score": one.estimate, "ci95": [one.low, one.high]} for name, one in intervals.items()}
