"""DSPy engines for models in this process: one registry holds the weights, and each model has one queue for all threads' requests.

An engine holds strings only, so that copying, pickling, saving and loading an LM never touches weights.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import hashlib
import logging
import os
import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dspy import lm15

from programs.lms import backends
from programs.lms.backends.base import Backend, GenerateRequest, GenerateResult, Interrupted
from programs.lms.chat import render
from programs.lms.ledger import current_call
from programs.lms.local_requests import (
    as_lm15,
    check_text,
    joined,
    key_to_join,
    messages_of,
    refuse_unsupported,
    refused,
    response_of,
    rollout_of,
)
from programs.lms.model_strings import source
from programs.lms.whole_answers import AsyncWholeAnswers, WholeAnswers

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BATCH = 64
_QUIET_SECONDS = 0.01
_LONGEST_WAIT = 0.1
_TURN_SECONDS = 15.0
"""How long a model runs while another waits. A batch that takes no new requests until it ends is slow at its end, with few rows; turns that
are too short leave the other model few rows each: with 3 s a student of 135M took an eighth of the time before a solver of 1.5B."""
_EXIT_SECONDS = 120.0
_MAX_TOKENS = 256
_COUNTED_PROMPTS = 2**16
logger = logging.getLogger(__name__)


class Key(NamedTuple):
    """The key under which loaded weights are kept."""

    model: str
    backend: str
    device: str


@dataclass
class _Job:
    """A request, and everyone who waits for its result."""

    request: lm15.Request
    join_key: Any
    futures: list[Future[lm15.Response]] = field(default_factory=list)
    ready: GenerateRequest | None = None


class _Engine:
    """What the two engines share: two strings."""

    def __init__(self, backend: str = "auto", device: str = "auto") -> None:
        backends.check_options(backend, device)
        self.backend = backend
        self.device = device

    def submit(self, request: lm15.Request) -> Future[lm15.Response]:
        """Queue a request, without waiting for its answer."""
        refuse_unsupported(request)
        return _registry.submit(Key(request.model, self.backend, self.device), request)

    def dump_state(self) -> dict[str, Any]:
        """What `load_state` needs."""
        return {"backend": self.backend, "device": self.device}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> Self:
        """An engine as it was saved; loads no weights."""
        return cls(**state)


class LocalEngine(_Engine, WholeAnswers):
    """Runs the models `embedded/…`, `local/…` and `hf/…` for `dspy.LM(engine=…)`.

    Args:
        backend: `auto`, or a name in `programs.lms.backends.BACKENDS`.
        device: `auto`, `cpu`, `cuda` or `mps`.
    """

    def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer; blocks while the model's batches run."""
        return told_seconds(self.submit(request).result())


class AsyncLocalEngine(_Engine, AsyncWholeAnswers):
    """`LocalEngine` for `dspy.LM(async_engine=…)`: waits without a thread of its own."""

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer."""
        return told_seconds(await asyncio.wrap_future(self.submit(request)))


def unload(model: str) -> None:
    """Give back a model's memory after the requests that it has; the next request loads it again."""
    _registry.unload(model)


def unload_all() -> None:
    """`unload` every model."""
    _registry.unload(None)


def loaded() -> list[str]:
    """Model strings whose weights are in memory, or being loaded."""
    return _registry.models()


