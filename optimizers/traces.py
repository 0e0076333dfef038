"""Teacher traces: collected once, never paid for twice, at the speed of the teacher.

Two append-only files in a folder. `traces.jsonl` has a line for every LM call, written the moment it returns, so that a
job killed at any point repeats no call. `samples.jsonl` has a line for every finished run of the teacher on an example,
so that taking up a finished job again is reading a file. Both are read back by offset, not held in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import dataclasses
import functools
import hashlib
import json
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import dspy
from dspy import lm15
from dspy.clients import costs
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError, LMTimeoutError

from programs.lms.ledger import LOCAL_PREFIXES, Ledger, Usage, current_call, current_ledger, metered, recording

try:
    import fcntl
except ImportError:  # pragma: no cover - no such module on Windows, where two jobs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]

Progress = Callable[[int, int, int, float | None], None]
"""Called with (done, total, failed, seconds left or None while unknown)."""

TRACES, SAMPLES = "traces.jsonl", "samples.jsonl"
UNPARSEABLE, TIMEOUT = "unparseable", "timeout"
_TICK_SECONDS = 0.2
_SWITCH_SECONDS = 0.0005


class Lines:
    """An append-only JSONL file that survives SIGKILL and a full disk, for one process at a time.

    Args:
        path: The file; made with its folders if missing.
        visit: Called with every record already there and its offset in bytes.

    Raises:
        RuntimeError: Another process has the file open.
        ValueError: A line before the last is not a JSON object. A last line that was cut short is removed.
    """

    def __init__(self, path: Path, visit: Callable[[dict[str, Any], int], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        # Unbuffered: a line is with the kernel, and so safe from SIGKILL, when `append` returns.
        self._file = path.open("ab", buffering=0)
        self._reader: BinaryIO | None = None
        try:
            self._take_lock()
            self._end = self._load(visit)
        except BaseException:
            self._file.close()
            raise

    def _take_lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError(f"{self.path} is being written by another job; wait for it to end, or use another folder.") from error

    def _load(self, visit: Callable[[dict[str, Any], int], None]) -> int:
        size, offset = self.path.stat().st_size, 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                record = _parse_line(line)
                if record is None and offset + len(line) < size:
                    raise ValueError(f"{self.path}, line {number}: expected a JSON object; mend or remove that line, then run again.")
                if record is None:
                    self._file.truncate(offset)
                    break
                try:
                    visit(record, offset)
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"{self.path}, line {number}: not a line of such a file ({error!r}); use another folder.") from error
                offset += len(line)
        return offset

    def append(self, record: Mapping[str, Any]) -> int:
        """Write one line; returns its offset in bytes.

        Raises:
            OSError: The disk refused it; nothing of the line is left behind.
        """
        data = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "surrogatepass")
        with self._lock:
            self._write(data)
            offset, self._end = self._end, self._end + len(data)
        return offset

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:
            self._file.truncate(self._end)
            raise

    def read(self, offset: int) -> dict[str, Any]:
        """The record at an offset that `append` or `visit` gave."""
        with self._lock:
            if self._reader is None:
                self._reader = self.path.open("rb")
            self._reader.seek(offset)
            record: dict[str, Any] = json.loads(self._reader.readline())
        return record

    def close(self) -> None:
        """Release the file and its lock."""
        self._file.close()
        if self._reader is not None:
            self._reader.close()


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and line.endswith(b"\n") else None


class Journal:
    """Every LM call ever made for a folder, by a key of all that makes a call unique. For any number of threads.

    Failed calls are kept for the audit (lines with `error`) and counted, but are made again when they are asked for.

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

    def _visit(self, record: dict[str, Any], offset: int) -> None:
        self.paid += _cost(record)
        if "error" not in record:
            self._offsets[bytes.fromhex(record["key"])] = offset

    def begin(self, key: str) -> dict[str, Any] | Future[dict[str, Any]] | None:
        """The recorded call; or the future of one under way; or None: the caller must make it, then `end` it."""
        digest = bytes.fromhex(key)
        with self._lock:
            offset = self._offsets.get(digest)
            if offset is None:
                flying = self._flying.get(digest)
                if flying is None:
                    self._flying[digest] = Future()
                return flying
        return self._lines.read(offset)

    def end(self, record: dict[str, Any], error: BaseException | None = None, write: bool = True) -> None:
        """Write a call that `begin` left to the caller, and wake up those who wait for it.

        Args:
            record: The line, with its `key`.
            error: What the call raised, if it did; those who wait get the same.
            write: False for a call that was never sent.
        """
        digest = bytes.fromhex(record["key"])
        try:
            offset = self._lines.append(record) if write else None
        except BaseException as failure:
            self._settle(digest, None, record, failure, Usage())
            raise
        self._settle(digest, offset, record, error, _cost(record) if write else Usage())

    def _settle(self, digest: bytes, offset: int | None, record: dict[str, Any], error: BaseException | None, cost: Usage) -> None:
        with self._lock:
            self.paid += cost
            if offset is not None and error is None:
                self._offsets[digest] = offset
            future = self._flying.pop(digest)
        if error is None:
            future.set_result(record)
        else:
            future.set_exception(error)


