"""The frame of the benchmarks, and what those over seeds compute, on figures that can be checked by hand."""

import argparse
import ast
import graphlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import study_pruning
from frame import command, setting, table, whole_numbers
from over_seeds import compared, difference_cells
from study_replay import replayed

BENCHMARKS = Path(study_pruning.__file__).parent


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_no_benchmark_imports_one_that_imports_it():
    graph = {path.stem: set(imports(path)) for path in BENCHMARKS.glob("*.py")}
    order = list(graphlib.TopologicalSorter({name: found & set(graph) for name, found in graph.items()}).static_order())
    assert order.index("carry_over_study") < order.index("carry_over_report") < order.index("carry_over")


def test_seeds_with_the_same_question_ids_are_pooled_apart():
    plain = {0: {"a": 0.0, "b": 1.0}, 1: {"a": 0.0, "b": 0.0}}
    better = {0: {"a": 1.0, "b": 1.0}, 1: {"a": 1.0, "b": 0.0}}
    found = compared(better, plain)
    assert (found.n, found.wins, found.losses, found.ties) == (2, 1, 0, 1)
    cells = difference_cells(better, plain)
    assert cells[:3] == ["2", "25.0%", "75.0%"] and cells[3].startswith("+50.0 (") and cells[-1] == "+50.0, +50.0"


@pytest.mark.parametrize("own", [False, True])
def test_seeds_that_disagree_are_no_certainty(own):
    """Pooled over seed and question these 300 pairs had p < 0.0001, whichever way the next training goes."""
    names = {seed: [f"{seed if own else 0}-{number}" for number in range(100)] for seed in range(3)}
    plain = {seed: dict.fromkeys(ids, 0.0) for seed, ids in names.items()}
    better = {seed: {key: float(number < share) for number, key in enumerate(names[seed])} for seed, share in enumerate((0, 3, 40))}
    found = compared(better, plain)
    assert found.p > 0.3 and found.low < 0 < found.high


def test_a_seed_without_any_score_ends_no_table():
    cells = difference_cells({0: {"a": None}, 1: {}}, {0: {"a": 1.0}, 1: {}})
    assert cells[0] == "0" and not any("nan" in cell for cell in cells)


def test_a_setting_without_a_value_is_refused():
    assert [setting(text) for text in ("training.epochs=3", "a=b=c")] == [("training.epochs", "3"), ("a", "b=c")]
    with pytest.raises(argparse.ArgumentTypeError, match=r"'training\.epochs' must be KEY=VALUE"):
        setting("training.epochs")


def test_seeds_are_whole_numbers():
    assert whole_numbers("3, 0,1") == [3, 0, 1]
    for text in ("", "1,,2", "-1", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be whole numbers from 0 on"):
            whole_numbers(text)


def stopped():
    raise KeyboardInterrupt


def refused():
    raise ValueError("no [such] task")


@pytest.mark.parametrize(("main", "status", "words"), [(stopped, 130, "the same command continues"), (refused, 2, "Error: no [such] task")])
def test_a_benchmark_that_ends_early_says_why_in_a_line(main, status, words, capsys, monkeypatch):
    monkeypatch.delenv("DIVIDE_OR_CONQUER_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as ended:
        command(main)
    assert ended.value.code == status
    assert words in capsys.readouterr().err


def test_an_error_is_raised_whole_where_that_is_asked_for(monkeypatch):
    monkeypatch.setenv("DIVIDE_OR_CONQUER_TRACEBACK", "1")
    with pytest.raises(ValueError, match="such"):
        command(refused)


def test_studies_share_labels_and_their_table_says_where_it_comes_from(tmp_path, monkeypatch, capsys):
    had_labels = {}

    def study(config, show):
        labels = Path(config.out) / "labels"
        had_labels[Path(config.out).name] = labels.exists()
        labels.mkdir(parents=True, exist_ok=True)
        (labels / "samples.jsonl").touch()
        show("trials", 1, 1, "")
        seconds = 10.0 if config.study.pruner == "none" else 6.0
        return SimpleNamespace(trials=[{"training_seconds": seconds, "state": "complete"}] * config.study.trials, best={"score": 0.5})

    monkeypatch.setattr(study_pruning, "study", study)
    words = ["study_pruning.py", "--out", str(tmp_path), "--seeds", "0,1", "--trials", "2", "--", "--data.dev", "8"]
    monkeypatch.setattr(sys, "argv", words)
    study_pruning.main()
    assert had_labels == {"none-0": False, "both-0": True, "none-1": True, "both-1": True}
    written = (tmp_path / "pruning.md").read_text()
    assert "| 0 | 20 | 12 | 40% | 0 | 50.0% | 50.0% |" in written and written in capsys.readouterr().out
    assert f"`python benchmarks/study_pruning.py --out {tmp_path}" in written.splitlines()[-1] and "; python 3." in written
    assert "study_pruning" in json.loads((tmp_path / "timings.json").read_text())
    assert "study_pruning: start" in (tmp_path / "log.txt").read_text()


def test_a_table_has_a_line_below_its_head():
    assert table(["a", "b"], [["1", "2"]]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_a_replay_stops_what_is_worse_than_the_median_and_counts_the_time_that_was_left(tmp_path):
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    made = optuna.create_study(study_name="study", storage=storage, direction="maximize")
    # Negated dev losses at a half and at the end, then the score of a question, which median pruning must not look at.
    for score, losses in [(0.8, (-1.0, -0.5)), (0.7, (-1.2, -0.6)), (0.9, (-3.0, -0.1)), (0.6, (-0.9, -0.4))]:
        values = {1: losses[0], 2: losses[1], 100: -9.0}
        made.add_trial(optuna.trial.create_trial(value=score, intermediate_values=values, user_attrs={"training_seconds": 10.0}))
    (tmp_path / "study.json").write_text(json.dumps({"name": "study", "storage": None}))
    # The third is stopped at half of its ten seconds, though its score is the best.
    assert replayed(tmp_path, 2) == [tmp_path.name, "50", "2", "4", "1", "12%", "90.0%", "80.0%"]
    assert replayed(tmp_path, 4)[4:6] == ["0", "0%"]
