"""What the teacher said about each example, read from file one sample at a time."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy

from optimizers.labelling.journal import digest
from optimizers.labelling.values import Types, decoded
from programs.lms.ledger import Usage

SAMPLES = "samples.jsonl"

UNPARSEABLE = "unparseable"
_SHOWN = 200
CUT_OFF = "cut_off"
EMPTY = "empty"

FINAL = (None, UNPARSEABLE, CUT_OFF)
"""Errors of runs that the same calls would give again, from the journal; whatever else failed may work the next time."""

Examples = list[dspy.Example]


@dataclass(slots=True)
class Call:
    """One predictor's part in a run of the teacher.

    Attributes:
        predictor: Its name in the program, such as `decompose` or `solve.predict`.
        inputs: What it was given, by field.
        outputs: What it gave, by field.
    """

    predictor: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclass(slots=True)
class Sample:
    """One run of the teacher on one example.

    Attributes:
        example_id: The example's `id`.
        sample: Number of the run on this example, from 0.
        calls: What each predictor was given and gave, in order.
        prediction: The program's prediction, its values of the types that they had, without `usage`; empty if it failed.
        usage: Stage -> model string -> `Usage` as dict.
        error: None, `unparseable`, `cut_off` (a reply ended at its limit of tokens), `empty` (a server sent nothing), `timeout` or
            `error:<type>`.
        message: What the error said, or the reply that could not be read, shortened; empty without an error.
        left_out: Fields that cannot be written to a file, as `prediction.table (DataFrame)`, and are missing above.
        place: Where the trace stands that the decomposition was taken from; empty if the teacher was asked.
    """

    example_id: str
    sample: int
    calls: list[Call]
    prediction: dict[str, Any]
    usage: dict[str, dict[str, dict[str, Any]]]
    error: str | None = None
    message: str = ""
    left_out: list[str] = field(default_factory=list)
    place: str = ""

    @property
    def failure(self) -> str | None:
        """`error`; or `unparseable` where the program went on with a decomposition that it could not read."""
        return failure(self.error, self.prediction)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], types: Types | None = None) -> Sample:
        """A sample from its line in `samples.jsonl`; `types` knows the classes of its values, where they are not module-level ones."""
        types = types or Types()
        return cls(
            example_id=record["example"],
            sample=record["sample"],
            calls=[Call(name, decoded(inputs, types), decoded(outputs, types)) for name, inputs, outputs in record["calls"]],
            prediction=decoded(record["prediction"], types),
            usage=record["usage"],
            error=record["error"],
            message=record.get("message", ""),
            left_out=record.get("left_out", []),
            place=record.get("place", ""),
        )


def is_cut_after_decomposing(sample: Sample) -> bool:
    """Whether a reply of the run was cut off, and its decomposition is whole nevertheless; never of programs that tell no `state`."""
    return sample.error == CUT_OFF and sample.prediction.get("state") not in (None, CUT_OFF)


def failure(error: str | None, prediction: Mapping[str, Any]) -> str | None:
    """Why a run with this error and this prediction cannot be used; None if it can."""
    return error or (UNPARSEABLE if prediction.get("state") == UNPARSEABLE or prediction.get("unparsed") else None)


def shortened(text: str, length: int = _SHOWN) -> str:
    """The beginning of a text, at most `length` characters."""
    return text if len(text) <= length else text[: length - 3] + "..."


class Collected(Mapping[str, list[Sample]]):
    """What `collect` has: example id -> its samples, read from the file when they are asked for.

    Attributes:
        folder: Where the files are.
        stopped: Why the job ended before its time; None if it is complete.
        done: Runs of the teacher that are on file, failed ones included.
        traced: Those of them whose decomposition is that of a trace, for which no decomposer was asked.
        failed: Reason -> how many runs.
        first_failures: Reason -> the first such failure: its example, and what was said or replied.
        formats: Predictor -> prompt formats that the program itself set for it while it ran.
        usage: Stage -> `Usage` over all samples on file, of this and of earlier runs. (The ledger has this run's calls.)
    """

    def __init__(self, folder: Path, ids: Sequence[str], samples: int, offsets: array[int], types: Types | None = None) -> None:
        self.folder = folder
        self.stopped: str | None = None
        self.done = self.traced = 0
        self.failed: Counter[str] = Counter()
        self.first_failures: dict[str, str] = {}
        self.formats: dict[str, set[str]] = {}
        self.usage: dict[str, Usage] = {}
        self._places = {example_id: place for place, example_id in enumerate(ids)}
        self._count = samples
        self._offsets = offsets
        self._types = types or Types()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, example_id: str) -> list[Sample]:
        place = self._places[example_id]
        return list(SamplesOnFile(self.folder / SAMPLES, self._offsets[place * self._count : (place + 1) * self._count], self._types))

    @property
    def samples(self) -> SamplesOnFile:
        """All samples, by example in the given order and then by number; can be iterated any number of times."""
        return SamplesOnFile(self.folder / SAMPLES, self._offsets, self._types)

    def get_sample(self, example_id: str, sample: int = 0) -> Sample:
        """One sample.

        Raises:
            KeyError: It is not on file.
        """
        for found in self[example_id]:
            if found.sample == sample:
                return found
        raise KeyError((example_id, sample))


class SamplesOnFile:
    """Samples at some offsets of a file; one at a time is in memory."""

    def __init__(self, path: Path, offsets: array[int], types: Types) -> None:
        self._path, self._offsets, self._types = path, offsets, types

    def __len__(self) -> int:
        return sum(offset >= 0 for offset in self._offsets)

    def __iter__(self) -> Iterator[Sample]:
        if len(self) == 0:
            return
        with self._path.open("rb") as file:
            for offset in self._offsets:
                if offset >= 0:
                    file.seek(offset)
                    yield Sample.from_record(json.loads(file.readline()), self._types)


def example_key(example: dspy.Example) -> str:
    """The example's `id`, or else a hash of its inputs."""
    given = example.get("id")
    return inputs_hash(example) if given is None or given == "" else str(given)


def inputs_hash(example: dspy.Example) -> str:
    """A short hash of the example's inputs."""
    return digest(example.inputs().toDict())[:16]