def _cost(record: Mapping[str, Any]) -> Usage:
    failed, cached = int("error" in record), int(bool(record.get("cached")))
    if failed or cached:
        return Usage(1, cached, failed, seconds=record["seconds"])
    return Usage(1, 0, 0, record.get("input_tokens") or 0, record.get("output_tokens") or 0, record["seconds"], record.get("usd"))


@dataclass(frozen=True)
class Limits:
    """When a labelling job stops with what it has. None means no limit.

    Attributes:
        calls: LM calls made for the folder, over all its runs, failed ones included. Never exceeded.
        tokens: Input and output tokens together. Exceeded at most by the calls under way when it is reached.
        usd: Dollars by the ledger's prices; likewise.
        failure_share: Stop when more than this share of the teacher's runs failed (default 0.2) ...
        min_failures: ... and at least this many did (default 5).

    Raises:
        ValueError: A negative limit, or a share outside 0 to 1.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    failure_share: float = 0.2
    min_failures: int = 5

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "usd"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"limit {name}={value} must not be negative; use None for no limit.")
        if not 0 <= self.failure_share <= 1:
            raise ValueError(f"failure_share={self.failure_share} must be between 0 and 1; 1 never stops.")


class LimitReached(BaseException):
    """A call was not sent, as a limit is reached. No `Exception`: a program that catches those must not go on."""


class Budget:
    """`Limits` on calls, tokens and dollars, watched over a journal by all threads."""

    def __init__(self, limits: Limits, journal: Journal) -> None:
        self.limits = limits
        self.reached: str | None = None
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
        """The call has been made, and stands in the journal."""
        with self._lock:
            self._under_way -= 1

    def _exceeded(self) -> str | None:
        paid, limits = self._journal.paid, self.limits
        if limits.calls is not None and paid.calls + self._under_way >= limits.calls:
            return f"limit of {limits.calls} calls reached"
        if limits.tokens is not None and paid.input_tokens + paid.output_tokens >= limits.tokens:
            return f"limit of {limits.tokens} tokens reached"
        if limits.usd is not None and paid.usd is not None and paid.usd >= limits.usd:
            return f"limit of {limits.usd:g} dollars reached"
        return None


@dataclass
class _Run:
    """One run of the teacher on one example: whose calls these are."""

    example_id: str | None = None
    sample: int | None = None
    claimed: set[str] = field(default_factory=set)


@dataclass
class _Asked:
    """One call of a journaled LM: DSPy's rollout id, and how many candidates (`n`) were made so far."""

    rollout_id: Any = None
    candidates: int = 0


_run: contextvars.ContextVar[_Run | None] = contextvars.ContextVar("divide_or_conquer_run", default=None)
_asked: contextvars.ContextVar[_Asked | None] = contextvars.ContextVar("divide_or_conquer_asked", default=None)


class _Asking(BaseCallback):
    """Tells the engine what DSPy keeps from a Request: the rollout id, and that `n` candidates are one call."""

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        rollout_id = (inputs.get("kwargs") or {}).get("rollout_id", instance.kwargs.get("rollout_id"))
        _asked.set(_Asked(rollout_id))


class _Captor:
    """A usage tracker for one call; stays None when DSPy's cache answered."""

    usage: dict[str, Any] | None = None

    def add_usage(self, model: str, usage: dict[str, Any]) -> None:
        self.usage = dict(usage)


@dataclass
class _Ticket:
    """A call to look up or to make."""

    request: lm15.Request
    record: dict[str, Any]
    options: dict[str, Any]

    @property
    def key(self) -> str:
        return str(self.record["key"])


