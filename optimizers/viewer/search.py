"""Which answers a reader asks for: by condition, right or wrong, state, and words; and a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optimizers.viewer.answer_file import Table
from optimizers.viewer.answer_sets import AnswerSet
from optimizers.viewer.compare import places_by_key

PAGE = 25

VERDICTS = ("right", "wrong", "partly right", "unscored")


@dataclass(frozen=True)
class Wanted:
    """What an answer must be like.

    Attributes:
        verdict: One of `VERDICTS`; empty takes all.
        state: Of its decomposition, or `failed`; empty takes all.
        words: In its question, context, reference, subquestions, reasoning, answer or error, whatever the case.
        other: A set in which the same question has an answer, too; None for no such condition.
        other_verdict: Of that answer.
    """

    verdict: str = ""
    state: str = ""
    words: str = ""
    other: AnswerSet | None = None
    other_verdict: str = ""


@dataclass(frozen=True)
class Hit:
    """An answer of a set, by its place in a table of the set's file."""

    answers: AnswerSet
    table: Table
    place: int


@dataclass(frozen=True)
class Hits:
    """The answers of a set that are wanted, by their places in a table of the set's file, in the order of the file."""

    answers: AnswerSet
    table: Table
    places: Any


class Searches:
    """Searches by words, each done once as long as the file does not change."""

    def __init__(self, most: int = 64) -> None:
        self._found: dict[Any, list[int]] = {}
        self._most = most

    def holding(self, answers: AnswerSet, table: Table, places: Any, wanted: Wanted) -> list[int]:
        """Those of `places` whose answers hold the words."""
        key = (answers.file, answers.file.version, len(table), wanted.words, hash(places.tobytes()))
        if key not in self._found:
            found = answers.file.holding(table, places.tolist(), wanted.words)
            if len(self._found) >= self._most:
                self._found.pop(next(iter(self._found)))
            self._found[key] = found
        return self._found[key]


def hits(sets: Sequence[AnswerSet], wanted: Wanted, searches: Searches) -> list[Hits]:
    """The wanted answers of each set."""
    return [_matching(one, wanted, searches) for one in sets]


def _matching(answers: AnswerSet, wanted: Wanted, searches: Searches) -> Hits:
    import numpy as np

    table = answers.file.refresh()
    places = answers.places(table)
    if wanted.verdict:
        places = places[_has_verdict(table.scores[places], wanted.verdict)]
    if wanted.state:
        states = [at for at, name in enumerate(table.state_names) if name == wanted.state]
        places = places[np.isin(table.states[places], states)]
    if wanted.other is not None:
        places = places[_has_other(table.keys[places], wanted.other, wanted.other_verdict)]
    if wanted.words:
        places = np.asarray(searches.holding(answers, table, places, wanted), "i8")
    return Hits(answers, table, places)


def _has_verdict(scores: Any, verdict: str) -> Any:
    import numpy as np

    masks = {"right": scores == 1, "wrong": scores == 0, "unscored": np.isnan(scores)}
    rest = ~(masks["right"] | masks["wrong"] | masks["unscored"])
    return {**masks, "partly right": rest}.get(verdict, np.zeros(len(scores), bool))


def _has_other(keys: Any, other: AnswerSet, verdict: str) -> Any:
    import numpy as np

    table = other.file.refresh()
    there = places_by_key(other, table)
    places = np.fromiter((there.get(key, -1) for key in keys.tolist()), "i8", len(keys))
    found = places >= 0
    if verdict and found.any():
        found[found] = _has_verdict(table.scores[places[found]], verdict)
    return found


def page_of(found: Sequence[Hits], number: int) -> tuple[list[Hit], int]:
    """The hits of a page (from 1; the last one where there are fewer), and how many pages there are."""
    total = sum(len(one.places) for one in found)
    pages = max(1, -(-total // PAGE))
    skipped = (min(max(number, 1), pages) - 1) * PAGE
    shown: list[Hit] = []
    for one in found:
        shown += [Hit(one.answers, one.table, int(place)) for place in one.places[skipped : skipped + PAGE - len(shown)]]
        skipped = max(0, skipped - len(one.places))
    return shown, pages
