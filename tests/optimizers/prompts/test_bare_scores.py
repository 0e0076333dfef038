"""A task of somebody else's, whose `score` gives what a metric of DSPy's does, wherever answers are scored."""

import json
import math

import dspy
import numpy as np
import pytest
import torch

from optimizers.finetune.rewards import scored
from optimizers.prompts.candidates import Candidate, Watch
from optimizers.studies.guarded_task import GuardedTask
from programs.lms.ledger import Ledger
from programs.tasks import mixture
from programs.tasks.base import Task, score_of, scorer_of
from programs.tasks.metrics import check_metric, score_by


class Bare(Task):
    """Gives no `Score`."""

    name = "bare"
    summary = "for tests"

    def __init__(self, given):
        self.given = given

    def load(self, split, limit=None):
        return [dspy.Example(id="a", question="q?", context="", answer="18", part="one").with_inputs("question", "context")]

    def score(self, example, prediction):
        return self.given


BARE = [
    (True, 1.0),
    (0.5, 0.5),
    (np.bool_(True), 1.0),
    (np.float32(0.5), 0.5),
    (np.array([0.5]), 0.5),
    (torch.tensor(0.5), 0.5),
    (torch.tensor([0.5]), 0.5),
    (dspy.Prediction(score=0.25, feedback="Name the unit."), 0.25),
]


@pytest.mark.parametrize(("given", "value"), BARE)
def test_a_score_that_is_none_counts_everywhere(given, value, tmp_path, monkeypatch):
    task = Bare(given)
    [example], answer = task.load("train"), dspy.Prediction(answer="18")
    assert scored(task, example, answer) == task.metric(example, answer) == value
    assert scorer_of(task.metric)(example, answer).value == score_of(GuardedTask(task, {}), example, answer).value == value
    monkeypatch.setattr(mixture.Mixture, "__init__", lambda self: setattr(self, "parts", {"one": task}))
    assert mixture.Mixture().score(example, answer).value == value
    watch = Watch(task, {"validation": [example]}, ["decompose"], Ledger(), tmp_path / "evaluations.jsonl")
    answer._watched = (Candidate("key", 0, {}), None)
    assert watch.metric(example, answer) == value
    watch.close()
    [line] = map(json.loads, (tmp_path / "evaluations.jsonl").read_text().splitlines())
    assert (line["score"], line["failure"]) == (value, None)


def test_gepa_is_told_what_the_scorer_says(tmp_path):
    task = Bare(dspy.Prediction(score=0.25, feedback="Name the unit."))
    [example], answer = task.load("train"), dspy.Prediction(answer="18", subquestions=[], state="ok")
    watch = Watch(task, {"validation": [example]}, ["decompose"], Ledger(), tmp_path / "evaluations.jsonl")
    told = watch.feedback(example, answer, pred_name="solve.predict").feedback
    watch.close()
    assert told.startswith("The final answer '18' has a score of 0.25; the reference answer is '18'. The scorer says: Name the unit.")


def test_a_module_is_a_metric_by_what_its_forward_takes():
    class Judge(dspy.Module):
        def forward(self, gold, pred, trace, pred_name, pred_trace):
            return dspy.Prediction(score=0.5)

    class Short(dspy.Module):
        def forward(self, example):
            return True

    check_metric(Judge())
    assert score_by(Judge(), dspy.Example(), dspy.Prediction()).value == 0.5
    with pytest.raises(ValueError, match="takes 1 arguments"):
        check_metric(Short())


def test_none_is_no_judgement():
    task = Bare(None)
    [example], answer = task.load("train"), dspy.Prediction(answer="18")
    assert scored(task, example, answer) is None and task.metric(example, answer) == 0.0
    assert math.isnan(score_of(task, example, answer).value)


def test_several_numbers_are_no_score():
    task = Bare(np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match=r"`score` of task 'bare' returned array\(\[0.5, 1. \]\); expected a bool, a number from 0 to 1"):
        score_of(task, task.load("train")[0], dspy.Prediction(answer="18"))
