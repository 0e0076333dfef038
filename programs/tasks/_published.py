"""Tasks over published data sets: which rows make which split.

Such a task is a `PublishedTask` with a `hub` and an `example`; see `bamboogle.py` for a short one.
"""

import hashlib
import random
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import dspy

from programs.tasks._rows import (
    READERS,
    SHIPPED,
    Hub,
    Reader,
    Row,
    csv_rows,
    file_rows,
    find_files,
    hub_rows,
    read_json,
    shipped_files,
    shown,
    split_of,
)
from programs.tasks.base import SPLITS, Origin, Task, each_once, identity, normalize_answer

__all__ = [
    "READERS",
    "Fractions",
    "Hub",
    "PublishedTask",
    "Reader",
    "Row",
    "csv_rows",
    "divide",
    "parse_fractions",
    "question_group",
    "read_json",
    "shown",
]

HELD_OUT = 0.1
_LONG = {"train": "training", "dev": "development", "test": "test"}

Fractions = str | Sequence[float] | Mapping[str, float]


def question_group(example: dspy.Example) -> str:
    """The key of examples that must stand in the same split: the question without its context, as contexts may differ in one word only."""
    return normalize_answer(example.question) or str(example.question)


def parse_fractions(fractions: Fractions) -> dict[str, float]:
    """The shares of train, dev and test, each in [0, 1].

    Raises:
        ValueError: They are not three numbers, or do not add up to 1.
    """
    try:
        if isinstance(fractions, Mapping):
            parsed = {str(name): float(share) for name, share in fractions.items()}
        else:
            shares = fractions.split(",") if isinstance(fractions, str) else fractions
            parsed = dict(zip(SPLITS, map(float, shares), strict=True))
    except (TypeError, ValueError):
        parsed = {}
    whole = {name: parsed.get(name, 0.0) for name in SPLITS}
    # Written so that NaN fails too.
    if set(parsed) - set(SPLITS) or not abs(sum(whole.values()) - 1) <= 1e-6 or min(whole.values()) < 0:
        raise ValueError(f"fractions={fractions!r} must be the shares of {list(SPLITS)} and add up to 1, such as '0.7,0.1,0.2'.")
    return whole


def divide(
    examples: Iterable[dspy.Example],
    fractions: Mapping[str, float],
    seed: str,
    group: Callable[[dspy.Example], str] = question_group,
) -> dict[str, list[dspy.Example]]:
    """The examples by split, shuffled by `seed`; those of one group stay together, so the shares are of groups."""
    return deal(grouped(examples, group), fractions, seed)


def deal(groups: Mapping[str, list[dspy.Example]], fractions: Mapping[str, float], seed: str) -> dict[str, list[dspy.Example]]:
    """Groups of examples by split, shuffled by `seed`."""
    # Sorted, so that the split hangs on the questions and the seed, not on the order of lines.
    keys = sorted(groups, key=_digest)
    random.Random(seed).shuffle(keys)
    ends = _ends(len(keys), [fractions[name] for name in SPLITS])
    chosen = {name: keys[start:end] for name, start, end in zip(SPLITS, [0, *ends], ends, strict=False)}
    return {name: [example for key in keys for example in groups[key]] for name, keys in chosen.items()}


def grouped(
    examples: Iterable[dspy.Example],
    group: Callable[[dspy.Example], str] = question_group,
    ties: Sequence[Callable[[dspy.Example], Hashable]] = (identity,),
) -> dict[str, list[dspy.Example]]:
    """Examples by group.

    Args:
        examples: To be grouped.
        group: The key of an example's group.
        ties: What two examples may have in common, which makes their groups one, under the first of the keys; None is in common to none.
    """
    placed = [(group(example), example) for example in examples]
    parent = {key: key for key, _ in placed}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for tie in ties:
        owner: dict[Hashable, str] = {}
        for key, example in placed:
            if (common := tie(example)) is not None:
                ends = {root(key), root(owner.setdefault(common, key))}
                parent[max(ends)] = min(ends)
    groups: dict[str, list[dspy.Example]] = {}
    for key, example in placed:
        groups.setdefault(root(key), []).append(example)
    return groups


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _share(key: str) -> float:
    """Where `key` falls in [0, 1), evenly over many keys."""
    return int.from_bytes(_digest(key)[:8], "big") / 2**64


def _ends(count: int, shares: Sequence[float]) -> list[int]:
    """Where each split ends among `count` questions."""
    ends, total = [], 0.0
    for share in shares:
        total += share
        ends.append(round(total * count))
    return ends


