"""lm-evaluation-harness, the real client, asks a student that the command line serves: the line of docs/serving.md, word for word."""

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import command

from programs.lms import engine, lm
from programs.lms.trained_prompts import plain_prompt, prompts_of_model
from programs.tasks import load_task

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="not installed: pip install 'lm_eval[api]'")
PAGE = Path(__file__).parents[3] / "docs" / "serving.md"
MODEL = "embedded/teacher"


@pytest.fixture(scope="module")
def address():
    """Of a server as users start it."""
    process = command("serve", MODEL, "--port", "0")
    yield re.search(r"http://[\d.:]+/v1", process.stdout.readline())[0]
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert "Traceback" not in output, output


@pytest.fixture
def questions(tmp_path):
    """A folder with the page's task, and questions with the subquestions that are right."""
    yaml = re.search(r"```yaml\n(task: decompositions\n.*?)```", PAGE.read_text(), re.DOTALL)[1]
    (tmp_path / "decompositions.yaml").write_text(yaml)
    found = [{"question": one.question, "subquestions": list(one.subquestions)} for one in load_task("multihop").load("test", 12)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found))
    return tmp_path


def evaluated(folder, address, out="out", *further):
    """Do the page's line in a folder: its results, and the replies in the order of the questions."""
    line = re.search(r"^ +lm_eval --model .*$", PAGE.read_text(), re.MULTILINE)[0]
    words = [word.replace("http://127.0.0.1:8000/v1", address).replace("model=S_D-R", "model=teacher") for word in shlex.split(line)[1:]]
    assert any(f"base_url={address}/chat/completions" in word and "model=teacher" in word for word in words)
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *words, "--output_path", out, "--log_samples", *further],
        cwd=folder, capture_output=True, text=True, timeout=400, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "API request failed" not in done.stderr and "API returned" not in done.stderr
    results = json.loads(next((folder / out).rglob("results_*.json")).read_text())["results"]["decompositions"]
    samples = [json.loads(one) for one in next((folder / out).rglob("samples_*.jsonl")).read_text().splitlines()]
    return results, [sample["resps"][0][0] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]


@pytest.mark.slow
def test_the_line_of_the_page_scores_what_the_student_says(questions, address):
    asked = [json.loads(line) for line in (questions / "questions.jsonl").read_text().splitlines()]
    results, replies = evaluated(questions, address)
    prompt, student = plain_prompt(prompts_of_model(MODEL)), lm(MODEL, max_tokens=256)
    assert replies == [student(messages=prompt.chat(one["question"]))[0] for one in asked]
    right = [reply == "\n".join(one["subquestions"]) for reply, one in zip(replies, asked, strict=True)]
    assert results["exact_match,none"] == sum(right) / len(right) > 0.5
    engine.unload_all()


@pytest.mark.long
def test_what_a_task_says_of_generation_is_kept(questions, address):
    """Stops, a limit under the name that transformers has for it, and samples that are the same whenever they are asked for."""
    yaml = (questions / "decompositions.yaml").read_text()
    kept = "generation_kwargs: {until: ['?', never], max_new_tokens: 5, do_sample: true, temperature: 1.0, top_p: 0.9}\n"
    (questions / "decompositions.yaml").write_text(re.sub(r"generation_kwargs:.*\n(  .*\n)*", kept, yaml))
    first, second = (evaluated(questions, address, out, "--limit", "4")[1] for out in ("one", "two"))
    assert len(first) == 4 and all(reply and "?" not in reply and len(reply.split()) <= 5 for reply in first)
    assert second == first