class _Turns:
    """A lock that is given in the order of asking, so that two busy models take turns on one device."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._tickets: deque[object] = deque()
        self._since = 0.0

    @contextmanager
    def hold(self) -> Iterator[None]:
        self._take()
        try:
            yield
        finally:
            self._give_up()

    def share(self) -> None:
        """For the holder, at any time: those who wait go first, once it has had `_TURN_SECONDS`."""
        if len(self._tickets) > 1 and time.monotonic() - self._since >= _TURN_SECONDS:
            self._give_up()
            self._take()

    def _take(self) -> None:
        ticket = object()
        with self._condition:
            self._tickets.append(ticket)
            self._condition.wait_for(lambda: self._tickets[0] is ticket)
        self._since = time.monotonic()

    def _give_up(self) -> None:
        with self._condition:
            self._tickets.popleft()
            self._condition.notify_all()


class _Registry:
    """One worker for each loaded model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: dict[Key, _Worker] = {}
        self._turns = _Turns()
        self._closed = False

    def submit(self, key: Key, request: lm15.Request) -> Future[lm15.Response]:
        with self._lock:
            if self._closed:
                raise _ending(key.model)
            worker = self._workers.get(key)
            if worker is None:
                worker = self._workers[key] = _Worker(key, self._turns, self._forget)
            return worker.submit(request)

    def unload(self, model: str | None) -> None:
        with self._lock:
            chosen = [key for key in self._workers if model in (None, key.model)]
            workers = [self._workers.pop(key) for key in chosen]
            for worker in workers:
                worker.stop()
        for worker in workers:
            worker.join()

    def close(self, timeout: float) -> None:
        """End all workers within a token's time, whatever they have in hand."""
        with self._lock:
            self._closed = True
            workers = list(self._workers.values())
        for worker in workers:
            worker.abandon()
        deadline = time.monotonic() + timeout
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def models(self) -> list[str]:
        with self._lock:
            return sorted({key.model for key in self._workers})

    def _forget(self, worker: _Worker) -> None:
        with self._lock:
            if self._workers.get(worker.key) is worker:
                del self._workers[worker.key]


