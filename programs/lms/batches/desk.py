"""Where the requests of all threads are gathered, handed in as batches, and waited for."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from dspy import lm15

from programs.lms.batches.apis import BatchApi, BatchState, Outcome
from programs.lms.batches.spool import Batch, Spool, request_key
from programs.lms.rate_limits import NotSent

_log = logging.getLogger("divide_or_conquer")

GATHER_SECONDS = 5.0
"""How long no further request comes before those that are there are handed in."""

LONGEST_SECONDS = 120.0
"""How long a request waits for others at most."""

MOST = 10_000
"""Requests in one batch at most; providers take 10,000 to 100,000."""

FIRST_POLL, LONGEST_POLL = 5.0, 60.0
"""Seconds between two looks at a batch, at first and at most."""

_TICK = 0.1
_LOST_SECONDS = 1800.0
"""For how long a batch that cannot be looked at, as its server is not reached, is waited for."""


class LeftInBatch(NotSent):
    """Whoever waits for a batch goes: it stays on file."""


@dataclass
class _Waiting:
    """A request that is to be handed in."""

    request: lm15.Request
    future: Future[lm15.Response]


@dataclass
class _Under:
    """A batch that is waited for."""

    batch: Batch
    futures: dict[int, Future[lm15.Response]] = field(default_factory=dict)
    looked: float = 0.0
    pause: float = field(default_factory=lambda: FIRST_POLL)
    lost_since: float | None = None

    def is_open(self) -> bool:
        return any(not future.done() for future in self.futures.values())

    def is_due(self, now: float) -> bool:
        return now - self.looked >= self.pause

    def give_back(self) -> None:
        """Let the places of those who wait be claimed again."""
        for place, future in self.futures.items():
            if not future.done():
                self.batch.free.setdefault(self.batch.keys[place], []).append(place)
        self.futures = {}


class Desk:
    """Gathers requests to one provider, hands them in, and gives each its answer.

    Args:
        api: The provider's.
        spool: Where its batches are on file.
        name: Of the provider, for messages.
    """

    def __init__(self, api: BatchApi, spool: Spool, name: str) -> None:
        self._api, self._spool, self._name = api, spool, name
        self._lock = threading.Lock()
        self._outbox: list[_Waiting] = []
        self._first = self._last = 0.0
        self._under: dict[str, _Under] = {}
        self._thread: threading.Thread | None = None

    def submit(self, request: lm15.Request) -> Future[lm15.Response]:
        """Hand in a request, or find it in a batch on file."""
        future: Future[lm15.Response] = Future()
        with self._lock:
            self._start()
            found = self._spool.claim(request_key(request))
            if found is None:
                self._last = time.monotonic()
                self._first = self._first if self._outbox else self._last
                self._outbox.append(_Waiting(request, future))
            else:
                batch, place = found
                self._under.setdefault(batch.label, _Under(batch)).futures[place] = future
        return future

    def leave(self) -> int:
        """End all waits by `LeftInBatch`; how many requests stay in batches."""
        with self._lock:
            inside = [future for under in self._under.values() for future in under.futures.values()]
            for under in self._under.values():
                under.give_back()
            unsent = [waiting.future for waiting in self._outbox]
            self._outbox.clear()
        left = sum(_settle(future, LeftInBatch(f"The answer is to come in a batch of {self._name}.")) for future in inside)
        for future in unsent:
            _settle(future, LeftInBatch("The request was not handed in."))
        return left

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._spool.open()
            self._thread = threading.Thread(target=self._work, name="divide-or-conquer batches", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            while self._has_work():
                for waiting in self._gathered():
                    self._hand_in(waiting)
                for under in self._due():
                    self._look(under)
                time.sleep(_TICK)
        except BaseException as error:
            # Else those who wait would wait for ever.
            self._fail(error)
            raise

    def _has_work(self) -> bool:
        with self._lock:
            self._under = {label: under for label, under in self._under.items() if under.is_open()}
            if self._under or self._outbox:
                return True
            self._thread = None
            return False

    def _due(self) -> list[_Under]:
        with self._lock:
            now = time.monotonic()
            return [under for under in self._under.values() if under.batch.ended is not None or under.is_due(now)]

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            waiting = [one.future for one in self._outbox] + [future for under in self._under.values() for future in under.futures.values()]
            self._outbox, self._under, self._thread = [], {}, None
        for future in waiting:
            _settle(future, error)

    def _gathered(self) -> list[list[_Waiting]]:
        """The requests that are to go now, by their models."""
        with self._lock:
            now = time.monotonic()
            waits = now - self._last < GATHER_SECONDS and now - self._first < LONGEST_SECONDS and len(self._outbox) < MOST
            if not self._outbox or waits:
                return []
            gone, self._outbox = self._outbox[:MOST], self._outbox[MOST:]
        by_model: dict[str, list[_Waiting]] = {}
        for waiting in gone:
            by_model.setdefault(waiting.request.model, []).append(waiting)
        return list(by_model.values())

    def _hand_in(self, waiting: list[_Waiting]) -> None:
        requests = [one.request for one in waiting]
        with self._lock:
            batch = self._spool.begin(requests[0].model, [request_key(request) for request in requests])
        try:
            batch.batch = self._submitted(requests, batch.label)
        except Exception as error:
            with self._lock:
                self._spool.drop(batch)
            for one in waiting:
                _settle(one.future, error)
            return
        with self._lock:
            self._spool.write(batch)
            self._under[batch.label] = _Under(batch, dict(enumerate(one.future for one in waiting)), time.monotonic())
        told = "%s: %d requests to %s are in batch %s; answers come within 24 hours. Stopped meanwhile, the same command takes them up."
        _log.warning(told, self._name, len(requests), batch.model, batch.batch)

    def _submitted(self, requests: list[lm15.Request], label: str) -> str:
        try:
            return self._api.submit(requests, label)
        except (lm15.ServerError, lm15.TransportError, lm15.TimeoutError):
            # The batch may have been taken all the same, and would be paid for twice.
            found = self._api.find(label)
            if found is None:
                raise
            return found

    def _look(self, under: _Under) -> None:
        """See how far a batch is, and hand out its answers once it has ended."""
        batch = under.batch
        try:
            if batch.ended is not None:
                self._hand_out(under, dict(self._spool.answers(batch)))
            elif (state := self._state(batch)) is None:
                self._not_taken(under)
            elif state.ended:
                outcomes = self._api.outcomes(str(batch.batch), batch.model, len(batch.keys))
                with self._lock:
                    self._spool.keep(batch, outcomes)
                self._hand_out(under, dict(enumerate(outcomes)))
            else:
                self._wait_on(under, state)
        except Exception as error:
            self._lost(under, error)

    def _state(self, batch: Batch) -> BatchState | None:
        """How far it is; None where the provider has never taken it, as the process died that handed it in."""
        if batch.batch is None:
            batch.batch = self._api.find(batch.label)
            if batch.batch is None:
                return None
            self._spool.write(batch)
        return self._api.state(batch.batch)

    def _wait_on(self, under: _Under, state: BatchState) -> None:
        under.looked, under.lost_since = time.monotonic(), None
        under.pause = min(LONGEST_POLL, 1.5 * under.pause)
        _log.info("batch %s: %d of %d answered", under.batch.batch, state.answered, state.total or len(under.batch.keys))

    def _hand_out(self, under: _Under, outcomes: dict[int, Outcome]) -> None:
        with self._lock:
            futures, under.futures = under.futures, {}
            under.batch.given = under.batch.given or time.time()
            self._spool.write(under.batch)
        failed = sum(isinstance(outcome, Exception) for outcome in outcomes.values())
        _log.info("batch %s: %d answers, %d failed", under.batch.batch, len(outcomes) - failed, failed)
        for place, future in futures.items():
            gone = lm15.ServerError(f"Batch {under.batch.batch} has no answer to this request any more.")
            _settle(future, outcomes.get(place, gone))

    def _not_taken(self, under: _Under) -> None:
        with self._lock:
            self._spool.drop(under.batch)
        self._refuse(under, lm15.ServerError("The batch was not taken by its provider; the request is to be made again."))

    def _lost(self, under: _Under, error: Exception) -> None:
        """A look that failed: the batch goes on without us, unless its server has no word for us for long."""
        now = time.monotonic()
        under.looked, under.lost_since = now, under.lost_since or now
        _log.info("batch %s cannot be looked at: %s", under.batch.batch, error)
        if now - under.lost_since >= _LOST_SECONDS or isinstance(error, lm15.AuthError | lm15.InvalidRequestError):
            self._refuse(under, error)

    def _refuse(self, under: _Under, error: Exception) -> None:
        """Give all who wait for a batch the same error."""
        with self._lock:
            futures, under.futures = under.futures, {}
        for future in futures.values():
            _settle(future, error)


def _settle(future: Future[lm15.Response], outcome: Outcome | BaseException) -> bool:
    """Give a future its outcome; whether it had none."""
    with suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return True
    return False
