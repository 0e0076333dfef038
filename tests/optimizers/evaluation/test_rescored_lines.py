"""A reused line bears the score of today's rule."""

import json
from types import SimpleNamespace

import dspy

from optimizers.evaluation.evaluate import _rescored
from programs.tasks.base import Score


def test_a_reused_line_is_scored_by_todays_rule() -> None:
    example = dspy.Example(id="1", question="q", context="", answer="18")
    task = SimpleNamespace(name="scripted", score=lambda _, prediction: Score(float(prediction.answer == "18")))
    line = {"id": "1", "answer": "17", "score": 1.0, "detail": "", "measures": {}, "error": None}
    again = _rescored(task, example, json.loads(json.dumps(line)))
    assert again is not None and again["score"] == 0.0
    assert _rescored(task, example, again) is again
