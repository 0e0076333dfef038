"""One question at the command line's `ask`: what is told while it waits."""

import pytest
from scripted import scripted_lm

from optimizers.ask import ask_once


@pytest.fixture
def scripted(monkeypatch):
    replies = {"embedded/base": "Who is the mother of Ann?\nWhere was #1 born?", "embedded/teacher": "Mary\nRome\nAnswer: Rome"}
    monkeypatch.setattr("optimizers.ask.lm", lambda name: scripted_lm(lambda prompt: replies[name], model=f"openai/{name}"))


def test_each_stage_says_whom_it_waits_for(scripted):
    told = []
    found = ask_once("Where was the mother of Ann born?", decomposer="embedded/base", progress=lambda *words: told.append(words))
    assert (found.subquestions, found.answer) == (["Who is the mother of Ann?", "Where was #1 born?"], "Rome")
    assert told == [
        ("decompose", 0, 1, "waiting for openai/embedded/base"),
        ("decompose", 1, 1, ""),
        ("solve", 0, 1, "waiting for openai/embedded/teacher"),
        ("solve", 1, 1, ""),
    ]


def test_nothing_is_shown_by_default(scripted, capsys):
    assert ask_once("Where was the mother of Ann born?").answer == "Rome"
    assert capsys.readouterr() == ("", "")
