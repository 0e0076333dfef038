"""Replies that could not be read: counted by condition, and a warning where they are many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from optimizers.evaluation.stages import answered_in, stages_of
from optimizers.reports.blocks import Table, Text, count_text, is_number, number, percent, reasons_text
from programs.finish import LENGTH, STOP

MANY = 0.05


class Ending(NamedTuple):
    """How the replies of one stage ended: `finishes` counts each reason, of `name`'s `stage`."""

    name: str
    stage: str
    finishes: Mapping[str, int]

    @property
    def replies(self) -> int:
        """All of them."""
        return sum(self.finishes.values())

    @property
    def cut(self) -> int:
        """Those that ended at their limit of tokens."""
        return self.finishes.get(LENGTH, 0)

    @property
    def others(self) -> dict[str, int]:
        """Those that ended neither so nor by themselves."""
        return {reason: count for reason, count in self.finishes.items() if reason not in (STOP, LENGTH)}


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


def endings_of(conditions: Iterable[tuple[str, Mapping[str, Any]]], labelling: Mapping[str, Any], by_task: bool = False) -> list[Ending]:
    """How the replies of each stage ended, where the files tell: of labelling first, then of each condition.

    Args:
        conditions: Name and entry of each.
        labelling: What `metrics.json` has of it.
        by_task: Whether that is a record for each training task, as in an experiment.
    """
    labels = [(f"labelling, {task}", one) for task, one in labelling.items()] if by_task else [("labelling", labelling)]
    stages = [(name, stages_of(one.get("stages") or {})) for name, one in labels if isinstance(one, Mapping)]
    stages += [(name, stages_of(entry)) for name, entry in conditions]
    known = ((name, stage, used.get("finishes")) for name, found in stages for stage, used in found.items())
    return [Ending(name, stage, finishes) for name, stage, finishes in known if isinstance(finishes, Mapping) and finishes]


def endings_blocks(endings: Sequence[Ending]) -> list[Text | Table]:
    """A line a stage: how many replies, and how they ended; nothing where no file tells."""
    if not endings:
        return []
    text = (
        f"How the replies of each stage ended, as their servers said it: '{STOP}' by themselves or at a stop text, cut off at their limit "
        "of tokens, or otherwise. A reply that the cache answered counts too."
    )
    rows = [
        [
            *(one.name, one.stage.replace("_", " "), count_text(one.replies), count_text(one.finishes.get(STOP, 0))),
            *(_with_share(one.cut, one.replies), reasons_text(one.others) if one.others else "-"),
        ]
        for one in endings
    ]
    return [Text(text), Table(["Condition", "Stage", "Replies", "Stop", "Cut off", "Other ends"], rows, frozenset({0, 1, 5}))]


def cut_off_warning(endings: Iterable[Ending]) -> list[Text]:
    """One line that names each stage of which more than one reply in twenty was cut off, worst first."""
    many = sorted((one for one in endings if one.cut / one.replies > MANY), key=lambda one: -one.cut / one.replies)
    if not many:
        return []
    told = "; ".join(f"{one.name}, {one.stage.replace('_', ' ')}: {_with_share(one.cut, one.replies)} of {one.replies}" for one in many)
    text = (
        f"Many replies ended at their limit of tokens ({told}). Each was paid for up to that limit, and is read as far as it goes. Where "
        "they run in a loop, another prompt or adapter helps; where they reason, or think aloud, a longer limit does: teacher.max_tokens, "
        "solver.max_tokens, student.max_tokens."
    )
    return [Text(text, "warning")]


def reply_warnings(conditions: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Text]:
    """A line each on conditions with over one in twenty questions that failed, have no score, are unread or cut off, or judged strictly."""
    entries = list(conditions)
    failed = "; ".join(told for name, entry in entries if (told := _failed(name, entry)))
    failed = failed and (
        f"Questions whose call failed: {failed}. They are left out of these scores and of all comparisons with them, and may be the harder "
        "ones, as those are that are too long for a model. The same command asks them again."
    )
    unscored = "; ".join(told for name, entry in entries if (told := _unscored(name, entry)))
    unscored = unscored and (
        f"Answers without a score: {unscored}. These scores are of the others alone: where it is wrong answers that a scorer cannot "
        "judge, or fails on, they are too high. Why stands with each question."
    )
    unread = "; ".join(told for name, entry in entries if (told := _unread(name, entry)))
    strict = "; ".join(told for name, entry in entries if (told := _named_more_often(name, entry)))
    unread = unread and f"Replies that are unreadable or cut off: {unread}. These scores are as much those of the format as of the answers."
    strict = strict and (
        f"Answers that are judged wrong and have the reference in them: {strict}. Read them in the viewer: where they are right, the score "
        "is too low, and further accepted answers in the file, as a list, mend that for all conditions."
    )
    return [Text(text, "warning") for text in (failed, unscored, unread, strict) if text]


def _failed(name: str, entry: Mapping[str, Any]) -> str:
    """Of a condition that has a score all the same."""
    n, left = number(entry.get("n")), answered_in(entry)
    if not entry.get("scored") or n - left <= MANY * n:
        return ""
    return f"{name} {_with_share(n - left, n)} of {count_text(n)} ({reasons_text(entry['failures'])})"


def _unscored(name: str, entry: Mapping[str, Any]) -> str:
    """Of those that were answered."""
    n, missing = number(entry.get("n")), answered_in(entry) - number(entry.get("scored"))
    return f"{name} {_with_share(missing, n)} of {count_text(n)}" if is_number(entry.get("scored")) and missing > MANY * n else ""


def _unread(name: str, entry: Mapping[str, Any]) -> str:
    counts = counts_of(entry)
    n, bad = counts.get("n"), counts.get("any")
    if not (is_number(n) and is_number(bad) and n and bad / n > MANY):
        return ""
    kinds = ", ".join(f"{count_text(counts[kind])} {text}" for kind, text in _KINDS.items() if counts.get(kind))
    return f"{name} {_with_share(bad, n)} of {count_text(n)} ({kinds})"


def _named_more_often(name: str, entry: Mapping[str, Any]) -> str:
    named = ((entry.get("measures") or {}).get("contains") or {}).get("score")
    score, n = entry.get("score"), entry.get("scored") or entry.get("n")
    if not (is_number(named) and is_number(score) and is_number(n)):
        return ""
    more = number(named) - number(score)
    return f"{name} {count_text(round(more * number(n)))} of {count_text(n)}" if more > MANY else ""
