"""Batches on file, so that whoever makes the same calls again takes up the answers of a batch that was handed in before."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dspy import lm15
from dspy._vendor.lm15.serde import request_to_dict, response_from_dict, response_to_dict
from filelock import FileLock, Timeout

from programs.lms.artifacts import writable, write_json
from programs.lms.batches.apis import Outcome

_log = logging.getLogger("divide_or_conquer")

KEPT_SECONDS = 24 * 3600.0
"""For how long answers that were handed out are given again to other processes: one that dies at once has not kept them."""

FORGOTTEN_SECONDS = 30 * 24 * 3600.0
"""After which a batch is taken off the file; providers keep its answers for as long."""


def request_key(request: lm15.Request) -> str:
    """What tells a request from others."""
    return hashlib.sha256(json.dumps(request_to_dict(request), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass
class Batch:
    """A batch that was handed in, or is about to be.

    Attributes:
        label: Its name here.
        model: The model string of its requests.
        keys: Of its requests, in their order.
        batch: The provider's id; None until it has taken the batch.
        made: When it was handed in, in seconds since 1970.
        ended: When its answers were fetched; None until then.
        given: When the first of its answers was handed out.
        free: Places that no request of this process has been given.
    """

    label: str
    model: str
    keys: list[str]
    batch: str | None = None
    made: float = field(default_factory=time.time)
    ended: float | None = None
    given: float | None = None
    free: dict[str, list[int]] = field(default_factory=dict, repr=False)

    def is_over(self, now: float) -> bool:
        """Whether nobody is to be given its answers any more."""
        return now - self.made > FORGOTTEN_SECONDS or (self.given is not None and now - self.given > KEPT_SECONDS)


class Spool:
    """The batches of one provider at one address, in a folder. Each belongs to the process that holds its lock, or to none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, FileLock] = {}
        self.batches: list[Batch] = []

    def open(self) -> None:
        """Take over the batches that no process holds."""
        with writable(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("*.json")):
            if path.stem not in self._locks and self._lock(path.stem) and (batch := self._read(path)) is not None:
                batch.free = self._free(batch)
                self.batches.append(batch)

    def begin(self, model: str, keys: Sequence[str]) -> Batch:
        """Note that a batch is about to be handed in."""
        batch = Batch(uuid.uuid4().hex, model, list(keys))
        self._lock(batch.label)
        self.write(batch)
        self.batches.append(batch)
        return batch

    def write(self, batch: Batch) -> None:
        """Put a batch on file as it is now."""
        write_json(self._path(batch), {name: value for name, value in asdict(batch).items() if name != "free"})

    def drop(self, batch: Batch) -> None:
        """Forget a batch."""
        self.batches = [other for other in self.batches if other is not batch]
        for path in (self._path(batch), self._answers(batch)):
            path.unlink(missing_ok=True)
        self._release(batch.label)

    def keep(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Put the answers of a batch that has ended on file; what failed is not kept, so that it can be asked again."""
        good = {place: outcome for place, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)}
        partial = self._answers(batch).with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            for place, response in good.items():
                file.write(json.dumps({"place": place, "response": response_to_dict(response)}, ensure_ascii=False) + "\n")
        partial.replace(self._answers(batch))
        batch.free = {key: kept for key, places in batch.free.items() if (kept := [place for place in places if place in good])}
        batch.ended = time.time()
        self.write(batch)

    def answers(self, batch: Batch) -> dict[int, lm15.Response]:
        """The answers of a batch that has ended, by their places."""
        return {line["place"]: response_from_dict(line["response"]) for line in self._lines(batch)}

    def claim(self, key: str) -> tuple[Batch, int] | None:
        """A place in a batch whose request is this one, which nobody else is given; None if there is none."""
        for batch in self.batches:
            if batch.free.get(key):
                return batch, batch.free[key].pop(0)
        return None

    def _lines(self, batch: Batch) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError), self._answers(batch).open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def _free(self, batch: Batch) -> dict[str, list[int]]:
        places = range(len(batch.keys)) if batch.ended is None else [line["place"] for line in self._lines(batch)]
        free: dict[str, list[int]] = {}
        for place in places:
            free.setdefault(batch.keys[place], []).append(place)
        return free

    def _read(self, path: Path) -> Batch | None:
        try:
            batch = Batch(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            _log.warning("%s, which says what a batch holds, cannot be read (%s); its requests are handed in anew.", path, error)
            self._release(path.stem)
            return None
        if batch.is_over(time.time()):
            self.drop(batch)
            return None
        return batch

    def _lock(self, label: str) -> bool:
        # Of all threads of the process.
        lock = FileLock(self._folder / f"{label}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._locks[label] = lock
        return True

    def _release(self, label: str) -> None:
        lock = self._locks.pop(label, None)
        if lock is not None:
            lock.release()

    def _path(self, batch: Batch) -> Path:
        return self._folder / f"{batch.label}.json"

    def _answers(self, batch: Batch) -> Path:
        return self._folder / f"{batch.label}.jsonl"
