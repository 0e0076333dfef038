"""Replies that could not be read: counted by condition, and a warning where they are many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.reports.blocks import Table, Text, count_text, is_number, percent

MANY = 0.05

_KINDS = {"unparseable": "unparseable", "cut_off": "cut off", "no_marked_answer": "no marked final answer"}


def counts_of(condition: Mapping[str, Any]) -> Mapping[str, Any]:
    """`counts` of a condition; an earlier version counted unparsed answers and decompositions alone."""
    if isinstance(condition.get("counts"), Mapping):
        return condition["counts"]
    known: list[Any] = [condition.get("unparsed"), (condition.get("states") or {}).get("unparseable")]
    found: list[float] = [value for value in known if is_number(value)]
    # Which of them are of one question is not known, so the larger stands for both.
    return {"n": condition.get("n"), "unparseable": max(found), "any": max(found)} if found else {}


def replies_table(conditions: Iterable[tuple[str, Mapping[str, Any]]]) -> Table:
    """A line a condition: each kind with its share.

    Args:
        conditions: Name and entry of each.
    """
    rows = [[name, count_text(entry.get("n")), *_cells(counts_of(entry))] for name, entry in conditions]
    return Table(["Condition", "Questions", *(text.capitalize() for text in _KINDS.values()), "Any of these"], rows)


def _cells(counts: Mapping[str, Any]) -> list[str]:
    return [_with_share(counts.get(kind), counts.get("n")) for kind in (*_KINDS, "any")]


def _with_share(count: Any, n: Any) -> str:
    if not is_number(count):
        return "not counted"
    return f"{count_text(count)} ({percent(count / n)})" if is_number(n) and n else count_text(count)


def reply_warnings(conditions: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Text]:
    """A line for each condition of which more than one reply in twenty could not be read, or was cut off."""
    told = []
    for name, entry in conditions:
        counts = counts_of(entry)
        n, bad = counts.get("n"), counts.get("any")
        if is_number(n) and is_number(bad) and n and bad / n > MANY:
            kinds = ", ".join(f"{count_text(counts[kind])} {text}" for kind, text in _KINDS.items() if counts.get(kind))
            text = f"{name}: {_with_share(bad, n)} of {count_text(n)} questions have replies that are unreadable or cut off ({kinds})"
            told.append(Text(f"{text}; its score is as much one of the format as of the answers.", "warning"))
    return told