class JournalEngine:
    """DSPy engine that answers from a journal, and asks `inner` for what is not in it."""

    def __init__(self, inner: dspy.LM, journal: Journal, stage: str | None, sample: int, budget: Budget | None) -> None:
        self._inner, self._journal, self._stage, self._sample, self._budget = inner, journal, stage, sample, budget

    def __deepcopy__(self, memo: dict[int, Any]) -> JournalEngine:
        return self

    def complete(self, request: lm15.Request) -> lm15.Response:
        """The recorded response, or that of the inner LM, which is recorded now."""
        ticket = self._ticket(request)
        found = self._journal.begin(ticket.key)
        if found is None:
            return self._made(ticket)
        return _answer(found.result() if isinstance(found, Future) else found)

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        """`complete`, as events."""
        return iter(lm15.response_to_events(self.complete(request)))

    def close(self) -> None:
        """Nothing to close: journal and inner LM belong to the caller."""

    async def acomplete(self, request: lm15.Request) -> lm15.Response:
        """`complete` without blocking the event loop."""
        ticket = self._ticket(request)
        found = self._journal.begin(ticket.key)
        if found is None:
            return await self._amade(ticket)
        return _answer(await asyncio.wrap_future(found) if isinstance(found, Future) else found)

    def _ticket(self, request: lm15.Request) -> _Ticket:
        run, asked, call = _run.get(), _asked.get() or _Asked(), current_call()
        greedy = request.config.temperature == 0
        sample, rollout = (0, None) if greedy else (self._sample, asked.rollout_id)
        candidate, asked.candidates = (0 if greedy else asked.candidates), asked.candidates + 1
        request = _reseeded(request, sample + candidate)
        whole = _request_dict(request)
        prompt = _digest({name: whole.get(name) for name in ("system", "messages", "tools")})
        unique = [request.model, prompt, whole.get("config"), sample, rollout, candidate]
        varied = (sample, rollout, candidate) != (0, None, 0)
        record = {
            "key": _digest(unique),
            "example": run.example_id if run else None,
            "sample": run.sample if run and run.sample is not None else self._sample,
            "stage": self._stage or (call.stage if call else None),
            "model": request.model,
            "prompt": prompt[:16],
        }
        return _Ticket(request, record, {"rollout_id": f"{sample}/{rollout}/{candidate}"} if varied else {})

    def _quiet(self, captor: _Captor) -> Any:
        # What surrounds the journaled LM has seen this call already: seen twice, it would be counted twice.
        return dspy.context(usage_tracker=captor, callbacks=[], disable_history=True, send_stream=None)

    def _made(self, ticket: _Ticket) -> lm15.Response:
        self._admit(ticket)
        captor, started = _Captor(), time.monotonic()
        try:
            with self._quiet(captor):
                response = self._inner(request=ticket.request, **ticket.options)
        except BaseException as error:
            self._failed(ticket, error, started)
            raise
        return self._kept(ticket, response, captor, started)

    async def _amade(self, ticket: _Ticket) -> lm15.Response:
        self._admit(ticket)
        captor, started = _Captor(), time.monotonic()
        try:
            with self._quiet(captor):
                response = await self._inner.acall(request=ticket.request, **ticket.options)
        except BaseException as error:
            self._failed(ticket, error, started)
            raise
        return self._kept(ticket, response, captor, started)

    def _admit(self, ticket: _Ticket) -> None:
        try:
            if self._budget:
                self._budget.take()
        except LimitReached as error:
            self._journal.end(ticket.record, error, write=False)
            raise

    def _failed(self, ticket: _Ticket, error: BaseException, started: float) -> None:
        message = f"{type(error).__name__}: {error}"[:500]
        self._end({**ticket.record, "error": message, **_clock(started)}, error)

    def _kept(self, ticket: _Ticket, response: lm15.Response, captor: _Captor, started: float) -> lm15.Response:
        record = {**ticket.record, **_response_fields(response, captor.usage), **_clock(started)}
        # A local model tells its share of the batch's time; the wait in its queue is nobody's cost.
        record["seconds"] = (response.provider_data or {}).get("seconds", record["seconds"])
        tokens = record["input_tokens"] or 0, record["output_tokens"] or 0
        record["usd"] = None if record.get("cached") else current_ledger().prices.usd(ticket.request.model, *tokens, record["seconds"])
        self._end(record)
        return _answer(record)

    def _end(self, record: dict[str, Any], error: BaseException | None = None) -> None:
        try:
            self._journal.end(record, error)
        finally:
            if self._budget:
                self._budget.give_back()


class AsyncJournalEngine:
    """The async face of a `JournalEngine`."""

    def __init__(self, engine: JournalEngine) -> None:
        self._engine = engine

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncJournalEngine:
        return self

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """As `JournalEngine.complete`."""
        return await self._engine.acomplete(request)

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        """`complete`, as events."""
        for event in lm15.response_to_events(await self._engine.acomplete(request)):
            yield event

    async def aclose(self) -> None:
        """Nothing to close."""


