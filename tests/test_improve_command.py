"""`divide-or-conquer improve` on the embedded models: killed in the middle of the tries and of a training, and finished."""

import json
import os
import signal
import time
from collections import Counter

import pytest
from command_line import command, finish

from optimizers import Improvement
from optimizers.jobs.jsonlines import read_lines

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
SMALL = ["--data.train", "8", "--data.test", "3", "--screening.min_rows", "4", "--training.max_steps", "8", "--training.save_steps", "2",
         "--training.warmup_steps", "0", "--improve.data.dev", "3", "--improve.samples", "2", "--improve.min_rows", "1",
         "--improve.rounds", "1"]  # fmt: skip


def kill_when(there, words):
    """SIGKILL the command, trainer and all, as soon as something is there."""
    process = command(*words)
    while not there():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def lines_in(path, count):
    return path.exists() and path.read_bytes().count(b"\n") >= count


def test_killed_in_the_tries_and_in_the_training_it_repeats_nothing(tmp_path):
    folder = tmp_path / "run"
    words = ["improve", "@", "forgiving", *SMALL, "--out", str(folder)]
    kill_when(lambda: lines_in(folder / "rounds" / "traces.jsonl", 12), words)
    first = Counter(line["key"] for line in read_lines(folder / "rounds" / "traces.jsonl"))
    student = (folder / "student" / "S_D-R" / "manifest.json").read_text()
    kill_when(lambda: lines_in(folder / "rounds" / "1" / "student.work" / "progress.jsonl", 2), words)
    output = finish(command(*words))
    assert "\nAgainst round 0\n" in output
    asked = Counter(line["key"] for line in read_lines(folder / "rounds" / "traces.jsonl"))
    assert set(asked.values()) == {1} and first.items() <= asked.items()
    assert (folder / "student" / "S_D-R" / "manifest.json").read_text() == student
    found = Improvement(folder)
    assert [row["round"] for row in found.table()] == [0, 1] and found.metrics["ended"] == "all 1 rounds are done"
    steps = [record["step"] for record in read_lines(folder / "rounds" / "1" / "student" / "progress.jsonl")]
    assert steps[-1] == 8 and steps.count(1) == 1  # it was not begun anew
    assert (folder / "figures" / "improve.png").stat().st_size > 10_000
    compared = found.metrics["tests"]["test"]["comparison"]
    assert (compared["n"], compared["b"]) == (3, "round 0")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jsonl")}
    finish(command(*words))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.jsonl") if path.name != "rows.jsonl"}.items() <= before.items()
    refused = command(*words, "--improve.temperature", "0.5")
    assert "improve.temperature: 0.8 there, 0.5 now" in refused.communicate()[0]
    assert json.loads((folder / "improve.json").read_text())["overlap"] == 0
