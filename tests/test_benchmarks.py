"""What the benchmarks over seeds compute, on figures that can be checked by hand."""

import argparse
import json
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from frame import setting, table
from over_seeds import compared, difference_cells
from study_replay import replayed


def test_seeds_with_the_same_question_ids_are_pooled_apart():
    plain = {0: {"a": 0.0, "b": 1.0}, 1: {"a": 0.0, "b": 0.0}}
    better = {0: {"a": 1.0, "b": 1.0}, 1: {"a": 1.0, "b": 0.0}}
    found = compared(better, plain)
    assert (found.n, found.wins, found.losses, found.ties) == (4, 2, 0, 2)
    cells = difference_cells(better, plain)
    assert cells[:3] == ["4", "25.0%", "75.0%"] and cells[3].startswith("+50.0 (") and cells[-1] == "+50.0, +50.0"


def test_a_setting_without_a_value_is_refused():
    assert [setting(text) for text in ("training.epochs=3", "a=b=c")] == [("training.epochs", "3"), ("a", "b=c")]
    with pytest.raises(argparse.ArgumentTypeError, match=r"'training\.epochs' must be KEY=VALUE"):
        setting("training.epochs")


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
