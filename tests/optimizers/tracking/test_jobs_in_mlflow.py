"""Whole jobs in MLflow, in a database on this disk: what stands there, and that no tracker can harm a job."""

import json
import logging
import sys
from pathlib import Path

import pytest
from loopback import chat, serving
from scripted import two_stage_rule
from typer.testing import CliRunner

from optimizers.cli import app
from optimizers.finetune.job_folder import read_progress
from optimizers.jobs.jsonlines import read_json
from optimizers.tracking.figures import finite, params_of, settings_of
from optimizers.tracking.mlflow_runs import MLflowRuns

sys.path.insert(0, str(Path(__file__).parents[2] / "recorded"))
from record import JOBS

STUDENT = ["--training.max_steps", "3", "--evaluation.conditions", "teacher+teacher,S_D-R+teacher", "--data.test", "2"]
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """MLflow's tables take seconds to be made: once for all tests, each of which has an experiment of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'runs.db'}"


@pytest.fixture
def client(database, here):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=database)


@pytest.fixture
def go(here, database, request):
    """Do a job of the recorded folders with trackers; gives what is asked of the teacher."""
    with serving(lambda body: chat(two_stage_rule(body["messages"][-1]["content"]))) as (address, bodies):

        def job(kind, *further, out=None, uri=database, report_to="mlflow", project=request.node.name):
            tracked = ["--tracking.report_to", report_to, "--tracking.uri", uri, "--tracking.project", project]
            words = [*JOBS[kind], "--teacher.api_base", address, "--out", out or kind, *tracked, *further]
            result = CliRunner().invoke(app, words, catch_exceptions=False)
            assert result.exit_code == 0, result.output
            return bodies

        yield job


@pytest.fixture
def runs(client, request):
    """Runs of the test's experiment by name."""

    def found(project=request.node.name):
        experiment = client.get_experiment_by_name(project)
        return {run.info.run_name: run for run in client.search_runs(experiment.experiment_id)} if experiment else {}

    return found


def warned(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING and "goes on without it" in record.message]


def test_a_run_stands_there_whole_and_goes_on_in_the_same_tracker_run(go, runs, client, caplog):
    go("run", *STUDENT, out="new")
    found, metrics = runs(), read_json(Path("new/metrics.json"))
    assert set(found) == {"new", "S_D-R"} and {run.info.status for run in found.values()} == {"FINISHED"}
    job, student = found["new"], found["S_D-R"]
    assert student.data.tags["mlflow.parentRunId"] == job.info.run_id
    assert job.data.params["training.max_steps"] == "3" and job.data.params["job"] == "run"
    for name in ("teacher+teacher", "S_D-R+teacher"):
        told = [job.data.metrics[f"{part}/{name.replace('+', '.')}"] for part in ("score", "score_low", "score_high")]
        assert told == [metrics["conditions"][name]["score"], *metrics["conditions"][name]["ci95"]]
    timings = read_json(Path("new/timings.json"))
    assert {f"seconds/{stage}": job.data.metrics[f"seconds/{stage}"] for stage in timings} == {
        f"seconds/{s}": t for s, t in timings.items()
    }
    assert job.data.metrics["labelling/input_tokens"] == metrics["labelling"]["input_tokens"] > 0
    assert {file.path for file in client.list_artifacts(job.info.run_id)} == {"report.html", "config.toml"}
    curve = {point.step: point.value for point in client.get_metric_history(student.info.run_id, "loss")}
    assert curve == {line["step"]: line["loss"] for line in read_progress(Path("new/student/S_D-R")) if "loss" in line} and len(curve) == 3
    assert student.data.params["max_steps"] == "3" and student.data.metrics["student/rows"] == metrics["students"]["S_D-R"]["rows"]
    # Again, with a further test question: the same tracker run, and nothing is trained.
    go("run", *STUDENT, "--data.test", "3", out="new")
    again = runs()
    assert {run.info.run_id for run in again.values()} == {job.info.run_id, student.info.run_id}
    assert again["new"].data.tags["now.data.test"] == "3" and again["new"].data.metrics["questions/S_D-R.teacher"] == 3
    assert not warned(caplog)


def test_an_experiment_an_improvement_and_a_compilation_stand_there(go, runs):
    bodies = go("experiment", out="experiment")
    go("improve")
    go("compile")
    assert not bodies, "they were finished before"
    found = runs()
    cells = read_json(Path("experiment/metrics.json"))["cells"]
    told = found["experiment"].data.metrics
    for cell in cells:
        place = "/".join(filter(None, (cell["test"], cell["train"], cell["variant"], cell["condition"].replace("+", "."))))
        assert told[f"score/{place.replace('=', '_')}"] == cell["score"]
    improved, compiled = read_json(Path("improve/improve.json")), read_json(Path("compile/compiled.json"))
    assert found["improve"].data.metrics["score_low/dev/round-0"] == improved["rounds"][0]["ci95"][0]
    assert found["improve"].data.metrics["usage/calls"] == improved["usage"]["calls"]
    assert found["compile"].data.metrics["score/dev/compiled"] == compiled["dev"]["compiled"]["score"]
    assert found["compile"].data.metrics["paid/calls"] == compiled["paid"]["calls"]


