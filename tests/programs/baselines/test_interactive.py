"""`Interactive`, with scripted LMs: who is asked what in which turn, and when the asking ends."""

import json

import dspy
import pytest
from scripted import scripted_lm

from programs import Answer, Interactive, LineAdapter
from programs.baselines.interactive import STOPPED, read_follow_up
from programs.lms.catalog import lm
from programs.lms.ledger import Ledger, recording

ASKED = {"question": "Where was his mother born?", "context": "Ann is Bob's mother. Ann is from Rome."}
FOLLOW_UPS = ["Who is his mother?", "Where was Ann born?", "In which country is Rome?"]
ANSWERS = ["Ann", "Rome", "Italy"]


def asker(*replies):
    left = iter(replies)
    return scripted_lm(lambda prompt: next(left))


def interactive(*replies, answers=(*ANSWERS, "final"), **options):
    program = Interactive(**options)
    program.follow_up.set_lm(asker(*replies))
    program.answer.set_lm(asker(*answers))
    return program


def prompts(program, stage):
    return getattr(program, stage).lm.script.prompts


def test_follow_ups_are_answered_one_by_one_until_none_is_needed():
    prediction = interactive(*FOLLOW_UPS[:2], "No follow-up", answers=["Ann", "Rome", "Rome, Italy"])(**ASKED)
    assert (prediction.subquestions, prediction.sub_answers) == (FOLLOW_UPS[:2], ["Ann", "Rome"])
    assert (prediction.answer, prediction.turns, prediction.stopped, prediction.unparsed) == ("Rome, Italy", 3, "done", False)
    assert {stage: usage["calls"] for stage, usage in prediction.usage.items()} == {"follow_up": 3, "answer": 3}
    json.dumps(prediction.toDict())


async def test_async_gives_the_same():
    script = (*FOLLOW_UPS[:2], "No follow-up")
    found, expected = await interactive(*script).acall(**ASKED), interactive(*script)(**ASKED)
    assert found.answer == "Italy"
    for name in ("subquestions", "sub_answers", "answer", "turns", "stopped", "unparsed"):
        assert found[name] == expected[name]
    for stage in Interactive.stages:
        assert found.usage[stage]["input_tokens"] == expected.usage[stage]["input_tokens"] > 0


def test_every_call_has_the_problem_and_what_is_known_so_far():
    program = interactive(*FOLLOW_UPS[:2], "No follow-up")
    program(**ASKED)
    calls = prompts(program, "follow_up") + prompts(program, "answer")
    assert len(calls) == 6
    for text in ASKED.values():
        assert all(text in prompt for prompt in calls)
    assert [prompt.count("Ann\n") + prompt.endswith("Ann") for prompt in prompts(program, "follow_up")] == [0, 1, 1]
    assert prompts(program, "follow_up")[2].endswith("Answered:\n1. Who is his mother? Ann\n2. Where was Ann born? Rome")
    first, second, last = prompts(program, "answer")
    assert first.endswith(f"Main question: {ASKED['question']}\nQuestion: Who is his mother?") and "Ann\nMain" not in first
    assert "Who is his mother? Ann\n" in second and second.endswith("Question: Where was Ann born?")
    assert "Main question" not in last and last.endswith(f"Where was Ann born? Rome\nQuestion: {ASKED['question']}")


@pytest.mark.parametrize(
    ("replies", "stopped", "subquestions", "turns"),
    [
        (["no follow up is needed."], "done", [], 1),
        (["No"], "done", [], 1),
        (FOLLOW_UPS, "turn_limit", FOLLOW_UPS, 3),
        (["Who is his mother?", "who is HIS mother ?"], "repeated", ["Who is his mother?"], 2),
        (["The answer is Rome."], "unparseable", [], 1),
        (["Who is his mother?", ""], "unparseable", ["Who is his mother?"], 2),
    ],
)
def test_the_asking_ends_and_says_why(replies, stopped, subquestions, turns):
    # The script of the asker has no further reply: another turn would raise.
    prediction = interactive(*replies, answers=["x"] * len(subquestions) + ["final"], max_turns=3)(**ASKED)
    assert (prediction.stopped, prediction.subquestions, prediction.turns) == (stopped, subquestions, turns)
    assert (prediction.answer, len(prediction.sub_answers)) == ("final", len(subquestions))
    assert prediction.stopped in STOPPED


def test_a_follow_up_is_read_as_a_subquestion_is():
    assert read_follow_up("谁写了《浮士德》？", []) == ("谁写了《浮士德》？", "")
    assert read_follow_up("Who is it? Ann.", []) == ("Who is it?", "")


