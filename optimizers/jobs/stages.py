"""The stages of a job as they are shown: what is done of each and of all, as a table of bars or as a line."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from optimizers.jobs.pace import JobPace, Pace

_ROWS = 8
"""Stages that are shown at a time: all that are under way, and the latest of those that are over."""

_WHOLE = "whole job"

_BAR, _NARROW_BAR, _NARROW = 28, 10, 100


@dataclass
class _Stage:
    name: str
    total: int
    note: str
    pace: Pace

    @property
    def is_over(self) -> bool:
        return self.pace.done >= self.total


class Stages:
    """What was told of a job's stages; may be asked by another thread than tells it."""

    def __init__(self) -> None:
        self.latest = ""
        self._stages: dict[str, _Stage] = {}
        self._job: JobPace | None = None
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._finished: float | None = None

    def expect(self, seconds: Mapping[str, float]) -> None:
        """See `JobPace`; a job of one stage is that stage."""
        with self._lock:
            self._job = JobPace(seconds, time.monotonic()) if len(seconds) > 1 else None

    def note(self, name: str, done: int, total: int, note: str) -> None:
        """Note that `done` of `total` of a stage are finished."""
        now = time.monotonic()
        with self._lock:
            stage = self._stages.pop(name, None) or _Stage(name, total, note, Pace(now, done))
            stage.total, stage.note = total, note
            stage.pace.note(now, done)
            # The latest stands last.
            self._stages[name], self.latest = stage, name
            if self._job:
                self._job.note(now, name, min(1.0, done / total) if total else 1.0)

    def finish(self) -> None:
        """Note that the whole job is done."""
        with self._lock:
            self._finished = time.monotonic()
            if self._job:
                self._job.finished()

    def rendered(self, width: int) -> Table:
        """A row for the whole job, and one a stage."""
        now = time.monotonic()
        table = Table.grid(padding=(0, 1))
        for justify in ("left", "left", "right", "right", "right", "left"):
            table.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
        bar = _BAR if width >= _NARROW else _NARROW_BAR
        with self._lock:
            for name, share, done, elapsed, left, note in [*self._whole(now), *(_row(stage, now) for stage in self._shown())]:
                drawn = ProgressBar(total=1.0, completed=share, width=bar, style="grey50", finished_style="bar.complete")
                table.add_row(Text(name), drawn, Text(done), Text(elapsed), Text(left), Text(note))
        return table

    def line(self) -> str:
        """The whole job and the latest stage on one line."""
        now = time.monotonic()
        with self._lock:
            rows = [*self._whole(now), *([_row(self._stages[self.latest], now)] if self.latest else [])]
        return "; ".join(f"{name}: {', '.join(filter(None, (done, left, note)))}" for name, _, done, _, left, note in rows)

    def _whole(self, now: float) -> list[_Row]:
        found = self._job.share_and_left(self._finished or now) if self._job else None
        if found is None:
            return []
        share, left = found
        return [(_WHOLE, share, f"{share:.0%}", _clock((self._finished or now) - self._started), _left(left if share < 1 else 0.0), "")]

    def _shown(self) -> list[_Stage]:
        going = [stage for stage in self._stages.values() if not stage.is_over]
        over = [stage for stage in self._stages.values() if stage.is_over]
        kept = {stage.name for stage in [*going[-_ROWS:], *over[max(0, len(over) + len(going) - _ROWS) :]]}
        return [stage for stage in self._stages.values() if stage.name in kept]


_Row = tuple[str, float, str, str, str, str]
"""Name, share, count, time since the start, time left, note."""


def _row(stage: _Stage, now: float) -> _Row:
    pace, total = stage.pace, stage.total
    elapsed = (pace.ended if stage.is_over else now) - pace.started
    count, share = f"{pace.done}/{total}", pace.done / total if total else 1.0
    return stage.name, share, count, _clock(elapsed), _left(pace.seconds_left(now, total)), stage.note


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _left(seconds: float | None) -> str:
    return "" if not seconds else f"{_clock(seconds)} left"
