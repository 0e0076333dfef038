"""The programs, with scripted LMs: which stage is asked what, by which LM and in which format."""

import json
import pickle

import dspy
import pytest
from dspy import lm15
from dspy.utils.exceptions import LMServerError
from scripted import ScriptedEngine, scripted_lm, two_stage_rule

from programs import Answer, LineAdapter, ShortAnswer, SingleStage, TwoStage
from programs.adapter import adapter_name
from programs.lms.catalog import lm
from programs.lms.ledger import Ledger, Prices, Usage, recording

ASKED = {"question": "Where is he?", "context": "Ann is in Rome."}


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
        ("a?\nb?\nc?\nd?", "over_limit", ["a?", "b?", "c?", "d?"]),
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


def test_short_asks_for_five_words_and_is_saved_with_its_prompt(tmp_path):
    program = SingleStage(short=True)
    program.save(tmp_path / "program.json")
    again = SingleStage()
    again.load(tmp_path / "program.json")
    for one in (program, again):
        assert one.answer.signature.instructions == ShortAnswer.instructions
        one.set_lm(scripted_lm(lambda prompt: "Rome"))
        assert one(question="q?").answer == "Rome"
    assert "five words" in ShortAnswer.instructions and "number" in ShortAnswer.instructions


SOLVERS = {
    "TwoStage": (TwoStage, "I would rather not.", "I would rather not."),
    "TwoStage, nothing": (TwoStage, "", ""),
    "SingleStage": (SingleStage, "  ", ""),
    "SingleStage, reasoned": (lambda: SingleStage(chain_of_thought=True), " It is Rome\n", "It is Rome"),
    "SingleStage, reasoned in chat": (lambda: SingleStage(chain_of_thought=True, adapters={"answer": "chat"}), "It is Rome", "It is Rome"),
    "SingleStage, chat, nothing": (lambda: SingleStage(adapters={"answer": "chat"}), "", ""),
}


@pytest.mark.parametrize(("make", "reply", "answer"), SOLVERS.values(), ids=SOLVERS)
async def test_a_last_reply_that_cannot_be_read_is_the_answer_as_it_is(make, reply, answer):
    program = make()
    program.set_lm(scripted_lm(lambda prompt: "a?" if "Max subquestions" in prompt else reply))
    for prediction in (program(question="q?"), await program.acall(question="q?")):
        assert (prediction.answer, prediction.unparsed, prediction.sub_answers) == (answer, True, [])
        assert prediction.usage[program.stages[-1]]["calls"] >= 1
        assert pickle.loads(pickle.dumps(prediction)).toDict() == json.loads(json.dumps(prediction.toDict()))


def test_what_can_be_read_is_not_unparsed_and_the_trace_is_left_alone():
    program = two_stage()
    with dspy.context(trace=[]):
        assert program(question="q?").unparsed is False
        outputs = [set(prediction.keys()) for _, _, prediction in dspy.settings.trace]
    assert outputs == [{"subquestions"}, {"sub_answers", "answer"}]
    single = SingleStage()
    single.set_lm(scripted_lm(lambda prompt: "Rome"))
    assert single(question="q?").unparsed is False


def test_the_solve_stage_alone_tells_what_it_cost_and_that_it_could_not_be_read():
    solved, usage = two_stage(lambda prompt: " no idea\n").run_solve("q?", "", ["a?"])
    assert (solved.answer, solved.unparsed, usage.calls, usage.output_tokens) == ("no idea", True, 1, 2)


class ThinkingEngine(ScriptedEngine):
    """Spends all its tokens on reasoning."""

    def complete(self, request):
        thought = lm15.Message.assistant([lm15.ThinkingPart("Is it Rome? I think it is Rome.")])
        return lm15.Response(id=None, model=request.model, message=thought, finish_reason="length", usage=lm15.Usage())


def test_reasoning_that_came_to_no_answer_is_none():
    program = TwoStage()
    program.set_lm(dspy.LM("openai/thinking", engine=ThinkingEngine(lambda prompt: ""), cache=False, num_retries=0))
    prediction = program(question="q?")
    assert (prediction.lines, prediction.answer, prediction.unparsed) == ([], "", True)


def test_a_failed_call_is_no_unparsed_reply():
    dead = LMServerError("the line is dead")
    with pytest.raises(LMServerError, match="the line is dead"):
        two_stage(lambda prompt: "a?" if "Max subquestions" in prompt else dead)(question="q?")


