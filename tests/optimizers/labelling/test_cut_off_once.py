"""A reply that ran to its limit of tokens is paid for once: no layer asks the same again. On a server that counts."""

from __future__ import annotations

import dspy
import pytest
from loopback import chat, is_decomposition, serving

from optimizers.evaluation.evaluate import evaluate
from optimizers.labelling.collect import collect
from optimizers.labelling.journal import Journal, Limits
from optimizers.labelling.journaled_lm import journaled
from programs import SingleStage, TwoStage
from programs.baselines.interactive import Interactive
from programs.lms import lm
from programs.tasks.base import Score

LOOP = "1.5\n" * 20
REPLIES = {
    "loop": chat(LOOP, finish="length"),
    "thoughts alone": chat(None, finish="length", reasoning_content="hm " * 9),
    "nothing": chat("", finish="length"),
    "half a JSON": chat('{"subquestions": ["Who', finish="length"),
    "said by another word": chat(LOOP, finish="MAX_TOKENS"),
    "not said": chat(LOOP, finish=None),
}
EXAMPLE = dspy.Example(id="1", question="How many?", context="", answer="3").with_inputs("question", "context")


class Three:
    name = "three"

    def score(self, example, prediction):
        return Score(float(prediction.answer == "3"))


def model(address):
    return lm("hosted_vllm/m", api_base=address, max_tokens=3, num_retries=3)


@pytest.fixture(params=REPLIES)
def server(request):
    with serving(lambda _: REPLIES[request.param]) as (address, bodies):
        yield address, bodies


@pytest.mark.parametrize(
    "adapter", ["line", "chat", dspy.XMLAdapter(), dspy.JSONAdapter()], ids=lambda one: one if isinstance(one, str) else type(one).__name__
)
@pytest.mark.parametrize("reasons", [False, True], ids=("direct", "reasoned"))
def test_the_formats_and_the_lm_ask_once(server, adapter, reasons):
    address, bodies = server
    program = SingleStage(chain_of_thought=reasons, adapters={"answer": adapter})
    program.set_lm(model(address))
    assert program(question="How many?").cut_off
    assert len(bodies) == 1


@pytest.mark.parametrize("kept", [True, False], ids=("journaled", "not journaled"))
@pytest.mark.parametrize(
    ("program", "most"), [(TwoStage(), 2), (SingleStage(), 1), (Interactive(max_turns=1), 3)], ids=("two", "one", "turns")
)
def test_evaluation_asks_each_stage_once_and_not_again_the_next_time(tmp_path, server, program, most, kept):
    address, bodies = server
    program = program.deepcopy()
    with Journal(tmp_path / "calls.jsonl") as journal:
        program.set_lm(journaled(model(address), journal) if kept else model(address))
        for _ in range(2):
            (line,) = evaluate(program, Three(), [EXAMPLE], out=tmp_path / "lines.jsonl")
            assert line["cut_off"] and line["score"] == 0.0
            assert len(bodies) <= most
    assert sum(used["finishes"].get("length", 0) for used in line["usage"].values()) == len(bodies)


@pytest.mark.parametrize("adapter", ["line", "chat"])
def test_labelling_asks_each_stage_once_and_not_again_the_next_time(tmp_path, server, adapter):
    address, bodies = server
    program = TwoStage(adapters={"decompose": adapter, "solve": adapter})
    program.set_lm(model(address))
    for _ in range(2):
        found = collect(program, [EXAMPLE], folder=tmp_path, limits=Limits(failure_share=1.0))
        assert found.failed == {"cut_off": 1} and len(bodies) <= 2
    assert {stage: used.finishes for stage, used in found.usage.items()} == {"decompose": {"length": 1}, "solve": {"length": 1}}


def test_a_whole_reply_that_cannot_be_read_is_asked_once_too():
    with serving(lambda body: chat("" if is_decomposition(body) else "I would rather not.")) as (address, bodies):
        program = SingleStage(chain_of_thought=True, adapters={"answer": "chat"})
        program.set_lm(model(address))
        assert program(question="How many?").unparsed
    assert len(bodies) == 1
