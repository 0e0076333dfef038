"""Decomposers that are no LM's own work: what the solver is given, and that it is the same whoever asks when."""

import json
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import scripted_lm, two_stage_rule

from programs import Decompose, Generic, LineAdapter, NoDecomposition, OtherQuestion, Reference, Shuffled, TerseLineAdapter, TwoStage
from programs.baselines.controls import GENERIC_SUBQUESTIONS
from programs.lms.catalog import lm
from programs.lms.ledger import Usage
from programs.signatures import NO_DECOMPOSITION
from programs.tasks.registry import load_task


class Lines(dspy.Module):
    """A decomposer that says what it is told to."""

    def __init__(self, *lines):
        super().__init__()
        self.lines = list(lines)

    def forward(self, question, context="", max_subquestions=None):
        return dspy.Prediction(subquestions=self.lines)


def example(question, subquestions=None, context=""):
    return dspy.Example(question=question, context=context, subquestions=subquestions).with_inputs("question", "context")


POOL = [example(f"q{i}?", context=f"passage {i}") for i in range(5)]


def solved_by(decompose, **options):
    program = TwoStage(decompose=decompose, **options)
    program.solve.set_lm(scripted_lm(two_stage_rule))
    return program


def predicting(rule):
    decompose = dspy.Predict(Decompose)
    decompose.set_lm(scripted_lm(rule))
    return decompose


@pytest.mark.parametrize(
    ("decompose", "subquestions", "state"),
    [
        (Generic(), list(GENERIC_SUBQUESTIONS), "ok"),
        (NoDecomposition(), [], "none_needed"),
        (Reference({("q?", "c"): ["a?", "b?"]}), ["a?", "b?"], "ok"),
        (Reference({("q?", "c"): []}), [], "none_needed"),
        (Shuffled(Lines("a?", "b?")), ["b?", "a?"], "ok"),
    ],
)
async def test_what_the_solver_is_given_without_any_lm_to_decompose(decompose, subquestions, state):
    program = solved_by(decompose)
    asked = {"question": "q?", "context": "c"}
    if not isinstance(decompose, Shuffled):
        assert (await program.acall(**asked)).subquestions == subquestions
    with dspy.context(lm=None):
        prediction = program(**asked)
        assert type(program.adapter_of("decompose")) is LineAdapter
    assert (prediction.subquestions, prediction.state, prediction.answer) == (subquestions, state, "Rome")
    assert prediction.usage["decompose"] == Usage().to_dict()
    assert json.dumps(prediction.toDict())


def test_the_solver_is_told_of_no_subquestions_where_there_are_none():
    program = solved_by(NoDecomposition())
    program(question="q?")
    assert program.solve.lm.script.prompts == ["Question: q?"]


def test_controls_survive_copying_saving_and_set_lm(tmp_path):
    program = TwoStage(decompose=OtherQuestion.of(Shuffled(dspy.Predict(Decompose)), POOL))
    program.decompose.decompose.decompose.demos = [{"question": "q?", "subquestions": ["a?"]}]
    program.save(tmp_path / "program.json")
    again = TwoStage(decompose=OtherQuestion.of(Shuffled(dspy.Predict(Decompose)), POOL))
    again.load(tmp_path / "program.json")
    again = again.deepcopy()
    assert [(name, len(found.demos)) for name, found in again.named_predictors()] == [("decompose.decompose.decompose", 1), ("solve", 0)]
    again.set_lm(scripted_lm(two_stage_rule))
    assert again(question="q0?").lines == ["Where is #1?", "Who is it?"]
    assert again.decompose.other("q0?") == program.decompose.other("q0?")


def test_references_are_found_by_the_question_alone_where_the_context_is_hidden():
    examples = [example("q?", ["a?"], "one"), example("r?", ["b?"], "two"), example("s?", None, "three")]
    for sees in (True, False):
        program = solved_by(Reference.of(examples), decomposer_sees_context=sees)
        found = [program(question=e.question, context=e.context).subquestions for e in examples]
        assert found == [["a?"], ["b?"], []]


def test_references_of_a_task_are_its_own():
    examples = load_task("multihop").load("test", 20)
    program = solved_by(Reference.of(examples), max_subquestions=4, decomposer_sees_context=False)
    assert [program.run_decompose(e.question, e.context)[0].subquestions for e in examples] == [e.subquestions for e in examples]


def test_a_question_without_a_reference_is_an_error_that_names_it():
    reference = Reference.of([example("How many?", ["a?"], "one"), example("How many?", ["b?"], "two")])
    assert reference(question="How  many?\n", context="two").subquestions == ["b?"]
    with pytest.raises(ValueError, match=r"no reference for 'q\?'.*Reference.of"):
        reference(question="q?")
    with pytest.raises(ValueError, match="no reference for 'How many"):
        reference(question="How many?", context="three")
    with pytest.raises(ValueError, match=r"2 different references.*decomposer_sees_context=True"):
        reference(question="How many?")
    with pytest.raises(ValueError, match=r"'q\?' are one text, 'a\?'"):
        Reference({("q?", ""): "a?"})


