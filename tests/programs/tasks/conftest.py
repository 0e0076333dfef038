"""Rows of the published data sets, for tests of the tasks over them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder with samples of GSM8K, Bamboogle and DROP; see its README.md. Fails, not skips, where there is none."""
    folder = Path(os.environ.get("DIVIDE_OR_CONQUER_SHARED") or REPOSITORY.parent / "shared") / "data"
    if not folder.is_dir():
        pytest.fail(f"There is no {folder}; set DIVIDE_OR_CONQUER_SHARED to the folder that has the benchmark samples in data/.")
    return folder
