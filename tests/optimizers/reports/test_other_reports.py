"""Reports of improvements, studies and compilations, from made-up files alone, and the same blocks in a terminal."""

from __future__ import annotations

import io
import json
import math
import re

import pytest
from rich.console import Console

from optimizers.reports import compilation, figures, improvement, study
from optimizers.reports.blocks import Bullets, Code, Picture, Question, Reply, Section, Table, Text
from optimizers.reports.terminal import show, show_warnings

pytestmark = pytest.mark.whole_figures

HOSTILE = "<script>alert(1)</script> | [red]`x`"


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Stands in for drawing to a file, which takes nearly all the time of a report."""
    monkeypatch.setattr(figures, "forms", lambda figure: (b"drawn",) * 4)


def a_round(number, **changes):
    known = {"round": number, "new_rows": 0, "rows": 0, "dev": 0.25, "ci95": [0.05, 0.7], "complete": True, "tokens": 1554}
    return {**known, "seconds": 12.3, "usd": None, "training_seconds": 0.0, **changes}


def improved(**changes):
    tried = a_round(
        1, decompositions=1200, right=30, wrong=70, new_rows=30, rows=40, dev=0.5, complete=False, usd=0.0123, training_seconds=61
    )
    compared = {"a": "round 1", "b": "round 0", "n": 20, "delta": 0.1, "ci95": [-0.05, 0.25], "p": 0.3}
    tests = {"test": {"round 0": {"score": 0.4}, "round 1": {"score": 0.5}, "comparison": compared}, "own": {"round 0": {"score": 0.7}}}
    found = {"student": "S_D-R", "solver": "test/solver", "settings": {"method": "dpo", "reward": "gain", "hide_question": True}}
    return {**found, "rounds": [a_round(0), tried], "best": 1, "ended": "all 1 rounds are done", "tests": tests, **changes}


def a_trial(number, score, **changes):
    known = {"number": number, "state": "complete", "params": {"training.learning_rate": 0.001}, "score": score, "ci95": [0.1, 0.9]}
    return {
        **known,
        "cost": 3.5,
        "training_seconds": 2.0,
        "reason": None,
        "recipe": number == 0,
        "retry_of": None,
        "metric_errors": None,
        **changes,
    }


def studied(*scores, **changes):
    found = {"name": "mine", "objective": "score", "cost_in": "seconds", "planned": 9, "finished": len(scores), "incomplete": None}
    against = {"recipe": 0, "n": 4, "delta": 0.25, "ci95": [-0.1, 0.6], "p": 0.5}
    found |= {"space": {"training.learning_rate": "0.0001 to 0.01, log"}, "best": [0], "against_recipe": against}
    trials = [a_trial(number, score) for number, score in enumerate(scores)]
    return {**found, "importance": {"training.learning_rate": 1.0}, "trials": trials, **changes}


def a_candidate(key, number, instructions, **changes):
    state = {"signature": {"instructions": instructions}, "demos": [{"question": "Who?"}] * number}
    known = {"key": key, "number": number, "prompts": {"decompose": state}, "failures": {}, "answered": 10, "only_wrote_demos": False}
    known |= {"validation": {"n": 10, "score": 0.5, "ci95": [0.2, 0.8]}, "train": {"n": 0, "score": None, "ci95": None}}
    return {**known, "usage": {"calls": 20, "input_tokens": 300, "output_tokens": 60, "usd": 0.02}, **changes}


def compiled(**changes):
    best = a_candidate("b", 1, "Take care.", failures={"q1": HOSTILE})
    writer = a_candidate("c", 2, "Split.", only_wrote_demos=True)
    dev = {"n": 20, "score": 0.6, "ci95": [0.4, 0.8]}
    compared = {"n": 20, "delta": 0.1, "ci95": [-0.02, 0.22], "p": 0.125}
    found = {"optimizer": "COPRO", "incomplete": None, "best": "b", "found": "b", "uncompiled": "a"}
    found |= {
        "candidates": [a_candidate("a", 0, "Split."), best, writer],
        "paid": {"calls": 1036, "input_tokens": 324, "output_tokens": 99, "usd": None},
    }
    return {**found, "dev": {"uncompiled": dev, "compiled": {**dev, "score": 0.7}, "comparison": compared}, **changes}


def written(module, found, folder, name):
    """The markdown; both files are there, and the page runs nothing."""
    (folder / f"{name}.json").write_text(json.dumps(found))
    files = module.write_report(folder)
    assert files[:2] == [folder / f"{name}.md", folder / f"{name}.html"]
    page = files[1].read_text()
    assert "<script" not in page and module.title(found) in page
    return files[0].read_text()


def test_an_improvement_tells_every_round_and_test(tmp_path):
    text = written(improvement, improved(incomplete="2 dollars are spent"), tmp_path, "improve")
    assert text.startswith("# S_D-R, improved by DPO\n")
    assert (
        "Reward: gain, by test/solver, who is not told the question. It ended because all 1 rounds are done; round 1 is the best." in text
    )
    assert "> Incomplete: 2 dollars are spent. The same command continues." in text
    assert "| 0 |  |  | 0 | 0 | 25.0% | 5.0% to 70.0% | 1,554 | 12 | no price | 0 |" in text
    assert "| 1 (best) | 1,200 | 30% | 30 | 40 | 50.0% (not all asked) | 5.0% to 70.0% | 1,554 | 12 | $0.0123 | 61 |" in text
    assert "(20, paired): round 0 40.0%, round 1 50.0%; difference +10.0 points (95% interval -5.0 to +25.0; p = 0.3000: " in text
    assert "On the test questions of the run's own task: round 0 70.0%." in text
    assert "](figures/improve.png)" in text and (tmp_path / "figures" / "improve.png").exists()


def test_a_figure_of_an_earlier_report_goes_when_there_is_nothing_to_draw(tmp_path):
    written(improvement, improved(), tmp_path, "improve")
    text = written(
        improvement, improved(rounds=[a_round(0, dev=math.nan, ci95=[math.nan, math.nan])], best=0, tests={}), tmp_path, "improve"
    )
    assert not (tmp_path / "figures" / "improve.png").exists()
    assert "*No round has a dev score to draw.*" in text and "*No test question was asked.*" in text and "nan" not in text


def test_a_study_tells_every_trial(tmp_path):
    found = studied(0.5, 0.25, incomplete="interrupted", best=[0, 1])
    failed = a_trial(
        2, None, state="fail", ci95=None, cost=None, training_seconds=None, reason="TrainingError: the disk\nis full", retry_of=1
    )
    found["trials"] += [failed, a_trial(3, 0.0, metric_errors={f"q{n}": "KeyError: 'no unit'" for n in range(22)})]
    text = written(study, found, tmp_path, "study")
    assert text.startswith("# Study mine\n") and "2 of 9 trials finished; objective score, dev questions only." in text
    assert "> Incomplete: interrupted. What is below is the best so far; the same command continues." in text
    assert f"(training.learning_rate = 0.001). 'divide-or-conquer run @ {tmp_path / 'best.toml'}' does the main job" in text
    assert "Pareto front (higher score or lower cost): trials 0, 1." in text
    assert (
        "(trial 0), paired on 4 dev questions: +25.0 points (95% interval -10.0 to +60.0; p = 0.5000: no difference can be shown)." in text
    )
    assert "What the score depends on (PED-ANOVA): training.learning_rate 100.0%." in text
    assert "| 0 | complete | 0.001 | 50.0% | 10.0% to 90.0% | 3.5 | 2 | the recipe as it stands |" in text
    assert "| 2 | fail | 0.001 |  |  |  |  | TrainingError: the disk<br>is full (retry of 1) |" in text
    assert text.count("KeyError: 'no unit'") == 20 and "- and 2 more in study.json" in text
    assert "](study.png)" in text and (tmp_path / "study.png").read_bytes() == b"drawn" and not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([0.5], "There are too few trials to say which settings matter."),
        ([0.5, 0.5], "All trials have the same score, so none of the settings can be said to matter."),
    ],
)
def test_no_setting_matters_where_all_trials_tie(scores, said, tmp_path):
    assert said in written(study, studied(*scores), tmp_path, "study")
    assert len(study.study_figure(studied(*scores)).axes) == 1


def test_trials_are_whole_numbers_and_scores_end_at_a_hundred_per_cent():
    for scores in ([1.0], [0.0, 1.0, 0.5], [0.1] * 40):
        history = study.study_figure(studied(*scores)).axes[0]
        assert all(float(tick).is_integer() for tick in history.get_xticks())
        assert history.get_ylim() == (0, 100)
    assert study.study_figure(studied()) is None


def test_a_study_without_a_score_says_so(tmp_path):
    text = written(study, studied(best=[], against_recipe=None, importance={}), tmp_path, "study")
    assert "*No trial has a score.*" in text and not (tmp_path / "study.png").exists()


def test_a_compilation_tells_every_candidate_that_was_up_for_choice(tmp_path):
    text = written(compilation, compiled(incomplete="interrupted"), tmp_path, "compiled")
    assert text.startswith("# COPRO\n") and "> Incomplete: interrupted." in text
    assert "| 0 | uncompiled | 10 | 50.0% | 20.0% to 80.0% | 0 | 36 | $2.000 |" in text
    assert "| 1 (best) (found) | decompose: new instructions, 1 demos | 10 | 50.0% | 20.0% to 80.0% | 1 | 36 | $2.000 |" in text
    assert "\n| 2 " not in text and "1 further sets of prompts only wrote demos" in text
    assert (
        "70.0% (40.0% to 80.0%) compiled, 60.0% (40.0% to 80.0%) uncompiled; paired difference +10.0 points "
        "(95% interval -2.0 to +22.0; p = 0.1250: no difference can be shown)." in text
    )
    assert "Used in all: 1,036 calls, 324 input and 99 output tokens, without a known price." in text
    assert r"| 1 | q1 | &lt;script&gt;" in text
    assert "decompose, 1 demos:\n\n```text\nTake care.\n```" in text


def test_a_compilation_that_found_nothing_better_says_so(tmp_path):
    found = compiled(best="a", found=None)
    found["dev"]["comparison"] = None
    found["candidates"][0] |= {"validation": {"n": 0, "score": None, "ci95": None}, "train": {"n": 4, "score": 1.0, "ci95": [0.5, 1.0]}}
    # A compilation by an earlier version did not count how many questions a candidate answered.
    del found["candidates"][0]["answered"]
    text = written(compilation, found, tmp_path, "compiled")
    assert (
        "scores higher than the uncompiled program, which is what was saved." in text
        and "On 20 dev questions it has 60.0% (40.0% to 80.0%)." in text
    )
    assert "| 0 (best) | uncompiled | 4 train | 100.0% | 50.0% to 100.0% | 0 | n/a | n/a |" in text


def test_a_terminal_shows_every_kind_of_block_with_its_texts_as_they_are():
    question = Question("Who?", "A passage.", "Ann", [Reply("teacher", "wrong", [("Where?", "Oslo")], "Bob", ["error: none"])])
    blocks = [
        Text(HOSTILE, "warning"), Bullets(["one", HOSTILE]), Table(["", "[b]score[/b]"], [["a", "[red]1"]]), Picture("a.png", "Dots.", b""),
        Code("config.toml", "seed = 0\n"), question,
    ]  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    show(console, "The report", [Section("In short", blocks)])
    text = console.file.getvalue()
    assert text.startswith("The report\n\nIn short\n" + HOSTILE) and f"- {HOSTILE}\n" in text
    for part in (
        "[b]score[/b]",
        "[red]1",
        "Figure a.png: Dots.",
        "config.toml:\nseed = 0",
        "Reference answer: Ann",
        "- teacher: Bob (wrong)",
    ):
        assert part in text
    assert "    1. Where? → Oslo\n    - error: none" in text


def test_the_warnings_alone_are_shown_behind_a_table():
    console = Console(width=100, file=io.StringIO())
    show_warnings(console, [Section("In short", [Text(HOSTILE, "warning"), Text("plain"), Bullets(["one"])])])
    assert console.file.getvalue() == f"{HOSTILE}\n"


def test_a_narrow_terminal_cuts_nothing_off():
    console = Console(width=30, file=io.StringIO())
    show(console, "", [Section("", [Table(["training.learning_rate", "state"], [["0.001", "complete"]])])])
    text = console.file.getvalue()
    assert "complete" in text and "rate" in text and "…" not in text


@pytest.mark.parametrize(("width", "shown"), [(40, "- round 0, right answers 50%\n"), (80, "│ 0     │")])
def test_a_table_that_does_not_fit_the_terminal_is_a_line_a_row(width, shown):
    """Cells of three letters a line can be read by nobody."""
    console = Console(width=width, file=io.StringIO())
    table = Table(["round", "right answers", "a column of many words"], [["0", "50%", ""]], frozenset({0}))
    show(console, "Title", [Section("Rounds", [table])])
    assert shown in console.file.getvalue()


def test_a_terminal_shows_words_and_no_markdown(tmp_path):
    shown = io.StringIO()
    console = Console(file=shown, width=80)
    show(console, study.title(studied(0.5, 0.25)), study.sections(studied(0.5, 0.25), tmp_path / "a [b]"))
    show(console, improvement.title(improved()), improvement.sections(improved()))
    said = shown.getvalue()
    assert not re.search(r"^#|\|--|\*\*|\]\(|\\[\[*|]", said, re.MULTILINE), said
    assert "Trials" in said and "Rounds" in said and "a [b]/best.toml" in said.replace("\n", "")
