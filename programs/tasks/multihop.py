"""The embedded task: synthetic questions over a passage, for real language models without a network.

    Where was the mother of Julia Reed born?
    -> Who is the mother of Julia Reed?
    -> Where was #1 born?

A chain of 1 to 4 facts leads to the answer. The passage also holds a twin chain with the same relations and other
names, so that no answer can be guessed by its type, and one or two unrelated facts; its sentences are shuffled.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import dspy

from programs.tasks.base import SPLITS, Origin, Score, Task
from programs.tasks.scorers import in_words

EXTRA_SPLIT = "teacher"
_BUCKETS = 20
_SPLIT_BUCKETS = {"train": range(0, 6), "dev": range(6, 8), "test": range(8, 12), EXTRA_SPLIT: range(12, 20)}
_CHUNK = 1_000_000


class Relation(NamedTuple):
    """One kind of fact. `{}` stands for the subject; `{s}` and `{o}` in `fact` for subject and object."""

    subject: str
    object: str
    fact: str
    question: str
    phrase: str


_PEOPLE = (
    Relation("person", "person", "The mother of {s} is {o}.", "Who is the mother of {}?", "the mother of {}"),
    Relation("person", "person", "The father of {s} is {o}.", "Who is the father of {}?", "the father of {}"),
    Relation("person", "person", "The boss of {s} is {o}.", "Who is the boss of {}?", "the boss of {}"),
    Relation("person", "person", "The best friend of {s} is {o}.", "Who is the best friend of {}?", "the best friend of {}"),
    Relation("person", "person", "{s} was taught by {o}.", "Who taught {}?", "the teacher of {}"),
    Relation("person", "company", "{s} works for {o}.", "Which company does {} work for?", "the employer of {}"),
    Relation("person", "city", "{s} was born in {o}.", "Where was {} born?", "the birthplace of {}"),
    Relation("person", "city", "{s} lives in {o}.", "Where does {} live?", "the home town of {}"),
    Relation("company", "person", "{s} was founded by {o}.", "Who founded {}?", "the founder of {}"),
    Relation("company", "person", "{s} is run by {o}.", "Who runs {}?", "the head of {}"),
    Relation("company", "city", "{s} is based in {o}.", "Where is {} based?", "the home city of {}"),
    Relation("city", "person", "The mayor of {s} is {o}.", "Who is the mayor of {}?", "the mayor of {}"),
)
_BOOKS = (
    Relation("book", "person", "{s} was written by {o}.", "Who wrote {}?", "the author of {}"),
    Relation("book", "person", "{s} was translated by {o}.", "Who translated {}?", "the translator of {}"),
    Relation("book", "person", "The hero of {s} is {o}.", "Who is the hero of {}?", "the hero of {}"),
    Relation("book", "city", "{s} is set in {o}.", "Where is {} set?", "the setting of {}"),
    Relation("book", "book", "The sequel to {s} is {o}.", "What is the sequel to {}?", "the sequel to {}"),
    Relation("person", "book", "The first novel of {s} is {o}.", "What is the first novel of {}?", "the first novel of {}"),
    Relation("person", "city", "{s} died in {o}.", "Where did {} die?", "the place of death of {}"),
    Relation("person", "person", "{s} is married to {o}.", "Who is married to {}?", "the spouse of {}"),
    Relation("city", "person", "The greatest poet of {s} is {o}.", "Who is the greatest poet of {}?", "the greatest poet of {}"),
)
SCHEMAS: dict[str, tuple[Relation, ...]] = {"people": _PEOPLE, "books": _BOOKS}

_FIRST = """Julia Peter Maria Hugo Clara Simon Nora Victor Alice Oscar Helen Bruno Irene Felix Laura Martin Diana Albert Emma
Carl Sofia Henry Rosa Edgar Lucy Walter Anna Leon Grace Paul Vera Thomas Ida George Eva Frank Ruth Arthur Stella Max""".split()
_LAST = """Reed Hill Stone Marsh Fox Lane Brook Webb Holt Frost Dale Cole Ward Nash Pike Shaw Burns Grant Blake Moss Drake Wells
Ross Quinn Hayes Lowe Park Sharp Doyle Flynn Cross Bell Snow Vance Chase Rowe Banks Tate Hardy Finch Boyd Lamb Kerr Voss""".split()
_TOWN = """Rock Mill Ash Oak Stone River Spring Wood Clear North West Green Fair Hart Lake King Red High Black White Silver
Brook Glen Marsh Gold Pine Elm Fox Swan Iron""".split()
_TOWN_END = "ford bury field ton ville port dale haven brook mouth bridge wick".split()
_FIRM = "Bright Nova Blue Alpha Delta Quick Solid Prime Global Star Metro Apex Summit Vector Orbit Titan Falcon Pixel Cedar Amber".split()
_FIRM_END = "corp tech soft works line gen media motors foods bank labs air".split()
_TITLE = """Silent Broken Golden Hidden Frozen Distant Burning Lost Endless Crimson Empty Paper Winter Glass Secret Iron Velvet
Bitter Hollow Wild""".split()
_TITLE_END = "River Garden Mirror Tower Letter Island Harvest Crown Forest Shadow Bridge Voyage Lantern Orchard Clock Shore".split()


def _name(kind: str, rng: random.Random) -> str:
    if kind == "person":
        return f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"
    if kind == "city":
        return rng.choice(_TOWN) + rng.choice(_TOWN_END)
    if kind == "company":
        return rng.choice(_FIRM) + rng.choice(_FIRM_END)
    return f"The {rng.choice(_TITLE)} {rng.choice(_TITLE_END)}"


def _fresh(kind: str, rng: random.Random, used: set[str]) -> str:
    """A name that shares no word with those of the passage so far: namesakes would test spelling, not reasoning."""
    while True:
        name = _name(kind, rng)
        words = set(name.removeprefix("The ").split())
        if not words & used:
            used |= words
            return name


def _walk(schema: Sequence[Relation], hops: int, rng: random.Random) -> list[Relation]:
    """`hops` different relations, each starting where the one before ends."""
    while True:
        path = [rng.choice(schema)]
        while len(path) < hops:
            further = [r for r in schema if r.subject == path[-1].object and r not in path]
            if not further:
                break
            path.append(rng.choice(further))
        if len(path) == hops:
            return path


def _entities(path: Sequence[Relation], rng: random.Random, used: set[str]) -> list[str]:
    return [_fresh(kind, rng, used) for kind in [path[0].subject, *(r.object for r in path)]]


def _facts(path: Sequence[Relation], entities: Sequence[str]) -> list[str]:
    return [r.fact.format(s=s, o=o) for r, s, o in zip(path, entities, entities[1:], strict=False)]


def _compose(path: Sequence[Relation], start: str) -> str:
    phrase = start
    for relation in path[:-1]:
        phrase = relation.phrase.format(phrase)
    return path[-1].question.format(phrase)


def _subquestions(path: Sequence[Relation], start: str) -> list[str]:
    """One question a fact; none where the question itself asks for a single fact."""
    if len(path) == 1:
        return []
    return [relation.question.format(start if i == 0 else f"#{i}") for i, relation in enumerate(path)]


def _bucket(chain: Sequence[str]) -> int:
    return int.from_bytes(hashlib.sha256("|".join(chain).encode()).digest()[:4], "big") % _BUCKETS


class MultiHop(Task):
    """Synthetic multi-hop questions; seeded, endless, and split so that no entity chain stands in two splits.

    Args:
        schema: `people` (people, companies, cities), `books` (books, people, cities; other relations), or both joined
            by a comma, taken in turn.
        hops: Lengths of the chains of facts, 1 to 4, taken in turn: "2,3" or [2, 3]. A chain of 1 needs no decomposition.
        seed: Another seed gives other questions in every split.
        max_subquestions: The limit that the decomposer is told.
        branches: How many further facts, 0 to 2, the passage has on each entity of the chain; they lead away from the
            answer. Cities have none, since both schemas have only one relation on them. Without branches a solver that
            walks from fact to fact comes to the answer whatever it is asked on the way. The embedded teacher was
            trained without them.

    Raises:
        ValueError: Unknown schema, hops outside 1 to 4, or branches outside 0 to 2.
    """

    name = "multihop"
    summary = "embedded: synthetic multi-hop questions over a passage, two domains (people, books), offline"
    decomposer_sees_context = False

    def __init__(
        self,
        schema: str = "people",
        hops: str | Sequence[int] = "2,3",
        seed: int = 0,
        max_subquestions: int | None = 4,
        branches: int | str = 0,
    ) -> None:
        self.schemas = [part.strip() for part in schema.split(",")]
        for part in self.schemas:
            if part not in SCHEMAS:
                raise ValueError(
                    f"Unknown schema {part!r} of task 'multihop'; expected one of {sorted(SCHEMAS)}, or both joined by a comma."
                )
        self.hops = _parse_hops(hops)
        self.seed = seed
        self.max_subquestions = max_subquestions
        if str(branches) not in ("0", "1", "2"):
            raise ValueError(f"branches={branches!r} of task 'multihop' must be 0, 1 or 2.")
        self.branches = int(branches)

    def origin_of(self, example_id: str) -> Origin:
        """The generator, whose sentences and names are those of this package, under its licence."""
        return Origin("generated by the task multihop of divide-or-conquer", "mit")

    def check_split(self, split: str) -> None:
        if split not in _SPLIT_BUCKETS:
            raise ValueError(f"Unknown split {split!r} of task 'multihop'; expected one of {[*SPLITS, EXTRA_SPLIT]}.")

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """Whether the answer is the reference, or tells it in a sentence that repeats the question; see `in_words`."""
        return in_words(example, prediction)

    def load(self, split: str, limit: int | None = None) -> list[dspy.Example]:
        """The first `limit` questions of `split`; 1,000 if None, as the generator has no end.

        Beside `train`, `dev` and `test` there is `teacher`, which the embedded teacher was trained on.
        """
        self.check_split(split)
        return [self._example(split, index) for index in range(1000 if limit is None else limit)]

    def _example(self, split: str, index: int) -> dspy.Example:
        schema = self.schemas[index % len(self.schemas)]
        hops = self.hops[index // len(self.schemas) % len(self.hops)]
        for attempt in self._attempts(split, schema, hops, index):
            rng = random.Random(attempt)
            path = _walk(SCHEMAS[schema], hops, rng)
            used: set[str] = set()
            chain = _entities(path, rng, used)
            if _bucket(chain) in _SPLIT_BUCKETS[split]:
                return self._build(f"{schema}-{split}-{self.seed}-{index}", schema, path, chain, used, rng)
        raise AssertionError("unreachable: the attempts have no end")

    def _attempts(self, split: str, schema: str, hops: int, index: int) -> Iterator[str]:
        for attempt in range(_CHUNK):
            yield f"{self.seed}/{split}/{schema}/{hops}/{index}/{attempt}"

    def _build(self, key: str, schema: str, path: list[Relation], chain: list[str], used: set[str], rng: random.Random) -> dspy.Example:
        facts = _facts(path, chain) + _facts(path, _entities(path, rng, used))
        if self.branches:
            facts += self._branches(SCHEMAS[schema], path, chain, used, rng)
        for _ in range(rng.randint(1, 2)):
            unrelated = [rng.choice(SCHEMAS[schema])]
            facts += _facts(unrelated, _entities(unrelated, rng, used))
        rng.shuffle(facts)
        subquestions = _subquestions(path, chain[0])
        return dspy.Example(
            id=key,
            context=" ".join(facts),
            question=_compose(path, chain[0]),
            answer=chain[-1],
            subquestions=subquestions,
            sub_answers=chain[1:] if subquestions else [],
            reasoning=" ".join(_facts(path, chain)),
            chain=chain,
            hops=len(path),
            schema=schema,
        ).with_inputs("context", "question")

    def _branches(
        self, schema: Sequence[Relation], path: Sequence[Relation], chain: Sequence[str], used: set[str], rng: random.Random
    ) -> list[str]:
        """Facts of other relations on the entities that the chain leads over."""
        facts = []
        for relation, subject in zip(path, chain, strict=False):
            others = [other for other in schema if other.subject == relation.subject and other != relation]
            for other in rng.sample(others, min(self.branches, len(others))):
                facts += _facts([other], [subject, _fresh(other.object, rng, used)])
        return facts


def _parse_hops(hops: str | Sequence[int]) -> list[int]:
    parts = hops.split(",") if isinstance(hops, str) else [hops] if isinstance(hops, int) else list(hops)
    try:
        parsed = [int(part) for part in parts]
    except ValueError:
        parsed = []
    if not parsed or not all(1 <= n <= 4 for n in parsed):
        raise ValueError(f"hops={hops!r} of task 'multihop' must be numbers from 1 to 4, such as '2,3'.")
    return parsed
