"""How many replies of a condition could not be read as they should: what a score alone does not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NO_MARKED_ANSWER = "no marked final answer"

KINDS = ("no_marked_answer", "unparseable", "cut_off")


def reply_counts(lines: Iterable[Mapping[str, Any]]) -> dict[str, int | None]:
    """Count questions with such a reply, in any stage.

    Args:
        lines: A condition's lines as `evaluate` writes them; those of earlier versions lack some keys.

    Returns:
        `n` lines; `no_marked_answer`, of which the scorer's `detail` says so; `unparseable`, of which the decomposition or
        the answer could not be read; `cut_off`, which ended at the limit of tokens, None where no line tells; `any`, with
        at least one of these, each question counted once.
    """
    counts = ReplyCounts()
    for line in lines:
        counts.add(line)
    return counts.to_dict()


class ReplyCounts:
    """`reply_counts` of lines that come one at a time.

    Attributes:
        n: Lines so far.
        unparsed: Those of them whose answer has not the answer format.
    """

    def __init__(self) -> None:
        self.n = self.unparsed = self._any = 0
        self._kinds = dict.fromkeys(KINDS, 0)
        self._tell_cuts = False

    def add(self, line: Mapping[str, Any]) -> None:
        """Count a line."""
        marks = _marks(line)
        for kind in KINDS:
            self._kinds[kind] += marks[kind]
        self.n += 1
        self.unparsed += bool(line.get("unparsed"))
        self._any += any(marks.values())
        self._tell_cuts = self._tell_cuts or "cut_off" in line

    def to_dict(self) -> dict[str, int | None]:
        """As `reply_counts`."""
        cut_off = self._kinds["cut_off"] if self._tell_cuts else None
        return {"n": self.n, **self._kinds, "cut_off": cut_off, "any": self._any}


def _marks(line: Mapping[str, Any]) -> dict[str, bool]:
    unread = line.get("state") == "unparseable" or bool(line.get("unparsed"))
    return {
        "no_marked_answer": NO_MARKED_ANSWER in str(line.get("detail") or ""),
        "unparseable": unread or str(line.get("error") or "").startswith("unparseable"),
        "cut_off": line.get("cut_off") is True,
    }
