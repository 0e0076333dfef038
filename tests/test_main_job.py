"""The main job from the command line, on the embedded teacher and real training: end to end, killed, over HTTP."""

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from command_line import command, finish, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SMALL = ["--data.train", "16", "--data.test", "6", "--screening.min_rows", "4", "--training.epochs", "1", "--training.max_steps", "3",
         "--training.save_steps", "1", "--teacher.max_tokens", "48", "--student.max_tokens", "16"]  # fmt: skip
CONDITIONS = ["single-stage", "single-stage-cot", "teacher+teacher", "student0+teacher", "S_D-T+teacher", "S_D-R+teacher"]


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def outcome(folder):
    """What must not depend on how often the run was killed: scores, states, rows; not seconds."""
    found = metrics(folder)
    conditions = {name: (c["n"], c["score"], c["states"], c["failed"]) for name, c in found["conditions"].items()}
    comparisons = [(c["a"], c["b"], c["delta"], c["p"]) for c in found["comparisons"]]
    tokens = {key: found["labelling"][key] for key in ("calls", "kept", "dropped", "input_tokens", "output_tokens")}
    models = {name: training["model"] for name, training in found["students"].items()}
    return conditions, comparisons, tokens, models


def killed_after(seconds, *words):
    """Whether the command was still at work when it was killed."""
    process = command(*words)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def calls(folder):
    lines = [json.loads(line) for path in (folder / "traces.jsonl", folder / "predictions" / "calls.jsonl") for line in path.open()]
    return Counter(line["key"] for line in lines)


def timed(process):
    """Seconds that the command took."""
    started = time.monotonic()
    finish(process)
    return time.monotonic() - started


def test_whole_job_and_killed_ten_times(tmp_path, tiny):
    """SIGKILL at ten random moments, then the same command: the same metrics, and no call paid for twice."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = ["run", "@", "forgiving", *SMALL, "--student", f"local/{tiny.folder}"]
    seconds = timed(command(*words, "--out", str(whole)))
    assert list(metrics(whole)["conditions"]) == CONDITIONS
    start_up = timed(command(*words, "--out", str(whole)))
    rng = random.Random(0)
    # Up to a fifth of the work in a try: half of it in all on average, so that ten kills find it unfinished where speed swings.
    tries = [start_up + rng.uniform(-0.2, 0.2) * (seconds - start_up) for _ in range(10)]
    kills = sum(killed_after(max(1.0, moment), *words, "--out", str(killed)) for moment in tries)
    assert kills >= 8
    finish(command(*words, "--out", str(killed)))
    assert outcome(killed) == outcome(whole)
    assert set(calls(killed).values()) == {1}
    assert calls(killed) == calls(whole)
    before = (killed / "traces.jsonl").stat().st_mtime_ns
    finish(command(*words, "--out", str(killed)))
    assert (killed / "traces.jsonl").stat().st_mtime_ns == before


def test_interrupt_leaves_a_hint_and_the_work(tmp_path, tiny):
    words = ["run", "@", "forgiving", *SMALL, "--student", f"local/{tiny.folder}", "--out", str(tmp_path / "run")]
    process = command(*words)
    while not (tmp_path / "run" / "samples.jsonl").exists():
        time.sleep(0.2)
        assert process.poll() is None, process.communicate()[0]
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert "the same command continues" in output
    finish(command(*words))


def test_teacher_over_http_through_litellm(tmp_path, tiny):
    """The embedded teacher behind an OpenAI-compatible server on loopback, called as an API model would be."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = command("serve", "embedded/teacher", "--port", str(port))
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", server)
        words = [
            "--teacher",
            "openai/embedded/teacher",
            "--teacher.api_base",
            f"http://127.0.0.1:{port}/v1",
            "--teacher.adapter",
            "line-terse",
        ]
        finish(
            command(
                "run",
                "@",
                "forgiving",
                *SMALL,
                "--student",
                f"local/{tiny.folder}",
                *words,
                "--out",
                str(tmp_path / "run"),
                OPENAI_API_KEY="none",
            )
        )
    finally:
        server.terminate()
        server.communicate()
    found = metrics(tmp_path / "run")
    assert found["conditions"]["teacher+teacher"]["score"] > 0.5
    assert found["labelling"]["input_tokens"] > 0
    assert found["models"]["teacher"] == "openai/embedded/teacher"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--task", "gsm9k"], "Unknown task 'gsm9k'; expected one of"),
        (["run", "--evaluation.conditions", "teacher+nobody"], "Unknown condition 'teacher+nobody'"),
        (["run", "--teacher", "openai/gpt-4.1-mini"], "needs the environment variable OPENAI_API_KEY"),
        (["run", "--teacher", "embedded/giant"], "embedded/giant"),
        (["run", "--data.train", "ten"], "data.train='ten'"),
        (["run", "--task", "jsonl", "--task.path", "/dev/null"], "/dev/null"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(words, message, tmp_path):
    process = command(*words, "--out", str(tmp_path / "run"), OPENAI_API_KEY="")
    output = process.communicate()[0]
    assert process.returncode == 2
    assert message in " ".join(output.split())
    assert not (tmp_path / "run").exists()


def test_the_report_stands_alone(tmp_path, tiny):
    folder = tmp_path / "run"
    finish(command("run", "@", "forgiving", *SMALL, "--student", f"local/{tiny.folder}", "--out", str(folder)))
    html = (folder / "report.html").read_text()
    assert "S_D-R+teacher" in html and 'src="http' not in html
    assert (folder / "report.md").read_text().count("|") > 20
    assert {path.name for path in (folder / "figures").iterdir()} >= {"accuracy.png", "tokens.png", "training.png"}
    assert Path(folder / "program.json").exists()
