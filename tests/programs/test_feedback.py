"""The decomposer that sees the solver's first attempt: what it is told, what it costs, and how it is named."""

import json

import dspy
import pytest
from scripted import scripted_lm

from optimizers.conditions import TRAINED, parse_condition
from programs import FeedbackTwoStage, LineAdapter
from programs.signatures import DecomposeWithAttempt


def rule(prompt):
    if "Max subquestions" in prompt:
        return "Who is it?\nWhere is #1?"
    return "Ann\nRome\nAnswer: Rome" if "Subquestions:" in prompt else "Reasoning: Ann is in Oslo.\nAnswer: Oslo"


def program(**options):
    made = FeedbackTwoStage(**options)
    made.set_lm(scripted_lm(rule))
    return made


def test_the_decomposer_is_shown_the_attempt_and_the_solver_is_not():
    made = program(decomposer_sees_context=False)
    found = made(question="Where is she?", context="A passage.")
    attempt, decompose, solve = made.solve.lm.script.prompts
    assert "Attempt: Ann is in Oslo.\nAnswer: Oslo\n" in decompose and "A passage." not in decompose
    assert "Oslo" not in attempt and "Oslo" not in solve
    assert (found.attempt, found.answer, found.state) == ("Oslo", "Rome", "ok")
    assert {stage: usage["calls"] for stage, usage in found.usage.items()} == {"attempt": 1, "decompose": 1, "solve": 1}


async def test_both_ways_of_asking_agree():
    sync, made = program()(question="Where?", context="c"), program()
    found = await made.acall(question="Where?", context="c")
    assert found.toDict().keys() == sync.toDict().keys()
    assert (found.answer, found.subquestions) == (sync.answer, sync.subquestions)


def test_an_unreadable_attempt_is_shown_as_it_was():
    made = FeedbackTwoStage()
    made.set_lm(scripted_lm(lambda prompt: rule(prompt) if "ubquestions:" in prompt else "No idea at all"))
    assert made(question="Where?").attempt == "No idea at all"


def test_it_saves_and_loads(tmp_path):
    made = FeedbackTwoStage(adapters={"attempt": "line", "decompose": "line-terse"})
    made.save(tmp_path / "program.json")
    loaded = FeedbackTwoStage()
    loaded.load(tmp_path / "program.json")
    assert json.loads((tmp_path / "program.json").read_text())["adapters"] == {"attempt": "line", "decompose": "line-terse"}
    loaded.set_lm(scripted_lm(rule))
    assert type(loaded.adapter_of("decompose")).__name__ == "TerseLineAdapter"
    assert loaded(question="Where?").answer == "Rome"


def test_conditions_name_it_behind_the_decomposer():
    found = parse_condition("S_D-R(feedback)+teacher")
    assert found.with_feedback and found.students == ("S_D-R(feedback)",) and set(found.students) <= set(TRAINED)
    assert not parse_condition("S_D-R+teacher").with_feedback
    with pytest.raises(ValueError, match=r"teacher\(feedback\)"):
        parse_condition("teacher(hint)+teacher")


def test_the_prompt_has_every_field_once():
    inputs = {"context": "", "question": "Q?", "attempt": "Because.", "answer": "A", "max_subquestions": 3}
    content = LineAdapter().format(DecomposeWithAttempt, [], inputs)[-1]["content"]
    assert content == "Question: Q?\nAttempt: Because.\nAnswer: A\nMax subquestions: 3"
    assert isinstance(FeedbackTwoStage().decompose, dspy.Predict)
