"""How long a reply may become where nobody says: on a server that shows what it was sent."""

from __future__ import annotations

import pytest
from loopback import chat, serving

from optimizers.labelling.collect import collect
from optimizers.labelling.journal import Journal, Limits
from optimizers.labelling.journaled_lm import journaled
from programs import TwoStage
from programs.lms import lm
from programs.lms.api_models import API_MAX_TOKENS
from programs.tasks import load_task

GIVEN = [
    ("hosted_vllm/m", {}, API_MAX_TOKENS),
    ("openai/m", {}, API_MAX_TOKENS),
    ("openai/m", {"max_tokens": 77}, 77),
    ("openai/m", {"max_completion_tokens": 78}, 78),
    ("hosted_vllm/m", {"extra_body": {"max_tokens": 79}}, 79),
    ("openai/m", {"reasoning_effort": "low"}, None),
    # Told low limits, these refuse the call.
    ("openai/gpt-5", {}, None),
]


@pytest.mark.parametrize("kept", [True, False], ids=("journaled", "not journaled"))
@pytest.mark.parametrize(("model", "options", "sent"), GIVEN, ids=[f"{model} {options}" for model, options, _ in GIVEN])
def test_a_reply_behind_an_api_has_a_limit_unless_another_is_set(tmp_path, model, options, sent, kept):
    with serving(lambda _: chat("3")) as (address, bodies), Journal(tmp_path / "calls.jsonl") as journal:
        asked = lm(model, api_base=address, api_key="none", num_retries=0, **options)
        (journaled(asked, journal) if kept else asked)("How many?")
        # OpenAI calls it by another name.
        assert [body.get("max_tokens") or body.get("max_completion_tokens") for body in bodies] == [sent]


async def test_a_call_that_is_awaited_has_the_same_limit():
    with serving(lambda _: chat("3")) as (address, bodies):
        await lm("hosted_vllm/m", api_base=address).acall("How many?")
        await lm("hosted_vllm/m", api_base=address).acall("How many?", max_tokens=5)
    assert [body["max_tokens"] for body in bodies] == [API_MAX_TOKENS, 5]


def test_the_limit_is_no_part_of_what_a_call_is_known_by(tmp_path):
    """A journal of before there was a limit answers what it has."""
    with serving(lambda _: chat("3")) as (address, bodies), Journal(tmp_path / "calls.jsonl") as journal:
        journaled(lm("hosted_vllm/m", api_base=address), journal)("How many?")
        asked = lm("hosted_vllm/m", api_base=address)
        asked.limit = lambda call: None
        journaled(asked, journal)("How many?")
        assert len(bodies) == 1


def test_models_that_were_trained_here_keep_their_limit_and_others_may_reason(monkeypatch, base, tiny):
    monkeypatch.setattr("programs.lms.catalog.pinned", lambda model: model)
    assert lm("hf/nobody/nothing").kwargs["max_tokens"] == 512
    monkeypatch.undo()
    assert lm("embedded/base").kwargs["max_tokens"] == lm(f"local/{tiny.folder}").kwargs["max_tokens"] == 256
    assert lm("embedded/base", max_tokens=9).kwargs["max_tokens"] == 9


def test_labelling_that_fails_by_cut_off_replies_names_the_setting(tmp_path):
    program = TwoStage()
    with serving(lambda _: chat("1.5 " * 9, finish="length")) as (address, _):
        program.set_lm(lm("hosted_vllm/m", api_base=address))
        found = collect(program, load_task("gsm8k", path="shipped").load("train", 9), folder=tmp_path, limits=Limits())
    assert "teacher.max_tokens" in found.stopped and "cut_off" in found.stopped
