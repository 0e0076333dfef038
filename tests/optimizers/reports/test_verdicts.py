"""No verdict in words contradicts its p or its interval: random comparisons, those of earlier versions too, in every report."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import numpy as np
import pytest
import test_experiment_report as an_experiment
import test_other_reports as others
import test_run_report as a_run

from optimizers.evaluation.statistics import holm, paired_comparison, retention
from optimizers.evaluation.summary import summarise
from optimizers.experiments.results import Run
from optimizers.reports import (
    comparisons,
    compilation,
    controls,
    experiment_headlines,
    experiment_report,
    headlines,
    improvement,
    paper_tables,
    run_report,
    study,
    transfer,
)
from optimizers.reports.blocks import Bullets, Section, Table, Text, count_text, p_text, signed_points
from optimizers.reports.conditions import oriented
from optimizers.reports.read import RunFiles
from optimizers.reports.verdicts import outcome, outcome_words

SAID = re.compile(r"interval(?: of the difference)? (\S+?)(?: to (\S+))?; p = (\S+?)( after Holm)?\)?: ([a-z ]+)")
SHOWN = {"higher", "lower", "chance alone hardly explains it"}


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Pictures take nearly all the time of a report, and say nothing in words."""
    monkeypatch.setattr("optimizers.reports.figures.forms", lambda figure: (b"drawn",) * 4)


def a_result(rng, **names):
    """A comparison whose interval and p need not agree, as those of a bootstrap did not; p may be missing or NaN."""
    centre, half = rng.uniform(-0.4, 0.4), rng.uniform(0.01, 0.4)
    p = rng.choice([0.001, 0.012, 0.049, 0.04999, 0.05, 0.051, 0.25, 0.9, 1.0])
    found = {"n": 40, "delta": centre, "ci95": [max(-1.0, centre - half), min(1.0, centre + half)], "p": p, "wins": 4, "losses": 3}
    further = rng.choice([{}, {"p_holm": p}, {"p_holm": min(1.0, 7 * p)}, {"p_holm": math.nan}, {"p": None}, {"ci95": [None, None]}])
    return {**found, **further, **names}


def texts(sections):
    for block in (block for section in sections for block in section.blocks):
        if isinstance(block, Text):
            yield block.text
        elif isinstance(block, Bullets):
            yield from block.items
        elif isinstance(block, Table):
            yield from (cell for row in block.rows for cell in row)


def contradictions(sections):
    """Phrases with interval, p and verdict of which the verdict does not follow; and how many there are."""
    found = [match for text in texts(sections) for match in SAID.finditer(text)]
    wrong = []
    for match in found:
        low, high, p, _, words = match.groups()
        tested = "n/a" not in (low, p)
        shown = tested and float(p.strip("<")) < 0.05 and (float(low) > 0 or float(high) < 0)
        right = words.strip() in SHOWN if shown else words.strip() not in SHOWN
        if not right or (words == "higher" and low[0] != "+") or (words == "lower" and high[0] != "-"):
            wrong.append(match.group())
    return wrong, len(found)


def files(metrics):
    return RunFiles(metrics=metrics, config="", predictions={}, rows=[], progress={})


def reports_of(rng):
    """Every report that tells a comparison, of random ones."""
    pair = {"a": "S_D-R+teacher", "b": "teacher+teacher"}
    turned = {"a": pair["b"], "b": pair["a"]}
    run = files({**a_run.metrics(), "comparisons": [a_result(rng, **rng.choice([pair, turned]))]})
    yield [*headlines.in_short(run), *comparisons.comparisons(run)]
    compared = [{**record, **a_result(rng)} for record in an_experiment.comparisons()]
    grid = files({**an_experiment.metrics(), "comparisons": compared})
    parts = (controls.comparisons, controls.controls, paper_tables.table_6, paper_tables.table_7, paper_tables.table_9)
    yield [experiment_headlines.what_it_says(grid), *(Section("", part(grid)) for part in parts)]
    found = others.improved()
    found["tests"]["test"]["comparison"] = a_result(rng, a="round 1", b="round 0")
    yield improvement.sections(found)
    yield study.sections(others.studied(0.5, 0.75, against_recipe={"recipe": 0, **a_result(rng)}), Path("runs/study"))
    made = others.compiled()
    made["dev"]["comparison"] = a_result(rng)
    yield compilation.sections(made)


