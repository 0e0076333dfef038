"""Logs of inspect_ai: everything of a condition as it is on file, read by inspect_ai itself and shown by its viewer."""

import builtins
import json
import math
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from browser import chromium, needs_browser
from command_line import wait_for
from typer.testing import CliRunner

from optimizers.cli import app
from optimizers.evaluation.summary import summarise

NAMES = ("single-stage", "teacher+teacher", "student0+teacher", "S_D-T+teacher", "S_D-R+teacher")


@pytest.fixture
def inspect(here):
    """inspect_ai's library, in a folder of each kind of job."""
    return pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed: pip install 'divide-or-conquer[inspect]'")


def lines(path):
    return [json.loads(line) for line in Path(path).open()]


def change(condition, edit):
    """Edit a condition's answers, and the figures with them."""
    path = Path("run/predictions") / f"{condition}.jsonl"
    found = [edit(number, line) for number, line in enumerate(lines(path))]
    path.write_text("".join(json.dumps(line) + "\n" for line in found))
    metrics = json.loads(Path("run/metrics.json").read_text())
    metrics["conditions"][condition] |= summarise(found)
    Path("run/metrics.json").write_text(json.dumps(metrics))


def test_a_log_holds_what_the_run_holds(inspect):
    from optimizers import export_logs

    written = export_logs("run", "logs")
    assert [path.relative_to("logs").as_posix() for path in written] == [f"{name}.eval" for name in NAMES]
    metrics = json.loads(Path("run/metrics.json").read_text())
    for path, name in zip(written, NAMES, strict=True):
        log, told = inspect.read_eval_log(str(path)), metrics["conditions"][name]
        assert log.status == "success" and log.eval.solver == name and log.eval.dataset.samples == len(log.samples) == 4
        (score,) = log.results.scores
        assert (score.name, score.scored_samples) == ("accuracy", 4)
        assert [score.metrics[key].value for key in ("mean", "ci95_low", "ci95_high")] == [told["score"], *told["ci95"]]
        on_file = {line["id"]: line for line in lines(f"run/predictions/{name}.jsonl")}
        for sample in log.samples:
            line = on_file[sample.id]
            assert (sample.input, sample.target, sample.scores["accuracy"].value) == (line["question"], line["gold"], line["score"])
            assert sample.scores["accuracy"].answer == line["answer"] and sample.metadata["decomposition"] == (
                None if name == "single-stage" else line["state"]
            )
        stages = {"answer"} if name == "single-stage" else {"decompose", "solve"}
        spent = sum(told[stage]["input_tokens"] + told[stage]["output_tokens"] for stage in stages)
        assert sum(usage.total_tokens for usage in log.stats.role_usage.values()) == spent
        assert spent == sum(usage.total_tokens for sample in log.samples for usage in sample.model_usage.values())


def test_both_stages_stand_in_a_sample_word_for_word(inspect):
    from optimizers import export_logs

    export_logs("run", "logs", ["S_D-R+teacher"])
    log = inspect.read_eval_log("logs/S_D-R+teacher.eval")
    assert {role: one.model for role, one in log.eval.model_roles.items()} == {
        "decomposer": "local/S_D-R@4b3a70438f43",
        "solver": "openai/scripted",
    }
    assert log.eval.revision.commit == "103335c84078" and log.eval.packages["dspy"] == "3.4.1" and log.eval.metadata["seed"] == 0
    assert log.stats.started_at and 'policy = "oracle"' in log.eval.metadata["settings"]
    said = {record["text"] for record in lines("run/predictions/calls.jsonl") if record["model"].startswith("local/S_D-R")}
    for sample in log.samples:
        calls = [event for event in sample.events if event.event == "model"]
        assert [(call.role, call.model) for call in calls] == [
            ("decomposer", "local/S_D-R@4b3a70438f43"),
            ("solver", "openai/scripted"),
        ]
        assert sample.input in calls[0].input[-1].text and calls[0].output.completion in said
        assert calls[0].output.usage.total_tokens == sum(
            sample.metadata["stages"]["decompose"][f"{part}_tokens"] for part in ("input", "output")
        )
        assert [turn.role for turn in sample.messages] == ["system", "user", "assistant"] * 2
        assert sample.messages[-1].text == sample.output.completion == calls[1].output.completion
        assert sample.output.stop_reason == "stop" and "not_on_file" not in sample.metadata
    cut = inspect.read_eval_log(str(export_logs("run", "cut", ["student0+teacher"])[0]))
    assert {next(event for event in sample.events if event.event == "model").output.stop_reason for sample in cut.samples} == {"max_tokens"}
    assert all(sample.metadata["stages"]["decompose"]["finishes"] == {"length": 1} for sample in cut.samples)


