"""Replies that somebody wrote who had seen neither parsers nor their tests: what a careful reader takes from each, in every format."""

import json
from pathlib import Path

import dspy
import pytest
from scripted import scripted_lm

from programs import SingleStage, TwoStage
from programs.tasks._answers import unwrapped
from programs.tasks._asked_numbers import asked_number
from programs.tasks._numbers import number
from programs.tasks.base import exact_match

ADAPTERS = ("line", "chat", "json")
QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)


def cases(name):
    path = Path(__file__).parent / "replies" / name
    with path.open(encoding="utf-8") as lines:
        return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


def program_of(adapter, reply):
    made = dspy.JSONAdapter() if adapter == "json" else adapter
    program = TwoStage(adapters={"decompose": made, "solve": made})
    program.set_lm(scripted_lm(lambda prompt: reply))
    return program


@pytest.mark.parametrize("case", cases("decompositions.jsonl"))
def test_decompositions(case):
    for adapter in ADAPTERS:
        found, _ = program_of(adapter, case["reply"]).run_decompose(case.get("question", QUESTION))
        assert found.subquestions == case["subquestions"] and found.state in case["states"], adapter


def answered(stage, adapter, reply, question):
    made = dspy.JSONAdapter() if adapter == "json" else adapter
    if stage == "solve":
        return program_of(adapter, reply).run_solve(question, "", ["How many in May?", "How many in both?"])[0]
    program = SingleStage(chain_of_thought=stage == "reason", short=stage == "short", adapters={"answer": made})
    program.set_lm(scripted_lm(lambda prompt: reply))
    return program(question=question)


def is_right(found, case):
    if case["is_number"]:
        return asked_number(unwrapped(found.answer), case.get("question", QUESTION)) == number(case["answer"])
    return exact_match(found.answer, [case["answer"]]).value == 1.0


@pytest.mark.parametrize("case", cases("answers.jsonl"))
def test_answers(case):
    """Read alike by one stage and by two, or a difference between them would be one of the format."""
    for stage in case["stages"]:
        for adapter in ADAPTERS:
            found = answered(stage, adapter, case["reply"], case.get("question", QUESTION))
            read = not found.unparsed
            assert (read and is_right(found, case)) if case["answer"] is not None else not read, (stage, adapter, found.answer)