def test_no_sentence_of_any_report_contradicts_its_p_or_its_interval():
    rng, told = random.Random(0), 0
    for _ in range(25):
        for sections in reports_of(rng):
            wrong, count = contradictions(sections)
            assert wrong == []
            told += count
    assert told > 100


def test_which_part_distils_follows_from_interval_and_p():
    rng = random.Random(1)
    names = ("S_D-R+teacher", "teacher+S_E-R")
    for _ in range(60):
        records = [an_experiment.compared(name, "teacher+teacher", 0, 0, 0) | a_result(rng) for name in names]
        section = experiment_headlines.what_it_says(files({**an_experiment.metrics(), "comparisons": records}))
        said = next(text for text in texts([section]) if text.startswith("people: ") and "scores as high" not in text)
        lost = [outcome(record) == "lower" for record in records]
        if "untested" in map(outcome, records):
            assert "cannot be said" in said
        else:
            assert ("neither part distils" in said, "both parts distil" in said) == (all(lost), not any(lost))
            assert ("the decomposer distils" in said, "the solver distils" in said) == (lost == [False, True], lost == [True, False])


def test_the_controls_follow_from_interval_and_p():
    rng = random.Random(2)
    for _ in range(30):
        compared = [{**record, **a_result(rng)} for record in an_experiment.comparisons()]
        lengths = {record["a"]: record for record in compared if record["a"] in ("other+teacher", "generic+teacher")}
        section = Section("", controls.controls(files({**an_experiment.metrics(), "comparisons": compared})))
        said = next(text for text in texts([section]) if text.startswith("people, solver teacher:"))
        # The file holds the control less the teacher.
        assert ("So it is the decomposition" in said) == all(outcome(record) == "lower" for record in lengths.values())


@pytest.mark.parametrize(
    ("record", "found", "words"),
    [
        ({"ci95": [0.01, 0.08], "p": 0.25}, "none", "no difference can be shown"),
        ({"ci95": [-0.01, 0.08], "p": 0.01}, "none", "no difference can be shown"),
        ({"ci95": [0.01, 0.08], "p": 0.01}, "higher", "higher"),
        ({"ci95": [-0.08, -0.01], "p": 0.01, "p_holm": 0.04}, "lower", "lower"),
        ({"ci95": [0.01, 0.08], "p": 0.01, "p_holm": 0.3}, "none", "no difference can be shown once all comparisons are counted"),
        ({"ci95": [0.01, 0.08], "p": 0.01, "p_holm": math.nan}, "higher", "higher"),
        ({"ci95": [0.01, 0.08]}, "untested", "not tested"),
        ({"ci95": [0.0, 0.08], "p": 0.01}, "none", "no difference can be shown"),
        (None, "untested", "not tested"),
    ],
)
def test_a_verdict_needs_both_the_interval_and_p(record, found, words):
    assert outcome(record) == found and outcome_words(record) == words


@pytest.mark.parametrize(
    ("p", "text"), [(0.049996, "0.049996"), (0.05, "0.0500"), (0.05000001, "0.0500"), (0.0499999999, "0.0499999999"), (1e-9, "<0.0001")]
)
def test_a_p_value_below_the_level_is_not_shown_as_the_level(p, text):
    assert p_text(p) == text


