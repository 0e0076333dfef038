"""Evaluation line by line, with scripted LMs: failures are counted, and a killed evaluation goes on."""

import json

import dspy
import pytest
from scripted import scripted_lm, two_stage_rule

from optimizers.evaluation.evaluate import evaluate, summarise
from optimizers.jobs.jsonlines import read_lines
from programs import TwoStage
from programs.tasks.base import Score, Task


class Capitals(Task):
    name = "capitals"
    summary = "for tests"

    def load(self, split, limit=None):
        return [
            dspy.Example(id=str(i), question=f"q{i}?", context="", answer="Rome").with_inputs("question", "context") for i in range(limit)
        ]

    def score(self, example, prediction):
        return Score.unscored("no gold") if example.id == "4" else super().score(example, prediction)


def program(rule=two_stage_rule):
    made = TwoStage()
    made.set_lm(scripted_lm(rule))
    return made


def test_a_line_a_question_in_order(tmp_path):
    task = Capitals()
    seen = []
    lines = evaluate(program(), task, task.load("test", 6), out=tmp_path / "a.jsonl", threads=3, progress=lambda *a: seen.append(a))
    assert [line["id"] for line in lines] == list("012345")
    assert sorted(line["id"] for line in read_lines(tmp_path / "a.jsonl")) == list("012345")
    assert seen[-1][:2] == (6, 6)
    summary = summarise(lines)
    assert (summary["n"], summary["scored"], summary["score"], summary["failed"]) == (6, 5, 1.0, 0)
    assert summary["states"]["ok"] == 6
    assert summary["decompose"]["calls"] == 6


def test_a_reply_without_an_answer_is_wrong_and_a_failed_call_is_neither(tmp_path):
    def rule(prompt):
        if "q1?" in prompt and "Subquestions" in prompt:
            return "I would rather not"
        if "q2?" in prompt:
            return RuntimeError("the line is dead")
        return two_stage_rule(prompt)

    lines = evaluate(program(rule), Capitals(), Capitals().load("test", 4), out=tmp_path / "a.jsonl")
    assert [line["score"] for line in lines] == [1.0, 0.0, None, 1.0]
    summary = summarise(lines)
    assert (summary["failed"], summary["unparsed"]) == (1, 1)
    assert (summary["scored"], summary["score"]) == (3, pytest.approx(2 / 3))


def test_finished_questions_are_not_asked_again_and_failed_ones_are(tmp_path):
    out = tmp_path / "a.jsonl"
    examples = Capitals().load("test", 4)
    evaluate(program(lambda prompt: RuntimeError() if "q2?" in prompt else two_stage_rule(prompt)), Capitals(), examples, out=out)
    second = program()
    lines = evaluate(second, Capitals(), examples, out=out)
    assert [line["score"] for line in lines] == [1.0] * 4
    assert {prompt.split("?")[0] for prompt in second.solve.lm.script.prompts} == {"Question: q2"}


def test_a_torn_last_line_is_asked_again(tmp_path):
    out = tmp_path / "a.jsonl"
    examples = Capitals().load("test", 3)
    evaluate(program(), Capitals(), examples, out=out, threads=1)
    out.write_text(out.read_text()[:-40])
    lines = evaluate(program(), Capitals(), examples, out=out)
    assert len(lines) == 3
    assert all(json.loads(line) for line in out.read_text().splitlines())


def test_garbage_in_the_middle_is_an_error_that_names_the_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1}\nnonsense\n{"id": 2}\n')
    with pytest.raises(ValueError, match="line 2"):
        list(read_lines(tmp_path / "a.jsonl"))
