"""The report of synthetic experiments: every number below is made up for these tests."""

from __future__ import annotations

import json
import re

import pytest
from test_run_report import HOSTILE, Page, write_lines

from optimizers.reports import experiment_figures, figures
from optimizers.reports.experiment_figures import cost_figure, error_figure, learning_figure, transfer_figure
from optimizers.reports.experiment_report import write_experiment_report
from optimizers.reports.paper_numbers import MARK, TABLES

pytestmark = pytest.mark.whole_figures

MODELS = {"teacher": "test/teacher", "solver": "test/teacher", "student0": "test/base", "gpt4": "test/other"}
OWN = {
    "single-stage": 0.521,
    "single-stage-cot": 0.907,
    "single-stage-short": 0.303,
    "single-stage@student0": 0.111,
    "interactive": 0.888,
    "teacher+teacher": 0.931,
    "student0+teacher": 0.412,
    "teacher+student0": 0.222,
    "student0+student0": 0.188,
    "none+teacher": 0.601,
    "shuffled+teacher": 0.903,
    "other+teacher": 0.587,
    "generic+teacher": 0.611,
    "reference+teacher": 0.955,
    "teacher+gpt4": 0.961,
    "student0+gpt4": 0.702,
    "single-stage@gpt4": 0.655,
}
TRAINED = {
    "S_D-T+teacher": 0.899,
    "S_D-R+teacher": 0.921,
    "S_D-T(matched)+teacher": 0.881,
    "joint+teacher": 0.861,
    "teacher+S_E-T": 0.489,
    "teacher+S_E-A": 0.515,
    "teacher+S_E-R": 0.533,
    "teacher+S_E-T(direct)": 0.254,
    "S_D-R+student0": 0.238,
    "S_D-R+S_D-R": 0.059,
    "S_D-R+gpt4": 0.944,
    "fewshot+teacher": 0.577,
    "single-stage-cot@S_C-T": 0.644,
}


def usage(n, tokens_in, tokens_out, usd=None):
    counts = {"calls": n, "cache_hits": 0, "failed": 0, "input_tokens": n * tokens_in, "output_tokens": n * tokens_out}
    return {**counts, "seconds": n * (tokens_in / 1000 + tokens_out / 50), "usd": usd}


def cell(test, condition, score, train=None, ablation=None, n=200):
    decomposer, plus, solver = condition.partition("+")
    student = "test/base" if train or "student0" in condition else None
    stages = {"solve": usage(n, 300, 80, 0.25)}
    if plus:
        own = decomposer in ("teacher", "shuffled", "other")
        stages = {"decompose": usage(n, 203, 36, 0.5 if own else 0.0125), "solve": usage(n, 260, 60 + len(condition), 0.75)}
    models = {stage: MODELS.get(solver if stage == "solve" else decomposer, "test/teacher" if not plus else "local/x") for stage in stages}
    record = {"train": train, "test": test, "condition": condition, "student": student, "seed": 0, "data_seed": 0, "ablation": ablation}
    record |= {"n": n, "scored": n, "score": score, "ci95": [score - 0.043, score + 0.031], "measures": {}}
    return record | {
        "unparsed": 3 if condition == "teacher+S_E-T" else 0,
        "failed": 0,
        "failures": {},
        "states": {},
        **stages,
        "models": models,
    }


def cells():
    found = [cell(test, name, score - shift) for test, shift in (("people", 0), ("books", 0.05)) for name, score in OWN.items()]
    for train, test, shift in (("people", "people", 0), ("books", "books", 0.05), ("people", "books", 0.1), ("books", "people", 0.04)):
        found += [cell(test, name, score - shift, train) for name, score in TRAINED.items() if score > shift]
    for rows, score in ((25, 0.512), (50, 0.701), (100, 0.866)):
        found += [
            cell("people", name, score - off, "people", f"rows={rows}") for name, off in (("S_D-R+teacher", 0), ("S_D-T+teacher", 0.04))
        ]
    found += [cell("people", "teacher+teacher", score, "people", f"limit={limit}") for limit, score in (("none", 0.914), ("2", 0.873))]
    return [*found, cell("people", "S_D-R+teacher", 0.917, "people", "method=full")]


def compared(a, b, delta, low, high, **more):
    record = {"train": "people", "test": "people", "a": a, "b": b, "n": 200, "delta": delta, "ci95": [low, high], "p": 0.0123}
    return {**record, "p_holm": 0.0456, "wins": 7, "losses": 9, "ties": 184, "student": "test/base", "seed": 0, "ablation": None, **more}