def test_of_a_reply_with_a_whole_chain_only_the_first_question_is_taken():
    assert read_follow_up("Sure!\n1. Who is it?\nAnn\n2. Where is Ann?\nNo follow-up", []) == ("Who is it?", "")
    assert read_follow_up("No follow-up\nWhere is Ann?", []) == ("", "done")
    assert read_follow_up(None, []) == ("", "unparseable")


def test_an_unreadable_answer_to_a_follow_up_stands_and_the_last_one_is_marked():
    label, chat = "[[ ## answer ## ]]\n", {"answer": dspy.ChatAdapter(use_json_adapter_fallback=False)}
    prediction = interactive("Who?", "No follow-up", answers=["It is Ann", f"{label}Rome"], adapters=chat)(**ASKED)
    assert (prediction.sub_answers, prediction.answer, prediction.unparsed) == (["It is Ann"], "Rome", False)
    prediction = interactive("Who?", "No follow-up", answers=[f"{label}Ann", label], adapters=chat)(**ASKED)
    assert (prediction.sub_answers, prediction.answer.strip(), prediction.unparsed) == (["Ann"], label.strip(), True)


def test_stages_are_metered_each_under_its_name():
    ledger = Ledger()
    with recording(ledger):
        usage = interactive("Who?", "No follow-up")(**ASKED).usage
    assert {stage: total.calls for stage, total in ledger.by_stage().items()} == {"follow_up": 2, "answer": 2}
    assert usage["follow_up"]["output_tokens"] == ledger.by_stage()["follow_up"].output_tokens == 3


def test_demos_are_turns_of_the_chat_and_are_saved_with_the_formats(tmp_path):
    program = Interactive(adapters={"answer": "chat"})
    program.follow_up.demos = [{"context": "", "question": "q?", "answered": ["a? b"], "follow_up": "c?"}]
    program.save(tmp_path / "program.json")
    again = Interactive()
    again.load(tmp_path / "program.json")
    copied = again.deepcopy()
    assert copied.follow_up.demos == program.follow_up.demos
    assert type(copied.adapter_of("answer")) is dspy.ChatAdapter
    assert isinstance(copied.adapter_of("follow_up"), LineAdapter)
    messages = copied.adapter_of("follow_up").format(copied.follow_up.signature, copied.follow_up.demos, ASKED | {"answered": []})
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert (messages[2]["content"], messages[3]["content"].count("Answered")) == ("c?", 0)


def test_one_lm_for_all_and_any_module_for_a_stage():
    program = Interactive(answer=dspy.ChainOfThought("context, question -> answer"))
    program.set_lm(scripted_lm(lambda prompt: "Reasoning: hm\nAnswer: Rome" if "Main question" in prompt else "Answer: no"))
    assert [name for name, _ in program.named_predictors()] == ["follow_up", "answer.predict"]
    assert program(**ASKED).stopped == "unparseable"


def test_with_chain_of_thought_every_answer_is_reasoned():
    program = Interactive(chain_of_thought=True)
    program.follow_up.set_lm(asker("Who is his mother?", "No follow-up"))
    program.answer.set_lm(scripted_lm(lambda prompt: "She is named in the text.\nAnswer: Ann"))
    prediction = program(**ASKED)
    assert (prediction.sub_answers, prediction.answer, prediction.unparsed) == (["Ann"], "Ann", False)
    assert all("step by step" in call["messages"][0]["content"] for call in program.answer.predict.lm.history)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="answer and chain_of_thought exclude each other"):
        Interactive(answer=dspy.Predict(Answer), chain_of_thought=True)
    with pytest.raises(ValueError, match="max_turns=0 must be at least 1"):
        Interactive(max_turns=0)
    with pytest.raises(ValueError, match=r"Unknown stage 'solve'.*follow_up"):
        Interactive(adapters={"solve": "line"})


async def test_a_real_model_is_asked_and_metered(tiny_model):
    program = Interactive(max_turns=2)
    program.set_lm(lm(tiny_model, max_tokens=8))
    prediction, awaited = program(**ASKED), await program.acall(**ASKED)
    assert prediction.stopped in STOPPED and prediction.answer == awaited.answer
    follow_up, answer = prediction.usage["follow_up"], prediction.usage["answer"]
    assert follow_up["calls"] == prediction.turns and answer["calls"] == len(prediction.sub_answers) + 1
    assert follow_up["input_tokens"] > 20 and 0 < answer["output_tokens"] <= 8 * answer["calls"]


@pytest.mark.slow
def test_the_embedded_base_asks_and_answers(base):
    program = Interactive(max_turns=2)
    program.set_lm(lm(base.model_string, max_tokens=32))
    prediction = program(question="Where was Bob's mother born?", context="Ann is Bob's mother. Ann was born in Rome.")
    assert prediction.subquestions or prediction.stopped in ("done", "unparseable")
    assert "Rome" in prediction.answer
