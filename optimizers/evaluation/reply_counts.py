"""How many replies of a condition could not be read as they should: what a score alone does not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_MARKED_ANSWER = "no marked final answer"

KINDS = ("no_marked_answer", "unparseable", "cut_off")


def reply_counts(lines: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """Count questions with such a reply, in any stage.

    Args:
        lines: A condition's lines as `evaluate` writes them; those of earlier versions lack some keys.

    Returns:
        `n` lines; `no_marked_answer`, of which the scorer's `detail` says so; `unparseable`, of which the decomposition or
        the answer could not be read; `cut_off`, which ended at the limit of tokens, None where no line tells; `any`, with
        at least one of these, each question counted once.
    """
    marks = [_marks(line) for line in lines]
    counts: dict[str, int | None] = {kind: sum(mark[kind] for mark in marks) for kind in KINDS}
    if not any("cut_off" in line for line in lines):
        counts["cut_off"] = None
    return {"n": len(lines), **counts, "any": sum(any(mark.values()) for mark in marks)}


def _marks(line: Mapping[str, Any]) -> dict[str, bool]:
    unread = line.get("state") == "unparseable" or bool(line.get("unparsed"))
    return {
        "no_marked_answer": NO_MARKED_ANSWER in str(line.get("detail") or ""),
        "unparseable": unread or str(line.get("error") or "").startswith("unparseable"),
        "cut_off": line.get("cut_off") is True,
    }
