"""What the main job keeps beside its stages' own files; the job itself is tested in `tests/test_main_job.py`."""

from __future__ import annotations

import json

import pytest

from optimizers.jobs.work import read_timings, timed


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


@pytest.mark.parametrize("torn", [b'{"distill": 10', b"\xff\xfe\x00", b"[1]", b'{"distill": "long", "label": null}', b"", b"[" * 100_000])
def test_damaged_timings_start_anew(tmp_path, torn):
    (tmp_path / "timings.json").write_bytes(torn)
    with timed(tmp_path, "evaluate"):
        pass
    assert set(read_timings(tmp_path)) == {"evaluate"}


def test_what_can_be_read_of_foreign_timings_is_kept(tmp_path):
    (tmp_path / "timings.json").write_text('{"label": 7.0, "other": {"a": 1}, "none": NaN}')
    assert read_timings(tmp_path) == {"label": 7.0}
