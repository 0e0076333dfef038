"""The line format: what is rendered, and what is read back from untidy replies."""

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given
from hypothesis import strategies as st

from programs.adapter import LineAdapter, TerseLineAdapter, adapter_by_name, adapter_name
from programs.signatures import Answer, Decompose, Solve

SUBQUESTIONS = ["Who is the mother of Julia Reed?", "Where was #1 born?"]
REASONED = dspy.ChainOfThought(Answer).predict.signature
words = (
    st.text(st.sampled_from("abcdefgh ijklmnop?#'"), min_size=1)
    .map(lambda text: " ".join(text.split()))
    .filter(
        lambda text: text not in ("", "model")  # the name of a turn
    )
)


def read(signature, reply):
    return LineAdapter().parse(signature, reply)


@pytest.mark.parametrize(
    "reply",
    [
        "Who is the mother of Julia Reed?\nWhere was #1 born?",
        "1. Who is the mother of Julia Reed?\n2. Where was #1 born?\n",
        "1) Who is the mother of Julia Reed?\n\n2) Where was #1 born?\n\n",
        "- Who is the mother of Julia Reed?\n* Where was #1 born?",
        "Subquestions:\n• Who is the mother of Julia Reed?\n• Where was #1 born?",
        "Subquestion 1: Who is the mother of Julia Reed?\nSubquestion 2: Where was #1 born?",
        "```\nWho is the mother of Julia Reed?\nWhere was #1 born?\n```",
        "**Subquestions:**\n(1) Who is the mother of Julia Reed?\n(2) Where was #1 born?",
    ],
)
def test_numbering_bullets_blank_lines_and_fences_are_read_past(reply):
    assert read(Decompose, reply) == {"subquestions": SUBQUESTIONS}


@pytest.mark.parametrize(
    "reply",
    [
        "Mary Hill\nRockford\nAnswer: Rockford",
        "1. Mary Hill\n2. Rockford\n\n**Answer:** Rockford",
        "Sub answers:\nMary Hill\nRockford\nThe final answer is: Rockford",
        "Mary Hill\nRockford\nSo the answer is: Rockford\n",
    ],
)
def test_answer_is_found_under_the_names_that_models_give_it(reply):
    assert read(Solve, reply) == {"sub_answers": ["Mary Hill", "Rockford"], "answer": "Rockford"}


def test_a_solver_without_subquestions_answers_at_once():
    assert read(Solve, "Answer: Rockford") == {"sub_answers": [], "answer": "Rockford"}


def test_single_output_may_stand_bare_or_labelled():
    assert read(Answer, "Rockford\n") == read(Answer, "Answer: Rockford") == {"answer": "Rockford"}


@pytest.mark.parametrize(("signature", "reply"), [(Solve, "Mary Hill\nRockford"), (Answer, "  \n"), (REASONED, "because"), (Decompose, "")])
def test_what_cannot_be_read_is_an_error_that_carries_the_reply(signature, reply):
    with pytest.raises(AdapterParseError) as caught:
        read(signature, reply)
    assert caught.value.lm_response == reply


def test_empty_inputs_take_no_prompt():
    messages = LineAdapter().format(Decompose, [], {"context": "", "question": "Why?", "max_subquestions": 3})
    assert messages[-1]["content"] == "Question: Why?\nMax subquestions: 3"


def test_terse_prompt_is_the_same_but_for_the_instructions():
    inputs = {"context": "c", "question": "q?", "subquestions": ["a?"]}
    full, terse = LineAdapter().format(Solve, [], inputs), TerseLineAdapter().format(Solve, [], inputs)
    assert full[1:] == terse[1:]
    assert terse[0]["content"] == "Sub answers then Answer"


class Described(dspy.Signature):
    """Find the price."""

    question: str = dspy.InputField()
    reasoning: str = dspy.OutputField()
    parts: list[str] = dspy.OutputField(desc="each with its price")
    answer: str = dspy.OutputField(desc="in dollars")


def test_the_form_of_a_reply_says_what_the_signature_says_of_its_fields():
    form = LineAdapter().format_system_message(Described).splitlines()[-1]
    assert form.startswith("Reply with the reasoning, step by step, then 'Parts: ...' with one per line (each with its price), ")
    assert form.endswith("then 'Answer: ...' (in dollars).")
    form = LineAdapter().format_system_message(Solve).splitlines()[-1]
    assert form == "Reply with the reasoning, step by step, then 'Answer: ...' (the final answer to the question itself, alone)."
    form = LineAdapter().format_system_message(Decompose).splitlines()[-1]
    assert form == "Reply with the subquestions only, one per line."
    form = LineAdapter().format_system_message(dspy.Signature("question -> steps: list[str], answer")).splitlines()[-1]
    assert form.startswith("Reply with the steps, one below the other. Then work out the answer")
    assert TerseLineAdapter().format_system_message(Described) == "Reasoning then Parts then Answer"


def test_demos_become_turns_of_the_chat():
    demo = {"context": "", "question": "q?", "max_subquestions": 3, "subquestions": ["a?", "b?"]}
    messages = LineAdapter().format(Decompose, [demo], {"context": "", "question": "r?", "max_subquestions": 3})
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == "a?\nb?"


@given(st.lists(words, max_size=5), words)
def test_what_is_written_is_read_back(sub_answers, answer):
    outputs = {"sub_answers": [item for item in sub_answers if read(Decompose, item)["subquestions"] == [item]], "answer": answer}
    reply = LineAdapter().format_assistant_message_content(Solve, outputs)
    assert read(Solve, reply) == outputs


@given(st.text())
def test_any_text_is_read_or_refused_as_unparseable(reply):
    for signature in (Decompose, Solve, Answer, REASONED):
        try:
            values = read(signature, reply)
        except AdapterParseError:
            continue
        assert values.keys() == signature.output_fields.keys()


def test_other_field_types_are_converted_or_refused():
    signature = dspy.Signature("question -> count: int, reason: str")
    assert read(signature, "Count: 3\nReason: because") == {"count": 3, "reason": "because"}
    with pytest.raises(AdapterParseError):
        read(signature, "Count: many\nReason: because")


def test_adapters_go_by_name():
    assert [adapter_name(adapter_by_name(name)) for name in ("line", "line-terse", "chat", "json")] == [
        "line",
        "line-terse",
        "chat",
        "json",
    ]
    with pytest.raises(ValueError, match="expected one of"):
        adapter_by_name("xml")