@given(st.lists(st.sampled_from(["a?", "b?", "c?", "d?", "Here they are:", ""]), max_size=8), st.text(), st.integers(), st.integers(1, 5))
def test_another_order_of_the_same_subquestions(lines, question, seed, limit):
    plain = TwoStage(decompose=Lines(*lines), max_subquestions=limit).run_decompose(question)[0]
    found = TwoStage(decompose=Shuffled(Lines(*lines), seed), max_subquestions=limit).run_decompose(question)[0]
    assert (found.state, sorted(found.subquestions)) == (plain.state, sorted(plain.subquestions))
    assert (found.subquestions != plain.subquestions) == (len(plain.subquestions) > 1)
    # Another object, so that no order of calls can have made it.
    assert Shuffled(Lines(*lines), seed)(question=question, max_subquestions=limit).subquestions == found.lines


def test_the_order_hangs_on_question_and_seed_not_on_calls_or_threads():
    lines = [f"{letter}?" for letter in "abcdef"]
    orders = {(q, seed): tuple(Shuffled(Lines(*lines), seed)(question=q).subquestions) for q in ("q?", "r?") for seed in (0, 1)}
    assert len(set(orders.values())) == 4
    shuffled = Shuffled(Lines(*lines))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: tuple(shuffled(question="qr"[i % 2] + "?").subquestions), range(40)))
    assert found == [orders["q?", 0], orders["r?", 0]] * 20


@given(st.sampled_from(["q0?", "Q0 ?", "q3?", "not in the pool?"]), st.integers())
def test_never_the_question_itself_and_always_the_same_other_one(question, seed):
    first = OtherQuestion.of(Lines(), POOL, seed).other(question)
    assert first in [(e.question, e.context) for e in POOL]
    assert first[0].rstrip("?") != question.lower().rstrip("? ")
    assert OtherQuestion.of(Lines(), [*reversed(POOL), POOL[0]], seed).other(question) == first


def test_all_other_questions_come_up():
    assert {OtherQuestion.of(Lines(), POOL, seed).other("q0?")[0] for seed in range(60)} == {"q1?", "q2?", "q3?", "q4?"}
    assert {OtherQuestion.of(Lines(), POOL).other(f"r{i}?")[0] for i in range(60)} == {e.question for e in POOL}


@pytest.mark.parametrize("sees", [True, False])
async def test_the_other_question_is_decomposed_with_its_own_passage_and_the_asked_one_is_solved(sees):
    program = solved_by(OtherQuestion.of(predicting(two_stage_rule), POOL), decomposer_sees_context=sees)
    question, context = program.decompose.other("q0?")
    prediction = program(question="q0?", context="passage 0")
    assert prediction.toDict() | {"usage": 0} == (await program.acall(question="q0?", context="passage 0")).toDict() | {"usage": 0}
    expected = ([f"Context: {context}"] if sees else []) + [f"Question: {question}", "Max subquestions: 3"]
    assert program.decompose.decompose.lm.script.prompts == ["\n".join(expected)] * 2
    assert program.solve.lm.script.prompts[0].startswith("Context: passage 0\nQuestion: q0?")


def test_a_pool_of_one_question_is_refused():
    with pytest.raises(ValueError, match="has 1 distinct questions, and at least 2"):
        OtherQuestion.of(Lines(), [example("q?", context="one"), example("Q?", context="two")])


WRAPPERS = [Shuffled, lambda decompose: OtherQuestion.of(decompose, POOL)]


@pytest.mark.parametrize("wrap", WRAPPERS)
async def test_calls_of_the_wrapped_decomposer_are_metered_and_go_through_its_format(wrap):
    program = solved_by(wrap(predicting(two_stage_rule)), adapters={"decompose": "line-terse"}, max_subquestions=2)
    for prediction in (program(question="q0?"), await program.acall(question="q0?")):
        assert (prediction.usage["decompose"]["calls"], prediction.usage["decompose"]["output_tokens"]) == (1, 6)
        assert prediction.usage["solve"]["calls"] == 1
    assert type(program.adapter_of("decompose")) is TerseLineAdapter
    assert all("Max subquestions: 2" in prompt for prompt in program.decompose.decompose.lm.script.prompts)


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize(("reply", "state"), [("", "unparseable"), ("I will not.", "unparseable"), (NO_DECOMPOSITION, "none_needed")])
async def test_what_the_wrapped_decomposer_fails_at_is_a_state_as_ever(wrap, reply, state):
    program = solved_by(wrap(predicting(lambda prompt: reply)))
    found, usage = program.run_decompose("q0?")
    assert (found.subquestions, found.state, found.lines, usage.calls) == ([], state, [reply] if reply else [], 1)
    assert (await program.acall(question="q0?")).state == state


def test_without_a_limit_the_wrapped_decomposer_is_told_none():
    program = solved_by(Shuffled(predicting(lambda prompt: "\n".join(f"a{i}?" for i in range(9)))), max_subquestions=None)
    assert len(program(question="q?").subquestions) == 9
    assert program.decompose.decompose.lm.script.prompts == ["Question: q?"]


def test_a_wrapped_real_model_keeps_its_own_format_and_is_metered(tiny_model):
    decompose = dspy.Predict(Decompose)
    decompose.set_lm(lm(tiny_model, max_tokens=8))
    program = solved_by(OtherQuestion.of(Shuffled(decompose), POOL))
    assert type(program.adapter_of("decompose")) is TerseLineAdapter
    usage = program(question="q0?").usage["decompose"]
    assert usage["calls"] == 1 and usage["input_tokens"] > 5 and 0 < usage["output_tokens"] <= 8
