"""`optimizers.plan` and `--dry-run` are one: the same words for every kind of job."""

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
