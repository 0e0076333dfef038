"""A folder of runs as users have them, one of each kind."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

RECORDED = Path(__file__).parents[2] / "recorded" / "folders.tar.xz"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A folder of each kind of job; only to be read."""
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(RECORDED) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def runs(recorded, tmp_path) -> Path:
    """A copy that a test may change."""
    target = tmp_path / "runs"
    shutil.copytree(recorded, target, ignore=shutil.ignore_patterns("*.safetensors"))
    return target
