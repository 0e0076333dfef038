"""A limit of requests a minute: each call waits for its turn, so that a provider's limit is kept and no call fails by it.

Turns are handed out by a small file in the folder of models, so that the limit holds for all threads and processes that share this folder
and ask the same model at the same address. Of a Ray cluster, all calls pass through the process that started the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import threading
import time
from collections.abc import Iterator
from numbers import Real
from pathlib import Path

from filelock import FileLock

from programs.lms.artifacts import home
from programs.lms.rate_limits import NotSent, leaving, note_wait, stopping

_log = logging.getLogger("divide_or_conquer")

_TICK = 0.25
_POLL = 0.005
_told: set[str] = set()
_locks: dict[str, threading.Lock] = {}
_locks_lock = threading.Lock()


class RequestPace:
    """Hands out turns to ask, evenly apart: providers enforce a limit a minute by parts of one too.

    Args:
        model: Model string of what is asked.
        address: Of its server; empty for the provider's own.
        per_minute: Requests a minute at most.

    Raises:
        ValueError: See `check_pace`.
    """

    def __init__(self, model: str, address: str, per_minute: float) -> None:
        check_pace(per_minute)
        self._model, self._per_minute, self._gap = model, per_minute, 60.0 / per_minute
        self._name = hashlib.sha256(f"{model} {address}".encode()).hexdigest()[:16]

    def wait(self) -> None:
        """Block until it is this call's turn.

        Raises:
            NotSent: The job stops meanwhile.
        """
        started, left = time.monotonic(), leaving()
        while seconds := self._seconds_left():
            if stopping() or left.wait(min(seconds, _TICK)):
                raise NotSent(f"{self._model} was not asked: its turn had not come.")
        note_wait(time.monotonic() - started)

    async def await_turn(self) -> None:
        """`wait` without blocking the event loop."""
        started, left = time.monotonic(), leaving()
        while seconds := await asyncio.to_thread(self._seconds_left):
            if stopping() or left.is_set():
                raise NotSent(f"{self._model} was not asked: its turn had not come.")
            await asyncio.sleep(min(seconds, _TICK))
        note_wait(time.monotonic() - started)

    def _seconds_left(self) -> float:
        """0 if the turn is taken now; else how long it is until the next."""
        path = home() / "requests" / f"{self._name}.txt"
        with self._alone(path):
            now, last = time.time(), _read(path)
            due = last + self._gap
            # A turn that is still to come was taken before the clock was set back.
            if last <= now < due:
                self._tell()
                return due - now
            # From when it was due, as whoever wakes late would make all later ones late; from now after a pause.
            path.write_text(repr(due if 0 <= now - due < self._gap else now), encoding="utf-8")
        return 0.0

    @contextlib.contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """Of all threads first, as a lock of a file is polled for."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locks_lock:
            own = _locks.setdefault(self._name, threading.Lock())
        with own, FileLock(path.with_suffix(".lock"), poll_interval=_POLL):
            yield

    def _tell(self) -> None:
        if self._model not in _told:
            _told.add(self._model)
            _log.warning("%s: calls wait for their turn, %g a minute (requests_per_minute).", self._model, self._per_minute)


def check_pace(per_minute: float | None) -> None:
    """Refuse a limit that is none.

    Args:
        per_minute: Requests a minute, or None for no limit.

    Raises:
        ValueError: Neither None nor a finite number above 0.
    """
    is_number = isinstance(per_minute, Real) and not isinstance(per_minute, bool)
    if per_minute is not None and not (is_number and math.isfinite(per_minute) and per_minute > 0):
        raise ValueError(f"requests_per_minute={per_minute!r} must be a number above 0, as 60, which is one a second; None is no limit.")


def _read(path: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        return float(path.read_text(encoding="utf-8"))
    return 0.0
