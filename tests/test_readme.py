"""README, followed word by word in an empty folder, with embedded models in the place of those that cost money."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from command_line import command, wait_for
from test_documented_commands import ROOT, blocks

from programs.tasks import load_task

README = ROOT / "README.md"
MAKE = re.compile(r"^make (\S+)")
INSTEAD = {
    "qwen2.5-coder-1.5b": "smollm2-135m",
    "--teacher hosted_vllm/NAME": "--teacher hosted_vllm/strict --teacher.adapter line-terse --task.decomposer_sees_context false",
    "hosted_vllm/NAME": "hosted_vllm/strict",
    "openai/gpt-4.1-mini": "embedded/strict",
    "--training.min_steps 60": "--training.max_steps 10",
    "import BootstrapDistill\n": "import BootstrapDistill, TrainingSpec\n",
    "min_rows=10,": "min_rows=10, training=TrainingSpec(max_steps=10),",
}
"""A large download, a server's model and a paid one -> what a test has; the embedded models follow no instructions, so the form is said.

And a training of minutes -> one of a few steps: what it is worth is measured elsewhere.
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def lines():
    """The commands of README in their order, each whole and without its remark."""
    text = "".join(text for language, text in blocks(README) if language in ("", "bash", "sh"))
    return [shlex.join(shlex.split(line, comments=True)) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_what_is_replaced_stands_there():
    text = "\n".join([*lines(), *(text for language, text in blocks(README) if language == "python")])
    assert [theirs for theirs in INSTEAD if theirs not in text] == []


def with_ours(text):
    for theirs, ours in INSTEAD.items():
        text = text.replace(theirs, ours)
    return text


@pytest.fixture(scope="module")
def server():
    """An OpenAI-compatible server on loopback, its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = command("serve", "embedded/strict", "--port", str(port))
    wait_for(f"http://127.0.0.1:{port}/v1/models", process)
    yield f"http://127.0.0.1:{port}/v1"
    os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with sixty questions of the reader's own."""
    folder = tmp_path_factory.mktemp("reader")
    questions = load_task("multihop", schema="people", branches=1).load("train", 60)
    rows = [{"question": one.question, "context": one.context, "answer": one.answer} for one in questions]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_every_line_runs_in_its_order(folder, server):
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", HOME=str(folder), COLUMNS="200")
    environment.setdefault("DIVIDE_OR_CONQUER_HOME", str(Path.home() / ".cache" / "divide-or-conquer"))
    done = []
    for line in map(with_ours, lines()):
        if line.startswith("export HOSTED_VLLM_API_BASE="):
            environment["HOSTED_VLLM_API_BASE"] = server
        elif line.startswith("divide-or-conquer view"):
            looks_at(line, folder, environment)
        elif line.startswith("divide-or-conquer"):
            ended = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
            assert ended.returncode == 0, (line, ended.stdout, ended.stderr)
        else:
            # What sets the clone up has been done where tests run, and may not be done again within them.
            assert line.startswith(("make ", "source .venv/bin/activate")), line
        done.append(line.split()[1])
    assert {"run", "ask", "view", "fetch", "test"} <= set(done)
    assert (folder / "runs" / "mine" / "report.html").is_file()


def looks_at(line, folder, environment):
    """The pages that a command serves are there."""
    words = f"exec {line} --no-open --port 0"
    process = subprocess.Popen(words, shell=True, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    for said in process.stdout:
        if "http://" in said:
            break
    try:
        address = re.search(r"http://\S+", said)[0]
        with urllib.request.urlopen(address, timeout=30) as page:
            assert "mine" in page.read().decode()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def test_its_targets_of_make_are_there():
    makefile = (ROOT / "Makefile").read_text()
    named = [found[1] for line in lines() if (found := MAKE.match(line))]
    assert {"run", "test"} <= set(named) and all(re.search(rf"^{name}:", makefile, re.M) for name in named)


def test_its_python_runs(folder):
    [text] = [text for language, text in blocks(README) if language == "python"]
    done = subprocess.run([sys.executable, "-c", with_ours(text)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and (folder / "runs" / "from_python").is_dir()
