"""The programs, with scripted LMs: which stage is asked what, by which LM and in which format."""

import json

import dspy
import pytest
from scripted import scripted_lm, two_stage_rule

from programs import LineAdapter, SingleStage, TwoStage
from programs.lms.ledger import Ledger, Prices, Usage, recording


def two_stage(rule=two_stage_rule, **options):
    program = TwoStage(**options)
    program.set_lm(scripted_lm(rule))
    return program


def test_two_stages_give_subquestions_sub_answers_and_answer():
    prediction = two_stage()(question="Where is he?", context="Ann is in Rome.")
    assert prediction.subquestions == ["Who is it?", "Where is #1?"]
    assert (prediction.state, prediction.sub_answers, prediction.answer) == ("ok", ["Ann", "Rome"], "Rome")


async def test_async_gives_the_same():
    program = two_stage()
    asked = {"question": "Where is he?", "context": "Ann is in Rome."}
    found, expected = await program.acall(**asked), program(**asked)
    for name in ("subquestions", "lines", "state", "sub_answers", "answer"):
        assert found[name] == expected[name]
    assert found.usage["solve"]["input_tokens"] == expected.usage["solve"]["input_tokens"]


def test_stages_have_their_own_lms_and_adapters():
    program = TwoStage(adapters={"decompose": "line-terse", "solve": "chat"})
    program.decompose.set_lm(decomposer := scripted_lm(two_stage_rule))
    solver = scripted_lm(lambda prompt: "[[ ## sub_answers ## ]]\n[]\n[[ ## answer ## ]]\nParis\n[[ ## completed ## ]]")
    program.solve.set_lm(solver)
    assert program(question="Where?").answer == "Paris"
    assert len(decomposer.script.prompts) == len(solver.script.prompts) == 1
    assert "[[ ## question ## ]]" in solver.script.prompts[0]


@pytest.mark.parametrize(("sees", "expected"), [(True, "Context: a passage"), (False, None)])
def test_the_decomposer_sees_the_passage_only_if_told(sees, expected):
    program = two_stage(decomposer_sees_context=sees)
    program(question="Where?", context="a passage")
    assert ("Context: a passage" in program.decompose.lm.script.prompts[0]) == bool(expected)


@pytest.mark.parametrize(
    ("reply", "state", "subquestions"),
    [
        ("No decomposition", "none_needed", []),
        ("I think it is Rome.", "unparseable", []),
        ("", "unparseable", []),
        ("a?\nb?\nc?\nd?", "over_limit", ["a?", "b?", "c?"]),
    ],
)
def test_every_state_goes_on_to_the_solver_and_is_told(reply, state, subquestions):
    program = two_stage(lambda prompt: reply if "Max subquestions" in prompt else "Answer: Rome")
    prediction = program(question="Where?")
    assert (prediction.state, prediction.subquestions, prediction.answer) == (state, subquestions, "Rome")


def test_usage_is_told_by_stage_and_goes_to_the_ledger():
    ledger = Ledger(Prices(overrides={"openai/scripted": (1.0, 10.0)}))
    with recording(ledger):
        usage = two_stage()(question="Where is he?").usage
    solve = Usage.from_dict(usage["solve"])
    assert (solve.calls, solve.failed, solve.output_tokens) == (1, 0, 4)
    assert solve.usd == pytest.approx((solve.input_tokens * 1.0 + 4 * 10.0) / 1e6)
    assert ledger.by_stage()["solve"].input_tokens == solve.input_tokens


def test_a_stage_may_be_any_module():
    signature = dspy.Signature("context, question, max_subquestions: int -> subquestions: list[str]")
    program = TwoStage(decompose=dspy.ChainOfThought(signature))
    program.set_lm(scripted_lm(lambda prompt: "Reasoning: hm\nSubquestions:\na?" if "Max subq" in prompt else "Answer: x"))
    assert program(question="q?").subquestions == ["a?"]
    assert [name for name, _ in program.named_predictors()] == ["decompose.predict", "solve"]


def test_single_stage_with_and_without_reasoning():
    direct, reasoned = SingleStage(), SingleStage(chain_of_thought=True)
    direct.set_lm(scripted_lm(lambda prompt: "Rome"))
    reasoned.set_lm(scripted_lm(lambda prompt: "Reasoning: Ann is there.\nAnswer: Rome"))
    assert direct(question="q?").answer == reasoned(question="q?").answer == "Rome"
    assert reasoned(question="q?").reasoning == "Ann is there."


def test_saved_programs_come_back_with_their_adapters(tmp_path):
    program = TwoStage(adapters={"solve": "chat"})
    program.decompose.demos = [{"context": "", "question": "q?", "max_subquestions": 3, "subquestions": ["a?"]}]
    program.save(tmp_path / "program.json")
    again = TwoStage()
    again.load(tmp_path / "program.json")
    assert isinstance(again.adapter_of("solve"), dspy.ChatAdapter)
    assert not isinstance(again.adapter_of("solve"), LineAdapter)
    assert again.decompose.demos == program.decompose.demos


def test_no_key_is_written_into_saved_programs(tmp_path):
    program = TwoStage()
    program.set_lm(dspy.LM("openai/gpt-4.1-mini", api_key="sk-very-secret"))
    program.save(tmp_path / "program.json")
    assert "sk-very-secret" not in (tmp_path / "program.json").read_text()
    assert json.loads((tmp_path / "program.json").read_text())["solve"]["lm"]["model"] == "openai/gpt-4.1-mini"


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="max_subquestions=0 must be at least 1"):
        TwoStage(max_subquestions=0)
    with pytest.raises(ValueError, match=r"Unknown stage 'answer'.*decompose"):
        TwoStage(adapters={"answer": "line"})