@pytest.mark.parametrize(
    ("points", "text"), [(8.04, "+8.0"), (0.031, "+0.03"), (-0.0042, "-0.004"), (-0.0, "+0.0"), (-1e-15, "+0.0"), (0.06, "+0.1")]
)
def test_a_bound_beside_0_is_not_shown_as_0(points, text):
    assert signed_points(points) == text


def test_a_count_has_no_negative_zero():
    assert [count_text(value) for value in (-0.3, 1234.6, math.inf)] == ["0", "1,235", "n/a"]


def test_a_comparison_that_is_turned_round_swaps_wins_and_losses():
    found = oriented({"a": "x", "b": "y", "delta": 0.1, "ci95": [0.0, 0.2], "p": 0.2, "wins": 4, "losses": 1}, "y", "x")
    assert (found["delta"], found["ci95"], found["wins"], found["losses"]) == (-0.1, [-0.2, -0.0], 1, 4)


N = 25


def extreme_scores(rng):
    """Scores of a condition as strangers' jobs give them: none, all alike, nearly so, parts, unscored."""
    n = rng.choice([0, 1, 2, 3, N])
    kinds = {
        "right": lambda: 1.0,
        "wrong": lambda: 0.0,
        "coin": lambda: float(rng.random() < 0.5),
        "rare": lambda: float(rng.random() < 0.95),
        "parts": lambda: rng.choice([0.0, 0.4, 0.5, 1.0]),
        "alike": lambda: 0.5,
        "unscored": lambda: None,
        "holes": lambda: rng.choice([None, 1.0, 0.0]),
    }
    kind = kinds[rng.choice(list(kinds))]
    return {f"q{number}": kind() for number in range(n)}


def a_line(key, score):
    empty = {"state": "ok", "usage": {}, "error": None, "measures": {}, "question": "Who?", "gold": "x", "answer": "y", "id": key}
    return {**empty, "score": score}


def compared_all(scores):
    pairs = [(a, b) for i, a in enumerate(scores) for b in list(scores)[:i]]
    rows = [{"a": a, "b": b, **paired_comparison(scores[a], scores[b], resamples=99).to_dict()} for a, b in pairs]
    return [{**row, "p_holm": p} for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)]


def sane(sections):
    tables = [block for section in sections for block in section.blocks if isinstance(block, Table) and "Kept" in block.columns]
    # Of the teacher's score more than all of it may be kept.
    shares = {cell for table in tables for row in table.rows for cell in row}
    for text in texts(sections):
        assert not re.search(r"\b(nan|None(?! of)|inf)\b", text), text
        assert all(float(found) <= 100 or text in shares or "keeps" in text for found in re.findall(r"([\d.]+)%", text)), text
        assert not re.search(r"-0(\.0+)?(?![\d.])", text), text


def rows_agree(sections):
    """Interval and p of the test itself, in every table that has both; how many were looked at."""
    looked = 0
    for table in (block for section in sections for block in section.blocks if isinstance(block, Table)):
        if "p" not in table.columns:
            continue
        at = [
            table.columns.index(name)
            for name in ("95% interval", "p", "p after Holm", "Verdict on A" if "A" in table.columns else "Verdict")
        ]
        for interval, p, after, words in ([row[index] for index in at] for row in table.rows):
            if "n/a" in (interval, p):
                assert words == "not tested"
                continue
            low, high = interval.split(" to ")
            assert (float(low) > 0 or float(high) < 0) == (float(p.strip("<")) < 0.05), (interval, p)
            assert (words in ("higher", "lower")) == (float(after.strip("<")) < 0.05), (after, words)
            looked += 1
    return looked


def a_run_of(rng):
    scores = {name: extreme_scores(rng) for name in rng.sample(list(a_run.CONDITIONS), rng.randint(0, 4))}
    conditions = {name: summarise([a_line(*item) for item in own.items()]) for name, own in scores.items()}
    kept = [(name, retention(own, scores["teacher+teacher"])) for name, own in scores.items() if "teacher+teacher" in scores]
    kept_rows = [{"a": name, "b": "teacher+teacher", "ratio": found.estimate, "ci95": [found.low, found.high]} for name, found in kept]
    lines = {name: [a_line(*item) for item in own.items()] for name, own in scores.items()}
    found = {**a_run.metrics(), "conditions": conditions, "comparisons": compared_all(scores), "retention": kept_rows}
    return RunFiles(metrics=found, config="", predictions=lines, rows=[], progress={})