@dataclass(eq=False)
class PublishedTask(Task):
    """A task over a published data set; a subclass has `name`, `summary`, `hub` and `example`, and further options as fields.

    The name of a local file says which split it serves: `train`, `dev`, `valid`, `validation` or `test` as a word of it. A
    file whose name says none serves `test`. In a folder that has files with the task's name in theirs, only those count. A
    row that asks what an earlier one of its split asks is left out. Where there is no `dev`, a tenth of `train`, drawn by
    `seed`, takes its place and is left out of `train`.

    Args:
        path: A file (.jsonl, .json, .csv, .parquet), a folder, or several files joined by comma; the hub if None; "shipped" for
            the rows that come with the package.
        fractions: Divides all rows anew into train, dev and test: "0.7,0.1,0.2", a sequence or a dict.
        seed: Another seed holds out, or divides, differently.
        scoring: `strict`, or `lenient` for the rule of the paper's authors.
        max_subquestions: The limit that the decomposer is told.

    Raises:
        ValueError: Nothing usable at `path`, fractions that do not add up to 1, or an unknown `scoring`.
    """

    readers: ClassVar[Mapping[str, Reader]] = READERS
    license: ClassVar[str] = ""
    """What the published questions may be used under, as the hub writes it."""

    path: str | Path | None = None
    fractions: Fractions | None = None
    seed: int = 0
    scoring: Literal["strict", "lenient"] = "strict"
    max_subquestions: int | None = 3

    def __post_init__(self) -> None:
        if self.scoring not in ("strict", "lenient"):
            raise ValueError(f"scoring={self.scoring!r} of task {self.name!r} must be 'strict' or 'lenient'.")
        self._shares = None if self.fractions is None else parse_fractions(self.fractions)
        self._files = None if self.path is None else self._by_split(self.path)
        self._read: dict[str, list[dspy.Example]] = {}
        self._splits: dict[str, list[dspy.Example]] = {}

    @property
    @abstractmethod
    def hub(self) -> Hub:
        """Where the data set is on the hub."""

    @abstractmethod
    def example(self, row: Row) -> dspy.Example:
        """The example that `row` holds; raises `row.error(...)` if it does not fit."""

    def origin_of(self, example_id: str) -> Origin:
        """The published data set; nothing is known of the rows of a file that a user gave."""
        return Origin(self.hub.name, self.license) if self.path in (None, SHIPPED) else Origin()

    def group(self, example: dspy.Example) -> str:
        """Examples of the same group never stand in two of the splits that are made here; by default, the same question."""
        return question_group(example)

    def select(self, files: list[Path]) -> list[Path]:
        """Those of `files` that belong to this task's options."""
        return files

    def load(self, split: str, limit: int | None = None) -> list[dspy.Example]:
        """The first `limit` examples of `split` (all, if None).

        Raises:
            ValueError: Unknown split, one that the data does not have, fewer than `limit` examples, a row that does not fit (by
                file, row and field), or a download that failed.
        """
        self.check_split(split)
        if split not in self._splits:
            made = self._held_out(split) if self._shares is None else self._divided(self._shares)
            self._splits |= {name: each_once(examples) for name, examples in made.items()}
        found = self._splits[split]
        if not found or (limit is not None and not 0 <= limit <= len(found)):
            wanted = "at least 1" if limit is None else limit
            raise ValueError(f"Split {split!r} of {self._where()} has {len(found)} examples, and {wanted} were asked for; {self._more()}.")
        return found[:limit]

    def _divided(self, fractions: Mapping[str, float]) -> dict[str, list[dspy.Example]]:
        every = [example for split in self._there() for example in self._examples(split)]
        return divide(every, fractions, f"{self.name}/{self.seed}", self.group)

    def _held_out(self, split: str) -> dict[str, list[dspy.Example]]:
        there = self._there()
        if split in there and (split == "test" or "dev" in there):
            return {split: self._examples(split)}
        if split == "test" or "train" not in there:
            raise ValueError(
                f"{self._where()} holds no {_LONG[split]} split, only {', '.join(there)}; for a split of your own, "
                "fractions='0.7,0.1,0.2' divides its rows into train, dev and test."
            )
        parts: dict[str, list[dspy.Example]] = {"train": [], "dev": []}
        for example in self._examples("train"):
            parts["dev" if _share(f"{self.name}/{self.seed}/{self.group(example)}") < HELD_OUT else "train"].append(example)
        return parts

    def _there(self) -> list[str]:
        return [split for split in SPLITS if split in (self.hub.splits if self._files is None else self._files)]

    def _where(self) -> str:
        if self.path is None:
            return self.hub.name
        return f"the shipped rows of {self.hub.name}" if self.path == SHIPPED else str(self.path)

    def _more(self) -> str:
        """How to get more rows than there are."""
        if self.path == SHIPPED:
            return "ask for fewer, or leave path='shipped' (--task.path shipped) out for all rows, from the hub"
        return "ask for fewer, add rows, or change the fractions"

    def _examples(self, split: str) -> list[dspy.Example]:
        if split not in self._read:
            self._read[split] = [self.example(row) for row in self._rows(split)]
        return self._read[split]

    def _rows(self, split: str) -> Iterator[Row]:
        rows = hub_rows(self.hub, split) if self._files is None else file_rows(self._files[split], self.readers)
        for index, (source, place, fields) in enumerate(rows):
            if not isinstance(fields, Mapping):
                raise ValueError(f"{source}, row {place}: found {shown(fields)}; expected an object with named fields.")
            yield Row(f"{split}-{index}", source, place, fields)

    def _by_split(self, path: str | Path) -> dict[str, list[Path]]:
        files: dict[str, list[Path]] = {}
        found = shipped_files(self.name) if path == SHIPPED else find_files(path, self.name, self.readers)
        for file in self.select(found):
            files.setdefault(split_of(file) or "test", []).append(file)
        if not files:
            raise ValueError(f"{path} holds no file that task {self.name!r} can take with these options; name the file itself.")
        return files
