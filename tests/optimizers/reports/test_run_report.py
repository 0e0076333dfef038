"""The report of synthetic run folders: every number below is made up for these tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from matplotlib import text as matplotlib_text

from optimizers.reports import figures, run_figures, tokens
from optimizers.reports.blocks import Picture, Section, Table, Text
from optimizers.reports.read import read_run
from optimizers.reports.run_report import FIGURES, SECTIONS, write_report
from optimizers.reports.training import policies_of

pytestmark = pytest.mark.whole_figures

HOSTILE = '<script>alert("x")</script> | [link](http://example.org) `code`'
CONDITIONS = {"single-stage": 0.55, "teacher+teacher": 0.931, "student0+teacher": 0.412, "S_D-R+teacher": 0.872}
VOID = {"meta", "img", "br", "wbr", "source"}


class Page(HTMLParser):
    """Collects tags, resources and table cells, and fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.rows, self.open, self.text = [], [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data

    def row(self, *start):
        return next(row for row in self.rows if tuple(row[: len(start)]) == start)


def usage(calls, tokens_in, tokens_out, usd=None, cache_hits=0):
    counts = {"calls": calls, "cache_hits": cache_hits, "input_tokens": tokens_in, "output_tokens": tokens_out}
    return {**counts, "seconds": calls / 8, "usd": usd}


def condition(name, score):
    stages = {"decompose": usage(40, 8123, 1456, 0.0512), "solve": usage(40, 9345, 2567, 1.25)}
    if name == "single-stage":
        stages = {"solve": usage(40, 7000, 300, 0.9)}
    elif not name.startswith("teacher"):
        stages["decompose"] = usage(40, 3000, 1400)
    states = {"ok": 37, "none_needed": 1, "unparseable": 2, "over_limit": 0} if len(stages) == 2 else {}
    record = {"n": 40, "scored": 39, "score": score, "ci95": [score - 0.1, score + 0.05], "states": states}
    return {**record, "failed": 1, "failures": {"unparseable": 1}, **stages}


def metrics():
    return {
        "schema": 1,
        "task": "multihop",
        "task_options": {"schema": "people"},
        "models": {"teacher": "test/teacher", "student": "test/student@0a1b", "solver": "test/teacher"},
        "commit": "abc1234",
        "versions": {"dspy": "3.4.0"},
        "seed": 7,
        "machine": {"cpu": "test cpu", "cores": 2, "memory_gib": 7.6},
        "seconds": 754.2,
        "overlap": 0,
        "labelling": {
            **usage(60, 12000, 3000, 0.0777),
            "failed": 2,
            "kept": 44,
            "by_policy": {"none": {"kept": 57, "dropped": {"unparseable": 1}}, "oracle": {"kept": 44, "dropped": {"wrong_answer": 13}}},
        },
        "students": {"S_D-R": {"rows": 44, "tokens": 23456, "seconds": 321.4, "final_loss": 0.1234, "steps": 66, "model": "local/s@ff00"}},
        "conditions": {name: condition(name, score) for name, score in CONDITIONS.items()},
        "comparisons": [
            {"a": "S_D-R+teacher", "b": "teacher+teacher", "n": 39, "delta": -0.059, "ci95": [-0.141, 0.023], "p": 0.1094}
            | {"p_holm": 0.2188, "wins": 2, "losses": 5}
        ],
        "retention": [{"a": "S_D-R+teacher", "b": "teacher+teacher", "ratio": 0.9366, "ci95": [0.861, 1.024]}],
        "saving": {"per_1000_questions": {"calls": 1000, "input_tokens": 203075, "output_tokens": 36400, "usd": 1.28}},
    }


def prediction(name, i):
    right = name.startswith("teacher") or (i % 3 == 0 and name != "student0+teacher")
    question = f"{HOSTILE} Who works where number {i} lives?"
    record = {"id": f"q{i:02}", "question": question, "context": "A passage & more.", "gold": f"gold-{i}", "state": "ok", "detail": ""}
    record |= {
        "subquestions": [f"Who is number {i}?", "Where does #1 live?"],
        "decomposition": "raw",
        "sub_answers": [f"person {i}", "Oslo"],
    }
    return record | {"answer": f"gold-{i}" if right else "<b>nobody</b>", "score": float(right), "error": None}


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Stands in for drawing, which takes nearly all the time of a report; gives the real `forms` back to who wants it."""
    real = figures.forms
    monkeypatch.setattr(figures, "forms", lambda figure: (b"drawn",) * 4)
    return lambda: monkeypatch.setattr(figures, "forms", real)


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics()))
    (folder / "config.toml").write_text('task = "multihop"\nseed = 7\n')
    for name in CONDITIONS:
        write_lines(folder / "predictions" / f"{name}.jsonl", [prediction(name, i) for i in range(40)])
    write_lines(folder / "student" / "S_D-R" / "progress.jsonl", [{"step": s, "steps": 66, "loss": 2 / s} for s in range(1, 67)])
    return folder


def report_of(folder, **changes):
    """The page of `folder` with some of its metrics changed; None takes a key away."""
    changed = {key: value for key, value in {**metrics(), **changes}.items() if value is not None}
    (folder / "metrics.json").write_text(json.dumps(changed))
    write_report(folder)
    return Page((folder / "report.html").read_text())


def test_writes_both_reports_and_real_images(run_dir, drawn):
    drawn()
    written = write_report(run_dir)
    assert written == [run_dir / "report.md", run_dir / "report.html", *(run_dir / "figures" / name for name in FIGURES)]
    for path in written[2:]:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(data[16:20]) > 800
    assert [path.name for path in run_dir.rglob("*.tmp")] == []


def test_the_same_run_gives_the_same_report(run_dir):
    first = {path: path.read_bytes() for path in write_report(run_dir)}
    assert {path: path.read_bytes() for path in write_report(run_dir)} == first


def test_numbers_in_tables_are_those_of_the_metrics(run_dir):
    page = report_of(run_dir)
    assert page.row("teacher+teacher", "93.1%") == [
        *("teacher+teacher", "93.1%", "83.1% to 98.1%", "40", "39", "37", "1", "2", "0", "1", "unparseable 1")
    ]
    assert page.row("single-stage", "55.0%")[5:9] == ["n/a"] * 4
    assert page.row("S_D-R+teacher", "teacher+teacher", "39")[3:] == [
        "-5.9",
        "-14.1 to +2.3",
        "0.1094",
        "0.2188",
        "2",
        "5",
        "no difference can be shown",
    ]
    assert page.row("S_D-R+teacher", "teacher+teacher", "93.7%")[3] == "86.1% to 102.4%"
    assert page.row("teacher+teacher", "decompose")[2:] == ["paid", "40", "0", "8,123", "1,456", "5.0", "$0.0512"]
    assert page.row("S_D-R+teacher", "decompose")[-1] == "no price"
    assert page.row("oracle") == ["oracle", "57", "44", "wrong answer 13"]
    assert page.row("S_D-R", "44")[1:] == ["44", "23,456", "66", "321", "n/a", "n/a", "0.1234", "local/s@ff00"]
    assert page.row("Student model")[1] == "test/student@0a1b"
    assert page.row("Time")[1] == "13 min"


def test_headlines_say_what_the_run_found(run_dir):
    text = report_of(run_dir).text
    assert "The teacher in both stages (teacher+teacher) scores 93.1% (95% interval 83.1% to 98.1%, 39 questions)." in text
    assert "5.9 points less than the teacher" in text
    assert "p = 0.2188 after Holm): no difference can be shown, which is no proof of equality." in text
    assert "The student keeps 93.7% of the teacher's score (95% interval 86.1% to 102.4%)." in text
    assert "saves 1,000 teacher calls, 203,075 input tokens, 36,400 output tokens, $1.28, the solver's part included." in text
    assert "does not reproduce the paper's benchmarks" in " ".join(text.split())


def test_controls_are_no_students_and_the_solver_alone_is_told(run_dir):
    path = run_dir / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["conditions"]["S_D-R+teacher"]
    metrics["conditions"] |= {name: condition(name, 0.95) for name in ("none+teacher", "generic+teacher")}
    path.write_text(json.dumps(metrics))
    text = Page(write_report(run_dir)[1].read_text()).text
    assert "No trained student was evaluated" in text and "The same solver without subquestions (none+teacher) scores 95.0%" in text


def declining(share):
    """Metrics in which the solver alone is above the teacher, and the student leaves that share of 40 questions to it."""
    found = metrics()["conditions"]
    found |= {"none+teacher": condition("none+teacher", 0.95), "single-stage-cot": condition("single-stage", 0.94)}
    found["S_D-R+teacher"]["states"] = {"ok": 40 - share, "none_needed": share}
    record = {"a": "none+teacher", "b": "S_D-R+teacher", "n": 40, "delta": 0.078, "ci95": [-0.02, 0.17], "p": 0.2, "p_holm": 0.4}
    return {"conditions": found, "comparisons": [*metrics()["comparisons"], record]}


def test_a_teacher_below_its_own_solver_is_the_first_thing_told(run_dir):
    text = " ".join(report_of(run_dir, **declining(30)).text.split())
    said = (
        "The solver scores no less without the teacher's subquestions: 95.0% without subquestions (none+teacher), 94.0% by chain of thought"
    )
    assert said in text and text.index(said) < text.index("The teacher in both stages")
    assert "nothing here shows that decomposing helps this solver" in text
    assert "The student left 30 of 40 questions undecomposed (the teacher 1 of 40)" in text
    assert "Against the solver without subquestions (none+teacher): -7.8 points" in text
    assert "of the teacher's score (95% interval 86.1% to 102.4%), which the solver reaches without it." in text
    better = {"a": "none+teacher", "b": "teacher+teacher", "n": 40, "delta": 0.019, "ci95": [0.01, 0.03], "p": 0.01, "p_holm": 0.03}
    text = " ".join(report_of(run_dir, **{**declining(0), "comparisons": [better]}).text.split())
    assert "does better without the teacher's subquestions: 95.0% without subquestions (none+teacher); 93.1% with them" in text
    assert "undecomposed" not in text


@pytest.mark.parametrize(
    ("untrained", "ci", "said"),
    [
        (
            0.95,
            [-0.17, -0.02],
            "Training made the student worse as a decomposer: S_D-R+teacher 87.2%, 95.0% untrained (student0+teacher), -7.8 points",
        ),
        (0.95, [-0.17, 0.02], "Nothing shows that training made the student a better decomposer: S_D-R+teacher 87.2%, 95.0% untrained"),
        (
            0.95,
            None,
            "Nothing shows that training made the student a better decomposer: S_D-R+teacher 87.2%, 95.0% untrained (student0+teacher).",
        ),
        (0.412, [0.3, 0.6], ""),
    ],
)
def test_a_student_that_was_no_worse_untrained_is_told_of_first(run_dir, untrained, ci, said):
    found = metrics()["conditions"] | {"student0+teacher": condition("student0+teacher", untrained)}
    record = {"a": "S_D-R+teacher", "b": "student0+teacher", "n": 40, "delta": 0.872 - untrained, "ci95": ci, "p": 0.01, "p_holm": 0.03}
    text = " ".join(report_of(run_dir, conditions=found, comparisons=[record] if ci else []).text.split())
    assert said in text and ("raining made the student" in text) == bool(said)
    assert not said or text.index(said) < text.index("The teacher in both stages")


def test_answers_without_a_score_are_told_of_and_flatter_no_difference(run_dir):
    found = declining(0)
    found["conditions"]["teacher+teacher"] |= {"scored": 30, "score": 1.0}
    found["comparisons"] = [{"a": "none+teacher", "b": "teacher+teacher", "n": 30, "delta": 0.0, "ci95": [-0.1, 0.1], "p": 1.0}]
    text = " ".join(report_of(run_dir, **found).text.split())
    assert "Answers without a score: teacher+teacher 10 (25.0%) of 40. These scores are of the others alone" in text
    assert "95.0% without subquestions (none+teacher; +0.0 points on the 30 questions scored in both)" in text


def test_a_teacher_that_abstains_is_the_first_thing_told(run_dir):
    found = declining(30)
    found["conditions"]["teacher+teacher"] |= {"states": {"ok": 10, "none_needed": 30}}
    text = " ".join(report_of(run_dir, **found).text.split())
    said = "The teacher itself left 30 of 40 questions undecomposed, so that teacher+teacher is nearly its solver alone"
    assert said in text and text.index(said) < text.index("The solver scores no less")
    assert "The teacher itself left" not in report_of(run_dir, **declining(30)).text


def test_a_student_that_abstains_is_said_to_do_so_before_its_score(run_dir):
    made = {"sample": 0, "student": "S_D-R", "target": "decompose", "policy": "oracle", "kept": True, "reason": None}
    replies = ["No decomposition"] * 6 + ["Who is it?\nWhere is #1?"] * 3
    rows = [{**made, "id": i, "messages": [{"role": "assistant", "content": reply}]} for i, reply in enumerate(replies)]
    write_lines(run_dir / "rows.jsonl", rows)
    text = " ".join(report_of(run_dir, **declining(30)).text.split())
    said = (
        "The student left 30 of 40 questions undecomposed, so that its score (S_D-R+teacher) is nearly that of the solver alone. 6 of the 9"
    )
    assert said in text and text.index(said) < text.index("The teacher in both stages")
    assert "is nearly that of the solver alone" not in report_of(run_dir, **declining(10)).text


def test_the_student_that_solves_stands_beside_the_one_that_decomposes(run_dir):
    found = {**metrics()["conditions"], "teacher+S_E-T": condition("teacher+S_E-T", 0.58)}
    record = {"a": "teacher+S_E-T", "b": "teacher+teacher", "n": 39, "delta": -0.351, "ci95": [-0.5, -0.2], "p": 1e-6, "p_holm": 2e-6}
    text = report_of(run_dir, conditions=found, comparisons=[record]).text
    assert "With the trained student S_E-T as the solver (teacher+S_E-T): 58.0%" in text
    assert "35.1 points less than the teacher on the 39 questions" in text
    assert "-50.0 to -20.0; p < 0.0001 after Holm): chance alone hardly explains it" in text
    assert "as the solver" not in report_of(run_dir).text


def test_a_comparison_the_other_way_round_is_turned(run_dir):
    reverse = {"a": "teacher+teacher", "b": "S_D-R+teacher", "n": 39, "delta": 0.059, "ci95": [0.023, 0.141], "p": 0.04}
    text = report_of(run_dir, comparisons=[reverse]).text
    assert "5.9 points less than the teacher on the 39 questions" in text
    assert "-14.1 to -2.3; p = 0.0400): chance alone hardly explains it" in text


def test_saving_is_computed_from_the_conditions_where_the_metrics_have_none(run_dir):
    changed = metrics()["conditions"]
    changed["S_D-R+teacher"]["solve"] = usage(40, 9000, 2000, 1.0)
    text = report_of(run_dir, saving=None, conditions=changed).text
    saved_in, saved_out = 1000 * (8123 + 9345 - 9000) / 40, 1000 * (1456 + 2567 - 2000) / 40
    assert (
        f"saves 1,000 teacher calls, {saved_in:,.0f} input tokens, {saved_out:,.0f} output tokens, $7.53, the solver's part included."
        in text
    )
    changed["teacher+teacher"]["solve"]["cache_hits"] = 3
    known = report_of(run_dir, conditions=changed).text
    assert "$1.28 by the teacher's decomposing; what the solver takes more or less is not known." in known
    assert "What the student saves could not be computed" in report_of(run_dir, saving=None, conditions=changed).text


def test_another_task_has_no_note_on_the_embedded_setting(run_dir):
    assert "does not reproduce" not in report_of(run_dir, task="drop").text


def test_incomplete_runs_and_overlaps_are_announced(run_dir):
    text = report_of(run_dir, incomplete="the budget of 2 dollars was spent.", overlap=3).text
    assert "This run is incomplete: the budget of 2 dollars was spent." in text
    assert "3 questions stand both in training and in test data" in text


def test_html_loads_nothing_and_escapes_everything(run_dir):
    page = report_of(run_dir, models={"teacher": HOSTILE}, incomplete=HOSTILE)
    source = (run_dir / "report.html").read_text()
    assert {"script", "link", "iframe", "b", "base"} & set(page.tags) == set()
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in page.loads)
    assert not re.search(r"url\(|@import", source)
    assert source.count("<script") == 0
    assert HOSTILE in page.text
    assert "<b>nobody</b>" in page.text


def test_markdown_makes_markup_harmless(run_dir):
    write_report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert r"\| \[link\](http" in text
    assert re.findall(r"!\[[^]]*\]\(([^)]*)\)", text) == [f"figures/{name}" for name in FIGURES]
    assert "| teacher+teacher | 93.1% |" in text


def test_a_dozen_questions_half_with_disagreement(run_dir):
    page = report_of(run_dir)
    assert page.tags.count("article") == 12
    # The teacher is always right, the untrained student never, so these three disagree on every question.
    assert "disagree on 12 of those shown" in page.text
    (run_dir / "predictions" / "student0+teacher.jsonl").unlink()
    (run_dir / "predictions" / "single-stage.jsonl").unlink()
    page = report_of(run_dir)
    assert page.tags.count("article") == 12
    assert "disagree on 6 of those shown" in page.text
    assert "Where does #1 live?" in page.text


def test_replies_show_states_errors_and_missing_scores(run_dir):
    line = {
        "id": "q1",
        "question": "Who?",
        "gold": "Ann",
        "state": "unparseable",
        "decomposition": "blah",
        "subquestions": [],
        "score": None,
    }
    write_lines(run_dir / "predictions" / "teacher+teacher.jsonl", [line | {"error": "TimeoutError: 60 s", "answer": None}])
    for name in CONDITIONS:
        if name != "teacher+teacher":
            (run_dir / "predictions" / f"{name}.jsonl").unlink()
    text = report_of(run_dir).text
    for part in ("unscored", "(no answer)", "decomposition: unparseable", "the decomposer wrote: blah", "error: TimeoutError: 60 s"):
        assert part in text


def test_a_run_with_nothing_but_a_config_says_what_is_missing(tmp_path):
    (tmp_path / "config.toml").write_text("seed = 0\n")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "accuracy.png").write_bytes(b"of an earlier report")
    assert write_report(tmp_path) == [tmp_path / "report.md", tmp_path / "report.html"]
    assert list((tmp_path / "figures").iterdir()) == []
    text = Page((tmp_path / "report.html").read_text()).text
    for part in (
        "No condition has been evaluated",
        "No two conditions",
        "No usage",
        "No question was labelled",
        "No loss",
        "No test question",
    ):
        assert part in text
    assert "nan" not in text.lower().split()


@pytest.mark.parametrize("key", sorted(set(metrics()) - {"schema"}))
@pytest.mark.parametrize("empty", [None, "null"])
def test_any_part_of_the_metrics_may_be_missing_or_null(run_dir, key, empty):
    changed = {k: v for k, v in metrics().items() if k != key} | ({key: None} if empty == "null" else {})
    (run_dir / "metrics.json").write_text(json.dumps(changed))
    write_report(run_dir)
    Page((run_dir / "report.html").read_text())


def test_one_condition_without_scores_or_usage(run_dir):
    page = report_of(run_dir, conditions={"interactive": {"n": 0, "score": None, "ci95": [None, None]}}, comparisons=[], retention=[])
    assert page.row("interactive")[1:5] == ["n/a", "n/a", "0", "n/a"]
    assert "No condition has a score to draw." in page.text
    assert "No trained student was evaluated" in page.text


def test_rows_are_counted_from_the_file_where_the_metrics_have_none(run_dir):
    rows = [{"id": "1", "kept": True, "policy": "oracle"}, {"id": "2", "kept": False, "reason": "wrong_answer", "policy": "oracle"}]
    write_lines(run_dir / "rows.jsonl", rows)
    assert report_of(run_dir, labelling=None).row("oracle") == ["oracle", "2", "1", "wrong answer 1"]
    assert policies_of(read_run(run_dir)) == {"oracle": {"kept": 1, "wrong_answer": 1}}


def test_half_a_last_line_is_passed_over_and_a_broken_one_before_it_is_named(run_dir):
    path = run_dir / "predictions" / "teacher+teacher.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"id": "q9')
    assert len(read_run(run_dir).predictions["teacher+teacher"]) == 40
    path.write_text('{"id": "q9\n' + whole)
    with pytest.raises(ValueError, match=r"teacher\+teacher.jsonl, line 1 is not valid JSON"):
        write_report(run_dir)


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="divide-or-conquer run --out DIR"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text('{"schema": 99}')
    with pytest.raises(ValueError, match="has schema 99; this version reads schema 1"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is not valid JSON"):
        write_report(tmp_path)


def test_a_section_of_another_package_stands_behind_the_own_ones(run_dir, monkeypatch):
    monkeypatch.setattr(SECTIONS, "_added", {})
    monkeypatch.setattr(SECTIONS, "_foreign", dict)

    def weather(run):
        table = Table(["City", "Sky"], [["Oslo", f"{len(run.conditions)} clouds"]])
        return [Section("Weather", [Text("It rained."), table, Picture("weather.png", "Clouds.", b"drawn")])]

    SECTIONS.add("weather", weather)
    assert run_dir / "figures" / "weather.png" in write_report(run_dir)
    page = Page((run_dir / "report.html").read_text())
    assert page.row("Oslo")[1] == "4 clouds" and "It rained." in page.text
    text = (run_dir / "report.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "In short" and headings[-2:] == ["Questions side by side", "Weather"]
    assert "| Oslo | 4 clouds |" in text and "![Clouds.](figures/weather.png)" in text
    with pytest.raises(ValueError, match="There is a section of a run's report 'scores' already"):
        SECTIONS.add("scores", weather)


def test_reading_a_run_and_saying_what_it_holds_loads_no_model_library(run_dir):
    code = (
        "import sys, pathlib\n"
        "from optimizers.reports.run_report import SECTIONS, write_report\n"
        "own = [SECTIONS.get(name) for name in SECTIONS.names()]\n"
        "print(sorted({'dspy', 'torch', 'matplotlib', 'jinja2'} & set(sys.modules)))\n"
        "write_report(pathlib.Path(sys.argv[1]))\n"
        "print(sorted({'dspy', 'torch'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code, str(run_dir)], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n[]\n"


def test_the_losses_of_a_training_stand_under_their_own_names(run_dir):
    student = {"rows": 44, "last_train_loss": 0.0046, "last_dev_loss": 0.0071, "mean_train_loss": 0.3001, "model": "local/s"}
    page = report_of(run_dir, students={"S_D-R": student})
    head = page.rows[page.rows.index(page.row("S_D-R", "44")) - 1]
    shown = dict(zip(head, page.row("S_D-R", "44"), strict=True))
    assert shown["Last dev loss"] == "0.0071" and shown["Mean training loss"] == "0.3001"
    assert shown["Last training loss (mean of 10 steps)"] == "0.0046" and "Final loss" not in page.text


def two_conditions(student="local/s@ff00", usd=None):
    teacher = {"decompose": usage(40, 4000, 400, 0.5), "solve": usage(40, 4000, 400, 0.5)}
    models = {"decompose": "test/teacher", "solve": "test/teacher"}
    other = {"decompose": usage(40, 4000, 400, usd), "solve": usage(40, 4000, 400, 0.5)}
    return {
        "teacher+teacher": {"n": 40, "score": 0.9, "ci95": [0.8, 1.0], "models": models, **teacher},
        "S_D-T+teacher": {"n": 40, "score": 0.9, "ci95": [0.8, 1.0], "models": {**models, "decompose": student}, **other},
    }


def test_the_tokens_of_the_teacher_and_of_a_local_student_are_drawn_apart():
    figure = run_figures.token_figure(two_conditions(), "test/teacher")
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "220 paid" in texts and "110 paid + 110 local" in texts and "no price" in texts
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:4] == [
        f"{owner}: {side}" for owner in ("paid, the teacher's model", "local, other models") for side in ("input", "output")
    ]
    assert labels[4:] == [figures.OWN]
    colours = {label: bar.patches[1].get_facecolor() for label, bar in zip(labels[:4], figure.axes[0].containers, strict=True)}
    assert colours["paid, the teacher's model: output"] != colours["local, other models: output"]
    # A run by an earlier version has no models of a condition: who is a student stands in its name.
    old = {name: {key: value for key, value in c.items() if key != "models"} for name, c in two_conditions().items()}
    assert "110 paid + 110 local" in [text.get_text() for text in run_figures.token_figure(old, "test/teacher").axes[0].texts]


def test_what_is_local_in_a_figure_is_local_in_the_bill():
    from programs.lms import ledger

    assert tokens.LOCAL_PREFIXES == ledger.LOCAL_PREFIXES


def test_what_a_cache_answered_is_no_small_bill(run_dir):
    conditions = metrics()["conditions"]
    conditions["single-stage"]["solve"] = usage(40, 0, 0, 0.0, cache_hits=40)
    conditions["teacher+teacher"]["solve"] = usage(40, 9345, 2567, None, cache_hits=4)
    page = report_of(run_dir, conditions=conditions)
    assert page.row("single-stage", "solve", "paid", "40", "40")[5:7] == ["cached", "cached"]
    assert page.row("single-stage", "solve", "paid", "40", "40")[8] == "cached"
    assert page.row("teacher+teacher", "solve", "paid", "40", "4")[5:9] == ["at least 9,345", "at least 2,567", "5.0", "no price"]


def test_a_run_says_what_its_student_saves_and_when_it_is_paid_back(run_dir):
    each = {"input_tokens": 200.0, "output_tokens": 20.0, "seconds": 0.25, "usd": 0.0125, "output_only_usd": None}
    stages = {"decompose": {"model": "local/s@ff00", **each}, "solve": {"model": "test/teacher", **each}}
    once = {"labelling_usd": 1.5, "training_usd": 0.25, "labelling_seconds": 120.0, "training_seconds": 161.0}
    even = {"questions_usd": 719, "questions_seconds": None, "questions_input_tokens": 60, "reason": None}
    record = {"condition": "S_D-R+teacher", "per_question": each, "stages": stages, "one_off": once, "break_even": even}
    teacher = {"condition": "teacher+teacher", "per_question": {**each, "usd": 0.025}, "stages": stages}
    page = report_of(run_dir, cost=[teacher, record])
    row = page.row("S_D-R+teacher", "200,000", "20,000", "200,000", "20,000")
    assert row[5] == "220,000" and "$1.75" in row and "719" in row and "60" in row
    assert "The cheapest decomposer student, S_D-R+teacher, takes 50.0% of the dollars of teacher+teacher." in page.text
    assert "break-even were not computed in this run" in report_of(run_dir, cost=None).text


def test_a_figure_for_a_telephone_leaves_no_word_out():
    figure = run_figures.token_figure(two_conditions(), "test/teacher")
    narrow = figures.narrowed(figure)
    figure.draw_without_rendering(), narrow.draw_without_rendering()
    assert (figure.get_figwidth(), narrow.get_figwidth()) == (figures.WIDTH, figures.NARROW)
    assert words(narrow) == words(figure)
    for text in narrow.findobj(matplotlib_text.Text):
        if text.get_visible() and text.get_text():
            assert text.get_window_extent().x0 >= 0 and text.get_window_extent().x1 <= narrow.bbox.x1 + 1, text


def words(figure):
    plots = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    labels = [" ".join(axes.get_xlabel().split()) for axes in figure.axes]
    return plots, labels, [text.get_text() for text in figure.legends[0].get_texts()]


def test_figures_of_nothing_are_none():
    assert run_figures.accuracy_figure({}) is None
    assert run_figures.token_figure({"x": {"n": 3, "solve": {"calls": 3}}}) is None
    assert run_figures.rows_figure({"none": {"kept": 0}}) is None
    assert run_figures.training_figure({"s": [{"step": 1, "loss": None}]}) is None


def test_a_continued_training_is_one_curve():
    figure = run_figures.training_figure({"s": [{"step": s, "loss": v} for s, v in ((1, 3.0), (2, 9.0), (3, 9.0), (2, 2.0), (3, 1.0))]})
    line = figure.axes[0].lines[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2, 3], [3.0, 2.0, 1.0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("students", "letters"), [(1, 2), (4, 90), (13, 20)])
def test_the_plot_of_many_students_with_long_names_is_drawn_and_their_legend_fits(students, letters):
    records = [{"step": step, "steps": 3, "loss": 3.0 - step, "eval_loss": 2.9 - step} for step in (1, 2)]
    figure = run_figures.training_figure({f"S_D-R-{number}{'x' * letters}": records for number in range(students)})
    for drawn in (figure, figures.narrowed(figure)):
        drawn.draw_without_rendering()
        legend = drawn.legends[0].get_window_extent()
        assert drawn.axes[0].get_window_extent().height > 0.9 * drawn.dpi
        assert legend.x0 >= 0 and legend.x1 <= drawn.bbox.x1 and len(drawn.legends[0].get_texts()) == 2 * students + 1


def test_drawing_leaves_the_backend_and_the_style_alone():
    code = (
        "import sys, optimizers.reports.run_report\n"
        "print(sorted({'dspy', 'torch', 'matplotlib', 'jinja2'} & set(sys.modules)))\n"
        "import matplotlib\n"
        # Reading the backend would choose one, which is what must not happen.
        "style = lambda: {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != 'backend'}\n"
        "before = style()\n"
        "from optimizers.reports import figures, run_figures\n"
        "figures.png(run_figures.rows_figure({'a$b$': {'kept': 3}}))\n"
        "print(style() == before, 'matplotlib.pyplot' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "[]\nTrue False\n"


LONG = ("S_D-R(feedback)+organisation_some-long-model-name-of-70B-instruct-2507", "single-stage@student0-then-S_D-R(feedback)+teacher")


@pytest.mark.filterwarnings("error:constrained_layout not applied")
@pytest.mark.parametrize("count", [1, 2])
def test_long_names_leave_room_for_the_plot_on_a_telephone_too(count):
    names = LONG[:count]
    for figure in (
        run_figures.accuracy_figure({name: {"score": 0.5, "ci95": [0.4, 0.6], "n": 10} for name in names}),
        run_figures.rows_figure({name: {"kept": 5, "wrong": 3} for name in names}),
    ):
        for drawn in (figure, figures.narrowed(figure)):
            drawn.draw_without_rendering()
            for axes in drawn.axes:
                assert axes.get_window_extent().width > 0.3 * drawn.bbox.width
                words = [label.get_text().replace("\n", "") for label in axes.get_yticklabels()]
                assert [word.lstrip("◆ ")[:12] for word in words] == [name[:12] for name in names]


def test_a_condition_that_nobody_answered_says_why(run_dir):
    found = metrics()
    found["conditions"]["single-stage"] |= {"scored": 0, "score": None, "ci95": [None, None], "failed": 40, "failures": {"LMAuthError": 40}}
    (run_dir / "metrics.json").write_text(json.dumps(found))
    error = {"answer": None, "score": None, "state": None, "error": "LMAuthError: the key is wrong"}
    lines = [{**prediction("single-stage", i), **error} for i in range(40)]
    write_lines(run_dir / "predictions" / "single-stage.jsonl", lines)
    write_report(run_dir)
    told = "single-stage: none of its 40 questions has an answer; the first call said: LMAuthError: the key is wrong"
    assert told in (run_dir / "report.md").read_text().partition("## Conditions")[0]


def test_questions_that_failed_are_told_with_the_scores_that_they_are_left_out_of(run_dir):
    found = metrics()
    found["conditions"]["single-stage"] |= {"scored": 30, "failed": 10, "failures": {"ContextWindowExceededError": 9, "unparseable": 1}}
    found["conditions"]["single-stage"] |= {"passages": 12}
    (run_dir / "metrics.json").write_text(json.dumps(found))
    write_report(run_dir)
    report = (run_dir / "report.md").read_text()
    assert "The questions stand on 12 passages" in report
    short = report.partition("## Conditions")[0]
    assert "Questions whose call failed: single-stage 9 (22.5%) of 40 (ContextWindowExceededError 9, unparseable 1)" in short


def test_what_may_make_scores_too_high_is_announced(run_dir):
    text = report_of(run_dir, near_overlap=30, same_passage=40, commonest={"answer": "yes", "share": 0.6}).text
    assert "30 test questions are those of training questions but for some words" in text
    assert "40 test questions stand on passages of training questions" in text
    assert (
        "Whoever always answers 'yes' scores 60.0% on these questions, and no less than single-stage 55.0%, student0+teacher 41.2%:" in text
    )
    calm = report_of(run_dir, near_overlap=0, same_passage=0, commonest={"answer": "yes", "share": 0.2}).text
    assert "but for some words" not in calm and "of training questions" not in calm and "Whoever always" not in calm
