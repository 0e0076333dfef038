"""Waiting until a server takes calls again: DSPy's retries end after seconds, and the window of a rate limit is a minute as a rule."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from dspy.utils.exceptions import LMAuthError, LMBillingError, LMRateLimitError

from programs.lms.interrupts import main_was_interrupted

TOTAL_SECONDS = 300.0
"""For how long one call waits in total."""

FIRST_SECONDS = 5.0
"""The first wait; each further one is twice as long, up to `LONGEST_SECONDS`."""

LONGEST_SECONDS = 60.0

_TICK = 0.25

_REFUSED = (LMRateLimitError, LMAuthError)
"""How a spent quota may be told: as a rule by a 429, by some OpenAI-compatible servers by a 403."""

ON_SCREEN = "divide_or_conquer_on_screen"
"""Attribute of those records of the log that a user is to see while a job goes on."""

_SPENT = re.compile(r"insufficient_quota|exceeded_current_quota_error|billing_hard_limit_reached|billing_not_active", re.IGNORECASE)
_SEEMS_SPENT = re.compile(
    r"exceeded your current quota|insufficient (?:\w+ )?(?:balance|credits?|funds|quota)|out of credits|billing (?:details|hard limit)"
    r"|(?:credit )?balance is too low",
    re.IGNORECASE,
)
_PASSES = re.compile(r"try (?:again )?(?:in|after) \d|retry[-_]?(?:delay|after)\b|per[-_ ]?min|rate[-_ ]limit", re.IGNORECASE)
_ADVICE = re.compile(r"\s+To fix:\s.*", re.DOTALL)

_log = logging.getLogger("divide_or_conquer")
_told: set[str] = set()
_stop: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("divide_or_conquer_stop", default=None)
_waited: contextvars.ContextVar[Waited | None] = contextvars.ContextVar("divide_or_conquer_waited", default=None)
_leaving = threading.Event()


class NotSent(BaseException):
    """A call was not sent, as the job stops. No `Exception`, as a program that catches those must not go on."""


class Waited:
    """How long some calls waited until they were sent.

    Attributes:
        seconds: In all.
    """

    def __init__(self) -> None:
        self.seconds = 0.0


@contextlib.contextmanager
def waits() -> Iterator[Waited]:
    """Add up the enclosed waits, which are no part of what a call takes."""
    found = Waited()
    token = _waited.set(found)
    try:
        yield found
    finally:
        _waited.reset(token)


def note_wait(seconds: float) -> None:
    """Count a wait for the enclosing `waits`."""
    if (found := _waited.get()) is not None:
        found.seconds += seconds


def leaving() -> threading.Event:
    """What `leave_turns` sets, for those who begin to wait now."""
    return _leaving


def leave_turns() -> None:
    """End all waits of this process: for a turn by `NotSent`, for a rate limit by that; who asks later waits as usual."""
    global _leaving
    ended, _leaving = _leaving, threading.Event()
    ended.set()


def stopping() -> bool:
    """Whether the event of the enclosing `stoppable` is set, or Ctrl-C has ended the program that waits for this thread."""
    event = _stop.get()
    return (event is not None and event.is_set()) or main_was_interrupted()


@contextlib.contextmanager
def stoppable(event: threading.Event) -> Iterator[None]:
    """Let `event` end the enclosed waits at once: the call fails by the rate limit."""
    token = _stop.set(event)
    try:
        yield
    finally:
        _stop.reset(token)


def wait_out(call: Callable[[], Any]) -> Any:
    """What `call` gives, asked again while its server says that there were too many calls (429).

    Raises:
        LMRateLimitError: The server still says so after `TOTAL_SECONDS`, or would by its own word.
        LMBillingError: What it says, by a 429 or a 403, is that a quota or a balance is used up; at once, as no wait helps.
    """
    waits = _Waits()
    while True:
        try:
            return call()
        except _REFUSED as error:
            seconds = waits.next(error)
            if seconds is None or not _waited_for(seconds):
                raise
            note_wait(seconds)


async def await_out(call: Callable[[], Awaitable[Any]]) -> Any:
    """`wait_out` without blocking the event loop."""
    waits = _Waits()
    while True:
        try:
            return await call()
        except _REFUSED as error:
            seconds = waits.next(error)
            if seconds is None or not await _slept(seconds):
                raise
            note_wait(seconds)


def _waited_for(seconds: float) -> bool:
    """Whether the wait went to its end."""
    left_by, end = leaving(), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if stopping() or left_by.wait(min(left, _TICK)):
            return False
    return True


async def _slept(seconds: float) -> bool:
    """`_waited_for` without blocking the event loop."""
    left_by, end = leaving(), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if stopping() or left_by.is_set():
            return False
        await asyncio.sleep(min(left, _TICK))
    return True


class _Waits:
    """The waits of one call."""

    def __init__(self) -> None:
        self._end = time.monotonic() + TOTAL_SECONDS
        self._seconds = FIRST_SECONDS

    def next(self, error: LMRateLimitError | LMAuthError) -> float | None:
        """Seconds to wait; None if the server would not take the call in time, or not at all.

        Raises:
            LMBillingError: Waiting cannot help.
        """
        if is_spent(error):
            raise _billing(error) from error
        if isinstance(error, LMAuthError):
            return None
        hint = getattr(error, "retry_after", None)
        # A hint that was too short is not trusted twice: each wait is at least twice the one before.
        seconds = max(self._seconds, float(hint or 0.0))
        self._seconds = min(2 * self._seconds, LONGEST_SECONDS)
        left = self._end - time.monotonic()
        if left <= 0 or float(hint or 0.0) > left:
            return None
        _tell(error, min(seconds, left))
        return min(seconds, left)


def is_spent(error: LMRateLimitError | LMAuthError) -> bool:
    """Whether a quota or a balance is used up: by the provider's code, or by its words where none of them says that the limit passes.

    Gemini has the same words for a limit a minute as others for an account without money, and several name their billing page in any 429.
    """
    told = f"{error.provider_code or ''} {_words(error)}"
    if _SPENT.search(told):
        return True
    return bool(_SEEMS_SPENT.search(told)) and not error.retry_after and not _PASSES.search(told)


def _words(error: LMRateLimitError | LMAuthError) -> str:
    """What the provider said, without the advice that DSPy adds."""
    return " ".join(_ADVICE.sub("", error.message).split())


def _billing(error: LMRateLimitError | LMAuthError) -> LMBillingError:
    return LMBillingError(
        _words(error),
        model=error.model,
        provider=error.provider,
        provider_code=error.provider_code,
        status=error.status,
        request_id=error.request_id,
    )


def _tell(error: LMRateLimitError, seconds: float) -> None:
    model = str(getattr(error, "model", None) or "The server")
    if model not in _told:
        _told.add(model)
        told = "%s: too many calls for its server (429); the next try is in %.0f s, and each call waits for up to %.0f s in total. %s"
        _log.warning(told, model, seconds, TOTAL_SECONDS, _words(error), extra={ON_SCREEN: True})