def comparisons():
    own = {"train": None, "student": None}
    return [
        compared("S_D-R+teacher", "teacher+teacher", -0.010, -0.047, 0.027, p_holm=0.9),
        compared("teacher+S_E-R", "teacher+teacher", -0.398, -0.467, -0.327),
        compared("teacher+teacher", "single-stage-cot", 0.024, -0.011, 0.059, **own),
        *(compared(f"{name}+teacher", "teacher+teacher", -0.330, -0.401, -0.254, **own) for name in ("none", "other", "generic")),
        compared("shuffled+teacher", "teacher+teacher", -0.028, -0.061, 0.004, **own),
    ]


def cost(condition, train, usd):
    each = {"input_tokens": 463.0, "output_tokens": 96.5, "seconds": 3.25, "usd": usd, "output_only_usd": usd / 4}
    once = {"labelling_usd": 1.5, "training_usd": 0.25, "labelling_seconds": 120.0, "training_seconds": 161.0} if train else {}
    even = {"questions_usd": 719, "questions_seconds": None, "reason": "no saving in seconds"} if train else {}
    decompose = {"model": "local/x" if train else "test/teacher", "input_tokens": 200.0, "output_tokens": 36.0}
    stages = {"decompose": decompose, "solve": {"model": "test/teacher", "input_tokens": 263.0, "output_tokens": 60.5}}
    return {
        "train": train,
        "test": "people",
        "condition": condition,
        "per_question": each,
        "one_off": once,
        "break_even": even,
        "stages": stages,
    }


def metrics():
    leak = {"train_task": "people", "train": "t7", "test": "q9", "kind": "near", "share": 0.87, "question": HOSTILE}
    task = {"task": "multihop", "options": {"schema": "people"}, "train": 200, "test": 200, "measure": "accuracy", "scoring": "strict"}
    error = {"train": "people", "test": "people", "rescuer": "reference", "wrong": 41}
    return {
        "schema": 1,
        "kind": "experiment",
        "command": "divide-or-conquer experiment @ test.toml",
        "commit": "abc1234",
        "versions": {"dspy": "3.4.0"},
        "machine": {"cpu": "test cpu", "cores": 2},
        "seed": 7,
        "seconds": 7540.0,
        "timings": {"label": 61.0, "distill": 4000.0},
        "tasks": {"people": {**task, "leaks": [leak], "kept_out": 1}, "books": {**task, "leaks": [], "kept_out": 0}},
        "models": MODELS,
        "labelling": {
            "people": {
                **usage(200, 400, 90, 1.5),
                **{"questions": 200, "samples": 1, "failed": 2},
                "by_policy": {"none": {"kept": 198, "dropped": {}}, "oracle": {"kept": 187, "dropped": {"wrong_answer": 11}}},
            }
        },
        "students": [
            {"train": "people", "name": name, "base": "test/base", "seed": 0, "data_seed": 0, "ablation": None, "model": "local/x"}
            | {"policy": "oracle", "rows": rows, "tokens": 12345, "seconds": 161.0, "final_loss": 0.0312, "overwritten": over}
            for name, rows, over in (("S_D-R", 187, 0), ("S_D-T", 198, 0), ("S_E-A", 198, 13))
        ],
        "cells": cells(),
        "comparisons": comparisons(),
        "errors": [
            {**error, "condition": "S_D-R+teacher", "decomposition": 19, "solver": 8, "both": 3, "neither": 11},
            {**error, "condition": "teacher+S_E-T", "decomposition": 2, "solver": 37, "both": 1, "neither": 1},
        ],
        "calls": {"requested": 20000, "made": 13579, "saved": 6421},
        "cost": [cost("teacher+teacher", None, 0.00625), cost("S_D-R+teacher", "people", 0.0038125)],
        "variance": [
            {
                "train": "people",
                "test": "people",
                "condition": "S_D-R+teacher",
                "mean": 0.9133,
                "n_questions": 200,
                "cells": 8,
                "data": 1e-4,
            }
            | {"training": None, "sampling": 2e-5, "data_sd": 1.03, "training_sd": None, "sampling_sd": 0.47, "question_sd": 1.98}
        ],
    }


