"""A run in TensorBoard, W&B and trackio, without a server: what stands there, read by the trackers' own readers."""

import json
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from loopback import chat, serving
from scripted import two_stage_rule
from typer.testing import CliRunner

from optimizers.cli import app
from optimizers.finetune.job_folder import read_progress
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import TrainingStopped, train
from optimizers.jobs.jsonlines import read_json
from optimizers.settings.load import load_config
from optimizers.tracking.job import Tracking
from programs.lms.artifacts import open_artifact

sys.path.insert(0, str(Path(__file__).parents[2] / "recorded"))
from record import JOBS

STUDENT = ["--training.max_steps", "3", "--evaluation.conditions", "S_D-R+teacher", "--data.test", "2", "--out", "new"]


@pytest.fixture
def go(here):
    with serving(lambda body: chat(two_stage_rule(body["messages"][-1]["content"]))) as (address, _):

        def job(report_to, *further):
            words = [*JOBS["run"], "--teacher.api_base", address, *STUDENT, "--tracking.report_to", report_to, *further]
            result = CliRunner().invoke(app, words, catch_exceptions=False)
            assert result.exit_code == 0, result.output
            return read_json(Path("new/metrics.json"))

        yield job


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_has_the_job_and_its_student(go):
    metrics = go("tensorboard")
    job, student = events("new/tensorboard/job"), events("new/tensorboard/S_D-R")
    score = metrics["conditions"]["S_D-R+teacher"]
    for name, value in {"score": score["score"], "score_low": score["ci95"][0], "score_high": score["ci95"][1]}.items():
        assert job[f"{name}/S_D-R+teacher"][-1][1] == pytest.approx(value)
    losses = [(line["step"], line["loss"]) for line in read_progress(Path("new/student/S_D-R")) if "loss" in line]
    assert student["train/loss"] == [(step, pytest.approx(loss)) for step, loss in losses] and len(losses) == 3
    go("tensorboard")
    again = events("new/tensorboard/job")["score/S_D-R+teacher"]
    assert len(again) > len(job["score/S_D-R+teacher"]) and [step for step, _ in again] == sorted({step for step, _ in again})
    assert {path.name for path in Path("new/tensorboard").iterdir()} == {"job", "S_D-R"}


def test_a_training_that_was_stopped_goes_on_in_its_run(here):
    config = load_config(None, {"out": "new", "tracking.report_to": "tensorboard"})
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}] * 8
    base = open_artifact("tiny")
    spec = TrainingSpec(base=str(base.folder), method="full", max_steps=100, save_steps=1, threads=1, batch_size=1)
    named = {"name": "a", "adapter": "line-terse", "base": base.model_string, "prompts": {}}
    seen = []

    def once_begun():
        return bool(read_progress(Path("new/student/a.work")))

    with pytest.raises(TrainingStopped), Tracking(config, "run", Path("new")):
        train(rows, spec, Path("new/student/a"), cancelled=once_begun, **named)
    stopped = events("new/tensorboard/a")["train/loss"]
    with Tracking(config, "run", Path("new")):
        train(rows, spec, Path("new/student/a"), progress=lambda *step: seen.append(step), **named)
    whole = events("new/tensorboard/a")["train/loss"]
    assert 0 < len(stopped) < 100 and [step for step, _ in whole] == list(range(1, 101))
    assert [path.name for path in Path("new/tensorboard").iterdir() if path.name != "job"] == ["a"]


def test_a_student_trained_anew_has_a_run_of_its_own(go):
    go("tensorboard")
    go("tensorboard", "--training.max_steps", "2")
    assert {path.name for path in Path("new/tensorboard").iterdir()} == {"job", "S_D-R", "S_D-R-2"}
    assert [step for step, _ in events("new/tensorboard/S_D-R-2")["train/loss"]] == [1, 2]


@pytest.fixture
def wandb():
    """W&B, which reads its variables once."""
    module = pytest.importorskip("wandb")
    module.teardown()
    yield module
    module.teardown()


# W&B writes the rest of a run when its process exits, which a fork does otherwise.
@pytest.mark.slow
def test_wandb_has_the_job_and_its_student_as_a_group(go, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    metrics = go("wandb")
    runs = [_records(path) for path in sorted(Path("new/wandb").glob("offline-run-*/*.wandb"))]
    begun = [next(record.run for record in records if record.WhichOneof("record_type") == "run") for records in runs]
    ids = read_json(Path("new/tracking.json"))["wandb"]["divide-or-conquer"]
    assert {run.run_id for run in begun} == set(ids.values()) and {run.run_group for run in begun} == {ids["run"]}
    assert {run.project for run in begun} == {"divide-or-conquer"}
    told = {}
    for records in runs:
        for record in records:
            told |= {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
    assert told["score/S_D-R+teacher"] == metrics["conditions"]["S_D-R+teacher"]["score"]
    assert "train/loss" in told and told["student/rows"] == metrics["students"]["S_D-R"]["rows"]


def _records(path):
    """W&B's file of an offline run: blocks of 32 KiB with parts of records, as LevelDB's log has them."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            found.append(Record.FromString(whole))
            whole = b""
    return found


def test_wandb_without_a_key_is_said_and_does_not_ask(go, wandb, monkeypatch, caplog):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(Path.cwd()))
    go("wandb")
    assert [record.message for record in caplog.records if "W&B has no key" in record.message]


# The process that others fork has imported trackio already.
@pytest.mark.slow
def test_trackio_has_the_job_and_its_student(go, monkeypatch, tmp_path):
    if find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    # Read once, when it is first imported.
    assert "trackio" not in sys.modules
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    metrics = go("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    ids = read_json(Path("new/tracking.json"))["trackio"]["divide-or-conquer"]
    assert set(SQLiteStorage.get_runs("divide-or-conquer")) == set(ids.values())
    told = {name: value for line in SQLiteStorage.get_logs("divide-or-conquer", ids["run"]) for name, value in line.items()}
    assert told["score/S_D-R+teacher"] == metrics["conditions"]["S_D-R+teacher"]["score"]
    (student,) = [run for key, run in ids.items() if key != "run"]
    losses = [line["train/loss"] for line in SQLiteStorage.get_logs("divide-or-conquer", student) if "train/loss" in line]
    assert len(losses) == 3
