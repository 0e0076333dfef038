"""What an experiment's figures are made of, on lines written by hand."""

from __future__ import annotations

from optimizers.conditions import parse_condition
from optimizers.experiments.experiment_metrics import Measured, _comparisons, _errors
from optimizers.experiments.grid import Cell
from optimizers.experiments.variants import Variant


def measured(condition, right, train=None):
    scores = {str(number): float(mark == "x") for number, mark in enumerate(right)}
    return Measured(Cell("people", parse_condition(condition), train, Variant()), {"n": len(scores)}, scores)


def table(*cells):
    return {(one.cell.test, one.cell.train, one.cell.variant.name, one.name): one for one in cells}


def faults(*cells):
    return {entry["condition"]: entry for entry in _errors(list(cells), table(*cells))}


def test_a_wrong_answer_is_laid_to_what_repairs_it():
    found = faults(
        measured("reference+teacher", "xxxx."),
        measured("S_D-T+teacher", "x.x.x", train="people"),
        measured("teacher+teacher", "xxx.x"),
        measured("teacher+S_E-T", "x....", train="people"),
        measured("student0+teacher", "....."),
    )
    decomposer, solver = found["S_D-T+teacher"], found["teacher+S_E-T"]
    assert (decomposer["wrong"], decomposer["decomposition"], decomposer["solver"]) == (2, 2, 0)
    assert (solver["wrong"], solver["decomposition"], solver["solver"], solver["both"], solver["neither"]) == (4, 0, 3, 1, 0)
    # Before the teacher no stronger solver was tried, so that none is said to help.
    untrained = found["student0+teacher"]
    assert (untrained["decomposition"], untrained["solver"], untrained["neither"]) == (4, 0, 1)


def test_either_repair_is_told_from_both():
    found = faults(
        measured("reference+teacher", "xxx"),
        measured("teacher+joint", "x..", train="people"),
        measured("joint+teacher", "x..", train="people"),
        measured("joint+joint", "...", train="people"),
    )
    assert (found["joint+joint"]["either"], found["joint+joint"]["both"]) == (1, 2)


def test_a_repair_that_was_not_measured_lays_no_blame():
    assert "joint+joint" not in faults(measured("reference+teacher", "xxx"), measured("joint+joint", "...", train="people"))


def test_without_references_the_teachers_subquestions_are_the_better_ones():
    found = faults(measured("teacher+teacher", "xx."), measured("teacher+S_E-T", "x..", train="people"))
    assert set(found) == {"teacher+S_E-T"}
    assert (found["teacher+S_E-T"]["solver"], found["teacher+S_E-T"]["neither"]) == (1, 1)


def test_students_are_compared_with_the_teacher_the_untrained_and_their_sibling():
    cells = [measured("teacher+teacher", "xxxx"), measured("student0+teacher", "...."), measured("S_D-T+teacher", "xx..", train="people"),
             measured("S_D-R+teacher", "xxx.", train="people"), measured("S_D-R+teacher", "x...", train="books")]  # fmt: skip
    rows = {(row["train"], row["a"], row["b"]): row for row in _comparisons(cells, table(*cells), {})}
    assert rows["people", "S_D-R+teacher", "S_D-T+teacher"]["wins"] == 1
    assert rows["people", "S_D-R+teacher", "student0+teacher"]["delta"] == 0.75
    assert rows["books", "S_D-R+teacher", "teacher+teacher"]["losses"] == 3
    assert ("books", "S_D-R+teacher", "S_D-T+teacher") not in rows
    assert all(row["p_holm"] >= row["p"] for row in rows.values())


def test_a_pair_that_are_each_others_reference_is_counted_once():
    cells = [measured("teacher+teacher", "xxxxxx"), measured("single-stage-cot", "......"), measured("student0+teacher", "xx....")]
    rows = _comparisons(cells, table(*cells), {})
    pairs = [frozenset((row["a"], row["b"])) for row in rows]
    assert len(pairs) == len(set(pairs)) == 2
    assert rows[0]["p_holm"] == 2 * rows[0]["p"]
