"""Replies as untrained models write them: each is read as fairly by one stage as by two, and thoughts are no answer."""

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from scripted import scripted_lm

from programs import Answer, SingleStage, Solve, TwoStage
from programs.adapter import LineAdapter, TerseLineAdapter
from programs.replies import json_fields, read_lines, unmarked
from programs.signatures import Decompose
from programs.turns import without_thoughts

REASONED = dspy.ChainOfThought(Answer).predict.signature

ANSWERS = {
    "Answer: 18": "18",
    "**Answer: 12.5**": "12.5",
    "**Answer:** 12.5": "12.5",
    "**Answer:** **12.5**": "12.5",
    "**Answer**: 12.5": "12.5",
    "Answer: **12.5**": "12.5",
    "* Answer: 12.5": "12.5",
    "- **Final Answer:** 12.5": "12.5",
    "_Answer: 12.5_": "12.5",
    "__Answer:__ 12.5": "12.5",
    "Answer: **12.5** dollars": "12.5 dollars",
    "Answer: 2**3**2": "2**3**2",
    "Answer: C*": "C*",
    "Answer: __init__": "__init__",
    "Answer: - 4": "- 4",
    "Answer: 3. Mai 1990": "3. Mai 1990",
    "Answer: `18`": "18",
    "Answer: $18": "$18",
    "Answer: $18$": "18",
    "Answer: \\(18\\)": "18",
    "Answer (in dollars): 18": "18",
    "Answer = 18": "18",
    "Answer：18": "18",
    "My final answer: 18": "18",
    "### Answer\n18": "18",
    "## Final answer\n\n18": "18",
    "### Answer:\n18": "18",
    "**Answer**\n18": "18",
    "**Final Answer**\n\n**18**": "18",
    "Answer\n18": "18",
    "The answer is 18": "18",
    "The answer is 18.": "18",
    "The answer is 12.5.": "12.5",
    "The answer is **18**.": "18",
    "The answer is: 18": "18",
    "So, the final answer is:\n\n18": "18",
    "Therefore, the correct answer would be 18.": "18",
    "The answer to the question is Washington, D.C.": "Washington, D.C.",
    "The answer is Dr. Smith.": "Dr. Smith",
    "The answer is 18. I hope this helps!": "18",
    "The answer is 18. Janet sells eggs.": "18",
    "The answer is $\\boxed{18}$.": "18",
    "\\[ \\boxed{\\text{Rome}} \\]": "Rome",
    "Final: \\boxed{\\frac{1}{2}}": "\\frac{1}{2}",
    "#### 18": "18",
    '{"answer": "18"}': "18",
    '{"answer": 18}': "18",
    '{"answer": 12.50}': "12.50",
    '```json\n{"answer": "18"}\n```': "18",
    "{'answer': '18',}": "18",
    '{"final_answer": "18"}': "18",
    '{"reasoning": "9 * 2 = 18", "answer": "18"}': "18",
    '{"answer": ["Chiefs", "Raiders"]}': "Chiefs\nRaiders",
    "<think>Is the answer 20? Answer: 20</think>\nAnswer: 18": "18",
    "Hm.\n</think>\n\nAnswer: 18": "18",
}

TALK = ("", "Nine times two is 18.\n", "Let us see. If the answer is 5, Janet has none.\n\n1. 9 * 2 = 18\n2. We are done.\n\n")


@pytest.mark.parametrize("talk", TALK, ids=("bare", "a line", "a list"))
@pytest.mark.parametrize("reply", ANSWERS)
def test_one_stage_reads_an_answer_as_two_do(reply, talk):
    found = {
        name: LineAdapter().parse(signature, talk + reply)["answer"]
        for name, signature in (("direct", Answer), ("reasoned", REASONED), ("two stages", Solve))
    }
    assert found == dict.fromkeys(found, ANSWERS[reply])


@pytest.mark.parametrize("reply", ["18", "3. Mai 1990", "- 4", "-4", "x < 3", "No, it isn't.", "2 * 3 * 4", "C#", "{1, 2}", "[1, 2]", "#1"])
def test_a_bare_answer_stays_whole(reply):
    assert LineAdapter().parse(Answer, reply) == {"answer": reply}


@pytest.mark.parametrize(
    "reply",
    ["because", "The answer is not 18", "I do not know what the answer is.", "Answer:", "{}", '{"answer": null}', "<think>Answer: 18"],
)
def test_what_gives_no_answer_is_unparsed_in_one_stage_too(reply):
    for signature in (REASONED, Solve):
        with pytest.raises(AdapterParseError):
            LineAdapter().parse(signature, reply)


async def test_chain_of_thought_without_labels_is_answered_and_its_thoughts_are_the_reasoning():
    program = SingleStage(chain_of_thought=True)
    program.set_lm(scripted_lm(lambda prompt: "Nine times two is 18.\nThe answer is 18."))
    for found in (program(question="q?"), await program.acall(question="q?")):
        assert (found.answer, found.reasoning, found.unparsed) == ("18", "Nine times two is 18.", False)


