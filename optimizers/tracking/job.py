"""A job in experiment trackers: tells them what there is to tell, and lets none of them do harm."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib.util
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from optimizers.finetune.reporting import reporting_to
from optimizers.settings.run import RunConfig
from optimizers.settings.tracking import LOGIN, TrackingConfig
from optimizers.tracking.figures import KINDS, finite, params_of, settings_of, spent_on, summed_up
from optimizers.tracking.mlflow_runs import MLflowRuns
from optimizers.tracking.run_ids import RunIds
from optimizers.tracking.tensorboard_runs import TensorBoardRuns
from optimizers.tracking.tracker import FAILED, FINISHED, KILLED, Figures, Tracker
from optimizers.tracking.trackio_runs import TrackioRuns
from optimizers.tracking.wandb_runs import WandbRuns

_log = logging.getLogger("divide_or_conquer")

_WORDS = 300

_FOLDERS = ("student", "students", "main")
"""Folders that say nothing of which student it is."""

_current: contextvars.ContextVar[Tracking | None] = contextvars.ContextVar("divide_or_conquer_tracking", default=None)


def current_tracking() -> Tracking | None:
    """The trackers of the job that is being done."""
    return _current.get()


def check_installed(names: Sequence[str]) -> None:
    """Refuse trackers without their packages.

    Raises:
        ValueError: Names the package, and how to get it.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"tracking.report_to: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: pip install "
            f"{' '.join(missing)}, or leave it out of --tracking.report_to."
        )


def _tracker(name: str, settings: TrackingConfig, folder: Path) -> Tracker:
    made: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoardRuns(folder),
        "mlflow": lambda: MLflowRuns(settings),
        "wandb": lambda: WandbRuns(settings, folder),
        "trackio": lambda: TrackioRuns(settings),
    }
    return made[name]()


