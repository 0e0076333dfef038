"""Shows how far a job is, with the time left: bars on a terminal, one display in a notebook, and lines of a log anywhere else.

The environment variable `DIVIDE_OR_CONQUER_PROGRESS` says which: `auto` (the default), `lines` for lines of a log on a terminal or in
a notebook too, `off` for none.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live

from optimizers.jobs.pace import kind_of
from optimizers.jobs.progress import Progress, Shown, no_progress
from optimizers.jobs.stages import Stages
from programs.lms.weights import shown_by

VARIABLE = "DIVIDE_OR_CONQUER_PROGRESS"

_AUTO, _LINES, _OFF = FORMS = ("auto", "lines", "off")

_NOTEBOOK_SECONDS = 1.0

_LINE_SECONDS = (10.0, 60.0)
"""Between two lines of a log: at first, and in a job of hours."""

_SHARE = 1 / 20
"""Of the time until now that passes between two lines."""

_CHANGE_SECONDS = 2.0
"""At least so much later than the last line stands one on a new kind of stage."""

_NOTEBOOK_WIDTH = 110

# The colours are the notebook's own, light or dark.
_PAGE = '<pre style="white-space: pre; overflow-x: auto; margin: 0; line-height: 1.3">{code}</pre>'

_drawing = threading.Lock()


def form_asked(progress: bool | None = None) -> str:
    """How progress is to be shown: one of `FORMS`.

    Args:
        progress: False is `off`; True shows it even where the environment variable says `off`.

    Raises:
        ValueError: The environment variable has another value.
    """
    form = os.environ.get(VARIABLE, "").strip().lower() or _AUTO
    if form not in FORMS:
        raise ValueError(f"{VARIABLE}={os.environ[VARIABLE]!r} is none of {list(FORMS)}; unset it for 'auto'.")
    if progress is False:
        return _OFF
    return _AUTO if progress and form == _OFF else form


@contextlib.contextmanager
def showing(progress: Shown, console: Console | None = None) -> Iterator[Progress]:
    """What a job is to call, for as long as it works.

    Args:
        progress: See `Shown`.
        console: Where to draw; see `ProgressDisplay`.

    Raises:
        ValueError: As of `form_asked`.
    """
    if callable(progress):
        yield progress
        return
    form = form_asked(progress)
    if form == _OFF:
        yield no_progress
        return
    with ProgressDisplay(console, lines=form == _LINES) as display, shown_by(display):
        yield display


class ShowsProgress:
    """A mixin for optimizers whose `compile` shows how far it is, and whose steps are used by jobs that show it themselves.

    Attributes:
        progress: What the caller gave.
    """

    progress: Shown = None
    _shown: Progress | None = None

    def tell(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Call what shows the progress, if anything does."""
        shown = self._shown or self.progress
        if callable(shown):
            shown(stage, done, total, note)

    @contextlib.contextmanager
    def showing(self) -> Iterator[Progress]:
        """Show what is told while this is open."""
        with showing(self.progress) as shown:
            self._shown = shown
            try:
                yield shown
            finally:
                self._shown = None


class ProgressDisplay:
    """A `Progress` that draws. Nothing is drawn before it is called first; of several at a time in one process, the first alone draws.

    Args:
        console: Where to draw; standard error by default, so that results can be piped.
        lines: Lines of a log wherever it is.
    """

    def __init__(self, console: Console | None = None, lines: bool = False) -> None:
        console = console or Console(stderr=True, markup=False, emoji=False, highlight=False)
        self._stages = Stages()
        self._painter = _painter(console, self._stages, lines)
        self._draws = False

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Show the whole job too, by about how many seconds each stage will take, in their order."""
        self._stages.expect(seconds)

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` of a stage are finished."""
        self._stages.note(stage, done, total, note)
        if self._draws:
            self._painter.changed()

    def __enter__(self) -> ProgressDisplay:
        self._draws = _drawing.acquire(blocking=False)
        if self._draws:
            self._painter.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._draws:
            return
        if kind is None:
            self._stages.finish()
        self._draws = False
        try:
            self._painter.end()
        finally:
            _drawing.release()


class _Painter(Protocol):
    def begin(self) -> None: ...

    def changed(self) -> None: ...

    def end(self) -> None: ...


def _painter(console: Console, stages: Stages, lines: bool) -> _Painter:
    if console.is_jupyter and not lines:
        return _Notebook(stages)
    return _Bars(console, stages) if console.is_terminal and not lines else _Lines(console, stages)


class _Bars:
    """Bars on a terminal; what others print stands above them."""

    def __init__(self, console: Console, stages: Stages) -> None:
        self._stages = stages
        self._live = Live(console=console, get_renderable=lambda: stages.rendered(console.width), refresh_per_second=4)

    def begin(self) -> None:
        # At once, as it takes the place of standard output, which a stage may turn elsewhere for its time.
        self._live.start()

    def changed(self) -> None:
        """Drawn by the thread of `Live`."""

    def end(self) -> None:
        self._live.transient = not self._stages.latest
        self._live.stop()


class _Ticking:
    """Something that a thread paints again and again, once there is a stage."""

    seconds: float

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._over = threading.Event()
        self._lock = threading.Lock()
        # With the cell's context: by it the kernel knows whose output this is.
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._tick,), daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def changed(self) -> None:
        """Painted by the thread."""

    def _tick(self) -> None:
        while not self._over.wait(self.seconds):
            self._painted()

    def _painted(self, last: bool = False) -> None:
        with self._lock:
            if self._stages.latest:
                self.paint(last)

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._painted(last=True)

    def paint(self, last: bool) -> None:
        raise NotImplementedError


class _Notebook(_Ticking):
    """One output of a cell that changes, by what every notebook has: `ipywidgets` is not needed."""

    seconds = _NOTEBOOK_SECONDS

    def __init__(self, stages: Stages) -> None:
        super().__init__(stages)
        self._handle: Any = None

    def paint(self, last: bool) -> None:
        from IPython.display import display

        shown = self._shown()
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def _shown(self) -> dict[str, str]:
        console = Console(
            file=io.StringIO(),
            record=True,
            width=_NOTEBOOK_WIDTH,
            force_jupyter=False,
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
        )
        console.print(self._stages.rendered(_NOTEBOOK_WIDTH))
        page = console.export_html(inline_styles=True, code_format=_PAGE, clear=False)
        return {"text/html": page, "text/plain": console.export_text()}


class _Lines(_Ticking):
    """Lines with the time: at first every 10 seconds, in a job of hours every minute, and one where another kind of stage begins."""

    seconds = 0.5

    def __init__(self, console: Console, stages: Stages) -> None:
        super().__init__(stages)
        self._console = console
        self._started = self._said_at = time.monotonic()
        self._said, self._kind = "", ""

    def changed(self) -> None:
        if not self._said:
            self._painted()

    def paint(self, last: bool) -> None:
        now, line = time.monotonic(), self._stages.line()
        if self._is_due(now) or (last and line != self._said):
            self._said, self._kind, self._said_at = line, kind_of(self._stages.latest), now
            self._console.print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", highlight=False, markup=False, emoji=False, soft_wrap=True)

    def _is_due(self, now: float) -> bool:
        least, most = _LINE_SECONDS
        since = now - self._said_at
        changed = kind_of(self._stages.latest) != self._kind
        wait = _CHANGE_SECONDS if changed else min(most, max(least, _SHARE * (now - self._started)))
        return not self._said or since >= wait
