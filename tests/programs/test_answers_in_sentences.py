"""Answers of LLMs that leave the label out and repeat the question, as Qwen2.5-Coder-0.5B does by chain of thought (docs/log.md)."""

import json
from pathlib import Path

import dspy
import pytest
from scripted import scripted_lm

from programs import SingleStage, TwoStage
from programs.tasks.scorers import scorer_by_name

ADAPTERS = ("line", "chat", "json")
TOLD = [
    (
        "What language is spoken in the country whose capital is Lisbon?", "Portuguese",
        "The language spoken in the country whose capital is Lisbon is Portuguese.",
    ),
    ("Who is the manager of Milo's manager?", "Hassan", "The manager of Milo's manager is Hassan."),
    ("In which city does Milo's manager's manager sit?", "Vienna", "Based on the given context, Milo's manager's manager sits in Vienna."),
    ("What does the office that Boris leads sell?", "valves", "Based on the context, Boris leads the Lyon office. Lyon sells valves."),
    ("Is the customer still covered by the warranty?", "no", "No, the customer is not covered by the warranty. It lasts two years."),
    ("On which day of the week does the clay arrive?", "Wednesday", "The clay arrives on Wednesdays."),
    ("Which glaze contains cobalt?", "Harbour", "Yes, Harbour contains cobalt."),
]  # fmt: skip
WRONG = [
    ("What is the capital of the country where Kyoto lies?", "Tokyo", "The capital of the country where Kyoto lies is Kyoto."),
    ("Who is the contact of the customer in Norwich?", "Tom", "Based on the text, the contact of the customer in Norwich is Xenia."),
    ("Who won the race in Rome?", "James", "James' son won the race in Rome."),
    ("What does the office that Anna leads sell?", "pumps", "Based on the context, the office that Anna leads sells is Hamburg."),
]  # fmt: skip
UNREAD = [
    ("How many mugs were whole?", "To find how many mugs were whole, we need to take away a quarter."),
    ("How many mugs were whole?", "How many mugs were whole"),
    ("How many mugs were whole?", "I cannot say how many mugs were whole."),
    ("How many mugs were whole?", "It does not say in the text how many mugs were whole, and mugs break."),
    ("How many mugs were whole?", "60 mugs were ordered.\nA quarter of the mugs was broken and the others were whole."),
    ("How many mugs were whole?", "The shop opens at nine."),
]


def asked(form, adapter, question, reply):
    made = dspy.JSONAdapter() if adapter == "json" else adapter
    if form == "two":
        program = TwoStage(adapters={"decompose": made, "solve": made})
        program.set_lm(scripted_lm(lambda prompt: reply))
        return program.run_solve(question, "", ["Which one?"])[0]
    program = SingleStage(chain_of_thought=True, adapters={"answer": made})
    program.set_lm(scripted_lm(lambda prompt: reply))
    return program(question=question)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("form", ["one", "two"])
@pytest.mark.parametrize(("question", "gold", "reply", "right"), [*[(*case, 1) for case in TOLD], *[(*case, 0) for case in WRONG]])
def test_a_sentence_that_repeats_the_question_is_read_and_judged(form, adapter, question, gold, reply, right):
    found = asked(form, adapter, question, reply)
    assert not found.unparsed
    assert scorer_by_name("short")(dspy.Example(question=question, answer=gold), found).value == right


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("form", ["one", "two"])
@pytest.mark.parametrize(("question", "reply"), UNREAD)
def test_plans_refusals_and_other_talk_are_no_answers(form, adapter, question, reply):
    assert asked(form, adapter, question, reply).unparsed


def judged_cases():
    path = Path(__file__).parent / "replies" / "sentences.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_day_of_the_week_may_stand_in_the_plural():
    score = scorer_by_name("short")
    found = [score(dspy.Example(question="When?", answer="Monday"), dspy.Prediction(answer=answer)).value for answer in ("Mondays", "Mon")]
    assert found == [1, 0]


def judged(case):
    return scorer_by_name("short")(dspy.Example(question=case["question"], answer=case["gold"]), dspy.Prediction(answer=case["answer"]))


def test_no_wrong_answer_that_names_the_reference_is_taken_for_right():
    """Written to mislead, by somebody who had not seen the scorer: half are right, and tell so in ways that hardly repeat the question."""
    cases = judged_cases()
    assert [case for case in cases if not case["right"] and judged(case).value == 1] == []
    assert sum(case["right"] and judged(case).value == 1 for case in cases) >= 36


def test_what_the_rule_may_have_missed_is_bounded():
    right = [case for case in judged_cases() if case["right"]]
    assert sum(judged(case).measures["contains"] == 1 for case in right) >= 0.7 * len(right)
