"""Every LM call on file, so that none is paid for twice; and the limits at which a job stops making calls."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from optimizers.jobs.jsonlines import Lines, read_lines
from programs.lms.ledger import Prices, Usage, current_ledger
from programs.lms.token_counts import TokenParts

CACHE_FIELDS = ("cached_tokens", "written_tokens")
"""Fields of a line, where there were some: input tokens that the provider found in its prompt cache, and that it put there."""

JOURNALS = ("traces.jsonl", "calls.jsonl", "solver_calls.jsonl")
"""Names of the files in which jobs keep their calls."""


def digest(value: Any) -> str:
    """Hash of a value as JSON; what JSON cannot hold goes in as its text."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Journal:
    """Every LM call ever made for a folder, by a key of all that makes a call unique. For any number of threads.

    Failed calls are kept for the audit (lines with `error`) and counted, but are made again when they are asked for; so are
    calls that a server answered by nothing at all (lines with `empty`).

    Args:
        path: The JSONL file; made if missing, continued otherwise.

    Attributes:
        paid: What all calls of the file cost, over all runs.

    Raises:
        RuntimeError: Another process has the file open.
        ValueError: A line before the last is garbled.
    """

    def __init__(self, path: str | Path) -> None:
        self.paid = Usage()
        self._lock = threading.Lock()
        self._offsets: dict[bytes, int] = {}
        self._flying: dict[bytes, Future[dict[str, Any]]] = {}
        self._lines = Lines(Path(path), self._visit)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """How many calls can be answered."""
        return len(self._offsets)

    @property
    def path(self) -> Path:
        """The JSONL file."""
        return self._lines.path

    def close(self) -> None:
        """Release the file, so that another job may open it."""
        self._lines.close()

    def drain(self, seconds: float = 600.0) -> bool:
        """Wait for the calls under way, which are paid for; False if some are not back after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                if not self._flying:
                    return True
            time.sleep(0.05)
        return False

    def _visit(self, record: dict[str, Any], offset: int) -> None:
        self.paid += _cost(record)
        if is_answer(record):
            self._offsets[bytes.fromhex(record["key"])] = offset

    def begin(self, key: str) -> dict[str, Any] | Future[dict[str, Any]] | None:
        """The recorded call; or the future of one under way; or None: the caller must make it, then `end` it."""
        call = bytes.fromhex(key)
        with self._lock:
            offset = self._offsets.get(call)
            if offset is None:
                flying = self._flying.get(call)
                if flying is None:
                    self._flying[call] = Future()
                return flying
        return self._lines.read(offset)

    def end(self, record: dict[str, Any], error: BaseException | None = None, write: bool = True) -> None:
        """Write a call that `begin` left to the caller, and wake up those who wait for it.

        Args:
            record: The line, with its `key`.
            error: What the call raised, if it did; those who wait get the same.
            write: False for a call that was never sent.
        """
        call = bytes.fromhex(record["key"])
        try:
            offset = self._lines.append(record) if write else None
        except BaseException as failure:
            self._settle(call, None, record, failure, Usage())
            raise
        self._settle(call, offset, record, error, _cost(record) if write else Usage())

    def _settle(self, call: bytes, offset: int | None, record: dict[str, Any], error: BaseException | None, cost: Usage) -> None:
        with self._lock:
            self.paid += cost
            if offset is not None and error is None and is_answer(record):
                self._offsets[call] = offset
            future = self._flying.pop(call)
        if error is None:
            future.set_result(record)
        else:
            future.set_exception(error)


def is_answer(record: Mapping[str, Any]) -> bool:
    """Whether a line of a journal is that of a call that need not be made again."""
    return "error" not in record and not record.get("empty")


def paid_beside(folders: Collection[Path], own: Path) -> Usage:
    """What the calls in all journals below some folders cost, but for those in the file `own`."""
    prices, total = current_ledger().prices, Usage()
    for path in sorted({path.resolve() for folder in folders for path in journals_below(folder)} - {own.resolve()}):
        # What other workers of the folder have just removed was no journal of theirs.
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            total += _paid_in(path, stat.st_size, stat.st_mtime_ns, prices)
    return total


def journals_below(folder: Path) -> Iterator[Path]:
    """The files below a folder in which calls are kept, in no order."""
    # `rglob` fails at folders that another process removes meanwhile.
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in JOURNALS if name in names)


@functools.lru_cache(maxsize=1024)
def _paid_in(path: Path, size: int, changed: int, prices: Prices) -> Usage:
    """What a file's calls cost; read without its lock, as it may be open in this very job."""
    return sum((_cost(record, prices) for record in read_lines(path)), Usage())