def journaled(lm: dspy.LM, journal: Journal, *, stage: str | None = None, sample: int = 0, limits: Budget | None = None) -> dspy.LM:
    """An LM like `lm` that asks `lm` only for what `journal` does not have.

    Same model string, sampling options and provider. A call that is in the journal counts in the enclosing `metered`
    stage with its recorded tokens, seconds and dollars, as if it were made now; one that another example made counts
    as a cache hit. Identical calls under way are made once. With temperature 0 all samples are the same call.

    Args:
        lm: The LM to ask. Its retries, cache, timeout and connection stay its own.
        journal: Where calls are kept.
        stage: Name of the stage in the journal's lines; by default that of the enclosing `metered`.
        sample: Number of the sample, from 0; above 0, DSPy's cache is bypassed and a fixed seed is moved.
        limits: A budget to ask before every call that is not in the journal.

    Raises:
        ValueError: `lm` has options that only LiteLLM knows (`extra_body`, ...), which a journal cannot key.
    """
    engine = JournalEngine(lm, journal, stage, sample, limits)
    options = {name: value for name, value in lm.kwargs.items() if name not in CLIENT_KEYS}
    _check_options(lm.model, options)
    wrapped = dspy.LM(
        lm.model,
        model_type=lm.model_type,
        cache=False,
        num_retries=0,
        callbacks=[_Asking()],
        provider=lm.provider,
        engine=engine,
        async_engine=AsyncJournalEngine(engine),
    )
    # Past the constructor, which renames the options of reasoning models and would do so a second time.
    wrapped.kwargs = options
    for name in ("finetuning_model", "launch_kwargs", "train_kwargs", "use_developer_role"):
        setattr(wrapped, name, getattr(lm, name))
    return wrapped


def _check_options(model: str, options: dict[str, Any]) -> None:
    plain = {name: value for name, value in options.items() if value is not None and name not in ("n", "rollout_id", "prompt_cache")}
    try:
        lm15.request_from_openai_chat({"model": model, "messages": [{"role": "user", "content": "?"}], **plain})
    except Exception as error:
        raise ValueError(f"The options {sorted(plain)} of {model} cannot all be journaled: {error}; leave out what it names.") from error


def _request_dict(request: lm15.Request) -> dict[str, Any]:
    from dspy._vendor.lm15.serde import request_to_dict

    return request_to_dict(request)


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _reseeded(request: lm15.Request, number: int) -> lm15.Request:
    seed = request.config.seed
    # A local model draws by its seed alone, so that without one all its samples would be the same text.
    if number == 0 or (seed is None and not request.model.startswith(LOCAL_PREFIXES)):
        return request
    return dataclasses.replace(request, config=dataclasses.replace(request.config, seed=(seed or 0) + number))


def _clock(started: float) -> dict[str, float]:
    return {"seconds": round(time.monotonic() - started, 6), "time": round(time.time(), 3)}


