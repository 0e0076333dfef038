"""`optimizers.plan` and `--dry-run` are one: the same words for every kind of job."""

import json

import pytest
from typer.testing import CliRunner

from optimizers import cli, load_config, plan

JOBS = {"run": "embedded", "experiment": "forgiving", "compile": "embedded", "study": "study", "improve": "success"}


@pytest.mark.parametrize("job", JOBS)
def test_a_plan_is_what_a_dry_run_prints(job, tmp_path, monkeypatch):
    monkeypatch.setattr(cli.out, "_width", 120)  # Else it is what it was when the command line was imported.
    words = str(plan(load_config(JOBS[job], {"out": str(tmp_path / "out")}), job))
    printed = CliRunner().invoke(cli.app, [job, "@", JOBS[job], "--dry-run", "--out", str(tmp_path / "out")])
    assert words.split() == printed.stdout.split() and words.startswith("In all")


def test_a_plan_draws_itself_in_a_notebook():
    shown = plan(load_config("study"), "study")._repr_mimebundle_([], [])
    assert "training.learning_rate" in shown["text/html"] and "training.learning_rate" in shown["text/plain"]


def test_a_job_that_there_is_not():
    with pytest.raises(ValueError, match=r"job='label' is no job that can be planned; expected one of \['run', 'experiment'"):
        plan(load_config("embedded"), "label")


def test_a_plan_says_that_a_scorer_of_ones_own_is_not_in_it(tmp_path, monkeypatch):
    (tmp_path / "own_judge.py").write_text("def right(example, prediction):\n    return True\n")
    questions = [json.dumps({"question": f"What is {n} + 1?", "answer": str(n + 1)}) for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("\n".join(questions))
    monkeypatch.chdir(tmp_path)
    settings = {"task": "jsonl", "task.path": "mine.jsonl", "data.train": "25", "data.dev": "0", "data.test": "10", "teacher": "openai/a"}
    said = "what it asks of an LM is in none of these figures"
    assert said in " ".join(str(plan(load_config(None, {**settings, "task.scorer": "own_judge:right"}), "run")).split())
    assert said not in " ".join(str(plan(load_config(None, settings), "run")).split())
