"""The whole grid from the command line, on the embedded teacher and a tiny student that is really trained."""

import json

import pytest
from command_line import command, finish

from optimizers.conditions import ALL_CONDITIONS, STUDENTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SIZES = ["--experiment.data.people.train", "8", "--experiment.data.people.test", "4", "--experiment.data.books.test", "3",
         "--experiment.train", "people", "--experiment.test", "people,books", "--screening.min_rows", "2",
         "--experiment.training.max_steps", "2", "--teacher.max_tokens", "48", "--student.max_tokens", "8"]  # fmt: skip
VARIANTS = ["--experiment.ablations", "rows,limit,few-shot", "--experiment.rows", "4", "--experiment.limits", "none,2",
            "--experiment.variant_conditions", "S_D-T+teacher"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny):
    out = tmp_path_factory.mktemp("experiment") / "grid"
    output = finish(command("experiment", "@", "forgiving", *SIZES, *VARIANTS, "--student", f"local/{tiny.folder}", "--out", str(out)))
    assert "report.html" in output
    return out


@pytest.fixture(scope="module")
def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_every_condition_is_measured_on_every_task(metrics):
    main = {(cell["test"], cell["condition"]) for cell in metrics["cells"] if not cell["ablation"] and not cell["seed"]}
    assert main >= {(test, condition) for test in ("people", "books") for condition in ALL_CONDITIONS}
    for cell in metrics["cells"]:
        assert cell["n"] == {"people": 4, "books": 3}[cell["test"]]
        assert cell["scored"] + cell["failed"] >= cell["n"]


def test_every_student_is_trained_once(metrics):
    main = [student for student in metrics["students"] if not student["variant"]]
    assert [student["name"] for student in main] == list(STUDENTS)
    rows = {student["name"]: student["rows"] for student in main}
    assert rows["joint"] == rows["S_D-T"] + rows["S_E-T"]
    assert rows["S_D-T(matched)"] == min(rows.values()) == rows["S_E-T(matched)"]
    variants = {student["variant"]: student["rows"] for student in metrics["students"] if student["variant"]}
    assert variants == {"rows=4": 4}


def test_a_decomposition_is_made_once_whatever_the_number_of_solvers(folder, metrics):
    calls = [json.loads(line) for line in (folder / "predictions" / "calls.jsonl").open()]
    assert len({call["key"] for call in calls}) == len(calls)
    assert metrics["calls"]["made"] == len(calls)
    assert metrics["calls"]["saved"] > len(calls) / 4


def test_the_report_has_the_papers_tables(folder):
    report = (folder / "report.md").read_text()
    for number in (1, 3, 6, 7, 8, 10):
        assert f"Table {number}" in report
    for condition in ALL_CONDITIONS:
        assert condition in report
    assert (folder / "report.html").stat().st_size > 50_000


def test_the_same_command_does_nothing_twice(folder, tiny):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jsonl") if path.name in ("calls.jsonl", "traces.jsonl")}
    words = ["experiment", "@", "forgiving", *SIZES, *VARIANTS, "--student", f"local/{tiny.folder}", "--out", str(folder)]
    finish(command(*words))
    assert {path: path.stat().st_mtime_ns for path in before} == before
