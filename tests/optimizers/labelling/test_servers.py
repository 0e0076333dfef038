"""Labelling by servers that do wrong: real HTTP on this machine, scripted replies."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path

import dspy
import pytest
from loopback import chat, is_decomposition, serving, too_many
from scripted import ScriptedEngine, two_stage_rule

from optimizers import BootstrapDistill
from optimizers.errors import message
from optimizers.evaluation.answering import answer_one
from optimizers.evaluation.evaluate import evaluate
from optimizers.evaluation.summary import summarise
from optimizers.experiments.metrics import labelling_of
from optimizers.labelling.collect import TRACES, collect
from optimizers.labelling.journal import Journal, Limits
from optimizers.labelling.journaled_lm import journaled
from optimizers.reports.training import without_answers
from optimizers.screening.policy import POLICIES
from optimizers.screening.screen import screen
from programs import SingleStage, TwoStage
from programs.adapter import LineAdapter
from programs.lms import rate_limits
from programs.lms.api_models import API_MAX_TOKENS
from programs.lms.catalog import lm
from programs.lms.ledger import Ledger, Prices, recording
from programs.tasks.base import Score

MODEL = "openai/m"


def model(address: str, **options) -> dspy.LM:
    return lm(MODEL, **{"api_base": address, "api_key": "k", "num_retries": 0, "temperature": 0.0, **options})


def two_stage(address: str, **options) -> TwoStage:
    program = TwoStage(adapters={"decompose": LineAdapter(), "solve": LineAdapter()})
    program.set_lm(model(address, **options))
    return program


def examples(count: int) -> list[dspy.Example]:
    made = [dspy.Example(id=f"e{i}", context="", question=f"q{i}?", answer="Rome") for i in range(count)]
    return [one.with_inputs("context", "question") for one in made]


def plain(body, **options):
    return chat("Who is it?\nWhere is #1?", **options) if is_decomposition(body) else chat("Ann\nRome\nAnswer: Rome", **options)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / TRACES).read_text().splitlines()]


@pytest.mark.parametrize("usage", [None, "left out", {}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}], ids=str)
def test_tokens_that_no_server_counted_are_estimated_and_stop_the_job(tmp_path, usage):
    with serving(lambda body: plain(body, usage=usage)) as (address, bodies):
        ledger = Ledger(Prices(overrides={MODEL: (1.0, 1000.0)}))
        with recording(ledger):
            stopped = collect(two_stage(address), examples(40), folder=tmp_path / "usd", threads=1, limits=Limits(usd=0.05))
        assert stopped.stopped == "limit of 0.05 dollars reached" and len(bodies) < 20
        found = collect(two_stage(address), examples(40), folder=tmp_path / "tokens", threads=1, limits=Limits(tokens=100))
    assert found.stopped == "limit of 100 tokens reached"
    usage = stopped.usage["decompose"]
    assert usage.estimated == usage.calls > 0 and usage.input_tokens > 20 * usage.calls and usage.output_tokens > 5 * usage.calls
    assert ledger.by_stage()["solve"].estimated > 0
    assert all(line["estimated"] for line in lines(tmp_path / "usd"))


def test_estimates_are_marked_where_nothing_is_journaled_too():
    with serving(lambda body: plain(body, usage=None)) as (address, _):
        usage = two_stage(address)(question="q?").usage["solve"]
    assert usage["estimated"] == 1 and usage["input_tokens"] > 20 and usage["output_tokens"] > 5


def test_what_a_server_counted_is_no_estimate(tmp_path):
    with serving(plain) as (address, _):
        found = collect(two_stage(address), examples(3), folder=tmp_path)
        usage = two_stage(address)(question="q?").usage["solve"]
    assert (found.usage["solve"].input_tokens, found.usage["solve"].estimated) == (21, 0)
    assert (usage["input_tokens"], usage["output_tokens"], usage.get("estimated", 0)) == (7, 3, 0)


def cut(body):
    return chat("Who is it?\nWhere is #1?\nWhen did the may", finish="length") if is_decomposition(body) else chat("Answer: Rome")


@pytest.mark.parametrize("engine", ["auto", "litellm"])
async def test_a_decomposition_that_was_cut_off_says_so(engine):
    with serving(cut) as (address, _):
        program = two_stage(address, engine=engine)
        for found in (program(question="q?"), await program.acall(question="q?")):
            assert (found.state, found.cut_off, found.unparsed) == ("cut_off", True, False)
            assert found.subquestions == ["Who is it?", "Where is #1?"]


@pytest.mark.parametrize("policy", [name for name in POLICIES.names() if name not in ("judge", "votes", "precision")])
def test_what_was_cut_off_is_trained_on_under_no_policy(tmp_path, policy):
    asked = examples(3)
    with serving(cut) as (address, bodies):
        found = collect(two_stage(address), asked, folder=tmp_path)
        count = len(bodies)
        again = collect(two_stage(address), asked, folder=tmp_path)
        assert len(bodies) == count
    assert found.failed == again.failed == {"cut_off": 3}
    try:
        decisions = screen(found, asked, policy, score=lambda example, prediction: Score(1.0))
    except ValueError:
        pytest.skip("asks LMs, of readable samples alone")
    assert [one.reason for one in decisions] == ["cut_off"] * 3


def cut_solver(body):
    if "good decomposition" in json.dumps(body):
        return chat("Reason: All hold.\nVerdict: keep")
    return chat("Who is it?\nWhere is #1?") if is_decomposition(body) else chat("Ann\nRome\nAnswer: Rome", finish="length")


WHOLE = [
    ("none", ["decompose"], None, 2),
    ("judge", ["decompose"], None, 3),
    ("oracle", ["decompose"], "cut_off", 2),
    ("self_consistency", ["decompose"], "cut_off", 2),
    ("agreement", ["decompose"], "cut_off", 2),
    ("none", ["solve"], "cut_off", 2),
    ("none", ["decompose", "solve"], "cut_off", 2),
]


@pytest.mark.parametrize(("policy", "targets", "reason", "calls"), WHOLE)
def test_a_whole_decomposition_is_a_row_for_who_needs_no_answer_where_the_solver_was_cut_off(tmp_path, policy, targets, reason, calls):
    """The paper's unscreened decomposer takes every decomposition; a cut reply with a right answer in it is no right answer."""
    with serving(cut_solver) as (address, bodies):
        options = {"policy": policy, "targets": targets, "limits": Limits(failure_share=1.0)}
        distiller = BootstrapDistill(metric=lambda *_: True, folder=tmp_path, **options)
        found = distiller.prepare(two_stage(address), trainset=examples(1))
        assert len(bodies) == calls
    assert [(one.reason, one.state, one.cut_off) for one in found.decisions] == [(reason, "ok", True)]
    assert found.collected.failed == {"cut_off": 1}
    rows = {name: [row["messages"][-1]["content"].strip() for row in made] for name, made in found.rows.items()}
    assert rows == {name: [] if reason else ["Who is it?\nWhere is #1?"] for name in targets}


