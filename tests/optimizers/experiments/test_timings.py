"""What the main job keeps beside its stages' own files; the job itself is tested in `tests/test_main_job.py`."""

from __future__ import annotations

import json

import pytest

from optimizers.jobs.work import timed


def test_the_time_of_a_stage_that_was_stopped_is_kept_and_added_to(tmp_path):
    (tmp_path / "timings.json").write_text('{"distill": 100.0, "label": 7.0}')
    with pytest.raises(KeyboardInterrupt), timed(tmp_path, "distill"):
        raise KeyboardInterrupt
    timings = json.loads((tmp_path / "timings.json").read_text())
    assert timings["label"] == 7.0
    assert 100.0 <= timings["distill"] < 110.0
    with timed(tmp_path, "evaluate"):
        pass
    assert set(json.loads((tmp_path / "timings.json").read_text())) == {"distill", "label", "evaluate"}
