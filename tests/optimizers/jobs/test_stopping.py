"""Ctrl-C in the middle of slow answers: waited for and kept at first, left at the second one."""

from __future__ import annotations

import json
import signal
import threading
import time

import pytest
from command_line import command
from loopback import chat, serving


@pytest.mark.parametrize("times", [1, 2])
def test_answers_under_way_are_waited_for_once(tmp_path, times):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": f"Which is city number {i}?", "answer": f"Rome {i}"}) + "\n" for i in range(20)))
    asked, free = threading.Event(), threading.Event()

    def slow(body):
        asked.set()
        free.wait(60)
        return chat("1. Which is it?\nAnswer: Rome")

    with serving(slow) as (address, _):
        words = ["--task", "jsonl", "--task.path", str(path), "--teacher", "hosted_vllm/slow", "--teacher.api_base", address]
        sizes = ["--data.train", "8", "--data.test", "4", "--task.fractions", "0.5,0,0.5", "--screening.min_rows", "1"]
        process = command("run", *words, *sizes, "--out", str(tmp_path / "run"))
        assert asked.wait(60)
        for _ in range(times):
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
        if times == 1:
            threading.Timer(2.0, free.set).start()
        output = process.communicate(timeout=30)[0]
        free.set()
    assert process.returncode == 130, output
    assert "Ctrl-C again leaves them" in output and "the same command continues" in output
    samples = tmp_path / "run" / "samples.jsonl"
    kept = len(samples.read_text().splitlines()) if samples.exists() else 0
    assert kept == (8 if times == 1 else 0)
