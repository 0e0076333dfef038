"""How far a job is: what long work calls, and the bars that show it with the time left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from rich import progress as bars
from rich.console import Console

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, note)."""


def no_progress(stage: str, done: int, total: int, note: str) -> None:
    """The `Progress` that shows nothing."""


_PARENT_SECONDS = 0.5


def end_with_parent(number: signal.Signals) -> None:
    """Send this process a signal when its caller dies: nobody else would stop one in a session of its own."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_SECONDS)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


_STEPS_OF_A_LINE = 10


class ProgressDisplay:
    """Bars on a terminal; a line every tenth of the way where the output is a file.

    Args:
        console: Where to draw; standard error by default, so that results can be piped.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, markup=False, emoji=False)
        columns = (
            bars.TextColumn("{task.description:<28}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[note]}", markup=False),
        )
        self._bars = bars.Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._tasks: dict[str, bars.TaskID] = {}
        self._tenths: dict[str, int] = {}
        self._lock = threading.Lock()

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` of a stage are finished."""
        with self._lock:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total, note=note)
            self._bars.update(self._tasks[stage], completed=done, total=total, note=note)
            if not self._console.is_terminal:
                self._line(stage, done, total, note)

    def _line(self, stage: str, done: int, total: int, note: str) -> None:
        tenth = done * _STEPS_OF_A_LINE // max(total, 1)
        if tenth > self._tenths.get(stage, -1):
            self._tenths[stage] = tenth
            task = self._bars.tasks[self._tasks[stage]]
            left = "" if task.time_remaining is None else f", {task.time_remaining:.0f} s left"
            self._console.print(f"{stage}: {done}/{total}{left} {note}".rstrip(), highlight=False, markup=False, emoji=False)

    def __enter__(self) -> ProgressDisplay:
        self._bars.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bars.stop()
