"""Makes further training rows for a decomposer from those that the teacher labelled, without asking the teacher."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from optimizers.finetune.entity_slots import GAP, REFERENCE, Hop, Labelled, Slots, mention, names_of, template
from programs.tasks.base import Task, normalize_answer

MASKED, COMPOSED = "mask_entities", "compose"

_TRIES = 30

_SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]


class AugmentSpec(BaseModel):
    """Which training rows are made from the teacher's. Off by default."""

    model_config = ConfigDict(extra="forbid")

    mask_entities: int = Field(0, ge=0, json_schema_extra={"unit": "copies a row"})
    """Copies of each row with other names in place of those that its question and subquestions share; 0 makes none."""
    names: Literal["training", "synthetic"] = "training"
    """Where the other names come from: `training` takes names that stand in the same place in other training questions, `synthetic` makes
    them up of syllables."""
    compose: float = Field(0.0, ge=0, json_schema_extra={"unit": "share of the rows"})
    """Rows with longer chains, as a share of the teacher's rows: a name in one question gives way to a step of another question; 0 makes
    none."""
    compose_hops: int = Field(1, ge=1, json_schema_extra={"unit": "steps"})
    """How many steps a composed chain is longer than the one it is made from, at most."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the draw of names and pairs."""

    @property
    def is_on(self) -> bool:
        """Whether there is anything to make."""
        return bool(self.mask_entities or self.compose)


class Made(NamedTuple):
    """A row that no teacher wrote, and how it came about: `mask_entities` or `compose`."""

    row: Labelled
    origin: str


def check_augment(spec: AugmentSpec, task: Task) -> None:
    """Refuse settings that do not fit a task.

    Raises:
        ValueError: Chains are to be composed, but the decomposer sees a passage, which says nothing about the other question.
    """
    if spec.compose and task.decomposer_sees_context is not False:
        raise ValueError(
            f"augment.compose={spec.compose:g} joins two questions, and the decomposer of task {task.name!r} sees the passage of one. "
            "Set it to 0, or decomposer_sees_context of the task to false."
        )


def augment(
    rows: Sequence[Labelled], spec: AugmentSpec, limit: int | None = None, refuses: Callable[[Labelled], bool] = lambda row: False
) -> list[Made]:
    """Make further rows: the same ones for the same rows and settings, and fewer than asked for where too few fit.

    In a masked copy, each name that a question shares with its subquestions is replaced by another name, everywhere.
    Composed rows replace a name X of one question by the phrase for the answer to a step of another: of "Where was X
    born?" and "Who is the mother of Y?" comes "Where was the mother of Y born?", with that step in front. The phrase is
    read off questions of two steps, or off "Who is the R of Y?" itself; answers to the step must have been seen where X
    stands. No facts are checked: a composed question need not have an answer.

    Args:
        rows: The teacher's, as they are trained on.
        spec: What to make.
        limit: Subquestions that the decomposer is told it may use; None for any number.
        refuses: Asked once about every new question; a row that it refuses is not made, and another one is tried.
    """
    if not spec.is_on:
        return []
    slots = Slots.of(rows)
    masked = [Made(row, MASKED) for row in _masked(rows, slots, spec, refuses)]
    composed = _Composer(rows, slots, spec, limit, refuses).rows() if spec.compose else []
    return [*masked, *(Made(row, COMPOSED) for row in composed)]


def _masked(rows: Sequence[Labelled], slots: Slots, spec: AugmentSpec, refuses: Callable[[Labelled], bool]) -> Iterator[Labelled]:
    seen = {normalize_answer(row.question) for row in rows}
    for row in rows:
        rng = random.Random(f"{MASKED}/{spec.seed}/{row.id}/{row.sample}")
        made = 0
        for _ in range(_TRIES * spec.mask_entities):
            if made == spec.mask_entities:
                break
            copy = _renamed(row, slots, spec, rng)
            if copy is not None and normalize_answer(copy.question) not in seen:
                seen.add(normalize_answer(copy.question))
                if refuses(copy):
                    continue
                made += 1
                yield replace(copy, id=f"{row.id}~mask{made}", sources=(row.id,))


def _renamed(row: Labelled, slots: Slots, spec: AugmentSpec, rng: random.Random) -> Labelled | None:
    names = names_of(row)
    taken = _words(" ".join([row.question, row.context, *row.subquestions]))
    others: dict[str, str] = {}
    for name in names:
        other = _other_name(row, name, slots, spec, rng, taken)
        if other is None:
            return None
        others[name] = other
        taken |= _words(other)
    if not others:
        return None
    # All at once, so that a new name is never replaced in its turn.
    pattern = re.compile("|".join(mention(name).pattern for name in names))
    copy = _mapped(row, lambda text: pattern.sub(lambda found: others[found.group()], text))
    left = _words(" ".join([copy.question, copy.context, *copy.subquestions]))
    # "Reed" for Julia Reed: a part of the old name by itself would now speak of nobody.
    parts = {word for name in names for word in _words(name) if word[0].isupper() and word != "The"}
    return None if parts & left else copy


