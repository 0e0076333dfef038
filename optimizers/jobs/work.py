"""How every long job is done: stage by stage in its folder, each logged and timed, every LM call on one ledger."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.jobs.progress import say
from optimizers.jobs.scorer_costs import keep_scorer_costs
from programs.lms.ledger import Ledger, recording
from programs.lms.rate_limits import ON_SCREEN

_log = logging.getLogger("divide_or_conquer")
_lm_log = logging.getLogger("dspy.clients.lm")
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Watch(Protocol):
    """Sees a job done: a context around its stages."""

    def __enter__(self) -> object: ...

    def __exit__(self, *exception: Any) -> object: ...

    def stage_ended(self, stage: str) -> None:
        """A stage is done, and its time on file."""


def do_stages(folder: Path, ledger: Ledger, stages: Mapping[str, Callable[[], object]], watch: Watch) -> None:
    """Do the stages of a job in their order.

    Args:
        folder: The job's; gets `log.txt` and `timings.json`.
        ledger: Counts the calls.
        stages: Name -> what is done. Each reads files and does what is missing, so that the same job again continues.
        watch: Sees it done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with logging_to(folder / "log.txt"), recording(ledger), watch:
        for stage, do in stages.items():
            with timed(folder, stage), contextlib.ExitStack() as last:
                last.callback(keep_scorer_costs, folder, ledger)
                do()
            watch.stage_ended(stage)


def read_timings(folder: Path) -> dict[str, float]:
    """Seconds by stage, of what can be read: no result hangs on them, so that a damaged file starts anew."""
    try:
        found = read_json(folder / "timings.json")
    except ValueError as error:
        _log.warning("The times of earlier calls are lost: %s", error)
        return {}
    return {stage: float(seconds) for stage, seconds in found.items() if isinstance(seconds, int | float) and math.isfinite(seconds)}


@contextlib.contextmanager
def timed(folder: Path, stage: str) -> Iterator[None]:
    """Add to the wall-clock time of a stage in `timings.json`, over all the calls that it took, stopped ones too."""
    started = time.monotonic()
    _log.info("%s: start", stage)
    try:
        yield
    finally:
        seconds = time.monotonic() - started
        timings = read_timings(folder)
        write_json(folder / "timings.json", {**timings, stage: round(timings.get(stage, 0.0) + seconds, 2)})
        _log.info("%s: ended after %.1f s", stage, seconds)


class _Screen(logging.Handler):
    """Says those records that a user waits for."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, ON_SCREEN, False):
            say(record.getMessage())


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write the package's log, and DSPy's warnings on LM calls, to a file; what is marked `ON_SCREEN` is also said."""
    handler, screen = logging.FileHandler(path), _Screen()
    handler.setFormatter(logging.Formatter(FORMAT))
    _log.addHandler(handler)
    _log.addHandler(screen)
    _log.setLevel(logging.INFO)
    # An untrained student is cut off at its limit again and again; the file is the place for it, not the screen.
    _lm_log.addHandler(handler)
    _lm_log.propagate = False
    try:
        yield
    except BaseException as error:
        _log.error("%s: %s", type(error).__name__, error)
        raise
    finally:
        _log.removeHandler(handler)
        _log.removeHandler(screen)
        _lm_log.removeHandler(handler)
        _lm_log.propagate = True
        handler.close()