THOUGHTS = {
    "<think>Who is it? Where is #1?</think>\nWho is he?": "Who is he?",
    "<think>\nA?\n</think>\n\n<think>B?</think>Who is he?": "Who is he?",
    "<think>a <think>b</think> c?</think>Who is he?": "Who is he?",
    "A? B?\n</think>\nWho is he?": "Who is he?",
    "<THINK>A?</THINK>Who is he?": "Who is he?",
    "<thinking>A?</thinking>Who is he?": "Who is he?",
    "[THINK]A?[/THINK]Who is he?": "Who is he?",
    "◁think▷A?◁/think▷Who is he?": "Who is he?",
    "<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>Who is he?<|return|>": "Who is he?",
    "<think>Who is it? Where is": "",
    "Who is he?\n<think>B? And": "Who is he?",
    "Is 3 < 4? I think so.": "Is 3 < 4? I think so.",
}


@pytest.mark.parametrize("reply", THOUGHTS)
def test_thoughts_are_taken_out(reply):
    assert without_thoughts(reply) == THOUGHTS[reply]


def name_of(adapter):
    """A name that is the same in every process."""
    return adapter if isinstance(adapter, str) else type(adapter).__name__


class OwnAdapter(dspy.ChatAdapter):
    """A user's adapter."""


@pytest.mark.parametrize(
    "adapter",
    ["line", "line-terse", "chat", dspy.JSONAdapter(), dspy.XMLAdapter(), OwnAdapter(use_json_adapter_fallback=False)],
    ids=name_of,
)
async def test_thoughts_are_no_subquestions_in_any_format(adapter):
    class Written(dspy.Signature):
        question: str = dspy.InputField()
        subquestions: list[str] = dspy.OutputField()

    forms = {
        dspy.XMLAdapter: '<subquestions>["Who is he?"]</subquestions>',
        dspy.JSONAdapter: '{"subquestions": ["Who is he?"]}',
        LineAdapter: "Who is he?",
        TerseLineAdapter: "Who is he?",
    }
    program = TwoStage(adapters={"decompose": adapter, "solve": "line"})
    text = forms.get(type(program.adapter_of("decompose")), '[[ ## subquestions ## ]]\n["Who is he?"]\n\n[[ ## completed ## ]]')
    thought = f"<think>{text.replace('Who is he?', 'Is it Rome?')}\nOr Paris?</think>\n"
    program.set_lm(scripted_lm(lambda prompt: "Answer: Rome" if "Subquestions:\n" in prompt else thought + text))
    for found in (program(question="q?"), await program.acall(question="q?")):
        assert (found.subquestions, found.state) == (["Who is he?"], "ok")


@pytest.mark.parametrize("chain_of_thought", [True, False])
def test_a_reply_of_thoughts_alone_is_no_answer(chain_of_thought):
    program = SingleStage(chain_of_thought=chain_of_thought)
    program.set_lm(scripted_lm(lambda prompt: "<think>Is it Rome? It may be"))
    found = program(question="q?")
    assert (found.answer, found.unparsed) == ("", True)
    two = TwoStage()
    two.set_lm(scripted_lm(lambda prompt: "<think>Is it Rome? It may be"))
    found = two(question="q?")
    assert (found.subquestions, found.state, found.lines, found.answer) == ([], "unparseable", [], "")


QUESTIONS = ["Who is the mother of Julia Reed?", "Where was #1 born?"]
LISTS = [
    '["{}", "{}"]',
    '```json\n["{}", "{}"]\n```',
    '{{"subquestions": ["{}", "{}"]}}',
    '```json\n{{"subquestions": ["{}", "{}"]}}\n```',
    "['{}', '{}']",
    '[{{"question": "{}"}}, {{"question": "{}"}}]',
    '{{"subquestions": [{{"id": 1, "subquestion": "{}"}}, {{"id": 2, "subquestion": "{}"}}]}}',
    "**Subquestion 1:** {}\n**Subquestion 2:** {}",
    "Sub-question 1: {}\nSub-question 2: {}",
    "1. Subquestion 1: {}\n2. Subquestion 2: {}",
    "- **Q1:** {}\n- **Q2:** {}",
    "1. **{}**\n2. **{}**",
    "**1.** {}\n**2.** {}",
    "Subquestions:\n\n1) {}\n\n2) {}",
]


@pytest.mark.parametrize("form", LISTS)
def test_subquestions_are_read_from_the_lists_that_models_write(form):
    assert LineAdapter().parse(Decompose, form.format(*QUESTIONS)) == {"subquestions": QUESTIONS}


def test_what_is_no_list_of_texts_stays_lines():
    assert read_lines("[1, 2]") == ["[1, 2]"]
    assert read_lines("[the mayor]\n[his wife]") == ["[the mayor]", "[his wife]"]


def test_values_of_other_objects_are_not_taken():
    assert json_fields(["answer"], 'Is {"x": 1} it?') is None
    assert unmarked("a * b * c") == "a * b * c"
