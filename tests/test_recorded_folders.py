"""Folders that an earlier version left (commit ae8f1a5, see tests/recorded/record.py) go on under this one, and nothing is asked again."""

import json
import sys
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from optimizers.cli import app
from programs.lms import engine

RECORDED = Path(__file__).parent / "recorded"
sys.path.insert(0, str(RECORDED))
from record import JOBS  # noqa: E402 - beside the archive that it made

PAID = ("traces.jsonl", "samples.jsonl", "calls.jsonl", "manifest.json", "study.journal")
FIGURES = {"run": "conditions", "experiment": "cells", "improve": "rounds", "compile": "candidates", "study": "trials"}
FILES = {"improve": "improve.json", "compile": "compiled.json", "study": "study.json"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(RECORDED / "folders.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def here(recorded, home, monkeypatch):
    """The working directory of the jobs. The teacher's server is gone, so that a call which is made again fails."""
    monkeypatch.chdir(recorded)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_BACKEND", "transformers")
    yield recorded
    engine.unload_all()


def paid_for(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.name in PAID}


def figures(folder, kind):
    """What the job found, without seconds."""
    text = (folder / FILES.get(kind, "metrics.json")).read_text()
    # Sums of seconds differ in their last digit by the order of the threads.
    found = json.loads(text, parse_float=lambda number: round(float(number), 6))[FIGURES[kind]]
    records = list(found.values()) if isinstance(found, dict) else found
    return [{key: value for key, value in record.items() if isinstance(value, int | float | str | dict)} for record in records]


def known_part(record, known):
    """Of a record what an earlier one says too, at every depth."""
    if isinstance(known, dict):
        return {key: known_part(record[key], value) for key, value in known.items()}
    return record


def go_on(kind, *further):
    result = CliRunner().invoke(app, [*JOBS[kind], *further, "--out", kind], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("kind", JOBS)
def test_the_same_command_asks_nothing_and_finds_the_same(here, kind):
    folder = here / kind
    before, found = paid_for(folder), figures(folder, kind)
    assert before and found
    go_on(kind)
    after = paid_for(folder)
    # Optuna's journal may grow; all else stays as it was.
    assert after.keys() == before.keys()
    assert all(after[path] == was or (path.suffix == ".journal" and after[path].startswith(was)) for path, was in before.items())
    again = figures(folder, kind)
    # A later version may say more of a record, never less or otherwise.
    assert [known_part(record, known) for record, known in zip(again, found, strict=True)] == found


def answers_in(path):
    """By question; the last line of one counts, as a later version may judge an answer again."""
    return {line["id"]: line["answer"] for line in map(json.loads, path.open())}


@pytest.mark.parametrize(("kind", "pattern"), [("run", "predictions/S_D-R+teacher.jsonl"), ("experiment", "predictions/**/S_D-*.jsonl")])
def test_what_is_missing_is_made_from_the_calls_on_file(here, kind, pattern):
    folder = here / kind
    before, found = paid_for(folder), figures(folder, kind)
    lost = list(folder.glob(pattern))
    assert lost
    answers = {path: answers_in(path) for path in lost}
    for path in lost:
        path.unlink()
    go_on(kind)
    assert {path: answers_in(path) for path in lost} == answers
    assert paid_for(folder) == before
    assert [one["score"] for one in figures(folder, kind)] == [one["score"] for one in found]


@pytest.mark.parametrize(("kind", "setting", "said"), [
    ("run", ["--seed", "1"], "seed: 0 there, 1 now"),
    ("experiment", ["--teacher.temperature", "0.5"], "teacher.temperature: None there, 0.5 now"),
    ("improve", ["--improve.temperature", "0.5"], "improve.temperature: 0.8 there, 0.5 now"),
    ("compile", ["--compile.train", "5"], "compile.train: 4 there, 5 now"),
    ("study", ["--training.batch_size", "2"], "training.batch_size"),
])  # fmt: skip
def test_another_setting_is_refused(here, kind, setting, said):
    with pytest.raises(ValueError, match=said):
        go_on(kind, *setting)


@pytest.mark.parametrize("damage", ["torn", "gone", "manifest"])
def test_a_damaged_student_is_named_and_trained_again_from_the_labels_on_file(here, damage):
    student = here / "run" / "student" / "S_D-R"
    weights, manifest = student / "model.safetensors", student / "manifest.json"
    if damage == "torn":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif damage == "gone":
        manifest.unlink()
    else:
        manifest.write_bytes(b"\xff{")
    labels = {name: (here / "run" / name).read_bytes() for name in ("traces.jsonl", "samples.jsonl")}
    with pytest.raises(ValueError, match=r"Student S_D-R is damaged.*--redo S_D-R, or --redo distill"):
        go_on("run")
    go_on("run", "--redo", "S_D-R")
    assert {name: (here / "run" / name).read_bytes() for name in labels} == labels
    aside = sorted((here / "run" / "aside").iterdir())[-1]
    assert (aside / "student" / "S_D-R").is_dir() and (aside / "predictions" / "S_D-R+teacher.jsonl").is_file()
    assert {path.name for path in (aside / "student").iterdir()} == {"S_D-R"} and manifest.exists()
    assert json.loads((here / "run" / "metrics.json").read_text())["conditions"]["S_D-R+teacher"]["n"] == 4
