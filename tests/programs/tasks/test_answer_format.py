"""What a solver is told about the form of its answer follows from how the answer is judged."""

import json

import dspy
import pytest

from programs.modules import SingleStage, TwoStage, with_answer_format
from programs.tasks import load_task
from programs.tasks.scorers import NUMBER_ALONE


def rows_at(folder, answer):
    (folder / "rows.jsonl").write_text("".join(json.dumps({"question": f"q{i}?", "answer": answer}) + "\n" for i in range(10)))
    return folder / "rows.jsonl"


def test_a_task_of_numbers_asks_for_the_number_alone(tmp_path):
    task = load_task("gsm8k", path="shipped")
    told = with_answer_format(TwoStage(), task)
    assert told.solve.signature.instructions.endswith(NUMBER_ALONE) and NUMBER_ALONE not in told.decompose.signature.instructions
    assert load_task("jsonl", path=rows_at(tmp_path, "7"), scorer="number").answer_format == NUMBER_ALONE
    assert load_task("jsonl", path=rows_at(tmp_path, "Rome"), scorer="exact").answer_format == ""


@pytest.mark.parametrize("made", [SingleStage, lambda: SingleStage(chain_of_thought=True), lambda: SingleStage(short=True)])
def test_baselines_are_told_the_same(made):
    """A baseline that answers in a sentence where the other one was asked for a number would be scored too low."""
    program = with_answer_format(made(), load_task("gsm8k", path="shipped"))
    assert program.predictors()[0].signature.instructions.endswith(NUMBER_ALONE)


def test_a_sentence_with_two_numbers_is_why():
    task = load_task("gsm8k", path="shipped")
    example = dspy.Example(question="How far is John?", context="", answer="395")
    assert task.score(example, dspy.Prediction(answer="John is 395 miles from home after 4 hours.")).value == 0
    assert task.score(example, dspy.Prediction(answer="395")).value == 1
