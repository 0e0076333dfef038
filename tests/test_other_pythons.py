"""Newer Pythons that this machine has read every file without a word; the whole suite on one of them: `make test PYTHON=python3.13`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("programs", "optimizers", "benchmarks", "tests")
VERSIONS = ("3.12", "3.13", "3.14")


def interpreter(version: str) -> str | None:
    """On the path, or among pyenv's; a name on the path that starts nothing (pyenv has such) is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python"))]
    return next((path for path in found if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0), None)


@pytest.mark.parametrize("version", VERSIONS)
def test_newer_pythons_read_every_file(version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    code = "import pathlib, sys; [compile(pathlib.Path(path).read_bytes(), path, 'exec') for path in sys.argv[1:]]"
    files = [str(path) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    done = subprocess.run([python, "-W", "error", "-c", code, *files], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and len(files) > 300
