"""Which names and answers can stand in which places of a question: read off decompositions, without a model.

A slot is a subquestion with one of its arguments left out: `Where was _ born?`. What was seen in the same slot is taken
to be of the same kind. Nothing else is known about kinds: there is no list of names, relations or domains.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

GAP = "\ufffc"
"""Stands in a template where the argument was; a character that no text has."""

REFERENCE = re.compile(r"#(\d+)")

_WORD = re.compile(r"\w+(?:[-.&'’]\w+)*")

_POSSESSIVE = re.compile(r"['’]s$")

_PARTICLES = frozenset("de du da di la le van von der den al bin".split())

_OPENERS = frozenset(
    """Who Whom Whose What When Where Which Why How Is Are Was Were Am Be Do Does Did Has Have Had Can Could Will Would Should
    May Might In On At Of From For To By With If After Before During Name List Tell Give""".split()
)

_NOUN_PHRASE = re.compile(rf"^(?:Who|What|Which \w+) (?:is|was|are|were) (the \w+(?: \w+){{0,3}} (?:of|to|for|in) {GAP})\?$")

_MOST_WORDS = 5


@dataclass(frozen=True)
class Labelled:
    """A question with its decomposition.

    Attributes:
        id: The question's id.
        sample: Number of the teacher's run.
        question: As the decomposer is given it.
        subquestions: In order; none where no decomposition is needed.
        answers: The teacher's answers to the subquestions, as far as they are known.
        context: The passage that the decomposer is given; may be empty.
        sources: Ids of the questions that it was made from; none for the teacher's own.
    """

    id: str
    sample: int
    question: str
    subquestions: tuple[str, ...]
    answers: tuple[str, ...] = ()
    context: str = ""
    sources: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that are searched for the question's names: its subquestions, or the question itself if there are none."""
        return self.subquestions or (self.question,)


def capitalised(text: str) -> list[str]:
    """Maximal runs of words with a capital, without a question's first word where it is a usual opener."""
    runs: list[list[re.Match[str]]] = [[]]
    for word in _WORD.finditer(text):
        last = runs[-1][-1] if runs[-1] else None
        apart = last is not None and (text[last.end() : word.start()] != " " or bool(_POSSESSIVE.search(last.group())))
        if apart or not _belongs(word, runs[-1]):
            runs.append([])
        if _belongs(word, runs[-1]) and not (word.start() == 0 and word.group() in _OPENERS):
            runs[-1].append(word)
    return [_text(text, run) for run in runs if run]


def _belongs(word: re.Match[str], run: Sequence[re.Match[str]]) -> bool:
    inside = word.group() in _PARTICLES or word.group().isdigit()
    return word.group()[0].isupper() or (bool(run) and inside)


def _text(text: str, run: list[re.Match[str]]) -> str:
    while run[-1].group() in _PARTICLES:
        run.pop()
    return _POSSESSIVE.sub("", text[run[0].start() : run[-1].end()])


def names_of(row: Labelled) -> list[str]:
    """Names in the question that also stand in its subquestions, each once; not those that are part of a longer one."""
    found = []
    for run in dict.fromkeys(capitalised(row.question)):
        # Two names side by side are one run: try what the subquestions have of it.
        parts = [run, run.partition(" ")[2], run.rpartition(" ")[0]]
        found += [part for part in parts if part and any(mention(part).search(text) for text in row.texts)][:1]
    return [name for name in found if not any(name != other and mention(name).search(other) for other in found)]


