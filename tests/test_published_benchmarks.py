"""The published benchmarks' way from end to end: real rows, a model behind an HTTP server, every row accounted for."""

import json
import socket

import pytest
from command_line import command, finish, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TASKS = ("gsm8k", "drop", "bamboogle")
CONDITIONS = "single-stage,interactive,teacher+teacher,generic+teacher,S_D-T+teacher,teacher+S_E-A"


@pytest.fixture(scope="module")
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = command("serve", "embedded/teacher", "--port", str(port))
    wait_for(f"http://127.0.0.1:{port}/v1/models", server)
    yield f"http://127.0.0.1:{port}/v1"
    server.terminate()
    server.communicate()


def test_every_row_is_accounted_for(tmp_path, tiny, address, benchmark_data):
    out = tmp_path / "run"
    recipe = tmp_path / "samples.toml"
    paths = dict.fromkeys(TASKS, "shipped") | {"drop": benchmark_data}
    tasks = "".join(f'[experiment.tasks.{name}]\nname = "{name}"\npath = "{path}"\n' for name, path in paths.items())
    recipe.write_text(
        f'[experiment]\ntrain = ["gsm8k"]\ntest = {list(TASKS)}\n{tasks}'
        f'[teacher]\nmodel = "openai/embedded/teacher"\napi_base = "{address}"\nadapter = "line-terse"\nmax_tokens = 16\n'
        f'[student]\nmodel = "local/{tiny.folder}"\nmax_tokens = 8\n'
        "[data]\ntrain = 6\ntest = 3\n[screening]\nmin_rows = 2\n[labelling]\nfailure_share = 1.0\n[training]\nmax_steps = 2\n"
    )
    finish(command("experiment", "@", str(recipe), "--experiment.conditions", CONDITIONS, "--out", str(out), OPENAI_API_KEY="none"))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["labelling"]["gsm8k"]["questions"] == 6
    kept = metrics["labelling"]["gsm8k"]["by_policy"]["none"]
    assert kept["kept"] + sum(kept["dropped"].values()) == 6
    # What a teacher out of its depth writes may leave too few rows to train on: then the student is skipped, with the reason.
    skipped = {name.removeprefix("gsm8k/") for name in metrics["skipped"]}
    cells = {(cell["test"], cell["condition"]): cell for cell in metrics["cells"]}
    for task in TASKS:
        for condition in [name for name in CONDITIONS.split(",") if not skipped & set(name.split("+"))]:
            cell = cells[task, condition]
            # A passage of DROP is longer than the tiny student's context: that is a failure with its reason, not a wrong answer.
            too_long = 3 if task == "drop" and "S_" in condition else 0
            assert (cell["n"], cell["scored"], cell["failed"]) == (3, 3 - too_long, too_long)
            assert cell["failures"] == ({"ContextWindowExceededError": 3} if too_long else {})
    assert {metrics["tasks"][task]["measure"] for task in TASKS} == {"accuracy", "F1"}
    assert (out / "report.html").exists()


def test_a_file_of_another_schema_is_told_by_row_and_field(tmp_path):
    wrong = tmp_path / "gsm8k_train.jsonl"
    wrong.write_text('{"question": "1+1?", "answer": "#### 2"}\n{"prompt": "1+2?", "answer": "#### 3"}\n')
    process = command("run", "--task", "gsm8k", "--task.path", str(wrong), "--data.train", "2", "--out", str(tmp_path / "run"))
    output = " ".join(process.communicate()[0].split())
    assert process.returncode == 2
    assert "row 2" in output and "question" in output
    assert not (tmp_path / "run").exists()


def test_bamboogle_is_not_trained_on_unasked(tmp_path):
    process = command("experiment", "--task", "bamboogle", "--task.path", "shipped", "--out", str(tmp_path / "run"))
    output = " ".join(process.communicate()[0].split())
    assert process.returncode == 2
    assert "training split" in output and "fractions" in output