def an_experiment_of(rng):
    scores = {name: extreme_scores(rng) for name in [*an_experiment.OWN, *an_experiment.TRAINED] if rng.random() < 0.8}
    cells = []
    for cell in an_experiment.cells():
        own = scores.get(cell["condition"])
        if own is not None:
            cells.append({**cell, **summarise([a_line(*item) for item in own.items()])})
    compared = []
    for record in compared_all({name: own for name, own in scores.items() if name in {"teacher+teacher", *an_experiment.TRAINED}}):
        compared.append({**record, "test": "people", "train": "people"})
    return files({**an_experiment.metrics(), "cells": cells, "comparisons": compared})


def test_no_report_of_extreme_scores_contradicts_itself_or_prints_what_is_no_number():
    rng, looked = random.Random(3), 0
    for _ in range(40):
        run = a_run_of(rng)
        sections = run_report.sections(run)
        assert contradictions(sections)[0] == []
        sane(sections)
        looked += rows_agree(sections)
    for _ in range(12):
        sections = experiment_report.sections(an_experiment_of(rng))
        assert contradictions(sections)[0] == []
        sane(sections)
        looked += rows_agree(sections)
    assert looked > 50


@pytest.mark.parametrize("n", [10**5, 10**6])
def test_a_difference_of_a_huge_test_is_not_rounded_away(n):
    a = dict(zip(map(str, range(n)), np.ones(n).tolist(), strict=True)) if n <= 10**5 else None
    if a is None:
        record = {"a": "a", "b": "b", "delta": 2e-5, "ci95": [4e-6, 3e-5], "p": 1e-3}
    else:
        record = {"a": "a", "b": "b", **paired_comparison(a, {**a, **{str(i): 0.0 for i in range(7)}}).to_dict()}
    table = comparisons.comparisons(files({"comparisons": [{**record, "p_holm": record["p"]}]}))
    assert rows_agree(table) == 1 and next(block for block in table[0].blocks if isinstance(block, Table)).rows[0][9] == "higher"


def test_a_table_of_a_run_without_a_score_prints_no_nan(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("")
    summary = summarise([a_line("q", None)])
    monkeypatch.setattr(
        Run, "metrics", {"conditions": {"single-stage": summary, "interactive": {**summary, "score": None, "ci95": [None, None]}}}
    )
    assert "n/a" in repr(Run(tmp_path)) and "nan" not in repr(Run(tmp_path)) + Run(tmp_path)._repr_html_()


def test_a_variance_of_nothing_names_no_largest_spread():
    record = {"condition": "S_D-R+teacher", "mean": 0.5, "n_questions": 3, "cells": 1, "data_sd": None, "training_sd": None}
    said = next(texts([Section("", transfer.variance(files({"variance": [record]})))]))
    assert "n/a" not in said and "No spread over seeds could be told" in said


def test_the_difference_of_a_transfer_is_the_one_that_its_interval_is_of():
    """Plain scores of other questions may differ the other way."""
    cells = an_experiment.cells()
    record = an_experiment.compared("S_D-R+teacher", "teacher+teacher", 0.2, 0.1, 0.3, test="books")
    blocks = transfer.transfer(files({**an_experiment.metrics(), "cells": cells, "comparisons": [record]}))
    table = next(block for block in blocks if isinstance(block, Table))
    row = next(row for row in table.rows if row[:3] == ["S_D-R+teacher", "people", "books"])
    assert row[6:9] == ["+20.0", "+10.0 to +30.0", "higher"]
