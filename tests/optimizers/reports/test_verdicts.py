"""No verdict in words contradicts its p or its interval: random comparisons, those of earlier versions too, in every report."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import pytest
import test_experiment_report as an_experiment
import test_other_reports as others
import test_run_report as a_run

from optimizers.reports import comparisons, compilation, controls, experiment_report, headlines, improvement, paper_tables, study
from optimizers.reports.blocks import Bullets, Section, Table, Text
from optimizers.reports.read import RunFiles
from optimizers.reports.verdicts import outcome, outcome_words

SAID = re.compile(r"interval(?: of the difference)? (\S+?)(?: to (\S+))?; p = (\S+?)( after Holm)?\)?: ([a-z ]+)")
SHOWN = {"higher", "lower", "chance alone hardly explains it"}


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Pictures take nearly all the time of a report, and say nothing in words."""
    monkeypatch.setattr("optimizers.reports.figures.png", lambda figure: b"drawn")


def a_result(rng, **names):
    """A comparison whose interval and p need not agree, as those of a bootstrap did not; p may be missing or NaN."""
    centre, half = rng.uniform(-0.4, 0.4), rng.uniform(0.01, 0.4)
    p = rng.choice([0.001, 0.012, 0.049, 0.051, 0.25, 0.9, 1.0])
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
        shown = tested and float(p) < 0.05 and (float(low) > 0 or float(high) < 0)
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
    yield [experiment_report.what_it_says(grid), *(Section("", part(grid)) for part in parts)]
    found = others.improved()
    found["tests"]["test"]["comparison"] = a_result(rng, a="round 1", b="round 0")
    yield improvement.sections(found)
    yield study.sections(others.studied(0.5, 0.75, against_recipe={"recipe": 0, **a_result(rng)}), Path("study"))
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
        section = experiment_report.what_it_says(files({**an_experiment.metrics(), "comparisons": records}))
        said = next(text for text in texts([section]) if text.startswith("people: "))
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
