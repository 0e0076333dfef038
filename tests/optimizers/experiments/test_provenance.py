"""Where the figures of a run say that they come from."""

import subprocess
from pathlib import Path

from optimizers import RunConfig
from optimizers.experiments.metrics import provenance

ROOT = Path(__file__).parents[3]


def test_the_commit_is_that_of_the_checkout(tmp_path):
    """A path that was counted from the wrong folder gave no commit, and nothing else was missing."""
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    expected = found.stdout.strip() if (ROOT / ".git").exists() else None
    assert provenance(RunConfig(), tmp_path)["commit"] == expected
