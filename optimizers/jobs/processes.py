"""Processes of this package's own modules, whatever stands in the working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]


def start_module(module: str, *words: str, log: Any, **environment: str) -> subprocess.Popen[bytes]:
    """Start a module in a session of its own, without input.

    Python would look for it in the working directory first, where a folder of a user's may bear our packages' names. What it starts in turn
    does not look there either.

    Args:
        module: Such as `optimizers.finetune.trainer`.
        *words: Its arguments.
        log: An open file for all that it writes.
        **environment: Variables beside those of this process.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONSAFEPATH": "1", **_path(), **environment},
    )


def _path() -> dict[str, str]:
    """A checkout is found though it is not installed; an installation's folder must not come before Python's own."""
    if _ROOT.name in ("site-packages", "dist-packages"):
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))}