def test_trials_of_a_study_are_nested_with_their_losses(go, runs, client):
    go("study", "--study.trials", "3")
    found, (*_, last) = runs(), read_json(Path("study/study.json"))["trials"]
    assert set(found) == {"study", "trial 2"}
    trial = found["trial 2"]
    assert trial.data.tags["mlflow.parentRunId"] == found["study"].info.run_id
    assert float(trial.data.params["training.learning_rate"]) == last["params"]["training.learning_rate"]
    assert client.get_metric_history(trial.info.run_id, "loss") and client.get_metric_history(trial.info.run_id, "eval_loss")
    assert trial.info.status == ("FINISHED" if last["state"] == "complete" else "KILLED")
    assert trial.data.metrics.get("score/dev") == last["score"] and found["study"].data.metrics["trials"] == 3


@pytest.mark.parametrize("uri", [NOWHERE, "nonsense://x", "file:///proc/nowhere"])
def test_a_tracker_that_is_not_there_is_said_once_and_costs_nothing(go, uri, caplog):
    before = read_json(Path("run/metrics.json"))["conditions"]
    assert not go("run", uri=uri)
    after = read_json(Path("run/metrics.json"))["conditions"]
    assert {name: one["score"] for name, one in after.items()} == {name: one["score"] for name, one in before.items()}
    assert len(warned(caplog)) == 1 and warned(caplog)[0].startswith("mlflow was not told all of this job")


def test_a_tracker_that_fails_in_the_trainer_costs_no_training(go, monkeypatch, caplog):
    usual = MLflowRuns.for_training
    monkeypatch.setattr(
        MLflowRuns,
        "for_training",
        lambda *args: {"environment": {**usual(*args)["environment"], "MLFLOW_TRACKING_URI": NOWHERE}},
    )
    go("run", *STUDENT, out="new")
    assert read_json(Path("new/metrics.json"))["students"]["S_D-R"]["steps"] == 3
    (said,) = warned(caplog)
    assert "the training of S_D-R" in said and "127.0.0.1" in said
    assert not list(Path("new/student").glob("*.json"))


def test_a_tracker_run_that_was_deleted_is_made_anew(go, runs, client):
    go("run")
    first = runs()["run"].info.run_id
    client.delete_run(first)
    go("run")
    assert runs()["run"].info.run_id != first


def test_another_project_and_a_damaged_file_are_no_harm(go, runs, caplog):
    go("run")
    first = runs()["run"].info.run_id
    go("run", project="other")
    go("run")
    assert set(runs("other")) == {"run"} and runs()["run"].info.run_id == first and not warned(caplog)
    Path("run/tracking.json").write_text("{torn")
    go("run")
    assert len(warned(caplog)) == 1 and "tracking.json" in warned(caplog)[0]


def test_a_stopped_job_is_said_to_be_stopped(go, runs, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("optimizers.experiments.run.write_report", stop)
    with pytest.raises(AssertionError):
        go("run")
    assert runs()["run"].info.status == "KILLED"


def test_a_package_that_is_missing_is_refused_before_any_work(here, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == "trackio" else object())
    result = CliRunner().invoke(app, [*JOBS["run"], "--out", "new", "--tracking.report_to", "trackio"])
    assert "pip install trackio" in str(result.exception) and not Path("new").exists()


@pytest.mark.parametrize(("setting", "said"), [
    (["report_to", "mlfow"], "expected some of tensorboard, mlflow, wandb, trackio"),
    (["uri", "http://me:s3cret@host"], "MLFLOW_TRACKING_USERNAME"),
])  # fmt: skip
def test_bad_values_are_told_without_secrets(here, setting, said):
    result = CliRunner().invoke(app, [*JOBS["run"], "--out", "new", f"--tracking.{setting[0]}", setting[1]])
    assert said in str(result.exception) and "s3cret" not in str(result.exception) and not Path("new").exists()


def test_no_secret_is_told(go, runs, client):
    headers = json.dumps({"Authorization": "Bearer s3cret", "x-api-key": "s3cret", "x-team": "red"})
    go("run", *STUDENT, "--teacher.options.extra_headers", headers, "--labelling.calls_from", "", out="new")
    run = runs()["new"]
    assert run.data.params["teacher.options.extra_headers.x-team"] == "red"
    told = client.download_artifacts(run.info.run_id, "config.toml")
    assert "s3cret" not in Path(told).read_text() and "s3cret" not in str(run.data)


def test_logins_in_addresses_are_left_out():
    from optimizers import RunConfig

    config = RunConfig.model_validate({"study": {"storage": "postgresql://me:s3cret@host/db"}})
    assert params_of(settings_of(config, "study"))["study.storage"] == "postgresql://host/db"


def test_numbers_alone_are_told():
    assert finite({"a": 1, "b": None, "c": float("nan"), "d": True, "e": "1"}) == {"a": 1.0}
