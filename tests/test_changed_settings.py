"""A changed setting in the folder of a run: what it decides is done again, nothing is paid for twice, and no old result stays."""

import json
import sys
import tarfile
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from optimizers.cli import app
from optimizers.experiments.distillation import LabellingStoppedError
from optimizers.jobs.jsonlines import read_json, read_lines
from programs.lms import engine
from programs.lms.artifacts import open_artifact

RECORDED = Path(__file__).parent / "recorded"
sys.path.insert(0, str(RECORDED))
from record import JOBS, PORT, Teacher  # noqa: E402 - beside the archive that it made

QUICK = ["--training.max_steps", "2"]
"""Another number of steps than the recorded folder's, as every test trains again."""


@pytest.fixture
def here(tmp_path, home, monkeypatch):
    """A working directory with a folder of each kind of job; nobody answers for the teacher."""
    with tarfile.open(RECORDED / "folders.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_BACKEND", "transformers")
    yield tmp_path
    engine.unload_all()


class Counting(Teacher):
    """The scripted teacher of the recorded folders, which counts its calls."""

    asked = 0

    def do_POST(self):
        Counting.asked += 1
        super().do_POST()


@pytest.fixture
def server():
    """The teacher, answering and counting."""
    Counting.asked = 0
    made = ThreadingHTTPServer(("127.0.0.1", PORT), Counting)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield Counting
    made.shutdown()
    made.server_close()


def go(kind, *further, out=None, words=None):
    result = CliRunner().invoke(app, [*(words or JOBS[kind]), *further, "--out", str(out or kind)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return read_json(Path(out or kind) / "metrics.json")


def paid(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*.jsonl") if path.name in ("traces.jsonl", "calls.jsonl")}


def teachers(folder):
    """The calls to the teacher on file."""
    return sum(line["model"] == "openai/scripted" for path in paid(folder) for line in read_lines(path))


@pytest.mark.parametrize("kind", ["run", "experiment"])
def test_another_training_is_done_in_the_same_folder_without_a_call(here, kind, caplog):
    before = {path: open_artifact(path.parent).model_string for path in Path(kind).glob("student*/**/manifest.json")}
    calls = teachers(kind)
    found = go(kind, *QUICK)
    assert "training.max_steps 150 → 2: the students are trained again; " in caplog.text
    assert "calls on file are kept" in caplog.text
    assert before and all(open_artifact(path.parent).model_string != was for path, was in before.items())
    assert all(open_artifact(path.parent).manifest["training"]["max_steps"] == 2 for path in before)
    kept = {open_artifact(path.parent).model_string for path in Path(kind).glob("student*/**/earlier/*/manifest.json")}
    assert kept == set(before.values())
    assert list(Path(kind).glob("earlier/results*/metrics.json"))
    assert found["conditions"] if kind == "run" else found["cells"]
    assert teachers(kind) >= calls


def test_back_to_the_first_settings_trains_nothing(here, monkeypatch):
    first = open_artifact("run/student/S_D-R").model_string
    go("run", *QUICK)
    other = open_artifact("run/student/S_D-R").model_string
    monkeypatch.setattr("optimizers.finetune.train._run", lambda *_: pytest.fail("trained again"))
    found = go("run")
    assert first == open_artifact("run/student/S_D-R").model_string != other
    assert found["students"]["S_D-R"]["model"] == first
    go("run", *QUICK)
    assert open_artifact("run/student/S_D-R").model_string == other


@pytest.mark.parametrize("setting", [
    ["--screening.min_rows", "3"], ["--teacher.timeout", "7"], ["--teacher.api_base", "http://127.0.0.1:9/v1"], ["--max_usd", "9"],
    ["--labelling.max_tokens", "99999"], ["--data.test", "3"], ["--training.threads", "2"],
])  # fmt: skip
def test_settings_that_ask_nothing_new_work_in_place(here, setting, monkeypatch):
    monkeypatch.setattr("optimizers.finetune.train._run", lambda *_: pytest.fail("trained again"))
    if setting[0] == "--max_usd":
        setting = ["--max_tokens", "99999"]
    before = paid("run")
    found = go("run", *setting)
    assert paid("run") == before
    assert found["conditions"]["S_D-R+teacher"]["n"] == (3 if "--data.test" in setting else 4)


def test_more_questions_ask_for_those_alone(here, server):
    go("run", "--data.train", "14", *QUICK)
    assert server.asked == 2 * 2
    assert len({line["id"] for line in read_lines(Path("run/rows.jsonl"))}) == 14


def test_fewer_rows_than_needed_is_mended_in_the_same_folder(here, server, tmp_path):
    with pytest.raises(ValueError, match=r"lower screening\.min_rows"):
        go("run", "--screening.min_rows", "12", *QUICK, out="new")
    asked = server.asked
    assert asked == 24
    go("run", "--screening.min_rows", "2", *QUICK, "--evaluation.conditions", "S_D-R+teacher", out="new")
    assert server.asked - asked <= 4, "only the solver's calls on the test questions"


def test_another_teacher_is_refused_and_the_new_folder_takes_over_what_is_the_same(here, server):
    with pytest.raises(ValueError, match=r"--out run-2\n.*--labelling.calls_from run"):
        go("run", "--seed", "1")
    found = go("run", *QUICK, "--labelling.calls_from", "run", "--max_calls", "60", out="run-2")
    assert server.asked <= 8, "the new students' decompositions may be new to the solver"
    assert found["labelling"]["input_tokens"] > 0
    with pytest.raises(ValueError, match="has no calls on file"):
        go("run", "--labelling.calls_from", "tiny", out="run-3")
    assert not Path("run-3").exists()


def test_the_test_questions_are_not_asked_before_the_students_are_there(here, server):
    with pytest.raises(ValueError, match=r"S_D-T, S_D-R have no trained model .* `divide-or-conquer distill`"):
        go("run", words=["evaluate", *JOBS["run"][1:]], out="new")
    assert server.asked == 0


def test_one_budget_bounds_labels_and_test_questions(here, server):
    words = [*JOBS["run"], *QUICK, "--max_calls", "30", "--labelling.threads", "1", "--evaluation.threads", "1"]
    with pytest.raises(RuntimeError, match=r"Evaluation stopped: limit of 30 calls reached, for the whole job. The job made 30 calls"):
        go("run", words=words, out="new")
    assert sum(len(list(read_lines(path))) for path in paid("new")) == 30
    with pytest.raises(LabellingStoppedError, match="limit of 10 calls reached, for the whole job"):
        go("run", "--max_calls", "10", words=words[:-6], out="other")
    found = go("run", "--max_calls", "300", words=words, out="new")
    assert all(condition["failed"] == 0 for condition in found["conditions"].values())


def test_dev_labels_are_in_the_bill(here, server):
    found = go("run", "--data.dev", "4", *QUICK, "--evaluation.conditions", "S_D-R+teacher", out="new")
    labels = list(read_lines(Path("new/traces.jsonl")))
    assert found["labelling"]["calls"] == len(labels) == 2 * (12 + 4)
    assert json.loads(Path("new/labelling.json").read_text())["dev_questions"] == 4
