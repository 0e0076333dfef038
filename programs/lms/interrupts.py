"""Whether Ctrl-C has ended the main thread's work while it waits for the threads that it started.

Python tells the main thread alone of Ctrl-C. Pools of DSPy and of the standard library are then joined: what waits in them would wait on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType


def main_was_interrupted() -> bool:
    """Whether the main thread, interrupted, waits for this one to end; never in the main thread itself.

    A program that ends in any other way goes on with what it handed to its pools, as Python does.
    """
    main = threading.main_thread()
    if threading.current_thread() is main:
        return False
    frame = sys._current_frames().get(main.ident or 0)
    inside = set(_of_threading(frame))
    ends = "_shutdown" in inside
    return ("join" in inside or ends) and (_is_interrupt(_handled_by(main)) or (ends and _is_interrupt(_last())))


def _of_threading(frame: FrameType | None) -> Iterator[str]:
    """Names of the functions of `threading` that a thread is in."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "threading":
            yield frame.f_code.co_name
        frame = frame.f_back


def _handled_by(thread: threading.Thread) -> BaseException | None:
    """The exception that a thread is handling."""
    found = sys._current_exceptions().get(thread.ident or 0)
    # A triple before Python 3.12.
    return found[1] if isinstance(found, tuple) else found


def _last() -> BaseException | None:
    """The exception that the program ended by."""
    return getattr(sys, "last_value", None)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception is Ctrl-C, or was raised while that was handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
