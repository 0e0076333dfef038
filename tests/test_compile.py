"""`compile` from the command line on the embedded teacher: killed, continued, and its program used for labelling."""

import json
import os
import signal
import time
from collections import Counter

import pytest
from command_line import command, finish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SIZES = ["--compile.train", "4", "--compile.validation", "4", "--compile.dev", "4", "--teacher.max_tokens", "64"]
WORDS = ["compile", "@", "forgiving", *SIZES, "--compile.optimizer", "BootstrapFewShot"]


def test_a_killed_compilation_continues_and_its_program_labels(tmp_path):
    out = tmp_path / "prompts"
    process = command(*WORDS, "--out", str(out))
    traces = out / "traces.jsonl"
    while not traces.exists() or len(traces.read_bytes().splitlines()) < 12:
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    output = finish(command(*WORDS, "--out", str(out)))
    assert "uncompiled" in output and "--teacher.program" in output
    assert max(Counter(json.loads(line)["key"] for line in traces.open()).values()) == 1
    size = traces.stat().st_size
    finish(command(*WORDS, "--out", str(out)))
    assert traces.stat().st_size == size
    run = tmp_path / "run"
    label = ["label", "@", "forgiving", "--data.train", "2", "--teacher.program", str(out / "program.json"), "--out", str(run)]
    assert "divide-or-conquer screen" in finish(command(*label))
    assert len((run / "samples.jsonl").read_text().splitlines()) == 2
    assert json.loads((run / "teacher_program.json").read_text()) == json.loads((out / "program.json").read_text())


def test_dry_run_says_the_calls_and_does_nothing(tmp_path):
    output = finish(command(*WORDS, "--out", str(tmp_path / "out"), "--dry-run"))
    assert "calls at most" in output and "max_bootstrapped_demos" in output
    assert not (tmp_path / "out").exists()
