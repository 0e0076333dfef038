"""Trainings as forks of a process that has loaded the libraries, as loading these takes most of the time of a tiny training.

`own_process` marks the tests of what the real process does; the slow tests have it too.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import IO

from optimizers.finetune.train import ENVIRONMENT

_LIBRARIES = (
    "torch",
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
    "trl.trainer.grpo_trainer",
    "peft",
    "optimizers.finetune.trainer",
)

_context = multiprocessing.get_context("forkserver")


class ForkedTraining:
    """A training that has been started, with what `subprocess.Popen` has of use to `optimizers.finetune.train`."""

    def __init__(self, work: Path, log: IO[bytes], processes: int = 1, accelerate_config: str | None = None) -> None:
        assert processes == 1 and not accelerate_config, "of several processes none is a fork: mark the test as slow or own_process"
        _prepare_server()
        environment = {**ENVIRONMENT, **os.environ}
        self._process = _context.Process(target=_train, args=(str(work), log.name, environment, str(Path.cwd())))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self._process.pid is not None and self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("training", timeout or 0)
        return self.returncode


def _prepare_server() -> None:
    """Start the server in an environment of its own: what it loads reads that once, and has to find this module."""
    _context.set_forkserver_preload([__name__])
    with _environment({**ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), _PRELOAD: "1"}):
        ensure_running()


@contextmanager
def _environment(wanted):
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _train(work: str, log: str, environment: dict[str, str], folder: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from optimizers.finetune.trainer import main

    sys.exit(main(work))


_PRELOAD = "TESTS_PRELOAD_TRAINING"
if os.environ.pop(_PRELOAD, None):
    for _name in _LIBRARIES:
        importlib.import_module(_name)
