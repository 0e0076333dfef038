"""What a report says of questions that share passages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.reports.blocks import count_text, is_number


def passages_words(conditions: Iterable[Mapping[str, Any]]) -> str:
    """On how many passages the questions stand, and what that does to the intervals; empty where each has its own.

    Args:
        conditions: Entries of `metrics.json`, of one task.
    """
    known = [entry["passages"] for entry in conditions if is_number(entry.get("passages"))]
    if not known:
        return ""
    if max(known) == 1:
        return " All questions stand on one passage: what holds for them need not hold for another."
    return (
        f" The questions stand on {count_text(max(known))} passages. Those of one passage are right or wrong together, so that intervals "
        "and tests take passages for the sample as well as questions."
    )
