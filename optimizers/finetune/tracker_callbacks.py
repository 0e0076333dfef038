"""transformers' own callbacks of experiment trackers, in the trainer's process, where none can do harm."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

from optimizers.finetune.reporting import FAILED, told_of
from optimizers.jobs.jsonlines import read_json, write_json


def reporting_arguments(folder: Path) -> dict[str, Any]:
    """The arguments of a TRL trainer that say where it reports to; their environment is put in place.

    Args:
        folder: Of the training.
    """
    told = read_json(told_of(folder))
    os.environ.update(told.get("environment", {}))
    usable = [name for name in told.get("report_to", []) if _is_usable(folder, name)]
    return {"report_to": usable or "none", **{name: told[name] for name in ("run_name", "project") if name in told}}


def _is_usable(folder: Path, name: str) -> bool:
    """Whether the trainer can make the callback of a tracker; it would end the training where not."""
    try:
        for kind in get_reporting_integration_callbacks([name]):
            kind()
    except Exception as error:
        _note_failure(folder, name, error)
        return False
    return True


def guard_callbacks(trainer: Any, folder: Path) -> None:
    """Let no tracker end a training: what its callback raises is noted once, and it is told nothing further.

    Args:
        trainer: Of transformers.
        folder: Of the training.
    """
    for name in trainer.args.report_to:
        for kind in get_reporting_integration_callbacks([name]):
            if (callback := trainer.pop_callback(kind)) is not None:
                trainer.add_callback(_Guarded(callback, functools.partial(_note_failure, folder, name)))


def _note_failure(folder: Path, name: str, error: Exception) -> None:
    said = f"{type(error).__name__}: {error}"
    print(f"{name} is told nothing further of this training: {said}", file=sys.stderr, flush=True)
    told = read_json(told_of(folder))
    write_json(told_of(folder), {**told, FAILED: {**told.get(FAILED, {}), name: said}})


class _Guarded(TrainerCallback):
    """Another callback that cannot fail."""

    def __init__(self, callback: TrainerCallback, failed: Callable[[Exception], None]) -> None:
        self._callback: TrainerCallback | None = callback
        self._failed = failed

    def _pass_on(self, event: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self._callback, event)(*args, **kwargs) if self._callback else None
        except Exception as error:
            self._callback = None
            self._failed(error)


for _event in [name for name in vars(TrainerCallback) if name.startswith("on_")]:
    setattr(_Guarded, _event, functools.partialmethod(_Guarded._pass_on, _event))