class _Worker:
    """A thread that loads one model, collects requests, runs them as batches, and hands the results out."""

    def __init__(self, key: Key, turns: _Turns, forget: Callable[[_Worker], None]) -> None:
        self.key = key
        self._turns = turns
        self._forget = forget
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._in_flight: dict[Any, _Job] = {}
        self._asked = _Counts(_COUNTED_PROMPTS)
        self._stopping = False
        self._abandoned = False
        self._backend: Backend | None = None
        self._thread = threading.Thread(target=self._main, name=f"local-model {key.model}", daemon=True)
        self._thread.start()

    def submit(self, request: lm15.Request) -> Future[lm15.Response]:
        future: Future[lm15.Response] = Future()
        join_key = key_to_join(request)
        with self._lock:
            job = self._in_flight.get(join_key) if join_key else None
            if job is None:
                job = _Job(request, join_key)
                if join_key:
                    self._in_flight[join_key] = job
                self._queue.put(job)
            job.futures.append(future)
        return future

    def stop(self) -> None:
        self._queue.put(None)

    def abandon(self) -> None:
        """Stop at once: what is under way or waiting fails."""
        with self._lock:
            self._abandoned = self._stopping = True
            interrupt = getattr(self._backend, "interrupt", None)
        if interrupt:
            interrupt()
        self._queue.put(None)

    def join(self, timeout: float | None = None) -> None:
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _main(self) -> None:
        try:
            with self._turns.hold():
                backend = _load(self.key)
        except BaseException as error:
            self._forget(self)
            self._fail_all(error)
            return
        with self._lock:
            self._backend = backend
        expected = 1
        while not self._stopping:
            jobs = self._collect(expected)
            if jobs:
                expected = len(jobs)
                self._run(backend, jobs)
        backend.close()
        if self._abandoned:
            self._fail_all(_ending(self.key.model))

    def _collect(self, expected: int) -> list[_Job]:
        """The waiting requests; those who asked in the last batch are given a moment to ask again."""
        jobs = self._take(block=True)
        deadline = time.monotonic() + _LONGEST_WAIT
        while len(jobs) < min(expected, MAX_BATCH) and not self._stopping and time.monotonic() < deadline:
            try:
                self._accept(self._queue.get(timeout=_QUIET_SECONDS), jobs)
            except queue.Empty:
                break
        return jobs

    def _take(self, block: bool = False, limit: int = MAX_BATCH) -> list[_Job]:
        jobs: list[_Job] = []
        try:
            if block:
                self._accept(self._queue.get(), jobs)
            while len(jobs) < limit and not self._stopping:
                self._accept(self._queue.get_nowait(), jobs)
        except queue.Empty:
            pass
        return jobs

    def _accept(self, job: _Job | None, jobs: list[_Job]) -> None:
        if job is None:
            self._stopping = True
        else:
            jobs.append(job)

    def _run(self, backend: Backend, jobs: list[_Job]) -> None:
        """Answer the jobs in a batch; where it breaks, the others in halves, so that memory suffices and only a culprit fails."""
        batch = _Batch(backend, self._settle)
        try:
            with self._turns.hold():
                batch.start(self._prepared(backend, jobs), lambda: self._joining(backend, batch))
        except Interrupted:
            self._settle_all(batch.open_jobs(), _ending(self.key.model))
        except Exception as error:
            left = batch.open_jobs()
            if len(batch.jobs) == 1:
                logger.exception("%s failed", self.key.model)
                self._settle_all(left, lm15.ServerError(f"{self.key.model} failed: {error!r}"))
                return
            logger.warning("%s failed on a batch of %d (%r); its requests are asked in halves", self.key.model, len(batch.jobs), error)
            middle = (len(left) + 1) // 2
            for half in filter(None, (left[:middle], left[middle:])):
                self._run(backend, half)

    def _joining(self, backend: Backend, batch: _Batch) -> list[_Job]:
        """The requests that have come since and may join, after the turns of other models that wait; none where the process ends."""
        self._turns.share()
        if self._abandoned:
            raise Interrupted
        room = MAX_BATCH - len(batch.open_jobs())
        return [] if self._stopping or room <= 0 else self._prepared(backend, self._take(limit=room))

    def _prepared(self, backend: Backend, jobs: Sequence[_Job]) -> list[_Job]:
        """The jobs that can be asked; the others are told why not."""
        prepared = []
        for job in jobs:
            if not self._wanted(job):
                continue
            try:
                job.ready = job.ready or replace(self._request(backend.tokenizer, job.request), wanted=functools.partial(self._wanted, job))
                prepared.append(job)
            except Exception as error:
                self._settle(job, refused(self.key.model, error))
        return prepared

    def _wanted(self, job: _Job) -> bool:
        """Whether anybody waits for a job; nobody can join one for which nobody did."""
        with self._lock:
            wanted = not all(future.cancelled() for future in job.futures)
            if not wanted:
                self._close(job)
        return wanted

    def _close(self, job: _Job) -> None:
        """Let nobody join a job any more; called with the lock."""
        if job.join_key and self._in_flight.get(job.join_key) is job:
            del self._in_flight[job.join_key]

    def _request(self, tokenizer: Any, request: lm15.Request) -> GenerateRequest:
        config = request.config
        prompt = render(tokenizer, messages_of(request))
        check_text(prompt, *config.stop)
        ready = GenerateRequest(
            prompt=prompt,
            max_tokens=config.max_tokens or _MAX_TOKENS,
            # The likeliest token always stays, so that a share of 0 leaves nothing to draw from.
            temperature=0.0 if config.top_p == 0 else config.temperature or 0.0,
            top_p=1.0 if config.top_p is None else config.top_p,
            top_k=config.top_k or 0,
            stop=tuple(config.stop),
        )
        return ready if ready.temperature == 0 else replace(ready, seed=self._seed(request, ready))

    def _seed(self, request: lm15.Request, ready: GenerateRequest) -> int:
        """The seed that was asked for; or one from the request and its rollout, or how often it was asked before.

        DSPy keeps `rollout_id` and the `n` of a call to itself: without the count, all of n samples would be the same.
        """
        if request.config.seed is not None:
            return request.config.seed % 2**63
        rollout = rollout_of(request)
        if rollout is None:
            rollout = self._asked.next(hashlib.sha256(repr(ready).encode()).digest())
        digest = hashlib.sha256(repr((ready, rollout)).encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def _settle(self, job: _Job, outcome: lm15.Response | BaseException) -> None:
        with self._lock:
            self._close(job)
            futures = list(job.futures)
        for future in futures:
            # A caller that went away has been told nothing, so that the next one is told the seconds.
            with suppress(InvalidStateError):
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
                    outcome = joined(outcome)

    def _settle_all(self, jobs: Sequence[_Job], error: BaseException) -> None:
        for job in jobs:
            self._settle(job, error)

    def _fail_all(self, error: BaseException) -> None:
        if self._abandoned:
            error = _ending(self.key.model)
        else:
            logger.error("%s could not be loaded: %s", self.key.model, error)
        # Only after _forget, or once the registry is closed: nobody can add to this queue any more.
        with suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if job:
                    self._settle(job, as_lm15(error))


class _Batch:
    """The jobs that a backend has in hand, and which of them are answered."""

    def __init__(self, backend: Backend, settle: Callable[[_Job, lm15.Response | BaseException], None]) -> None:
        self.jobs: list[_Job] = []
        self._backend = backend
        self._settle = settle
        self._done: set[int] = set()

    def start(self, jobs: Sequence[_Job], joining: Callable[[], list[_Job]]) -> None:
        results = self._backend.generate(self._add(jobs), self._give, lambda: self._add(joining()))
        for index in set(range(len(self.jobs))) - self._done:
            # A backend of another package may return its results in place of telling them.
            self._give(index, _returned(results, index, self._backend.name))

    def open_jobs(self) -> list[_Job]:
        return [job for index, job in enumerate(self.jobs) if index not in self._done]

    def _add(self, jobs: Sequence[_Job]) -> list[GenerateRequest]:
        self.jobs += jobs
        return [job.ready for job in jobs if job.ready]

    def _give(self, index: int, result: GenerateResult) -> None:
        job = self.jobs[index]
        self._done.add(index)
        try:
            outcome = response_of(job.request.model, result, self._backend.name)
        except Exception as error:
            outcome = lm15.ServerError(f"{job.request.model} gave a result that is none: {error!r}")
        self._settle(job, outcome)


class _Counts:
    """How often each key came, with a bound on the memory.

    Once more keys came than are kept, a new one starts at the highest count that was dropped, so that no number is given twice.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._start = 0

    def next(self, key: bytes) -> int:
        count = self._counts.pop(key, self._start)
        self._counts[key] = count + 1
        if len(self._counts) > self._kept:
            self._start = max(self._start, self._counts.popitem(last=False)[1])
        return count


def _load(key: Key) -> Backend:
    started = time.monotonic()
    backend = backends.choose_backend(source(key.model), key.backend, key.device)
    logger.info("Loaded %s with %s in %.1f s", key.model, backend.name, time.monotonic() - started)
    # What a library registered while it was loaded runs first at exit, and would take away what a running batch needs.
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)
    return backend


def _returned(results: Any, index: int, backend: str) -> GenerateResult:
    if isinstance(results, list) and index < len(results) and isinstance(results[index], GenerateResult):
        return results[index]
    raise TypeError(f"backend {backend!r} gave no result for a request: `generate` calls on_result(index, result), or returns all results")


def told_seconds(response: lm15.Response) -> lm15.Response:
    """Tell the meter the call's share of the computing, without its wait in the queue."""
    call = current_call()
    if call is not None:
        call.seconds = (response.provider_data or {}).get("seconds")
    return response


def _ending(model: str) -> lm15.ServerError:
    return lm15.ServerError(f"{model} was not asked to the end: the process ends")


_registry = _Registry()


def _start_afresh() -> None:
    """Threads do not survive a fork: the child loads its own."""
    global _registry
    _registry = _Registry()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


@atexit.register
def _at_exit() -> None:
    """Let native code end in order: a thread that is still in it when the interpreter goes aborts the process."""
    _registry.close(_EXIT_SECONDS)
