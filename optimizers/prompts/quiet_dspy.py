"""Keeps DSPy's bars, prints and log off the screen of a compilation, which shows its own progress; all other threads keep theirs."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import dspy

from optimizers.jobs.work import FORMAT

_SETTING = "divide_or_conquer_quiet"
"""Of `dspy.context`, as DSPy hands its settings to the threads that it starts."""


@contextlib.contextmanager
def quiet_dspy(log: Path) -> Iterator[None]:
    """Send what DSPy logs to a file, and what it prints and draws nowhere, in this thread and those that DSPy starts from it.

    What is printed in them goes nowhere, too. Warnings, and what rich draws, are shown. Nothing of DSPy or tqdm is changed.

    Args:
        log: The file, which is appended to.
    """
    mark = object()

    def here() -> bool:
        return dspy.settings.get(_SETTING) is mark

    streams = {"stdout": _Stream(sys.stdout, lambda _: here()), "stderr": _Stream(sys.stderr, lambda caller: here() and _is_tqdm(caller))}
    with dspy.context(**{_SETTING: mark}), _logged(log, here):
        for name, stream in streams.items():
            setattr(sys, name, stream)
        try:
            yield
        finally:
            for name, stream in streams.items():
                stream.over = True
                setattr(sys, name, _without_those_over(getattr(sys, name)))


@contextlib.contextmanager
def _logged(log: Path, here: Callable[[], bool]) -> Iterator[None]:
    logger, handler = logging.getLogger("dspy"), logging.FileHandler(log)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(lambda _: here())
    shown = [one for one in logger.handlers if one.name == "dspy_handler"]

    def elsewhere(_: logging.LogRecord) -> bool:
        return not here()

    for one in shown:
        one.addFilter(elsewhere)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
        for one in shown:
            one.removeFilter(elsewhere)


class _Nowhere(io.TextIOBase):
    """Takes any text, also from a bar that outlives its compilation."""

    def write(self, text: str) -> int:
        return len(text)


class _Stream:
    """Standard output or error, less what is hidden.

    Which of the two an attribute is of is decided when it is asked for: a bar of tqdm asks once, where it is made, so that it is
    hidden from tqdm's own thread too, which draws bars that stand still.
    """

    def __init__(self, below: Any, hidden: Callable[[FrameType], bool]) -> None:
        self.below, self.over = below, False
        self._hidden, self._nowhere = hidden, _Nowhere()

    @property
    def rich_proxied_file(self) -> Any:
        """What a console of rich draws on, such as the bars of this package."""
        return getattr(self.below, "rich_proxied_file", self.below)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nowhere if not self.over and self._hidden(sys._getframe(1)) else self.below, name)


def _without_those_over(stream: Any) -> Any:
    """The stream that was there before; another compilation may have begun since, or somebody turned it elsewhere."""
    while isinstance(stream, _Stream) and stream.over:
        stream = stream.below
    return stream


def _is_tqdm(caller: FrameType) -> bool:
    return str(caller.f_globals.get("__name__")).partition(".")[0] == "tqdm"
