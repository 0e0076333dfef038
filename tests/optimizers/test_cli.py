"""The command line without any work: help, plans, tasks, doctor."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from optimizers import cli, doctor
from optimizers.cli import app
from optimizers.experiments.plan import grid_steps, plan_steps
from optimizers.jobs.display import ProgressDisplay
from optimizers.settings.load import load_config


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Tables that fit, whatever the terminal is that the tests were started in."""
    monkeypatch.setattr(cli, "out", Console(width=200, markup=False, emoji=False))


def invoke(*words):
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_dry_run_shows_the_plan_and_does_nothing(tmp_path):
    output = invoke("run", "@", "embedded", "--data.train", "30", "--out", str(tmp_path / "run"), "--dry-run")
    assert "label: decompose" in output and "S_D-R" in output and "To show a difference" in output
    assert not (tmp_path / "run").exists()


def test_a_plan_prepares_no_model(home):
    invoke("run", "@", "embedded", "--dry-run")
    assert not list(home.rglob("*"))


def test_a_plan_knows_who_is_told_to_reason():
    """Replies of an LLM that is told what to do are several times as long, and so as dear, as those of a model trained to its task."""
    written = {}
    for model in ("embedded/strict", "openai/gpt-4.1-mini"):
        steps = {step.name: step for step in plan_steps(load_config("embedded", {"teacher": model}))}
        written[model] = steps["label: solve"].output_tokens / steps["label: solve"].calls
    assert written["embedded/strict"] < written["openai/gpt-4.1-mini"] / 3


def test_the_papers_recipe_is_planned_by_its_name(tmp_path):
    output = invoke("experiment", "@", "paper", "--out", str(tmp_path / "run"), "--dry-run")
    assert "gpt-4.1-mini" in output and "bamboogle, test" in output and "gsm8k: 1319, drop: 2000, bamboogle: 125" in output
    assert not (tmp_path / "run").exists()