class Tracking:
    """The trackers of one job, told of it while the context lasts; of what fails in one it is said once that it failed.

    Args:
        config: The job's configuration; its section `tracking` names the trackers.
        kind: The job's command: one of `KINDS`.
        folder: The job's.
        joins: Whether another process does the job, and this one a part of it.

    Raises:
        ValueError: A tracker without its package.
    """

    def __init__(self, config: RunConfig, kind: str, folder: Path, joins: bool = False) -> None:
        self._settings, self._config, self._kind, self._folder, self._joins = config.tracking, config, kind, folder, joins
        check_installed(self._settings.report_to)
        self.name = self._settings.name or folder.resolve().name
        self._ids = RunIds(folder)
        self._trackers: dict[str, Tracker] = {}
        self._runs: dict[tuple[str, str], str] = {}
        self._said: set[str] = set()
        self._trial: tuple[str, str] | None = None
        self._trainings: dict[Path, str] = {}
        self._context = contextlib.ExitStack()

    def __enter__(self) -> Tracking:
        for name in self._settings.report_to:
            self._guarded(name, functools.partial(self._begin, name))
        if not self._joins and self._trackers:
            settings = settings_of(self._config, self._kind)
            self._write(self._kind, Figures({"job": self._kind, "folder": str(self._folder), **params_of(settings)}))
        token = _current.set(self)
        self._context.callback(_current.reset, token)
        self._context.enter_context(reporting_to(self))
        return self

    def _begin(self, name: str) -> None:
        tracker = _tracker(name, self._settings, self._folder)
        self._runs[name, self._kind] = self._ids.begun(name, tracker.place, self._kind, lambda known: tracker.begin(self.name, None, known))
        self._trackers[name] = tracker

    def stage_ended(self, stage: str) -> None:
        """Tell the seconds of the stages, what was paid so far, and what else is known by now."""
        self._write_numbers()

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._context.close()
        if self._joins or not self._trackers:
            return
        self._write_numbers()
        if self._settings.files:
            self._known(self._upload)
        self._end(self._kind, _status(kind))

    def _write_numbers(self) -> None:
        # Apart from each other: a summary of an earlier version may lack what is looked for.
        for numbers in (spent_on, summed_up) if self._trackers else ():
            self._known(functools.partial(self._write_of, numbers))

    def _write_of(self, numbers: Callable[[Path, str], dict[str, float]]) -> None:
        self._write(self._kind, Figures(metrics=numbers(self._folder, self._kind)))

    def _upload(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            self._write(self._kind, Figures(files=self._files(Path(place))))

    def _files(self, place: Path) -> list[Path]:
        """The report, and the settings as they are told."""
        (place / "config.toml").write_text(tomli_w.dumps(settings_of(self._config, self._kind)), encoding="utf-8")
        report = self._folder / KINDS[self._kind].report
        return [place / "config.toml", *([report] if report.exists() else [])]

    def training_begins(self, target: Path, identity: str) -> dict[str, Any]:
        """As of `optimizers.finetune.reporting.Reports`."""
        name = _name_of(target, self._folder)
        key, name = self._trial or (f"{name}/{identity[:12]}", name)
        self._trainings[target] = key
        self._nest(key, name)
        told: dict[str, Any] = {"run_name": name, "environment": {}}

        def ask(tracker: str, runs: Tracker) -> None:
            further = runs.for_training(self._runs[tracker, key])
            told["environment"] |= further.pop("environment", {})
            told.update(further)

        self._each(ask)
        return {**told, "report_to": list(self._trackers)} if self._trackers else {}

    def training_ended(self, target: Path, status: str, metrics: Mapping[str, Any], failed: Mapping[str, str]) -> None:
        """As of `optimizers.finetune.reporting.Reports`."""
        for name, why in failed.items():
            self._say(name, why, f"the training of {_name_of(target, self._folder)}")
        key = self._trainings.pop(target)
        self._write(key, Figures(metrics=finite({f"student/{name}": value for name, value in metrics.items()})))
        if not self._trial:
            self._end(key, status)

    @contextlib.contextmanager
    def trial(self, key: str, name: str, params: Mapping[str, Any]) -> Iterator[Callable[[Mapping[str, Any], str], None]]:
        """A nested run for the trial of a study, into which its training reports too.

        Args:
            key: The same for a trial that is taken up again.
            name: Name to show.
            params: What the trial tries.

        Yields:
            Takes the trial's numbers and how it ended.
        """
        place = f"trial/{key}"
        self._trial = (place, name)
        self._nest(place, name)
        self._write(place, Figures(params=params_of(params)))
        ending = FINISHED

        def told(numbers: Mapping[str, Any], status: str) -> None:
            nonlocal ending
            ending = status
            self._write(place, Figures(metrics=finite(numbers)))

        try:
            yield told
        except BaseException as error:
            ending = _status(type(error))
            raise
        finally:
            self._trial = None
            self._end(place, ending)

    def _nest(self, key: str, name: str) -> None:
        def nest(tracker: str, runs: Tracker) -> None:
            parent = self._runs[tracker, self._kind]
            self._runs[tracker, key] = self._ids.begun(tracker, runs.place, key, lambda known: runs.begin(name, parent, known))

        self._each(nest)

    def _write(self, key: str, figures: Figures) -> None:
        if self._trackers:
            self._known(lambda: self._write_step(key, figures))

    def _write_step(self, key: str, figures: Figures) -> None:
        step = self._ids.step(key)
        self._each(lambda tracker, runs: runs.write(self._runs[tracker, key], figures, step))

    def _end(self, key: str, status: str) -> None:
        self._each(lambda tracker, runs: runs.end(self._runs[tracker, key], status))

    def _each(self, do: Callable[[str, Tracker], None]) -> None:
        for name, tracker in [*self._trackers.items()]:
            self._guarded(name, functools.partial(do, name, tracker))

    def _known(self, do: Callable[[], None]) -> None:
        """Do what may fail by the files of the job's folder."""
        try:
            do()
        except Exception as error:
            self._say("Tracking", f"{type(error).__name__}: {error}")

    def _guarded(self, name: str, do: Callable[[], None]) -> None:
        """Let a tracker do something; one that fails is told nothing further by this process."""
        try:
            do()
        except Exception as error:
            self._trackers.pop(name, None)
            self._say(name, f"{type(error).__name__}: {error}")

    def _say(self, name: str, why: str, what: str = "this job") -> None:
        if name not in self._said:
            self._said.add(name)
            shown = LOGIN.sub("", " ".join(why.split()))[:_WORDS]
            told = f"{name} was not told all of {what}, which goes on without it: {shown}"
            _log.warning(told)
            if not logging.getLogger().handlers:
                # The log goes to the folder alone.
                print(told, file=sys.stderr, flush=True)


def _status(error: type[BaseException] | None) -> str:
    return FINISHED if error is None else FAILED if issubclass(error, Exception) else KILLED


def _name_of(target: Path, folder: Path) -> str:
    """The name of a student: its place in the job's folder."""
    path, around = target.resolve(), folder.resolve()
    parts = path.relative_to(around).parts if path.is_relative_to(around) else (path.name,)
    return "/".join(part for part in parts if part not in _FOLDERS) or path.name
