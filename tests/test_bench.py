"""`make bench`: what is on file, README's table of it, and how a row comes from several runs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import bench

ROW_KEYS = {"name", "ours", "peer", "peer_name", "unit", "ratio", "target", "met", "repetitions", "spread"}


def test_readme_has_the_table_of_what_is_on_file():
    assert bench.TABLE.search(bench.README.read_text())[0] == bench.speed_table(bench.results())


def test_every_question_has_a_row_that_agrees_with_itself():
    rows = bench.results()
    assert [bench._key(row) for row in rows] == [bench._key_of(question) for question in bench.QUESTIONS]
    for row in rows:
        assert set(row) >= ROW_KEYS
        low, high = row["spread"]
        assert low <= row["ratio"] <= high
        assert row["met"] == (row["ratio"] <= row["target"] if row["at_most"] else row["ratio"] >= row["target"])
        assert row["repetitions"] == bench.SCRIPTS[row["script"]].repetitions


@pytest.mark.parametrize(("at_most", "met"), [(False, True), (True, False)])
def test_a_ratio_is_taken_within_a_run(at_most, met):
    question = bench.Question("what", "labelling", ("a", "ours"), ("peer",), "peer", "s", 2.0, at_most)
    whole = bench.origin(bench.HERE)
    row = bench.result(question, [{"a": {"ours": 10}, "peer": 2}, {"a": {"ours": 1}, "peer": 1}, {"a": {"ours": 9}, "peer": 3}], whole)
    assert (row["ours"], row["peer"], row["ratio"], row["spread"]) == (9, 2, 3, [1, 5])
    assert (row["met"], row["repetitions"]) == (met, 3)


def test_a_script_that_fails_is_told_with_its_last_words(monkeypatch, tmp_path):
    (tmp_path / "fails.py").write_text("raise SystemExit('no such weights')")
    monkeypatch.setattr(bench, "HERE", tmp_path)
    with pytest.raises(RuntimeError, match="student ended with 1; the other rows stand:\nno such weights"):
        bench.measured("student", bench.Script(["fails.py"], 1))


def test_an_unknown_script_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--only", "inference,speed"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "unknown: speed; expected some of inference, student" in capsys.readouterr().err


def test_the_figure_has_a_mark_a_row():
    rows = bench.results()
    (axes,) = bench.speed_figure(rows).axes
    assert len(axes.get_yticks()) == len(rows)
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in ("o", "D")]
    assert [mark >= 1 for mark in marks] == [row["met"] for row in rows]
