"""Ctrl-C while answers are under way: what was sent may be paid for, so that it is waited for, once."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from optimizers.jobs.progress import say
from programs.lms.batches.engine import leave_batches
from programs.lms.rate_limits import leave_turns, stoppable

ASKING = "divide-or-conquer asks"
"""How the threads are named that wait for answers."""

_WORDS = "Stopping: the answers under way, which may be paid for, are waited for and kept. Ctrl-C again leaves them."
_LEFT = "%d answers are to come in batches; the same command takes them up."


@contextlib.contextmanager
def telling_to_wait() -> Iterator[None]:
    """Say on standard error, where Ctrl-C ends what is enclosed, that the answers under way are waited for; what was not sent is not."""
    ended = threading.Event()
    try:
        # Of threads that have this context; those of DSPy's own know only that somebody leaves.
        with stoppable(ended):
            yield
    except KeyboardInterrupt:
        ended.set()
        leave_turns()
        left = leave_batches()
        say(_LEFT % left if left else _WORDS)
        raise


def leave(code: int) -> None:
    """End the process though threads wait for answers; returns where none does, so that it can end as usual."""
    if any(thread.name.startswith(ASKING) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
