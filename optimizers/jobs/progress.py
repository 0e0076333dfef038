"""How far a job is: what long work calls."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, note)."""

Shown = Progress | bool | None
"""What the jobs take as `progress`: None shows it as `optimizers.jobs.display` says, False shows nothing, True shows it even where
`DIVIDE_OR_CONQUER_PROGRESS` is `off`, and a `Progress` is called in its place."""


@runtime_checkable
class Expecting(Protocol):
    """A `Progress` that shows how far a whole job is."""

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Take in about how many seconds each stage will take, in their order."""


def say(text: str) -> None:
    """Put a line on standard error, above what shows the progress: for what a user is to know while a job goes on."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def no_progress(stage: str, done: int, total: int, note: str) -> None:
    """The `Progress` that shows nothing."""


def expect(progress: Progress, outline: Callable[[], Mapping[str, float]]) -> None:
    """Tell a display what a job will do, which is worked out only where there is one.

    Args:
        progress: Where the job is shown.
        outline: Gives about how many seconds each stage will take, in their order. A ValueError of it leaves the whole job without a
            time: no estimate is worth a job.
    """
    if isinstance(progress, Expecting):
        try:
            progress.expect(outline())
        except ValueError:
            progress.expect({})


_PARENT_SECONDS = 0.5


def end_with_parent(number: signal.Signals) -> None:
    """Send this process a signal when its caller dies: nobody else would stop one in a session of its own."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_SECONDS)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()