def test_rows_without_an_answer_are_counted_and_said(tmp_path):
    line = {"student": "S_D-T", "target": "decompose", "policy": "none", "kept": True, "reason": None}
    rows = [line, {**line, "cut_off": True}, {**line, "kept": False, "reason": "cut_off", "cut_off": True}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelling = labelling_of(tmp_path)
    assert labelling["by_policy"] == {"none": {"kept": 2, "dropped": {"cut_off": 1}, "without_answer": 1}}
    assert without_answers(labelling).startswith(" Of 1 of those that none kept the decomposition is whole")
    assert without_answers({"by_policy": {"none": {"kept": 2, "dropped": {}}}}) == without_answers({}) == ""


@pytest.mark.parametrize("program", [SingleStage(), SingleStage(chain_of_thought=True), TwoStage()], ids=("direct", "reasoned", "two"))
def test_lines_of_answers_say_what_was_cut_off_or_not_read(tmp_path, program):
    class Rome:
        name = "rome"

        def score(self, example, prediction):
            return Score(float(prediction.answer == "Rome"))

    replies = {"q0": chat("Answer: Rome"), "q1": chat("Reasoning: it is", finish="length"), "q2": chat("  ")}

    def rule(body):
        return chat("a?") if is_decomposition(body) else next(r for q, r in replies.items() if q in body["messages"][-1]["content"])

    with serving(rule) as (address, _):
        program.set_lm(model(address))
        found = evaluate(program, Rome(), examples(3), out=tmp_path / "lines.jsonl")
    two = isinstance(program, TwoStage)
    assert [line["cut_off"] for line in found] == [False, True, False]
    assert [line["state"] for line in found] == (["ok"] * 3 if two else ["ok", "cut_off", "unparseable"])
    summary = summarise(found)
    assert summary["counts"]["cut_off"] == 1 and bool(summary["states"]) == two


@pytest.mark.parametrize("kept", [True, False], ids=("journaled", "not journaled"))
@pytest.mark.parametrize("silent", ["decompose", "solve"])
@pytest.mark.parametrize("reply", [chat(None), chat(" \n"), (200, {}, {"id": "1", "choices": []})], ids=("null", "blank", "no choice"))
def test_a_reply_with_nothing_in_it_is_no_wrong_answer_and_one_that_stays_empty_is(tmp_path, reply, silent, kept):
    class Rome:
        name = "rome"

        def score(self, example, prediction):
            return Score(float(prediction.answer == "Rome"))

    left = {"q0?": 2, "q1?": 99}

    def rule(body):
        name = next(name for name in left if name in body["messages"][-1]["content"])
        left[name] -= (mute := left[name] > 0 and is_decomposition(body) == (silent == "decompose"))
        return reply if mute else plain(body)

    with serving(rule) as (address, _), Journal(tmp_path / "calls.jsonl") as journal:
        program = two_stage(address)
        for stage in (program.decompose, program.solve):
            stage.lm = journaled(stage.lm, journal) if kept else stage.lm
        lines = evaluate(program, Rome(), examples(2), out=tmp_path / "lines.jsonl")
    assert lines[0]["score"] == 1.0 and (lines[0]["unparsed"], lines[0]["state"]) == (False, "ok")
    assert lines[1]["unparsed"] or lines[1]["state"] == "unparseable"
    assert lines[1]["score"] == (0.0 if silent == "solve" else 1.0)
    assert [line["usage"][silent]["calls"] for line in lines] == [3, 3]


DECLINED = [chat(None, refusal="I cannot help with that."), chat(None, finish="content_filter"), chat("", finish="content_filter")]


@pytest.mark.parametrize("engine", ["auto", "litellm"])
@pytest.mark.parametrize("kept", [True, False], ids=("journaled", "not journaled"))
@pytest.mark.parametrize("declined", ["decompose", "solve"])
@pytest.mark.parametrize("reply", DECLINED, ids=("refusal", "filter", "filter, empty text"))
def test_a_refusal_is_an_answer_and_asked_once(tmp_path, reply, declined, kept, engine):
    def rule(body):
        return reply if is_decomposition(body) == (declined == "decompose") else plain(body)

    class Rome:
        name = "rome"

        def score(self, example, prediction):
            return Score(float(prediction.answer == "Rome"))

    with serving(rule) as (address, bodies), Journal(tmp_path / "calls.jsonl") as journal:
        program = two_stage(address, engine=engine)
        for stage in (program.decompose, program.solve):
            stage.lm = journaled(stage.lm, journal) if kept else stage.lm
        line = answer_one(program, Rome(), examples(1)[0])
        assert len(bodies) == 2 and line["error"] is None and line["usage"][declined]["input_tokens"] == 7
        assert (line["unparsed"], line["score"]) == ((True, 0.0) if declined == "solve" else (False, 1.0))
        answer_one(program, Rome(), examples(1)[0])
        assert len(bodies) == (2 if kept else 4)


def test_a_refusal_in_a_form_of_its_own_is_told_by_its_status(tmp_path):
    with serving(lambda body: (422, {}, {"detail": [{"loc": ["body"], "msg": "no"}]})) as (address, _):
        found = collect(two_stage(address), examples(1), folder=tmp_path)
        line = answer_one(two_stage(address), None, examples(1)[0])
        with pytest.raises(dspy.utils.exceptions.LMError) as caught:
            model(address)("q")
    said = "[openai/m] HTTP 422, without a message that could be read"
    assert said in found.first_failures["error:LMInvalidRequestError"] and said in line["error"] and said in message(caught.value)


THOUGHT = "<think>Is it Ann? Or Bob?</think>\n"


@pytest.mark.parametrize("adapter", [LineAdapter(), dspy.ChatAdapter(), dspy.JSONAdapter()], ids=lambda one: type(one).__name__)
def test_thoughts_are_not_collected_with_any_program(tmp_path, adapter):
    signature = dspy.Signature("context, question -> subquestions: list[str]")
    forms = {
        dspy.ChatAdapter: '[[ ## subquestions ## ]]\n["Who?"]\n\n[[ ## completed ## ]]',
        dspy.JSONAdapter: '{"subquestions": ["Who?"]}',
    }
    text = forms.get(type(adapter), "Who?")
    with serving(lambda body: chat(THOUGHT + text)) as (address, _), dspy.context(adapter=adapter, lm=model(address)):
        found = collect(dspy.Predict(signature), examples(2), folder=tmp_path)
    assert [sample.calls[0].outputs for sample in found.samples] == [{"subquestions": ["Who?"]}] * 2
    assert lines(tmp_path)[0]["text"].startswith("<think>")


def test_thoughts_that_the_server_gives_apart_are_no_part_of_the_reply(tmp_path):
    with serving(lambda body: chat("Who is it?", reasoning_content="Is it Ann?") if is_decomposition(body) else chat("Answer: Rome")) as (
        address,
        _,
    ):
        found = collect(two_stage(address), examples(1), folder=tmp_path)
        assert two_stage(address)(question="q?").subquestions == ["Who is it?"]
    assert found.get_sample("e0").prediction["subquestions"] == ["Who is it?"]


@pytest.mark.parametrize("nothing", ["", None, "  \n"])
def test_an_empty_reply_is_asked_again(tmp_path, nothing):
    silent = True
    with serving(lambda body: chat(nothing) if silent and is_decomposition(body) else plain(body)) as (address, _):
        found = collect(two_stage(address), examples(3), folder=tmp_path, limits=Limits(failure_share=1.0))
        assert found.failed == {"empty": 3}
        paid = found.usage["decompose"].input_tokens
        silent = False
        again = collect(two_stage(address), examples(3), folder=tmp_path)
    assert not again.failed and [sample.prediction["state"] for sample in again.samples] == ["ok"] * 3
    assert paid == 21 and sum(line["input_tokens"] for line in lines(tmp_path) if line["stage"] == "decompose") == 42


OPTIONS = {
    "extra_body": {"top_k": 20},
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "num_ctx": 4096,
    "reasoning_effort": "low",
    "num_retries": 2,
    "top_k": 20,
    "chat_template_kwargs": {"enable_thinking": False},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_any_option_is_sent_and_is_part_of_the_key(tmp_path, name):
    with serving(plain) as (address, bodies):
        collect(two_stage(address), examples(1), folder=tmp_path)
        collect(two_stage(address, **{name: OPTIONS[name]}), examples(1), folder=tmp_path)
        assert len(bodies) == (2 if name == "num_retries" else 4)
        journaled = bodies[-1]
        two_stage(address, **{name: OPTIONS[name]})(question="q0?")
    # What the server gets is the same as without a journal.
    # DSPy has two names for the limit, by how a request came about.
    without = ("messages", "n", "max_tokens", "max_completion_tokens")
    told = {body.get("max_tokens") or body.get("max_completion_tokens") for body in (journaled, bodies[-1])}
    assert told == {None if name == "reasoning_effort" else API_MAX_TOKENS}
    assert {k: v for k, v in journaled.items() if k not in without} == {k: v for k, v in bodies[-1].items() if k not in without}
    sent = {"top_k": 20} if name == "extra_body" else {} if name in ("num_retries", "top_k") else {name: OPTIONS[name]}
    assert sent.items() <= journaled.items()


def test_options_of_one_provider_go_with_the_request(tmp_path):
    asked = []

    class Engine(ScriptedEngine):
        def complete(self, request):
            asked.append(request)
            return super().complete(request)

    thinking = {"type": "enabled", "budget_tokens": 1024}
    for options in ({}, {"thinking": thinking}):
        program = two_stage("http://127.0.0.1:1")
        program.set_lm(dspy.LM(MODEL, engine=Engine(two_stage_rule), cache=False, num_retries=0, **options))
        collect(program, examples(1), folder=tmp_path)
    assert [request.config.extensions for request in asked] == [None, None, {"thinking": thinking}, {"thinking": thinking}]


def test_what_json_cannot_hold_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"The option min_p=<object.*cannot be journaled.*or leave it out"):
        collect(two_stage("http://127.0.0.1:1", min_p=object()), examples(1), folder=tmp_path)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(rate_limits, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(rate_limits, "TOTAL_SECONDS", 3.0)
    monkeypatch.setattr(rate_limits, "_told", set())


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "0"}], ids=("no header", "too short a header"))
def test_a_rate_limit_is_waited_out_and_told_once(tmp_path, quick, caplog, headers):
    opens = time.monotonic() + 0.8
    with (
        serving(lambda body: plain(body) if time.monotonic() > opens else too_many(**headers)) as (address, _),
        caplog.at_level(logging.WARNING),
    ):
        found = collect(two_stage(address), examples(4), folder=tmp_path, threads=4)
        opens = time.monotonic() + 0.5
        assert two_stage(address)(question="q?").answer == "Rome"
    assert found.done == 4 and not found.failed
    assert len([record for record in caplog.records if "429" in record.message and record.name == "divide_or_conquer"]) == 1
    assert not any("error" in line for line in lines(tmp_path))


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "100"}], ids=("no header", "longer than the bound"))
def test_waiting_has_an_end(tmp_path, quick, monkeypatch, headers):
    monkeypatch.setattr(rate_limits, "TOTAL_SECONDS", 0.3)
    started = time.monotonic()
    with serving(lambda body: too_many(**headers)) as (address, _):
        found = collect(two_stage(address), examples(1), folder=tmp_path)
    assert found.failed == {"error:LMRateLimitError": 1} and time.monotonic() - started < 20


async def test_waiting_does_not_block_the_event_loop(quick):
    opens = time.monotonic() + 0.4
    with serving(lambda body: plain(body) if time.monotonic() > opens else too_many()) as (address, _):
        assert (await two_stage(address).acall(question="q?")).answer == "Rome"


def test_a_job_that_is_stopped_waits_no_longer(monkeypatch):
    event = threading.Event()
    threading.Timer(0.2, event.set).start()
    with serving(lambda body: too_many()) as (address, _), rate_limits.stoppable(event):
        started = time.monotonic()
        with pytest.raises(dspy.utils.exceptions.LMRateLimitError):
            two_stage(address)(question="q?")
    assert time.monotonic() - started < 20
