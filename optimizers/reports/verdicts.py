"""What a report says in words of a paired comparison: one rule, for every sentence in every report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.reports.blocks import LEVEL, interval_of, is_number, p_text, points_difference, points_interval

NO_DIFFERENCE = "no difference can be shown"

_CORRECTED = f"{NO_DIFFERENCE} once all comparisons are counted"


def outcome(record: Mapping[str, Any] | None) -> str:
    """How A fares against B: `higher` or `lower` only where the interval leaves 0 out and p is below 0.05, too.

    Args:
        record: A comparison of `metrics.json` or of another job's file: `delta`, `ci95`, `p`, and `p_holm` where it is one
            of several; p after Holm counts before p.

    Returns:
        `higher`, `lower`, `none` where no difference can be shown, or `untested` without an interval or a p value.
    """
    low, high = interval_of(record or {})
    p, _ = _p_of(record or {})
    if not (is_number(low) and is_number(high) and is_number(p)):
        return "untested"
    if p >= LEVEL or low <= 0 <= high:
        return "none"
    return "higher" if low > 0 else "lower"


def _p_of(record: Mapping[str, Any]) -> tuple[Any, str]:
    """The p value that counts, and what is said behind it."""
    return (record["p_holm"], " after Holm") if is_number(record.get("p_holm")) else (record.get("p"), "")


def outcome_words(record: Mapping[str, Any] | None) -> str:
    """`outcome` in words; a difference that only Holm's correction takes away is said to be such a one."""
    found = outcome(record)
    if found == "untested":
        return "not tested"
    if found != "none":
        return found
    # Of these the interval leaves 0 out, as it is not corrected.
    return _CORRECTED if outcome({**(record or {}), "p_holm": None}) in ("higher", "lower") else NO_DIFFERENCE


def p_words(record: Mapping[str, Any]) -> str:
    """`p = 0.0123 after Holm`, or `p < 0.0001`."""
    p, corrected = _p_of(record)
    text = p_text(p)
    return f"p {f'< {text[1:]}' if text.startswith('<') else f'= {text}'}{corrected}"


def difference_words(record: Mapping[str, Any]) -> str:
    """Size, interval, p and verdict of a comparison in one phrase."""
    interval = f"95% interval {points_interval(record)}; {p_words(record)}"
    return f"{points_difference(record)} points ({interval}: {outcome_words(record)})"
