"""A reused line bears the score of today's rule, and costs no call."""

import json

import dspy
import pytest
from scripted import scripted_lm

from optimizers.evaluation.evaluate import Asking, UnansweredError, ask_all, evaluate
from programs import SingleStage
from programs.tasks.base import ScaleError, Score, Task


class Ruled(Task):
    """Judges by whatever rule it is given."""

    name = "ruled"
    summary = "for tests"

    def __init__(self, rule):
        self.rule = rule

    def load(self, split, limit=None):
        return [dspy.Example(id=str(n), question=f"q{n}?", context="", answer="18").with_inputs("question", "context") for n in range(3)]

    def score(self, example, prediction):
        return self.rule(prediction.answer)


def program(asked):
    def rule(prompt):
        asked.append(prompt)
        return "Answer: 1.8"

    made = SingleStage()
    made.set_lm(scripted_lm(rule))
    return made


def scored(path, rule, asked):
    task = Ruled(rule)
    return evaluate(program(asked), task, task.load("test"), out=path, threads=1)


def test_a_reused_line_is_scored_by_todays_rule(tmp_path):
    asked = []
    before = scored(tmp_path / "a.jsonl", lambda answer: Score(1.0), asked)
    assert [line["score"] for line in before] == [1, 1, 1] and len(asked) == 3
    after = scored(tmp_path / "a.jsonl", lambda answer: Score(0.0, "another number", {"em": 0.0}), asked)
    assert [(line["score"], line["detail"], line["measures"]) for line in after] == [(0, "another number", {"em": 0.0})] * 3
    assert len(asked) == 3
    lines = len((tmp_path / "a.jsonl").read_text().splitlines())
    assert scored(tmp_path / "a.jsonl", lambda answer: Score(0.0, "another number", {"em": 0.0}), asked) == after
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == lines


def test_a_rule_that_raises_today_is_a_failed_line_and_ends_nothing(tmp_path):
    def broken(answer):
        raise KeyError("gone")

    asked = []
    scored(tmp_path / "a.jsonl", lambda answer: Score(1.0), asked)
    after = scored(tmp_path / "a.jsonl", broken, asked)
    assert [line["score"] for line in after] == [None] * 3 and all("gone" in line["error"] for line in after)


def test_a_scale_of_its_own_ends_the_job(tmp_path):
    """Of a judge's scale from 1 to 5 the worst answers alone would be right, and all others missing."""
    with pytest.raises(ScaleError, match=r"`score` of task 'ruled' returned 5. A score is a number from 0 to 1, where 1 is right, not 5"):
        scored(tmp_path / "a.jsonl", lambda answer: 5, [])


def test_a_scorer_that_fails_on_every_answer_ends_the_job_and_the_next_call_scores_them(tmp_path):
    def broken(answer):
        raise KeyError("gone")

    task = Ruled(broken)
    made = program([])
    with pytest.raises(UnansweredError, match=r"None of the 3 questions that were asked has .*: score: KeyError: 'gone'"):
        ask_all([Asking(made, task, task.load("test"), tmp_path / "a.jsonl")], 1, stops=True)
    task.rule = lambda answer: 1.0
    ask_all([Asking(made, task, task.load("test"), tmp_path / "a.jsonl")], 1, stops=True)
    assert [line["score"] for line in evaluate(made, task, task.load("test"), out=tmp_path / "a.jsonl")] == [1, 1, 1]


class LMServerError(Exception):
    """As DSPy's of a server that is away."""


def test_a_judge_that_is_away_takes_no_score_back(tmp_path):
    def away(answer):
        raise LMServerError("503")

    before = scored(tmp_path / "a.jsonl", lambda answer: 1.0, [])
    assert scored(tmp_path / "a.jsonl", away, []) == before


def test_an_answer_that_cannot_be_scored_stays_in_its_line(tmp_path):
    def broken(answer):
        raise KeyError("gone")

    lines = scored(tmp_path / "a.jsonl", broken, [])
    assert [(line["answer"], line["score"], line["state"]) for line in lines] == [("1.8", None, "ok")] * 3
    assert all(line["error"] == "score: KeyError: 'gone'" and line["usage"] for line in lines)


def test_what_was_scored_before_a_wrong_scale_is_kept(tmp_path):
    given = iter([1.0, 0.5, 5])
    with pytest.raises(ScaleError, match="Question '2': `score` of task 'ruled' returned 5"):
        scored(tmp_path / "a.jsonl", lambda answer: next(given), [])
    kept = [line["score"] for line in map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())]
    assert kept == [1.0, 0.5]