def test_a_cascade_shows_its_way_and_what_its_parts_said(inspect):
    from optimizers import export_logs

    def as_cascade(number, line):
        way = {"route": "first", "agreement": 1.0, "escalated": None, "votes": [line["answer"]] * 3, "first_answer": line["answer"]}
        usage = {"first_answer": {**line["usage"]["answer"], "input_tokens": 90, "cached_tokens": 40, "written_tokens": 10}}
        return {**line, **way, "errors": ["RateLimitError: http://10.0.0.7"], "usage": usage}

    metrics = json.loads(Path("run/metrics.json").read_text())
    cell = metrics["conditions"]["single-stage"]
    cell["models"] = {"first_answer": cell["models"]["answer"]}
    Path("run/metrics.json").write_text(json.dumps(metrics))
    change("single-stage", as_cascade)
    export_logs("run", "logs", ["single-stage"])
    sample = inspect.read_eval_log("logs/single-stage.eval").samples[0]
    assert [turn.role for turn in sample.messages][-2:] == ["user", "assistant"] and sample.input in sample.messages[-2].text
    told = sample.metadata
    assert (told["route"], told["agreement"], told["errors"], told["decomposition"]) == ("first", 1.0, ["RateLimitError"], None)
    (used,) = sample.model_usage.values()
    assert (used.input_tokens, used.input_tokens_cache_read, used.input_tokens_cache_write) == (40, 40, 10)
    assert used.total_tokens == 90 + used.output_tokens


def test_the_cells_of_an_experiment_stand_apart(inspect):
    from optimizers import export_logs

    written = export_logs("experiment", "logs", ["S_D-R+teacher", "jsonl/single-stage"])
    assert [path.relative_to("logs").as_posix() for path in written] == [
        "jsonl/single-stage.eval", "jsonl/jsonl/S_D-R+teacher.eval", "jsonl/jsonl/rows=6/S_D-R+teacher.eval",
    ]  # fmt: skip
    main, fewer = (inspect.read_eval_log(str(path)) for path in written[1:])
    assert main.eval.model_roles["decomposer"].model != fewer.eval.model_roles["decomposer"].model
    assert fewer.eval.tags == ["S_D-R+teacher", "trained on jsonl", "rows=6"] and main.eval.task_id != fewer.eval.task_id
    assert all(sample.messages for log in (main, fewer) for sample in log.samples)


def test_failures_unscored_answers_and_odd_texts_are_not_made_better(inspect):
    """A call that failed has no score, what cannot be judged is no zero, and a price that is not known is not 0 dollars."""
    from optimizers import export_logs

    edits = [
        {"score": None, "error": "RateLimitError: org-ann of http://10.0.0.7 is over its limit", "answer": None, "usage": {}},
        {"score": None, "detail": "no reference", "gold": ["Rome", "Roma"]},
        {"score": 0.5, "measures": {"em": 0.0, "accuracy": 1.0}, "answer": "half \ud83d", "context": "A passage."},
        {"score": 0.0, "error": "unparseable: 'see http://10.0.0.7'", "answer": None, "state": None},
    ]
    change("teacher+teacher", lambda number, line: {**line, **edits[number]})
    export_logs("run", "logs", ["teacher+teacher"])
    log = inspect.read_eval_log("logs/teacher+teacher.eval", resolve_attachments="full")
    ids = [line["id"] for line in lines("run/predictions/teacher+teacher.jsonl")]
    failed, unscored, half, unread = (next(sample for sample in log.samples if sample.id == one) for one in ids)
    assert failed.error.message.startswith("RateLimitError: ") and not failed.scores and not failed.messages
    assert math.isnan(unscored.scores["accuracy"].value) and unscored.target == ["Rome", "Roma"] and not unscored.error
    assert (half.scores["accuracy"].value, half.scores["accuracy (measured too)"].value, half.scores["em"].value) == (0.5, 1.0, 0.0)
    assert half.scores["accuracy"].answer == "half ?" and half.metadata["context"] == "A passage."
    assert unread.scores["accuracy"].value == 0.0 and not unread.error and unread.metadata["error"] == "unparseable"
    score = log.results.scores[0]
    assert (score.scored_samples, score.unscored_samples, log.results.completed_samples, score.metrics["mean"].value) == (2, 2, 3, 0.25)
    assert all(usage.total_cost is None for usage in (*log.stats.model_usage.values(), *half.model_usage.values()))
    assert "10.0.0.7" not in log.model_dump_json() and "org-ann" not in log.model_dump_json()