def prediction(condition, i):
    right = i % 3 == 0 or condition == "teacher+teacher"
    record = {"id": f"q{i:02}", "question": f"{HOSTILE} number {i}?", "context": "A passage.", "gold": f"gold-{i}"}
    record |= {"subquestions": ["Who?"], "sub_answers": ["Ann"], "state": "ok", "detail": "", "error": None}
    record |= {"answer": f"gold-{i}" if right else "<b>I think\nso</b>", "score": float(right)}
    return record | {"unparsed": condition == "teacher+S_E-T" and not right}


FIGURES = ("transfer_figure", "learning_figure", "cost_figure", "error_figure")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Stands in for drawing, which takes nearly all the time of a report; gives the real one back to who wants it."""
    with monkeypatch.context() as stub:
        stub.setattr(figures, "forms", lambda figure: (b"drawn",) * 4)
        for name in FIGURES:
            stub.setattr(experiment_figures, name, lambda content, *more: content or None)
        yield stub.undo


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics()))
    (folder / "config.toml").write_text("seed = 7\n")
    for name, path in (("teacher+teacher", ""), ("S_D-R+teacher", "people/"), ("teacher+S_E-T", "people/"), ("teacher+S_E-R", "people/")):
        write_lines(folder / f"predictions/people/{path}{name}.jsonl", [prediction(name, i) for i in range(20)])
    return folder


def report_of(folder, **changes):
    """The page of `folder` with some of its metrics changed; None takes a key away."""
    changed = {key: value for key, value in {**metrics(), **changes}.items() if value is not None}
    (folder / "metrics.json").write_text(json.dumps(changed))
    write_experiment_report(folder)
    return Page((folder / "report.html").read_text())


def test_intervals_are_told_with_the_questions_that_were_scored_and_their_passages(folder):
    cells = [{**one, "scored": 180, "failures": {"LMTimeoutError": 20}, "passages": 30} for one in metrics()["cells"]]
    text = report_of(folder, cells=cells).text
    assert "S_D-R+teacher 92.1% (95% interval 87.8% to 95.2%, 180 questions)" in text
    assert "The questions stand on 30 passages" in text and "S_D-R+teacher, trained on people, tested on people 20 (10.0%) of 200" in text


def test_replies_that_cannot_be_read_are_told_of_where_nothing_has_a_score(folder):
    cells = [{**one, "score": None, "scored": 0, "unparsed": one["n"]} for one in metrics()["cells"]]
    text = report_of(folder, cells=cells).text
    for part in ("No cell of the grid has a score", "Replies that are unreadable or cut off: ", "200 (100.0%) of 200"):
        assert part in text


def tables_of(page, *start):
    """All rows that begin so, in reading order."""
    return [row for row in page.rows if tuple(row[: len(start)]) == start]


def changed(**keys):
    """All cells, with other values in the first that has those of `where`."""
    where, found = keys.pop("where"), cells()
    for record in found:
        if all(record[key] == value for key, value in where.items()):
            record.update(keys)
            return found
    raise AssertionError(f"no cell with {where}")


def test_writes_both_reports_and_real_images(folder, drawn):
    drawn()
    written = write_experiment_report(folder)
    names = ["learning.png", "transfer.png", "costs-1.png", "costs-2.png", "errors-1.png"]
    assert written == [folder / "report.md", folder / "report.html", *(folder / "figures" / name for name in names)]
    for path in written[2:]:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(data[16:20]) > 800
    assert [path.name for path in folder.rglob("*.tmp")] == []


def test_the_same_experiment_gives_the_same_report(folder):
    first = {path: path.read_bytes() for path in write_experiment_report(folder)}
    assert {path: path.read_bytes() for path in write_experiment_report(folder)} == first


def test_headlines_say_which_part_distils(folder):
    text = report_of(folder).text
    assert "people: the decomposer distils as far as can be told, the solver does not" in text
    assert "S_D-R+teacher 92.1% (95% interval 87.8% to 95.2%, 200 questions); against teacher+teacher -1.0 points" in text
    assert "(95% interval -4.7 to +2.7; p = 0.9000 after Holm: no difference can be shown)" in text
    assert "against teacher+teacher -39.8 points (95% interval -46.7 to -32.7; p = 0.0456 after Holm: lower)" in text
    # The file holds this one the other way round.
    assert "single-stage-cot 90.7% (95% interval 86.4% to 93.8%, 200 questions); against teacher+teacher -2.4 points" in text
    assert "single-stage-cot@S_C-T 64.4%" in text
    assert "books: which part distils cannot be said" in text


@pytest.mark.parametrize(
    ("decomposer", "solver", "said"),
    [
        ((-0.1, 0.1), (-0.1, 0.1), "both parts distil as far as can be told"),
        ((-0.3, -0.1), (-0.4, -0.2), "neither part distils without a loss"),
        ((-0.3, -0.1), (-0.1, 0.1), "the solver distils as far as can be told, the decomposer does not"),
        ((0.1, 0.3), (-0.4, -0.2), "the decomposer distils as far as can be told, the solver does not"),
    ],
)
def test_the_verdict_follows_the_intervals(folder, decomposer, solver, said):
    pairs = (("S_D-R+teacher", decomposer), ("teacher+S_E-R", solver))
    text = report_of(folder, comparisons=[compared(name, "teacher+teacher", sum(ci) / 2, *ci) for name, ci in pairs]).text
    assert f"people: {said}" in text


def test_a_comparison_of_another_seed_base_or_task_is_not_taken(folder):
    for other in ({"seed": 3}, {"student": "test/large"}, {"train": "books"}, {"test": "books"}, {"ablation": "rows=50"}):
        text = report_of(folder, comparisons=[compared("S_D-R+teacher", "teacher+teacher", -0.01, -0.047, 0.027, **other)]).text
        assert "S_D-R+teacher 92.1% (95% interval 87.8% to 95.2%, 200 questions); against teacher+teacher -1.0 points (not tested)" in text


def test_setting_names_tasks_rules_leaks_and_saved_calls(folder):
    page = report_of(folder)
    assert page.row("people", "multihop")[2:] == ["schema people", "accuracy", "strict", "200", "200", "1", "1"]
    assert page.row("near", "people") == ["near", "people", "t7", "q9", HOSTILE, "87.0%"]
    assert page.row("Calls")[1] == "20,000 asked for, 13,579 made, 6,421 saved by sharing between conditions (32.1%)"
    assert page.row("Model: teacher")[1] == "test/teacher"
    assert page.row("people", "paid", "200", "1", "2")[5:] == ["80,000", "18,000", "440", "$1.50", "none", "198", "none"]
    assert page.row("S_E-A", "people", "test/base")[3:] == ["-", "oracle", "0", "198", "12,345", "161", "n/a", "n/a", "0.0312", "13"]


def test_only_the_first_ten_leaks_are_listed(folder):
    tasks = metrics()["tasks"]
    leaks = [{"train_task": "people", "train_id": f"t{i}", "test_id": f"q{i}", "kind": "exact", "share": 1.0} for i in range(12)]
    tasks["people"]["leaks"] = leaks
    page = report_of(folder, tasks=tasks)
    assert len(tables_of(page, "exact")) == 10
    assert "12 test questions stand among the training questions word for word" in page.text
    assert page.row("exact")[2:4] == ["t0", "q0"]


def test_table_1_puts_the_papers_numbers_beside_ours_and_marks_them(folder):
    page = report_of(folder)
    head = next(row for row in page.rows if row[:3] == ["Condition", "In the paper", "Score"])
    assert head[-3:] == [f"GSM8K EM, {MARK}", f"DROP F1, {MARK}", f"Bamboogle accuracy, {MARK}"]
    row = page.row("S_D-R+teacher", "yes")
    assert row[2:6] == ["92.1%", "87.8% to 95.2%", "200", "0"]
    assert row[6:8] == ["$0.0125", "$0.7500"]
    assert row[8:] == ["67.78 ($0.01/0.60)", "57.97 ($0.06/1.11)", "52.00 ($8e-5/7e-3)"]
    assert page.row("teacher+S_E-T", "yes")[5] == "3"
    assert page.row("single-stage-cot", "no")[8:] == ["-", "-", "-"]
    assert "Not run here, of the paper's rows: single-stage-short@student0" in page.text
    assert "not run here" not in [cell for row in page.rows for cell in row]


def test_table_1_of_a_task_that_nobody_trained_on_says_where_its_students_stand(folder):
    own = [cell for cell in cells() if cell["test"] == "books" and cell.get("train") != "books"]
    page = report_of(folder, cells=own)
    told = page.text[page.text.index("By students of other tasks, see 'Transfer between tasks':") :].split("\n")[0]
    assert "S_D-R+teacher" in told
    missing = page.text[page.text.index("Not run here, of the paper's rows:") :].split("\n")[0].partition("By students")[0]
    assert "S_D-R+teacher" not in missing


@pytest.mark.parametrize("task", ["gsm8k", "drop", "bamboogle"])
def test_a_task_of_the_paper_stands_beside_its_own_column_alone(folder, task):
    tasks = {"people": {**metrics()["tasks"]["people"], "task": task}}
    page = report_of(folder, tasks=tasks, cells=[c for c in cells() if c["test"] == "people"])
    head = next(row for row in page.rows if row[:3] == ["Condition", "In the paper", "Score"])
    assert head[8:] == [TABLES[1].heading(task)]
    assert page.row("teacher+S_E-A", "yes")[8].split()[0] == f"{TABLES[1].rows['teacher+S_E-A'][task]:.2f}"


def test_unknown_prices_give_tokens_and_cached_calls_are_told(folder):
    found = cells()
    teacher = next(c for c in found if c["condition"] == "teacher+teacher")
    teacher["solve"] = {**teacher["solve"], "usd": None, "cache_hits": 5}
    assert report_of(folder, cells=found).row("teacher+teacher", "yes")[6:8] == ["$0.5000", "67,000 paid tokens (5 calls from a cache)"]


def test_tables_of_other_tasks_solvers_and_targets(folder):
    page = report_of(folder)
    assert page.row("books", "S_D-R+teacher")[2:] == ["yes", "88.1%", "83.8% to 91.2%", "200", "0", "51.05", "63.15"]
    assert page.row("S_D-R+gpt4", "yes", "94.4%")[-2:] == ["91.50", "81.02"]
    assert page.row("interactive", "yes")[6:] == ["60,000 paid", "300 paid", "62.92 (823,886 tokens)", "53.60 (59,792 tokens)"]
    assert "interactive form takes 0.6 times the input tokens and scores -4.3 points (not tested)" in page.text
    assert page.row("S_D-R+S_D-R", "yes")[2] == "5.9%" and page.row("S_D-R+S_D-R", "yes")[-1] == "17.60"
    assert "without sub-answers teacher+S_E-T(direct) is -23.5 points" in page.text
    assert page.row("student0+teacher, few-shot", "yes")[2] == "57.7%" and page.row("student0+teacher, few-shot", "yes")[-1] == "61.50"
    assert page.row("teacher+teacher", "limit=2")[2:] == ["yes", "87.3%", "83.0% to 90.4%", "200", "0", "46.89", "58.47"]
    assert "limit=3" in page.text[page.text.index("Not run here, of the paper's rows: limit=") :][:80]


def test_every_column_of_the_papers_numbers_is_marked(folder):
    page = report_of(folder)
    known = {name for table in TABLES.values() for name in table.columns.values()}
    headings = [cell for row in page.rows for cell in row if any(cell.startswith(name) for name in known)]
    assert len(headings) > 10
    assert all(cell.endswith(MARK) for cell in headings)
    assert page.text.count(f"Columns on the right are {MARK}") == len(TABLES)


def test_the_papers_numbers_are_its_headline(folder):
    first = TABLES[1].rows
    assert first["teacher+teacher"] == {"gsm8k": 65.13, "drop": 55.73, "bamboogle": 54.4}
    assert first["S_D-R+teacher"] == {"gsm8k": 67.78, "drop": 57.97, "bamboogle": 52.0}
    assert first["teacher+S_E-A"]["drop"] == TABLES[8].rows["teacher+S_E-A"]["drop"] == 20.34


def test_transfer_is_measured_against_the_teacher_on_the_test_task(folder):
    page = report_of(folder)
    assert page.row("S_D-R+teacher", "books", "people") == [
        *("S_D-R+teacher", "books", "people", "88.1%", "83.8% to 91.2%", "93.1%", "-5.0", "n/a", "not tested")
    ]
    assert "decomposers trained elsewhere are -11.0 to -5.0 points from teacher+teacher" in page.text
    alone = report_of(folder, cells=[c for c in cells() if c["train"] in (None, c["test"])])
    assert "No student was tested on another task" in alone.text


def test_learning_curves_end_with_all_rows(folder):
    page = report_of(folder)
    curve = [row[2:4] for row in tables_of(page, "people", "S_D-R+teacher") if len(row) == 6]
    assert curve == [["25", "51.2%"], ["50", "70.1%"], ["100", "86.6%"], ["187", "92.1%"]]
    assert "s_d-r+teacher goes by +40.9 points from 25 to 187 rows" in page.text.lower()


def test_students_behind_the_teacher_are_said_at_the_top_with_the_curve(folder):
    first, later = report_of(folder).text.rsplit("Labels and students", 1)
    assert "people: no distilled decomposer scores as high as the teacher; against teacher+teacher, the best (S_D-R+teacher): -1.0" in first
    assert "The figure stands at the top" in later
    places = ({}, {"train": "books", "test": "books"})
    ahead = [compared("S_D-R+teacher", "teacher+teacher", 0.010, -0.027, 0.047, **place) for place in places]
    first, later = report_of(folder, comparisons=ahead).text.rsplit("Labels and students", 1)
    assert "no distilled decomposer scores" not in first and "The figure stands at the top" not in later


def test_other_ablations_are_held_against_the_same_condition_as_configured(folder):
    page = report_of(folder)
    assert page.row("method=full")[1:] == ["S_D-R+teacher", "people", "people", "91.7%", "87.4% to 94.8%", "92.1%", "-0.4", "200"]
    assert page.row("limit=none")[1:8] == ["teacher+teacher", "people", "people", "91.4%", "87.1% to 94.5%", "93.1%", "-1.7"]
    assert page.row("examples in the prompt")[5:8] == ["53.4% to 60.8%", "41.2%", "+16.5"]


def test_comparisons_show_all_numbers(folder):
    page = report_of(folder)
    assert page.row("teacher+S_E-R", "teacher+teacher", "people") == [
        *("teacher+S_E-R", "teacher+teacher", "people", "people", "-", "200", "-39.8", "-46.7 to -32.7", "0.0123", "0.0456", "7", "9"),
        *("184", "0", "lower"),
    ]
    assert "4 of 7 differences can be shown" in page.text


@pytest.mark.parametrize(
    ("other", "generic", "said"),
    [
        ((-0.4, -0.2), (-0.4, -0.2), "So it is the decomposition"),
        ((-0.1, 0.1), (-0.1, 0.1), "So nothing shows that it is the decomposition"),
        ((-0.1, 0.1), (-0.4, -0.2), "So it is not settled"),
        ((-0.4, -0.2), None, "is therefore open"),
    ],
)
def test_controls_say_whether_it_is_the_decomposition(folder, other, generic, said):
    pairs = [(name, ci) for name, ci in (("other", other), ("generic", generic)) if ci]
    records = [compared(f"{name}+teacher", "teacher+teacher", -0.1, *ci, train=None, student=None) for name, ci in pairs]
    text = report_of(folder, comparisons=records).text
    assert said in text[text.index("people, solver teacher:") : text.index("books, solver teacher:")]


@pytest.mark.parametrize(
    ("ci", "harm", "level"),
    [((-0.3, -0.1), False, False), ((-0.2, 0.1), False, False), ((-0.1, 0.1), False, True), ((0.1, 0.3), True, False)],
)
def test_subquestions_that_mislead_the_solver_are_said_first(folder, ci, harm, level):
    text = report_of(folder, comparisons=[compared("none+teacher", "teacher+teacher", sum(ci) / 2, *ci, train=None, student=None)]).text
    assert "The same solver without subquestions: none+teacher 60.1%" in text
    assert ("people: the solver does better without" in text) == harm
    assert ("people: the solver scores no less without" in text) == level
    assert ("cost the solver more than they give" in text) == harm


def test_students_that_were_no_worse_untrained_are_named(folder):
    assert "raining made the student" not in report_of(folder).text
    found = [{**one, "score": 0.95} if one["condition"] == "student0+teacher" else one for one in cells()]
    text = report_of(folder, cells=found, comparisons=[compared("S_D-R+teacher", "student0+teacher", -0.2, -0.3, -0.1)]).text
    assert "people: training made the student worse as a decomposer: S_D-R+teacher" in text
    assert "95.0% untrained (student0+teacher), -20.0 points (95% interval -30.0 to -10.0; p = 0.0456 after Holm: lower)" in text
    assert "books: nothing shows that training made the student a better decomposer: S_D-R+teacher" in text


def test_costs_by_stage_in_all_and_paid_back(folder):
    page = report_of(folder)
    assert page.row("S_D-R+teacher", "people", "people", "decompose")[4:] == ["local", "1,000", "0", "203,000", "36,000", "923", "$0.0625"]
    row = page.row("S_D-R+teacher", "people", "people", "263,000")
    assert row[4:8] == ["60,500", "200,000", "36,000", "323,500"]
    assert row[8:] == ["3,250", "$3.81", "$0.9531", "$1.75", "281", "719", "n/a", "n/a", "no saving in seconds"]
    assert "The cheapest decomposer student, S_D-R+teacher on people, takes 61.0% of the dollars of teacher+teacher" in page.text
    assert "people, cost in US dollars" in page.text


def test_without_prices_the_teachers_tokens_are_the_cost(folder):
    found = cells()
    for record in found:
        for stage in ("decompose", "solve"):
            if stage in record:
                record[stage]["usd"] = None
    text = report_of(folder, cells=found).text
    assert "people, cost in paid tokens of the teacher's model" in text
    for record in found:
        record.pop("models")
    assert "people, cost in seconds" in report_of(folder, cells=found).text


def test_errors_variance_and_unparsed_replies(folder):
    page = report_of(folder)
    assert page.row("teacher+S_E-T", "people", "people", "reference")[4:] == ["41", "2", "37", "n/a", "1", "1"]
    assert "most (45) are repaired by: stronger solver" in page.text
    assert page.row("S_D-R+teacher", "people", "people", "91.3%")[4:] == ["200", "8", "1.03", "n/a", "0.47", "1.98"]
    assert "The largest spread over seeds is 1.03 points (data, S_D-R+teacher)" in page.text
    assert page.row("teacher+S_E-T", "people", "people", "-")[4:] == ["3", "200"]
    assert page.text.count("[q01] <b>I think\nso</b>") == 1
    assert "5 shown" in page.text
    assert "[q00]" not in page.text and "[q08]" not in page.text


def test_variance_is_also_read_by_factor(folder):
    records = [{"condition": "S_D-R+teacher", "test": "people", "mean": 0.9, "sd": {"data": 0.5, "training": 2.25}}]
    row = report_of(folder, variance=records).row("S_D-R+teacher", "-", "people", "90.0%")
    assert row[6:] == ["0.50", "2.25", "n/a", "n/a"]


def test_questions_side_by_side_take_teacher_and_best_students(folder):
    page = report_of(folder)
    assert page.tags.count("article") == 12
    replies = page.text[page.text.index("12 of 20 test questions") :]
    for name in ("teacher+teacher", "S_D-R+teacher", "teacher+S_E-R"):
        assert name in replies


def test_of_several_seeds_the_lowest_stands_in_the_tables(folder):
    second = {**cell("people", "S_D-R+teacher", 0.777, "people"), "seed": 1}
    page = report_of(folder, cells=[second, *cells()])
    assert next(row[2] for row in tables_of(page, "S_D-R+teacher", "yes")) == "92.1%"
    assert "77.7%" not in page.text


def test_further_bases_are_named_and_conditions_without_students_stand_once(folder):
    further = [{**cell("people", name, 0.811, "people"), "student": "org/large@1"} for name in ("S_D-R+teacher", "teacher+teacher")]
    page = report_of(folder, cells=[*cells(), *further])
    assert page.row("S_D-R+teacher (large)", "yes")[2] == "81.1%"
    assert page.row("S_D-R+teacher (base)", "yes")[2] == "92.1%"
    assert [row for row in tables_of(page, "teacher+teacher", "yes") if row[2] == "81.1%"] == []


def test_lines_of_a_further_student_lie_in_its_own_folder(folder):
    further = {**cell("people", "teacher+S_E-T", 0.4, "people"), "student": "large", "unparsed": 1}
    write_lines(folder / "predictions/people/people/student=large/teacher+S_E-T.jsonl", [prediction("teacher+S_E-T", 1) | {"id": "mine"}])
    text = report_of(folder, cells=[further]).text
    assert "[mine]" in text and "[q02]" not in text


def test_html_loads_nothing_and_escapes_everything(folder):
    found = changed(where={"condition": "teacher+S_E-T", "test": "people"}, student=HOSTILE)
    page = report_of(folder, cells=found, command=HOSTILE, models={"teacher": HOSTILE, HOSTILE: "x"}, incomplete=HOSTILE)
    source = (folder / "report.html").read_text()
    assert {"script", "link", "iframe", "b", "base"} & set(page.tags) == set()
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in page.loads)
    assert source.count("<script") == 0
    assert page.text.count(HOSTILE) > 12
    text = (folder / "report.md").read_text()
    outside = re.sub(r"```.*?```", "", text, flags=re.S)
    assert "<script" not in outside and "<b>" not in outside
    assert re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)[:2] == ["figures/learning.png", "figures/transfer.png"]


def test_a_folder_with_nothing_but_a_config_says_what_is_missing(tmp_path):
    (tmp_path / "config.toml").write_text("seed = 0\n")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "errors-3.png").write_bytes(b"of an earlier report")
    assert write_experiment_report(tmp_path) == [tmp_path / "report.md", tmp_path / "report.html"]
    assert list((tmp_path / "figures").iterdir()) == []
    text = Page((tmp_path / "report.html").read_text()).text
    for part in (
        "No cell of the grid",
        "records no task",
        "No training task was labelled",
        "no trained student",
        "Table 1 compares was run",
    ):
        assert part in text
    for part in ("nothing is known of transfer", "No student was trained on several", "No control", "No usage", "No analysis of errors"):
        assert part in text
    for part in ("No condition was run with several seeds", "were not counted", "No test question has a prediction", "No two conditions"):
        assert part in text


@pytest.mark.parametrize("key", sorted(set(metrics()) - {"schema", "kind"}))
@pytest.mark.parametrize("empty", [None, "null", []])
def test_any_part_of_the_metrics_may_be_missing_null_or_empty(folder, key, empty):
    rest = {k: v for k, v in metrics().items() if k != key}
    (folder / "metrics.json").write_text(json.dumps(rest if empty is None else rest | {key: None if empty == "null" else empty}))
    write_experiment_report(folder)
    Page((folder / "report.html").read_text())


LISTS = ("cells", "comparisons", "errors", "cost", "variance", "students")


@pytest.mark.parametrize(("part", "key"), [(part, key) for part in LISTS for key in metrics()[part][-1]])
def test_any_key_of_the_records_may_be_missing_or_null(folder, part, key):
    records = metrics()[part]
    for i, record in enumerate(records):
        if i % 2 or len(records) == 1:
            record.pop(key, None)
        else:
            record[key] = None
    page = report_of(folder, **{part: records})
    assert "nan" not in page.text.lower().split()


def test_what_is_no_experiment_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="divide-or-conquer experiment"):
        write_experiment_report(tmp_path)
    (tmp_path / "metrics.json").write_text('{"schema": 1, "kind": "run"}')
    with pytest.raises(ValueError, match="is of kind 'run', expected 'experiment'"):
        write_experiment_report(tmp_path)


def test_figures_of_nothing_are_none():
    assert transfer_figure({}) is None
    assert learning_figure({}, {}) is None
    assert cost_figure({}, [], "seconds") is None
    assert error_figure({"a": {"solver": 0, "neither": None}}, {"solver": "solver", "neither": "neither"}) is None


def test_a_heat_map_shows_score_and_difference_and_leaves_gaps():
    figure = transfer_figure({"S_D-R+teacher": {("a", "a"): (90.0, -1.0), ("a", "b"): (80.0, None), ("b", "b"): (70.0, 2.0)}})
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["90.0%\n(-1.0)", "80.0%", "-", "70.0%\n(+2.0)"]
    assert axes.images[0].get_clim() == (-2.0, 2.0)


def test_points_upon_each_other_share_a_number():
    points = {"a": (1.0, 50.0), "b": (1.001, 50.1), "c": (9.0, 90.0), "worse": (9.0, 10.0)}
    figure = cost_figure(points, ["a", "b", "c"], "seconds")
    assert [text.get_text() for text in figure.axes[0].texts] == ["1-2", "3"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["other conditions", "Pareto front", "1  a", "2  b", "3  c"]
    grey, front = figure.axes[0].lines[:2]
    assert list(grey.get_ydata()) == [10.0]
    assert list(front.get_xdata()) == [1.0, 1.001, 9.0]


def test_a_learning_curve_is_drawn_in_order_of_rows_with_its_teacher():
    curve = [(100, 80.0, 70.0, 85.0), (25, 50.0, None, None)]
    axes = learning_figure({"people": {"S_D-R+teacher": curve}}, {"people": 93.0}).axes[0]
    assert list(axes.lines[0].get_ydata()) == [50.0, 80.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "25"]
    assert "teacher+teacher" in axes.get_legend_handles_labels()[1]