@pytest.mark.parametrize("adapter", ["line", "line-terse", "chat"])
def test_without_a_limit_none_is_told_and_all_are_used(adapter, caplog):
    fields = "[[ ## subquestions ## ]]\n{}\n[[ ## completed ## ]]" if adapter == "chat" else "{}"
    questions = [f"q{i}?" for i in range(12)]
    reply = fields.format(json.dumps(questions) if adapter == "chat" else "\n".join(questions))
    program = two_stage(lambda prompt: "Answer: Rome" if "q0?" in prompt else reply, max_subquestions=None, adapters={"decompose": adapter})
    prediction = program(question="Where?")
    assert (prediction.subquestions, prediction.state) == (questions, "ok")
    told = program.decompose.lm.script.prompts[0].lower()
    assert "max" not in told and "none" not in told
    assert not [record for record in caplog.records if record.name.startswith("dspy")]


def test_a_stage_without_an_lm_has_the_plain_format():
    with dspy.context(lm=None):
        assert type(TwoStage().adapter_of("solve")) is LineAdapter
        with pytest.raises(ValueError, match="No LM is loaded"):
            TwoStage()(question="q?")


def test_the_lm_of_a_compiled_part_decides_on_its_format(tiny_model):
    class Wrapped(dspy.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    inner = dspy.ChainOfThought(Answer)
    inner.set_lm(lm(tiny_model))
    inner._compiled = True
    assert adapter_name(TwoStage(decompose=Wrapped(inner)).adapter_of("decompose")) == "line-terse"


def test_a_model_that_ignores_the_format_is_scored_on_what_it_wrote(tiny_model):
    # Random weights: no reply of theirs ever has the label of an answer.
    program = TwoStage()
    program.set_lm(lm(tiny_model, max_tokens=8))
    prediction = program(question="Where is he?", context="Ann is in Rome.")
    raw = program.solve.lm(messages=program.adapter_of("solve").format(program.solve.signature, [], ASKED | {"subquestions": []}))[0]
    assert (prediction.state, prediction.subquestions, prediction.cut_off) == ("cut_off", [], True)
    assert (prediction.answer, prediction.unparsed) == (raw.strip(), True)
    assert prediction.usage["solve"]["output_tokens"] > 0


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
    with pytest.raises(ValueError, match="chain_of_thought and short exclude each other"):
        SingleStage(short=True, chain_of_thought=True)
    with pytest.raises(ValueError, match="answer and short exclude each other"):
        SingleStage(dspy.Predict(Answer), short=True)
    with pytest.raises(ValueError, match=r"Unknown stage 'answer'.*decompose"):
        TwoStage(adapters={"answer": "line"})


@pytest.mark.parametrize(
    "adapter",
    [dspy.XMLAdapter(), dspy.JSONAdapter(), dspy.ChatAdapter(use_json_adapter_fallback=False), dspy.ChatAdapter(), LineAdapter()],
    ids=lambda one: type(one).__name__,
)
def test_an_adapter_comes_back_with_its_options(tmp_path, adapter):
    TwoStage(adapters={"solve": adapter}).save(tmp_path / "program.json")
    again = TwoStage()
    again.load(tmp_path / "program.json")
    found = again.adapter_of("solve")
    assert type(found) is type(adapter) and vars(found) == vars(adapter)


class OwnAdapter(dspy.ChatAdapter):
    """A user's adapter."""


@pytest.mark.parametrize("adapter", [OwnAdapter(), dspy.ChatAdapter(native_response_types=[dspy.Image])], ids=("a user's", "with types"))
def test_an_adapter_that_would_not_come_back_is_refused_when_saved(tmp_path, adapter):
    with pytest.raises(ValueError, match=r"Stage 'solve' has an adapter that cannot be saved.*Expected one of"):
        TwoStage(adapters={"solve": adapter}).save(tmp_path / "program.json")
    (tmp_path / "odd.json").write_text(json.dumps({**TwoStage().dump_state(), "adapters": {"solve": "mine"}}))
    with pytest.raises(ValueError, match="names the adapter 'mine'; expected one of"):
        TwoStage().load_state(json.loads((tmp_path / "odd.json").read_text()))


def test_an_lm_that_waits_is_saved_as_one_of_dspy(tmp_path):
    program = TwoStage()
    program.set_lm(lm("openai/gpt-4.1-mini", api_key="sk-very-secret"))
    program.save(tmp_path / "program.json")
    TwoStage().load(tmp_path / "program.json")
    assert "sk-very-secret" not in (tmp_path / "program.json").read_text()