def mention(name: str) -> re.Pattern[str]:
    """The pattern that finds a name, but not within a longer word."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")


def looks_like_a_name(text: str) -> bool:
    """Whether a text is nothing but one capitalised name of a few words."""
    return capitalised(f"x {text}") == [text] and len(text.split()) <= _MOST_WORDS


def template(subquestion: str, argument: str) -> str:
    """The slot of an argument (a name, or a reference such as `#1`); other references lose their number."""
    return REFERENCE.sub("#", mention(argument).sub(GAP, subquestion) if argument[0] != "#" else _without(subquestion, argument))


def _without(subquestion: str, reference: str) -> str:
    return REFERENCE.sub(lambda found: GAP if found.group() == reference else found.group(), subquestion)


@dataclass(frozen=True)
class Hop:
    """A subquestion that can be asked by itself: its slot, the name in it, and the question that it was taken from."""

    slot: str
    name: str
    source: str

    @property
    def subquestion(self) -> str:
        return self.slot.replace(GAP, self.name)


@dataclass
class Slots:
    """What a set of decompositions shows about its slots.

    Attributes:
        names: Slot -> names seen in it, as written or as the answer that a reference stands for.
        feeds: Slot of a subquestion -> slots in which later subquestions refer to its answer.
        answers: Slot of a subquestion -> names seen as its answer.
        phrases: Slot -> noun phrases that questions use for its answer: `the mother of _`, with counts.
        hops: Subquestions with a single argument that is known by name.
    """

    names: dict[str, dict[str, None]] = field(default_factory=dict)
    feeds: dict[str, set[str]] = field(default_factory=dict)
    answers: dict[str, set[str]] = field(default_factory=dict)
    phrases: dict[str, Counter[str]] = field(default_factory=dict)
    hops: list[Hop] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[Labelled]) -> Slots:
        """The slots that a set of rows shows."""
        slots = cls()
        for row in rows:
            slots._add(row)
        return slots

    def _add(self, row: Labelled) -> None:
        names = names_of(row)
        single: dict[int, str] = {}
        for place, text in enumerate(row.texts):
            arguments = [*(name for name in names if mention(name).search(text)), *_references(text, place)]
            known = {argument: _known(argument, row.answers) for argument in arguments}
            for argument, name in known.items():
                if name:
                    self.names.setdefault(template(text, argument), {})[name] = None
                if argument[0] == "#" and int(argument[1:]) in single:
                    self.feeds.setdefault(single[int(argument[1:])], set()).add(template(text, argument))
            if len(arguments) == 1 and row.subquestions:
                single[place + 1] = slot = template(text, arguments[0])
                self._add_single(slot, known[arguments[0]], row, place)
        self._add_phrase(row, single)

    def _add_single(self, slot: str, name: str, row: Labelled, place: int) -> None:
        if name:
            self.hops.append(Hop(slot, name, row.id))
        answer = _known(f"#{place + 1}", row.answers)
        if answer:
            self.answers.setdefault(slot, set()).add(answer)

    def _add_phrase(self, row: Labelled, single: Mapping[int, str]) -> None:
        """Of a question in two steps: what is left of it outside the frame of its last subquestion."""
        for slot in single.values():
            ruled = _NOUN_PHRASE.match(slot)
            if ruled:
                self.phrases.setdefault(slot, Counter())[ruled.group(1)] += 1
        if len(row.subquestions) != 2 or set(single) != {1, 2}:
            return
        before, _, after = row.subquestions[1].partition("#1")
        inner = row.question.removeprefix(before).removesuffix(after)
        if row.question == before + inner + after:
            for name in names_of(row):
                if inner != name and single[1] == template(row.subquestions[0], name) and len(mention(name).findall(inner)) == 1:
                    self.phrases.setdefault(single[1], Counter())[mention(name).sub(GAP, inner)] += 1

    def phrase(self, slot: str) -> str | None:
        """The usual noun phrase for a slot's answer; None if none is known."""
        known = self.phrases.get(slot)
        # Of equally frequent ones the first in the alphabet: the order of the rows decides nothing.
        return min(known, key=lambda phrase: (-known[phrase], phrase)) if known else None

    def fits(self, inner: str, outer: str) -> bool:
        """Whether answers to `inner` were seen in the slot `outer`, by reference or by name."""
        return outer in self.feeds.get(inner, ()) or not self.answers.get(inner, set()).isdisjoint(self.names.get(outer, {}))


def _references(text: str, place: int) -> list[str]:
    return [f"#{number}" for number in dict.fromkeys(map(int, REFERENCE.findall(text))) if 1 <= number <= place]


def _known(argument: str, answers: Sequence[str]) -> str:
    """The name that an argument stands for; empty if that is not known."""
    if argument[0] != "#":
        return argument
    number = int(argument[1:])
    answer = answers[number - 1] if number <= len(answers) else ""
    return answer if looks_like_a_name(answer) else ""