JOBS = {
    "run": ("run", "@", "embedded"),
    "run of a long name": ("run", "--student", "hf/HuggingFaceTB/SmolLM2-360M-Instruct", "--teacher", "openai/gpt-4.1-mini"),
    "experiment": ("experiment", "@", "paper"),
    "improve": ("improve", "@", "success"),
    "compile": ("compile", "--teacher", "openai/gpt-4.1-mini"),
    "study": ("study", "@", "study", "--teacher", "openai/gpt-4.1-mini"),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_plan_of_80_columns_has_the_total_first_and_breaks_no_word(job, monkeypatch):
    """No key is needed, no line is longer, and what stands in a plan of 300 columns stands in it, unbroken."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    printed = {}
    for width in (80, 300):
        monkeypatch.setattr(cli, "out", Console(width=width, file=io.StringIO(), markup=False, emoji=False))
        invoke(*JOBS[job], "--dry-run")
        printed[width] = cli.out.file.getvalue()
    lines = printed[80].splitlines()
    assert lines[0].startswith("In all ") and max(map(len, lines)) <= 80
    words = set(printed[300].replace(",", " ").split()) - {"model"}
    assert words <= set(printed[80].replace(",", " ").split()), words - set(printed[80].replace(",", " ").split())
    steps = [line for line in printed[300].splitlines()[2:] if line.startswith(("label", "train", "test", "gsm8k", "tries"))]
    assert all(any(short.startswith(line[:30].split("  ")[0]) for short in lines) for line in steps)


def test_a_plan_shows_settings_on_request_alone():
    assert "learning_rate" not in invoke("run", "@", "embedded", "--dry-run")
    output = invoke("run", "@", "embedded", "--dry-run", "--settings")
    assert output.index("In all") < output.index("label: decompose") < output.index("learning_rate = 0.001")


def test_a_further_student_is_planned_as_itself_and_the_rows_of_an_ablation_as_so_many():
    steps = grid_steps(load_config("paper"))
    small = [step for step in steps if "student=small" in step.name and ("train" in step.name or step.name.endswith("decompose"))]
    assert small and {step.model for step in small} == {"hf/Qwen/Qwen2.5-1.5B-Instruct"}
    few, all_rows = (next(s for s in steps if s.name == f"gsm8k, train S_D-R{name}") for name in (" rows=100", ""))
    assert few.input_tokens * 40 < all_rows.input_tokens
    assert "Qwen2.5-1.5B" in invoke("experiment", "@", "paper", "--dry-run")


def test_a_sum_of_dollars_says_how_much_has_no_price():
    output = invoke("run", "@", "embedded", "--teacher", "openai/gpt-4.1-mini", "--dry-run")
    assert "dollars and 5 steps without a price" in output


def test_brackets_of_a_package_are_printed(monkeypatch):
    finding = doctor.Finding("fastapi :x:", False, "not [installed]", "pip install 'divide-or-conquer[serve]'")
    monkeypatch.setattr(doctor, "examine", lambda: [finding])
    shown = io.StringIO()
    monkeypatch.setattr(cli, "out", Console(width=200, file=shown, markup=cli.out._markup, emoji=cli.out._emoji))
    invoke("doctor")
    assert "divide-or-conquer[serve]" in shown.getvalue() and "not [installed]" in shown.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_the_progress_of_a_stage_keeps_its_brackets(terminal):
    shown = io.StringIO()
    with ProgressDisplay(Console(file=shown, width=200, force_terminal=terminal)) as display:
        display("label [a] [/b]", 1, 2, "1 failed [c] :x:")
    assert "label [a] [/b]" in shown.getvalue() and "[c] :x:" in shown.getvalue()


def test_a_plan_counts_calls_and_prices_an_api_teacher():
    config = load_config(
        "embedded",
        {"teacher": "openai/gpt-4.1-mini", "data.train": 30, "data.test": 10, "labelling.samples": 2, "labelling.temperature": 0.7},
    )
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
    step = next(step for step in plan_steps(config) if step.name == "train S_D-R")
    assert step.usd == pytest.approx(step.minutes * 60)


def test_tasks_and_recipes_are_listed():
    output = invoke("tasks")
    assert "multihop" in output and "jsonl" in output and "hops='2,3'" in output
    assert "embedded" in invoke("recipes")


def test_doctor_names_what_is_missing_and_how_to_get_it(home, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("programs.lms.weights.is_fetched", lambda name: False)
    found = {finding.part: finding for finding in doctor.examine()}
    assert not found["openai"].ok and "OPENAI_API_KEY" in found["openai"].found
    assert "98 MB" in found["embedded/base"].remedy and "divide-or-conquer fetch smollm2-135m" in found["embedded/base"].remedy
    # They are made from the base.
    assert not any(found[f"embedded/{name}"].ok for name in ("base", "teacher", "strict"))
    assert found["torch"].ok
    monkeypatch.setattr("programs.lms.weights.is_fetched", lambda name: True)
    assert all(finding.ok for finding in doctor.examine() if finding.part.startswith("embedded/"))


def test_doctor_says_that_another_file_is_in_the_weights_place(home, monkeypatch):
    def wrong():
        raise ValueError("x.gguf is not the file: remove it.")

    monkeypatch.setattr("programs.lms.embedded.found_gguf", wrong)
    found = {finding.part: finding for finding in doctor.examine()}
    assert (found["embedded/base"].ok, found["embedded/base"].remedy) == (False, "x.gguf is not the file: remove it.")


def test_nothing_that_doctor_says_is_cut_in_80_columns(monkeypatch):
    finding = doctor.Finding(
        "gguf/a-name-that-is-long", False, f"in /home/{'folder/' * 12}end", f"pip install 'divide-or-conquer[serve]' {'x ' * 60}end"
    )
    monkeypatch.setattr(doctor, "examine", lambda: [finding])
    shown = io.StringIO()
    monkeypatch.setattr(cli, "out", Console(width=80, file=shown, markup=cli.out._markup, emoji=cli.out._emoji))
    invoke("doctor")
    assert "…" not in shown.getvalue() and finding.part in shown.getvalue() and finding.remedy in shown.getvalue()
    cells = "".join(line.split("│")[3].strip() for line in shown.getvalue().splitlines() if line.count("│") == 4)
    assert cells.replace(" ", "") == finding.found.replace(" ", "")


def test_an_empty_question_is_refused():
    result = CliRunner().invoke(app, ["ask", "  "])
    assert "question is empty" in str(result.exception)


def test_export_says_how_others_serve_what_it_wrote(tiny, tiny_model, tmp_path):
    said = invoke("export", str(tiny.folder), str(tmp_path / "x.gguf"))
    assert f"Wrote {tmp_path / 'x.gguf'} and {tmp_path / 'x.Modelfile'}" in said
    assert f"ollama create x -f {tmp_path / 'x.Modelfile'}" in said and f"vllm serve {tiny.folder} --served-model-name tiny" in said
    assert f"llama-server -m {tmp_path / 'x.gguf'}" in said
    assert f"Wrote {tmp_path / 'y.gguf'}" in invoke("export", tiny_model, str(tmp_path / "y.gguf"))
