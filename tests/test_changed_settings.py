"""A changed setting in the folder of a run: what it decides is done again, nothing is paid for twice, and no old result stays."""

import json
import re
import sys
from pathlib import Path

import pytest
from loopback import chat, serving
from scripted import two_stage_rule
from typer.testing import CliRunner

from optimizers.cli import app
from optimizers.experiments.distillation import LabellingStoppedError
from optimizers.jobs.jsonlines import read_json, read_lines
from programs.lms.artifacts import open_artifact

RECORDED = Path(__file__).parent / "recorded"
sys.path.insert(0, str(RECORDED))
from record import JOBS  # noqa: E402 - beside the archive that it made

QUICK = ["--training.max_steps", "2"]
"""Another number of steps than the recorded folder's, as every test trains again."""


class Server:
    """The scripted teacher of the recorded folders at another address, and every prompt that it was sent."""

    def __init__(self, address, bodies):
        self.at, self.bodies = ["--teacher.api_base", address], bodies

    @property
    def prompts(self):
        return [body["messages"][-1]["content"] for body in self.bodies]

    @property
    def asked(self):
        return len(self.bodies)

    def numbers(self):
        """Of the questions that were asked; the recorded ones are `Where does number N live?`."""
        return {int(number) for prompt in self.prompts for number in re.findall(r"Where does number (\d+) live", prompt)}


_serving = []


@pytest.fixture
def server():
    """The teacher, answering and counting; a job asks there and not where the folder was recorded."""
    with serving(lambda body: chat(two_stage_rule(body["messages"][-1]["content"]))) as (address, bodies):
        _serving.append(Server(address, bodies))
        yield _serving[-1]
        _serving.clear()


def labelled(folder):
    """Numbers of the questions that have labels in a folder."""
    texts = {json.loads(line).get("question", "") for path in Path(folder).rglob("rows.jsonl") for line in path.open()}
    return {int(number) for text in texts for number in re.findall(r"number (\d+)", text)}


