"""Few-shot examples of one's own, for both stages."""

import json

import dspy
import pytest

from programs.compiled.state import CompiledPrompts
from programs.modules import TwoStage
from tests.scripted import scripted_lm

GOOD = {"question": "How many legs have 2 cats?", "subquestions": ["How many legs has a cat?"], "sub_answers": ["4"], "answer": 8}
HALF = {"question": "Where was Ann's mother born?", "context": "Eve is Ann's mother.", "subquestions": ["Who is Ann's mother?"]}


def written(tmp_path, *lines):
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_both_stages_are_shown_the_examples_that_they_can_learn_from(tmp_path):
    lm = scripted_lm(lambda prompt: "How many cats?\nHow many legs?" if "Max subquestions" in prompt else "3 cats.\nAnswer: 12")
    program = TwoStage()
    CompiledPrompts.read(written(tmp_path, GOOD, "", HALF)).put_into(program)
    program.set_lm(lm)
    assert program(question="How many legs have 3 cats?").answer == "12"
    decompose, solve = [call["messages"] for call in lm.history]
    assert [turn["role"] for turn in decompose] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert decompose[4]["content"] == "Who is Ann's mother?"
    assert [turn["role"] for turn in solve] == ["system", "user", "assistant", "user"]
    assert solve[2]["content"] == "4\nAnswer: 8"


def test_a_question_is_never_shown_its_own_example(tmp_path):
    lm = scripted_lm(lambda prompt: "How many legs has a cat?" if "Max subquestions" in prompt else "4\nAnswer: 8")
    program = TwoStage()
    CompiledPrompts.read(written(tmp_path, GOOD)).put_into(program)
    program.set_lm(lm)
    program(question=GOOD["question"])
    assert [len(call["messages"]) for call in lm.history] == [2, 2]
    assert CompiledPrompts.read(tmp_path / "examples.jsonl").shown([dspy.Example(question=GOOD["question"], context="")])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "holds no example"),
        ("{", "line 1 is no JSON"),
        ("3", "line 1 is 3"),
        ({"question": "Who?"}, "lacks 'question' or 'subquestions'"),
        ({"question": " ", "subquestions": ["Who?"]}, "lacks 'question' or 'subquestions'"),
        ({"question": "Who?", "subquestions": "Who?"}, "'subquestions' is 'Who\\?'"),
        ({"question": "Who?", "subquestions": []}, "'subquestions' is \\[\\]"),
        ({"question": "Who?", "subquestions": ["Who?"], "answer": ["Eve"]}, "'answer' is \\['Eve'\\]"),
    ],
)
def test_what_is_no_example_is_said_with_its_line(tmp_path, line, told):
    with pytest.raises(ValueError, match=told):
        CompiledPrompts.read(written(tmp_path, line))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.jsonl"):
        CompiledPrompts.read(tmp_path / "nowhere.jsonl")