def _cost(record: Mapping[str, Any], prices: Prices | None = None) -> Usage:
    if "paid_in" in record:
        return Usage()
    failed, cached = int("error" in record), int(bool(record.get("cached")))
    if failed or cached:
        return Usage(1, cached, failed, seconds=record["seconds"])
    tokens, estimated = (record.get("input_tokens") or 0, record.get("output_tokens") or 0), int(bool(record.get("estimated")))
    usd, parts = record.get("usd"), TokenParts(*(record.get(name) or 0 for name in CACHE_FIELDS))
    if usd is None:
        # The price may have been set after the call was made; else a limit in dollars could not be kept in this folder.
        usd = (prices or current_ledger().prices).set_usd(record.get("model") or "", *tokens, record["seconds"], "batch" in record, parts)
    return Usage(1, 0, 0, *tokens, record["seconds"], usd, estimated, {}, parts.cached, parts.written)


@dataclass(frozen=True)
class Limits:
    """When a labelling job stops with what it has. None means no limit.

    Attributes:
        calls: LM calls made for the folder, over all its runs, failed ones included. Never exceeded.
        tokens: Input and output tokens together. Exceeded at most by the calls under way when it is reached.
        usd: Dollars by the ledger's prices. Exceeded at most by the calls under way when it is reached.
        failure_share: Stop when more than this share of the teacher's runs failed (default 0.2) ...
        min_failures: ... and at least this many did (default 5).
        elsewhere: What was paid in other files, which counts for calls, tokens and dollars too.
        job: Limits of the whole job, of which this is a part; with their own `elsewhere`.

    Raises:
        ValueError: A negative limit, or a share outside 0 to 1.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    failure_share: float = 0.2
    min_failures: int = 5
    elsewhere: Usage = field(default_factory=Usage)
    job: Limits | None = None

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "usd"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"limit {name}={value} must not be negative; use None for no limit.")
        if not 0 <= self.failure_share <= 1:
            raise ValueError(f"failure_share={self.failure_share} must be between 0 and 1; 1 never stops.")


class LimitReached(BaseException):
    """A call was not sent, since a limit is reached. No `Exception`, as programs that catch those must not go on."""


class Budget:
    """`Limits` on calls, tokens and dollars, watched over a journal by all threads.

    Args:
        limits: The limits.
        journal: Where the calls stand.
        whole: Gives the limits of the whole job anew before each call, in place of `limits.job`, where other processes make calls of the
            same job meanwhile; those that they have under way are not seen, and may exceed it.

    Attributes:
        reached: The limit that was reached; None while none is.
        stopped: Ends the waits for rate limits, when the job stops.
    """

    def __init__(self, limits: Limits, journal: Journal, whole: Callable[[], Limits | None] | None = None) -> None:
        self.limits, self._whole = limits, whole or (lambda: limits.job)
        self.reached: str | None = None
        self.stopped = threading.Event()
        self._journal = journal
        self._lock = threading.Lock()
        self._under_way = 0

    def take(self) -> None:
        """Ask to make one call.

        Raises:
            LimitReached: It must not be made.
        """
        with self._lock:
            self.reached = self.reached or self._exceeded()
            if self.reached:
                raise LimitReached(self.reached)
            self._under_way += 1

    def give_back(self) -> None:
        """Note that the call has been made, and stands in the journal."""
        with self._lock:
            self._under_way -= 1

    def _exceeded(self) -> str | None:
        paid, limits, job = self._journal.paid, self.limits, self._whole()
        whole = exceeded(job, paid + job.elsewhere, self._under_way) if job else None
        return exceeded(limits, paid + limits.elsewhere, self._under_way) or (whole and f"{whole}, for the whole job")


def exceeded(limits: Limits, paid: Usage, under_way: int = 0) -> str | None:
    """Which limit is reached, in words; None if none is.

    Args:
        limits: On calls, tokens and dollars.
        paid: What was spent.
        under_way: Calls that are not back yet.
    """
    if limits.calls is not None and paid.calls + under_way >= limits.calls:
        return f"limit of {limits.calls} calls reached"
    if limits.tokens is not None and paid.input_tokens + paid.output_tokens >= limits.tokens:
        return f"limit of {limits.tokens} tokens reached"
    if limits.usd is not None and paid.usd is None:
        # What they cost is unknown, and no limit at all would be the worse guess.
        step = "set cost.prices (cost.local_usd_per_hour for models that run here), or limit calls or tokens"
        return f"limit of {limits.usd:g} dollars cannot be kept, as calls on file have no price: {step}"
    if limits.usd is not None and paid.usd is not None and paid.usd >= limits.usd:
        return f"limit of {limits.usd:g} dollars reached"
    return None
