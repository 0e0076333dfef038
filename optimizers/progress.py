"""A progress bar a stage, with the time left."""

from __future__ import annotations

import threading
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_STEPS_OF_A_LINE = 10


class ProgressDisplay:
    """Bars on a terminal; a line every tenth of the way where the output is a file.

    Args:
        console: Where to draw; standard error by default, so that results can be piped.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[note]}"))  # fmt: skip
        self._bars = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
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
            self._console.print(f"{stage}: {done}/{total}{left} {note}".rstrip(), highlight=False)

    def __enter__(self) -> ProgressDisplay:
        self._bars.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bars.stop()