def _other_name(row: Labelled, name: str, slots: Slots, spec: AugmentSpec, rng: random.Random, taken: set[str]) -> str | None:
    """Another name, which shares no word with the row."""
    if spec.names == "synthetic":
        candidates = [_made_up(name, rng) for _ in range(_TRIES)]
    else:
        seen = [slots.names.get(template(text, name), {}) for text in row.texts if mention(name).search(text)]
        candidates = [other for other in seen[0] if all(other in names for names in seen[1:])]
    free = [other for other in candidates if not (_words(other) - {"The"}) & taken]
    return rng.choice(free) if free else None


def _made_up(name: str, rng: random.Random) -> str:
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))).capitalize() for _ in name.split()]
    return " ".join(["The", *words[1:]] if name.startswith("The ") else words)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _mapped(row: Labelled, change: Any) -> Labelled:
    return replace(
        row, question=change(row.question), subquestions=tuple(map(change, row.subquestions)), context=change(row.context), answers=()
    )


class _Composer:
    """Makes chains longer at their first step."""

    def __init__(
        self, rows: Sequence[Labelled], slots: Slots, spec: AugmentSpec, limit: int | None, refuses: Callable[[Labelled], bool]
    ) -> None:
        self.slots, self.spec, self.limit, self.refuses = slots, spec, limit, refuses
        self.wanted = round(spec.compose * len(rows))
        self.sources = [row for row in rows if row.subquestions and not row.context]
        self.seen = {normalize_answer(row.question) for row in rows}
        self.rng = random.Random(f"{COMPOSED}/{spec.seed}")
        self.hops: dict[str, list[Hop]] = {}
        for hop in slots.hops:
            if slots.phrase(hop.slot):
                self.hops.setdefault(hop.slot, []).append(hop)

    def rows(self) -> list[Labelled]:
        """As many as are wanted, or as can be found."""
        made: list[Labelled] = []
        for _ in range(_TRIES * self.wanted if self.sources and self.hops else 0):
            if len(made) == self.wanted:
                break
            row = self._longer(self.rng.choice(self.sources), self.rng.randint(1, self.spec.compose_hops))
            if row is not None and normalize_answer(row.question) not in self.seen:
                self.seen.add(normalize_answer(row.question))
                if self.refuses(row):
                    continue
                made.append(replace(row, id=f"{row.sources[0]}~compose{len(made) + 1}"))
        return made

    def _longer(self, row: Labelled, steps: int) -> Labelled | None:
        longer: Labelled | None = row
        for _ in range(steps):
            longer = self._one_longer(longer) if longer else None
        return longer

    def _one_longer(self, row: Labelled) -> Labelled | None:
        names = [name for name in names_of(row) if _can_give_way(name, row.question)]
        if not names or (self.limit is not None and len(row.subquestions) >= self.limit):
            return None
        name = self.rng.choice(names)
        outer = [template(text, name) for text in row.subquestions if mention(name).search(text)]
        inner = [slot for slot in self.hops if all(self.slots.fits(slot, one) for one in outer)]
        if not inner:
            return None
        hop = self.rng.choice(self.hops[self.rng.choice(inner)])
        if _words(hop.name) & _words(" ".join([row.question, *row.subquestions])) - {"The"}:
            return None
        return self._joined(row, name, hop)

    def _joined(self, row: Labelled, name: str, hop: Hop) -> Labelled:
        phrase = (self.slots.phrase(hop.slot) or "").replace(GAP, hop.name)
        question = mention(name).sub(lambda _: phrase, row.question)
        later = [REFERENCE.sub(lambda found: f"#{int(found.group(1)) + 1}", text) for text in row.subquestions]
        return Labelled(
            id=row.id,
            sample=row.sample,
            question=question[0].upper() + question[1:],
            subquestions=(hop.subquestion, *(mention(name).sub("#1", text) for text in later)),
            sources=(*(row.sources or (row.id,)), hop.source),
        )


def _can_give_way(name: str, question: str) -> bool:
    """Whether a phrase can stand where the name does: once, with no article before it and no possessive behind."""
    found = list(mention(name).finditer(question))
    if len(found) != 1:
        return False
    before, after = question[: found[0].start()].rstrip(), question[found[0].end() :]
    return not re.search(r"\b(?:a|an|the)$", before, re.IGNORECASE) and not re.match(r"['’]", after)
