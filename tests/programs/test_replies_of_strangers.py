"""Replies that somebody wrote who had seen neither parsers nor their tests: what a careful reader takes from each, in every format."""

import json
from pathlib import Path

import dspy
import pytest
from scripted import scripted_lm

from programs import TwoStage

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
        found, _ = program_of(adapter, case["reply"]).run_decompose(QUESTION)
        assert found.subquestions == case["subquestions"] and found.state in case["states"], adapter