def go(kind, *further, out=None, words=None):
    further = [*(_serving[-1].at if _serving else []), *further]
    result = CliRunner().invoke(app, [*(words or JOBS[kind]), *further, "--out", str(out or kind)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return read_json(Path(out or kind) / "metrics.json")


def paid(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*.jsonl") if path.name in ("traces.jsonl", "calls.jsonl")}


def teachers(folder):
    """The calls to the teacher on file."""
    return sum(line["model"] == "openai/scripted" for path in paid(folder) for line in read_lines(path))


@pytest.mark.parametrize("kind", ["run", "experiment"])
def test_another_training_is_done_in_the_same_folder_without_a_call(here, server, kind, caplog):
    labels = labelled(kind)
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
    # Of the teacher's work nothing is paid again; what the new students write is new to the solver.
    assert labels and not server.numbers() & labels and teachers(kind) == calls + server.asked
    assert all(record["failed"] == 0 for record in (found["conditions"].values() if kind == "run" else found["cells"]))
    asked = server.asked
    go(kind, *QUICK)
    assert server.asked == asked


@pytest.mark.long
def test_another_training_does_the_rounds_of_improve_again(here, server):
    labels, first = Path("improve/traces.jsonl").read_bytes(), read_json(Path("improve/improve.json"))
    tried = list(read_lines(Path("improve/rounds/traces.jsonl")))
    go("improve", *QUICK)
    found = read_json(Path("improve/improve.json"))
    assert Path("improve/traces.jsonl").read_bytes() == labels
    assert found["rounds"][0]["model"] != first["rounds"][0]["model"]
    assert all(one["training"]["steps"] == 2 for one in found["rounds"][1:])
    assert read_json(next(Path("improve/rounds/earlier").glob("*/results/improve.json"))) == first
    again = list(read_lines(Path("improve/rounds/traces.jsonl")))
    keys = [line["key"] for line in again if "error" not in line]
    assert again[: len(tried)] == tried and len(keys) == len(set(keys))


def test_back_to_the_first_settings_trains_nothing(here, server, monkeypatch):
    first = open_artifact("run/student/S_D-R").model_string
    go("run", *QUICK)
    other = open_artifact("run/student/S_D-R").model_string
    monkeypatch.setattr("optimizers.finetune.train._run", lambda *_: pytest.fail("trained again"))
    asked = server.asked
    found = go("run")
    assert server.asked == asked, "all was asked before"
    assert first == open_artifact("run/student/S_D-R").model_string != other
    assert found["students"]["S_D-R"]["model"] == first
    go("run", *QUICK)
    assert open_artifact("run/student/S_D-R").model_string == other and server.asked == asked


@pytest.mark.parametrize("setting", [
    ["--screening.min_rows", "3"], ["--screening.min_rows", "1"], ["--teacher.timeout", "7"],
    ["--teacher.api_base", "http://127.0.0.1:9/v1"], ["--max_usd", "9"],
    ["--labelling.max_tokens", "99999"], ["--data.test", "3"], ["--training.threads", "2"],
])  # fmt: skip
def test_settings_that_ask_nothing_new_work_in_place(here, server, setting, monkeypatch):
    monkeypatch.setattr("optimizers.finetune.train._run", lambda *_: pytest.fail("trained again"))
    if setting[0] == "--max_usd":
        setting = ["--max_tokens", "99999"]
    before = paid("run")
    found = go("run", *setting)
    assert server.asked == 0 and paid("run") == before
    assert found["conditions"]["S_D-R+teacher"]["n"] == (3 if "--data.test" in setting else 4)


@pytest.mark.parametrize("kind", ["run", "experiment", "improve"])
def test_a_tracker_makes_nothing_again(here, server, kind, monkeypatch, caplog):
    monkeypatch.setattr("optimizers.finetune.train._run", lambda *_: pytest.fail("trained again"))
    go(kind, "--tracking.report_to", "tensorboard", "--tracking.name", "other")
    assert server.asked == 0 and "again" not in caplog.text and not list(Path(kind).rglob("earlier"))


@pytest.mark.parametrize("setting", [
    ["--experiment.variant_conditions", "S_D-R+teacher,single-stage"], ["--experiment.student_conditions", "S_D-T+teacher"],
    ["--experiment.rows_conditions", "S_D-R+teacher,single-stage"],
    ["--experiment.transfer_conditions", "single-stage"], ["--experiment.screenings", "oracle"],
])  # fmt: skip
def test_other_cells_of_an_experiment_train_and_ask_nothing_again(here, server, setting, monkeypatch, caplog):
    monkeypatch.setattr("optimizers.finetune.train._run", lambda *_: pytest.fail("trained again"))
    cells = {(cell["condition"], cell["variant"]) for cell in read_json(Path("experiment/metrics.json"))["cells"]}
    found = go("experiment", *setting)
    assert cells <= {(cell["condition"], cell["variant"]) for cell in found["cells"]}
    assert server.asked == 0 and "trained again" not in caplog.text and not list(Path("experiment").glob("earlier/*"))


@pytest.mark.parametrize("kind", ["run", "experiment"])
def test_another_solver_s_settings_ask_its_questions_again_alone(here, server, kind, caplog):
    address = server.at[-1]
    solvers = [f"--experiment.solvers.{name}{key}={value}" for name in ("big", "small") for key, value in
               ((".model", "openai/scripted"), (".api_base", address), (".adapter", "line"), (".temperature", "0.1"))]  # fmt: skip
    section = "evaluation" if kind == "run" else "experiment"
    compared = ["single-stage", "teacher+big", "single-stage@small", "teacher+small"]
    words = [kind, *JOBS["run"][1:-2], *solvers, f"--{section}.conditions", ",".join(compared)]
    go(kind, words=words, out="new")
    before = {path: path.read_bytes() for path in Path("new/predictions").rglob("*.jsonl") if path.name != "calls.jsonl"}
    asked = server.asked
    go(kind, "--experiment.solvers.big.timeout", "7", "--experiment.solvers.small.requests_per_minute", "6000", words=words, out="new")
    assert server.asked == asked and not Path("new/earlier").exists()
    caplog.clear()
    found = go(kind, "--experiment.solvers.big.max_tokens", "77", words=words, out="new")
    told = "experiment.solvers.big.max_tokens not set → 77: the test questions are asked again where that solver answers"
    assert told in caplog.text and "trained" not in caplog.text
    moved = {path.stem for path in Path("new/earlier").glob("*/predictions/**/*.jsonl")}
    assert moved == {"teacher+big"} and Path(next(iter(before)).parent, "teacher+big.jsonl").exists()
    bodies = server.bodies[asked:]
    assert len(bodies) == 4 and {body["max_completion_tokens"] for body in bodies} == {77}
    kept = {path: content for path, content in before.items() if path.stem not in moved}
    assert kept and all(path.read_bytes() == content for path, content in kept.items())
    cells = found["conditions"] if kind == "run" else {cell["condition"] for cell in found["cells"]}
    assert {*compared} <= {*cells}


def test_more_test_questions_ask_for_those_alone(here, server, monkeypatch):
    monkeypatch.setattr("optimizers.finetune.train._run", lambda *_: pytest.fail("trained again"))
    before = {line["question"] for line in read_lines(Path("run/predictions/single-stage.jsonl"))}
    found = go("run", "--data.test", "6")
    lines = list(read_lines(Path("run/predictions/single-stage.jsonl")))
    new = {int(re.findall(r"\d+", line["question"])[0]) for line in lines if line["question"] not in before}
    assert len(before) == 4 and len(new) == 2 and server.numbers() == new
    assert all(condition["n"] == 6 and condition["failed"] == 0 for condition in found["conditions"].values())


def test_more_questions_ask_for_those_alone(here, server):
    go("run", "--data.train", "14", *QUICK)
    assert server.asked == 2 * 2
    assert len({line["id"] for line in read_lines(Path("run/rows.jsonl"))}) == 14


def test_fewer_rows_than_needed_is_mended_in_the_same_folder(here, server, tmp_path):
    with pytest.raises(ValueError, match=r"lower min_rows \(--screening\.min_rows\)"):
        go("run", "--screening.min_rows", "12", *QUICK, out="new")
    asked = server.asked
    assert len(list(read_lines(Path("new/traces.jsonl")))) == 24 < asked, "the conditions without a student were asked too"
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
