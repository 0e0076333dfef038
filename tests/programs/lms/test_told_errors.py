"""Errors that servers tell by status 200: real HTTP on this machine, bodies as gateways write them."""

from __future__ import annotations

import dspy
import pytest
from dspy import lm15
from dspy.utils.exceptions import LMRateLimitError, LMServerError
from loopback import chat, serving

from optimizers.evaluation.evaluate import Asking, UnansweredError, ask_all, evaluate
from optimizers.labelling.journal import Journal
from optimizers.labelling.journaled_lm import journaled
from programs import SingleStage
from programs.lms import lm, rate_limits
from programs.lms.api_models import aask, ask
from programs.tasks import load_task


def of_choice(text: str, code: int) -> tuple:
    """As OpenRouter tells that the provider behind it broke off."""
    status, headers, body = chat(text, finish="error")
    body["choices"][0]["error"] = {"code": code, "message": "Provider disconnected"}
    return status, headers, body


TOLD = {
    "string": ((200, {}, {"error": "model overloaded"}), "model overloaded"),
    "in a choice": (of_choice("", 502), "Provider disconnected"),
    "behind half a reply": (of_choice("Answer: 1", 502), "Provider disconnected"),
    "FastAPI": ((200, {}, {"detail": "no such model"}), "no such model"),
    "message": ((200, {}, {"object": "error", "message": "The model `m` does not exist."}), "does not exist"),
}


def request() -> lm15.Request:
    return lm15.Request(model="openai/m", messages=(lm15.Message.user("q"),))


def model(address: str, **options) -> dspy.LM:
    return lm("openai/m", api_base=address, api_key="k", num_retries=0, **options)


@pytest.mark.parametrize("kind", TOLD)
async def test_an_error_in_the_body_is_raised_with_its_words(kind):
    reply, words = TOLD[kind]
    with serving(lambda body: reply) as (address, bodies):
        plain = dspy.LM("openai/m", api_base=address, api_key="k", num_retries=0, cache=False)
        for asked in (model(address), plain):
            with pytest.raises(LMServerError, match=words):
                ask(asked, request=request())
            with pytest.raises(LMServerError, match=words):
                await aask(asked, request=request())
    assert len(bodies) == 4


def test_a_rate_limit_that_is_told_so_is_waited_out(monkeypatch):
    monkeypatch.setattr(rate_limits, "FIRST_SECONDS", 0.02)
    replies = iter([of_choice("", 429), of_choice("", 429), chat("Answer: 18")])
    with serving(lambda body: next(replies)) as (address, bodies):
        assert ask(model(address), request=request()).message.text == "Answer: 18"
    assert len(bodies) == 3
    monkeypatch.setattr(rate_limits, "TOTAL_SECONDS", 0.05)
    with serving(lambda body: of_choice("", 429)) as (address, _), pytest.raises(LMRateLimitError):
        ask(model(address), request=request())


@pytest.mark.parametrize("first", [TOLD["string"][0], chat("")], ids=("error", "nothing"))
@pytest.mark.parametrize("patient", [True, False])
def test_what_dspys_cache_kept_of_a_hiccup_is_asked_again(tmp_path, monkeypatch, first, patient):
    monkeypatch.setattr(dspy, "cache", dspy.clients.Cache(True, True, str(tmp_path / "cache")))
    replies = iter([first, chat("Answer: 18")])
    with serving(lambda body: next(replies)) as (address, bodies):
        made = model if patient else lambda address, **options: dspy.LM("openai/m", api_base=address, api_key="k", num_retries=0, **options)
        with Journal(tmp_path / "traces.jsonl") as journal:
            asked = journaled(made(address, cache=True), journal)
            found = [asked("q")[0] for _ in range(3)]
    assert found[1:] == ["Answer: 18"] * 2 and len(bodies) == 2


def test_a_question_whose_call_failed_so_has_no_score_and_is_asked_again(tmp_path):
    task = load_task("gsm8k", path="shipped")
    questions = task.load("dev", 3)
    broken = [True]

    def rule(body):
        if broken[0] and questions[1].question[:40] in body["messages"][-1]["content"]:
            return of_choice("Half an ans", 502)
        return chat("Answer: 18")

    with serving(rule) as (address, _):
        program = SingleStage()
        with Journal(tmp_path / "traces.jsonl") as journal:
            program.set_lm(journaled(model(address), journal))
            lines = evaluate(program, task, questions, out=tmp_path / "answers.jsonl")
            broken[0] = False
            again = evaluate(program, task, questions, out=tmp_path / "answers.jsonl")
    assert [line["score"] is None for line in lines] == [False, True, False]
    assert lines[1]["error"].startswith("LMServerError") and "Provider disconnected" in lines[1]["error"]
    assert [line["error"] for line in again] == [None] * 3


def test_a_server_that_answers_nothing_else_ends_the_job(tmp_path):
    task, program = load_task("gsm8k", path="shipped"), SingleStage()
    overloaded = 200, {}, {"error": "model overloaded"}
    with serving(lambda body: overloaded) as (address, bodies), Journal(tmp_path / "traces.jsonl") as journal:
        program.set_lm(journaled(model(address), journal))
        with pytest.raises(UnansweredError, match="model overloaded"):
            ask_all([Asking(program, task, task.load("test", 60), tmp_path / "answers.jsonl")], 4, stops=True)
    assert 20 <= len(bodies) < 60