def test_another_models_reply_to_the_same_prompt_is_not_shown_as_this_ones(inspect):
    from optimizers import export_logs

    path = Path("run/predictions/calls.jsonl")
    records = [record for record in lines(path) if not record["model"].startswith("local/S_D-R")]
    others = [{**record, "model": "local/S_D-R@other"} for record in lines(path) if record["model"].startswith("local/S_D-R")]
    path.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in [*records, *others]))
    export_logs("run", "logs", ["S_D-R+teacher"])
    for sample in inspect.read_eval_log("logs/S_D-R+teacher.eval").samples:
        assert sample.metadata["not_on_file"] == ["decompose"]
        assert [turn.metadata["stage"] for turn in sample.messages] == ["solve"] * 3
    path.write_text("")
    export_logs("run", "none", ["S_D-R+teacher"])
    for sample in inspect.read_eval_log("none/S_D-R+teacher.eval").samples:
        assert not sample.messages and sample.output.completion == "Rome" and "not on file" in sample.output.metadata["reply"]


def test_the_data_frames_of_inspect_have_the_conditions_apart(inspect):
    from inspect_ai.analysis import evals_df, samples_df

    from optimizers import export_logs

    export_logs("run", "logs")
    evals, samples = evals_df("logs"), samples_df("logs")
    assert set(evals["solver"]) == set(NAMES) and len(samples) == 20 and samples["score_accuracy"].astype(float).eq(1.0).all()
    assert evals["score_accuracy_mean"].eq(1.0).all()


def test_wrong_arguments(inspect):
    from optimizers import export_logs

    with pytest.raises(ValueError, match=r"run has no answers of 'S_D'; it has \['single-stage', 'teacher\+teacher'"):
        export_logs("run", "logs", ["S_D"])
    with pytest.raises(ValueError, match="study is there already and not an empty folder"):
        export_logs("run", "study")
    with pytest.raises(ValueError, match="study holds a study; what can be shared is a run or an experiment"):
        export_logs("study", "logs")
    assert not Path("logs").exists()
    result = CliRunner().invoke(app, ["export-logs", "run", "logs", "--condition", "single-stage, S_D-R+teacher"])
    assert result.exit_code == 0 and "Wrote 2 logs, and read them back. To look at them: inspect view --log-dir logs" in result.output


def test_without_the_extra_it_is_named(here, monkeypatch):
    from optimizers import export_logs

    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("inspect_ai"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=re.escape("pip install 'divide-or-conquer[inspect]'")):
        export_logs("run", "logs")


@needs_browser
def test_its_viewer_shows_them(inspect, here):
    from optimizers import export_logs

    export_logs("run", "logs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "inspect_ai", "view", "--log-dir", "logs", "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(address, process)
        with chromium() as browser:
            page, wrong = browser.new_page(), []
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(f"{address}/#/logs/S_D-R%2Bteacher.eval")
            page.get_by_text("Where does number 28 live?").first.click()
            for shown in ("Who is it?", "Max subquestions: 3", "Reply with the reasoning, step by step"):
                page.get_by_text(shown).first.wait_for()
            assert "local/S_D-R@4b3a70438f43" in page.inner_text("body") and not wrong
    finally:
        process.terminate()
        process.communicate(timeout=30)