def _response_fields(response: lm15.Response, usage: dict[str, Any] | None) -> dict[str, Any]:
    """A response as fields of a line: its text, or all of it where it has more than text."""
    parts = response.message.parts
    known = response.usage
    tokens = (known.input_tokens, known.output_tokens) if usage is None else (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    fields: dict[str, Any] = {"text": response.message.text, "finish": response.finish_reason}
    fields |= {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    if usage is None:
        fields["cached"] = True
    if response.logprobs is not None or len(parts) != 1 or not isinstance(parts[0], lm15.TextPart):
        from dspy._vendor.lm15.serde import response_to_dict

        fields["response"] = response_to_dict(response)
    return fields


def _answer(record: dict[str, Any]) -> lm15.Response:
    """The response of a line, with its cost told to the meter of the stage that asks."""
    run, call = _run.get(), current_call()
    # The run that made a call bears its cost, whoever asks first after a restart: so totals do not hang on chance.
    free = run is not None and ((record["example"], record["sample"]) != (run.example_id, run.sample) or record["key"] in run.claimed)
    if run is not None:
        run.claimed.add(record["key"])
    if call is not None:
        call.seconds, call.usd = 0.0 if free else record["seconds"], record.get("usd")
        call.cached = free or bool(record.get("cached"))
    usage = lm15.Usage(input_tokens=record["input_tokens"], output_tokens=record["output_tokens"])
    if "response" in record:
        from dspy._vendor.lm15.serde import response_from_dict

        return dataclasses.replace(response_from_dict(record["response"]), usage=usage)
    message = lm15.Message.assistant([lm15.TextPart(record["text"])])
    return lm15.Response(id=None, model=record["model"], message=message, finish_reason=record["finish"], usage=usage)


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
        prediction: The program's prediction, without `usage` and what JSON cannot hold; empty if it failed.
        usage: Stage -> model string -> `Usage` as dict.
        error: None, `unparseable`, `timeout` or `error:<type>`.
    """

    example_id: str
    sample: int
    calls: list[Call]
    prediction: dict[str, Any]
    usage: dict[str, dict[str, dict[str, Any]]]
    error: str | None = None

    @property
    def failure(self) -> str | None:
        """`error`; or `unparseable` where the program went on with a decomposition that it could not read."""
        return self.error or (UNPARSEABLE if self.prediction.get("state") == UNPARSEABLE else None)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Sample:
        """A sample from its line in `samples.jsonl`."""
        calls = [Call(*call) for call in record["calls"]]
        return cls(record["example"], record["sample"], calls, record["prediction"], record["usage"], record["error"])


class Collected(Mapping[str, list[Sample]]):
    """What `collect` has: example id -> its samples, read from the file when they are asked for.

    Attributes:
        folder: Where the files are.
        stopped: Why the job ended before its time; None if it is complete.
        done: Runs of the teacher that are on file, failed ones included.
        failed: Reason -> how many runs.
        usage: Stage -> `Usage` over all samples on file, of this and of earlier runs. (The ledger has this run's calls.)
    """

    def __init__(self, folder: Path, ids: Sequence[str], samples: int, offsets: array[int]) -> None:
        self.folder = folder
        self.stopped: str | None = None
        self.done = 0
        self.failed: Counter[str] = Counter()
        self.usage: dict[str, Usage] = {}
        self._places = {example_id: place for place, example_id in enumerate(ids)}
        self._count = samples
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, example_id: str) -> list[Sample]:
        place = self._places[example_id]
        return list(SamplesOnFile(self.folder / SAMPLES, self._offsets[place * self._count : (place + 1) * self._count]))

    @property
    def samples(self) -> SamplesOnFile:
        """All samples, by example in the given order and then by number; can be iterated any number of times."""
        return SamplesOnFile(self.folder / SAMPLES, self._offsets)

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

    def __init__(self, path: Path, offsets: array[int]) -> None:
        self._path, self._offsets = path, offsets

    def __len__(self) -> int:
        return sum(offset >= 0 for offset in self._offsets)

    def __iter__(self) -> Iterator[Sample]:
        if len(self) == 0:
            return
        with self._path.open("rb") as file:
            for offset in self._offsets:
                if offset >= 0:
                    file.seek(offset)
                    yield Sample.from_record(json.loads(file.readline()))


def collect(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    *,
    folder: str | Path,
    lm: dspy.LM | None = None,
    samples: int = 1,
    temperature: float | Mapping[str, float] | None = None,
    threads: int = 8,
    limits: Limits = Limits(),
    progress: Progress | None = None,
) -> Collected:
    """Run the teacher on every example, `samples` times; the same call again continues where it was stopped or killed.

    A run that fails costs that run alone, with the reason on file; failed calls are made again next time, unreadable
    replies are not. `program` itself is left as it is: a copy of it works, on journaled LMs.

    Args:
        program: The teacher; its predictors use their own LMs, or else `lm`.
        examples: With their inputs set (`with_inputs`); without `id` they get a hash of their inputs as such.
        folder: For `traces.jsonl` and `samples.jsonl`; one job at a time.
        lm: For predictors without an LM of their own; by default DSPy's configured one.
        samples: Runs an example. More than one needs a temperature above 0.
        temperature: Sets that of all LMs, or by name of predictor; None leaves each LM its own.
        threads: Runs at a time.
        limits: When to stop with what there is.
        progress: Called a few times a second in the calling thread; also at the end.

    Returns:
        All that is on file for these examples, this program and these LMs.

    Raises:
        ValueError: Duplicate ids, examples without inputs, no LM, samples that would all be the same, a limit in
            dollars on a model without a price, a garbled file.
        RuntimeError: Another job is working in the folder.
        OSError: The files cannot be written.
        KeyboardInterrupt: As it came, after the runs under way were finished and written.
    """
    if samples < 1 or threads < 1:
        raise ValueError(f"samples={samples} and threads={threads} must be at least 1.")
    ids = _ids(examples)
    folder = Path(folder)
    with Journal(folder / TRACES) as journal:
        budget = Budget(limits, journal)
        teachers = [_Teacher(program, lm, journal, number, temperature, budget) for number in range(samples)]
        _check_sampling(teachers, samples)
        _check_prices(teachers, limits)
        job = _Job(teachers, examples, ids, folder, budget, progress)
        try:
            with _quick_switches(), _cheap_price_lookups():
                return job.run(threads)
        finally:
            job.close()


@contextlib.contextmanager
def _quick_switches() -> Iterator[None]:
    """Let threads take turns ten times as often.

    HTTP pools give up the interpreter while they hold their lock, and get it back a switch interval later: at the usual
    5 ms, 32 threads queue up behind one lock, and labelling runs at 60 % of what it does with 0.5 ms.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


@contextlib.contextmanager
def _cheap_price_lookups() -> Iterator[None]:
    """Remember what DSPy finds in its price table.

    For a model that is not listed (any self-hosted one) DSPy walks the whole table twice after every call: 2 of the
    6 ms of processor time that a call costs. The estimate is for DSPy's history, which is off here.
    """
    usual = costs.model_info
    costs.model_info = functools.lru_cache(maxsize=256)(usual)
    try:
        yield
    finally:
        costs.model_info = usual


def example_key(example: dspy.Example) -> str:
    """The example's `id`, or else a hash of its inputs."""
    given = example.get("id")
    return _inputs_hash(example) if given is None or given == "" else str(given)


def _inputs_hash(example: dspy.Example) -> str:
    return _digest(example.inputs().toDict())[:16]


def _ids(examples: Sequence[dspy.Example]) -> list[str]:
    for place, example in enumerate(examples):
        if not getattr(example, "_input_keys", None):
            raise ValueError(f"Example {place} has no inputs; say which fields are inputs: example.with_inputs('context', 'question').")
    ids = [example_key(example) for example in examples]
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        raise ValueError(f"Two examples have the id {twice!r}; give each its own, or leave out one of them.")
    return ids


class _Teacher:
    """A copy of the program on journaled LMs, for one sample number."""

    def __init__(
        self,
        program: dspy.Module,
        lm: dspy.LM | None,
        journal: Journal,
        sample: int,
        temperature: float | Mapping[str, float] | None,
        budget: Budget,
    ) -> None:
        self.sample = sample
        self._journal, self._budget = journal, budget
        self._flat = None if isinstance(temperature, Mapping) else temperature
        fallback = lm or dspy.settings.lm
        self.lm = self._journaled(fallback, self._flat) if fallback else None
        # Each LM maps to its journaled twin, so that LMs which predictors share stay shared in the copy.
        twins = {id(own): self._journaled(own, self._flat) for own in _own_lms(program)}
        self.program: dspy.Module = copy.deepcopy(program, twins)
        if isinstance(temperature, Mapping):
            self._set_temperatures(program, fallback, temperature)
        self.names = {id(predictor): name for name, predictor in _predictors(self.program)}
        self.lms = self._used()
        self.fingerprint = _fingerprint(self)

    def _journaled(self, lm: dspy.LM, temperature: float | None) -> dspy.LM:
        wrapped = journaled(lm, self._journal, sample=self.sample, limits=self._budget)
        if temperature is not None:
            wrapped.kwargs["temperature"] = temperature
        return wrapped

    def _set_temperatures(self, program: dspy.Module, fallback: dspy.LM | None, temperatures: Mapping[str, float]) -> None:
        names = [name for name, _ in _predictors(program)]
        unknown = sorted(set(temperatures) - set(names))
        if unknown:
            raise ValueError(f"Unknown predictor {unknown[0]!r} in temperature; the program has {names}.")
        for (name, original), (_, predictor) in zip(_predictors(program), _predictors(self.program), strict=True):
            own = original.lm or fallback
            if name in temperatures and own is not None:
                predictor.lm = self._journaled(own, temperatures[name])

    def _used(self) -> list[dspy.LM]:
        used = []
        for name, predictor in _predictors(self.program):
            own = predictor.lm or self.lm
            if own is None:
                raise ValueError(f"Predictor {name!r} of the teacher has no LM; pass lm=..., or set one by teacher.set_lm(...).")
            used.append(own)
        return used

    def __call__(self, example: dspy.Example, example_id: str, inputs_hash: str) -> dict[str, Any]:
        """The line of one run."""
        outer = current_ledger()
        ledger = Ledger(outer.prices)
        token = _run.set(_Run(example_id, self.sample))
        overrides = {"lm": self.lm} if self.lm else {}
        try:
            with recording(ledger), dspy.context(trace=[], disable_history=True, **overrides), metered("teacher"):
                outcome = self._attempt(example)
                trace = dspy.settings.trace
        finally:
            _run.reset(token)
        entries = ledger.entries()
        for (stage, model), usage in entries.items():
            outer.add(stage, model, usage)
        return {
            "example": example_id,
            "sample": self.sample,
            "program": self.fingerprint,
            "inputs": inputs_hash,
            "calls": [[self.names.get(id(p), "?"), _plain(inputs), _plain(outputs.toDict())] for p, inputs, outputs in trace],
            **outcome,
            "usage": _nested(entries),
        }

    def _attempt(self, example: dspy.Example) -> dict[str, Any]:
        try:
            prediction = self.program(**example.inputs().toDict()).toDict()
        except Exception as error:
            return {"prediction": {}, "error": _reason(error), "message": str(error)[:500]}
        prediction.pop("usage", None)
        return {"prediction": _plain(prediction), "error": None}


def _predictors(program: dspy.Module) -> list[tuple[str, Any]]:
    """All predictors by name; DSPy's own listing leaves out those of compiled submodules."""
    return [(name.removeprefix("self."), module) for name, module in program.named_sub_modules() if isinstance(module, dspy.Predict)]


def _own_lms(program: dspy.Module) -> list[dspy.LM]:
    """Every LM that the program holds, as a predictor's or as an attribute of a module, each once."""
    found: dict[int, dspy.LM] = {}
    for _, module in program.named_sub_modules():
        found |= {id(value): value for value in vars(module).values() if isinstance(value, dspy.LM)}
    return list(found.values())


def _fingerprint(teacher: _Teacher) -> str:
    """Hash of all that shapes the teacher's prompts and texts: modules, their settings, signatures, demos, LMs, adapters."""
    modules = [(name, type(module).__qualname__, _settings_of(module)) for name, module in teacher.program.named_sub_modules()]
    predictors = [
        (name, predictor.signature.dump_state(), [dict(demo) for demo in predictor.demos], predictor.config)
        for name, predictor in _predictors(teacher.program)
    ]
    lms = [(used.model, used.kwargs) for used in teacher.lms]
    return _digest([modules, predictors, lms, type(dspy.settings.adapter).__qualname__])[:16]


def _settings_of(module: dspy.Module) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in vars(module).items():
        # `stage` of a Predict is drawn at random, and what changes while a module works says nothing about it.
        if name in ("stage", "history", "callbacks", "traces", "train"):
            continue
        if isinstance(value, str | int | float | bool | None):
            settings[name] = value
        elif isinstance(value, Mapping) and any(isinstance(item, dspy.Adapter) for item in value.values()):
            settings[name] = {key: type(item).__qualname__ for key, item in value.items()}
    return settings


def _reason(error: BaseException) -> str:
    if isinstance(error, AdapterParseError):
        return UNPARSEABLE
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LMTimeoutError | TimeoutError):
            return TIMEOUT
        cause = cause.__cause__
    return f"error:{type(error).__name__}"


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that JSON can hold."""
    try:
        json.dumps(fields)
        return dict(fields)
    except (TypeError, ValueError):
        return {name: plain for name, value in fields.items() if (plain := _plain_value(value)) is not _NOTHING}


_NOTHING = object()


def _plain_value(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=lambda item: item.model_dump(mode="json")))
    except (TypeError, ValueError, AttributeError):
        return _NOTHING


def _nested(entries: Mapping[tuple[str, str], Usage]) -> dict[str, dict[str, dict[str, Any]]]:
    nested: dict[str, dict[str, dict[str, Any]]] = {}
    for (stage, model), usage in entries.items():
        nested.setdefault(stage, {})[model] = usage.to_dict()
    return nested


def _check_sampling(teachers: Sequence[_Teacher], samples: int) -> None:
    temperatures = [used.kwargs.get("temperature") for used in teachers[0].lms]
    if samples > 1 and not any(temperatures):
        raise ValueError(
            f"samples={samples} at temperature {sorted(set(map(str, temperatures)))} would be the same text {samples} times; "
            "pass temperature=0.7 (or {'decompose': 0.7}), or samples=1."
        )


def _check_prices(teachers: Sequence[_Teacher], limits: Limits) -> None:
    for used in teachers[0].lms:
        if limits.usd is not None and current_ledger().prices.usd(used.model, 1, 1, 1.0) is None:
            raise ValueError(f"A limit of {limits.usd:g} dollars needs a price for {used.model}; set one in Prices, or limit tokens.")


class _Job:
    """One `collect`: hands out runs to threads, writes what they return, watches when to stop."""

    def __init__(
        self,
        teachers: Sequence[_Teacher],
        examples: Sequence[dspy.Example],
        ids: Sequence[str],
        folder: Path,
        budget: Budget,
        progress: Progress | None,
    ) -> None:
        self._teachers, self._examples, self._ids, self._budget, self._progress = teachers, examples, ids, budget, progress
        self._total = len(ids) * len(teachers)
        self._offsets = array("q", [-1]) * self._total
        self._places = {example_id: place for place, example_id in enumerate(ids)}
        self._hashes = [_inputs_hash(example) for example in examples]
        self._retry: dict[int, dict[str, Any]] = {}
        self._usage: dict[tuple[str, str], Usage] = {}
        self._failed: Counter[str] = Counter()
        self._done = self._resumed = 0
        self._stopped: str | None = None
        self._lock = threading.Lock()
        self._lines = Lines(folder / SAMPLES, self._visit)
        self._folder = folder
        self._resumed = self._done
        self._queue = self._pending()

    def close(self) -> None:
        self._lines.close()

    def _visit(self, record: dict[str, Any], offset: int) -> None:
        example = self._places.get(record["example"])
        number = record["sample"]
        if example is None or number >= len(self._teachers):
            return
        if (record["program"], record["inputs"]) != (self._teachers[number].fingerprint, self._hashes[example]):
            return
        place = example * len(self._teachers) + number
        self._offsets[place] = offset
        # An unreadable reply would be unreadable again, from the journal; whatever else failed may work now.
        if record["error"] not in (None, UNPARSEABLE):
            self._retry[place] = record
        else:
            self._retry.pop(place, None)
            self._count(record)

    def _count(self, record: Mapping[str, Any]) -> None:
        self._done += 1
        reason = record["error"] or (UNPARSEABLE if record["prediction"].get("state") == UNPARSEABLE else None)
        if reason:
            self._failed[reason] += 1
        for stage, models in record["usage"].items():
            for model, usage in models.items():
                self._usage[stage, model] = self._usage.get((stage, model), Usage()) + Usage.from_dict(usage)

    def _pending(self) -> Iterator[tuple[int, int]]:
        """Runs that are missing, by sample number first: a job that is stopped has seen as many examples as it could."""
        for number in range(len(self._teachers)):
            for example in range(len(self._ids)):
                place = example * len(self._teachers) + number
                if self._offsets[place] < 0 or place in self._retry:
                    yield example, number

    def run(self, threads: int) -> Collected:
        started = time.monotonic()
        missing = self._total - self._done
        with ThreadPoolExecutor(max(1, min(threads, missing)), thread_name_prefix="label") as pool:
            workers = [pool.submit(contextvars.copy_context().run, self._work) for _ in range(min(threads, missing))]
            try:
                while wait(workers, timeout=_TICK_SECONDS).not_done:
                    self._report(started)
            except BaseException:
                # The pool's exit waits for the runs under way, which write what they find.
                self._stop("interrupted")
                raise
        for worker in workers:
            worker.result()
        self._report(started)
        return self._collected()

    def _work(self) -> None:
        try:
            while (task := self._next()) is not None:
                self._record(*task)
        except LimitReached as limit:
            self._stop(str(limit))
        except BaseException as error:
            self._stop(f"error:{type(error).__name__}")
            raise

    def _next(self) -> tuple[int, int] | None:
        with self._lock:
            return None if self._stopped else next(self._queue, None)

    def _record(self, example: int, number: int) -> None:
        record = self._teachers[number](self._examples[example], self._ids[example], self._hashes[example])
        offset = self._lines.append(record)
        place = example * len(self._teachers) + number
        with self._lock:
            self._offsets[place] = offset
            self._retry.pop(place, None)
            self._count(record)
            self._watch_failures()

    def _watch_failures(self) -> None:
        failures, limits = self._failed.total(), self._budget.limits
        if failures >= limits.min_failures and failures > limits.failure_share * self._done and limits.failure_share < 1:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._failed.most_common())
            self._stopped = self._stopped or f"{failures} of {self._done} runs failed ({reasons})"

    def _stop(self, reason: str) -> None:
        with self._lock:
            self._stopped = self._stopped or reason

    def _report(self, started: float) -> None:
        if self._progress is None:
            return
        with self._lock:
            done, failed = self._done, self._failed.total()
        fresh = done - self._resumed
        left = (time.monotonic() - started) / fresh * (self._total - done) if fresh else None
        self._progress(done, self._total, failed, left)

    def _collected(self) -> Collected:
        for record in self._retry.values():
            self._count(record)
        collected = Collected(self._folder, self._ids, len(self._teachers), self._offsets)
        collected.stopped, collected.done, collected.failed = self._stopped, self._done, self._failed
        for (stage, _), usage in self._usage.items():
            collected.usage[stage] = collected.usage.get(stage, Usage()) + usage
        return collected
