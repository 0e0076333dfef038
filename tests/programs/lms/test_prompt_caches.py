"""What providers' prompt caches save, as it is billed: HTTP on this machine, with the counts that OpenAI and Anthropic send."""

from __future__ import annotations

import json

import pytest
from dspy import lm15
from dspy._vendor.lm15.serde import request_to_dict
from loopback import chat, serving

from optimizers.labelling.journal import Journal
from optimizers.labelling.journaled_lm import journaled
from optimizers.reports.tokens import input_text
from programs.lms.catalog import lm
from programs.lms.ledger import Ledger, Prices, Usage, metered, recording
from programs.lms.prices import Rates
from programs.lms.ray_pool import Answerer, _read
from programs.lms.token_counts import TokenParts, as_counted_together, counts_of

CLAUDE, GPT = "anthropic/claude-sonnet-4-5", "openai/gpt-4.1-mini"
COUNTS = {"input_tokens": 100, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 500, "output_tokens": 10}
BILLED = (100 * 3.0 + 2000 * 0.3 + 500 * 3.75 + 10 * 15.0) / 1e6


def claude(**counts):
    kept = {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 0}
    usage = {**COUNTS, "cache_creation": kept, **counts}
    reply = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [{"type": "text", "text": "Rome"}]}
    return lambda body: (200, {}, {**reply, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})


def gpt(body):
    details = {"prompt_tokens_details": {"cached_tokens": 800}, "completion_tokens_details": {"reasoning_tokens": 4}}
    return chat("Rome", usage={"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010, **details})


def paid(rule, model: str, engine: str, folder=None) -> Usage:
    """What a call costs, as the ledger has it; and in a journal, that says the same."""
    with serving(rule) as (address, _), recording(Ledger()) as ledger, metered("solve"):
        at = address.removesuffix("/v1") if engine == "litellm" and model == CLAUDE else address
        asked = lm(model, api_base=at, api_key="k", num_retries=0, engine=engine)
        if folder is None:
            asked("Where?")
            return ledger.by_stage()["solve"]
        with Journal(folder / "calls.jsonl") as journal:
            journaled(asked, journal)("Where?")
            found = ledger.by_stage()["solve"]
            assert (journal.paid.usd, journal.paid.cached_tokens) == (found.usd, found.cached_tokens)
        with Journal(folder / "calls.jsonl") as again:
            assert again.paid.to_dict() | {"seconds": 0} == journal.paid.to_dict() | {"seconds": 0}
        return found


@pytest.mark.parametrize("engine", ["auto", "litellm"])
@pytest.mark.parametrize("on_file", [False, True])
def test_anthropics_cache_is_billed_as_anthropic_does(engine, on_file, tmp_path):
    found = paid(claude(), CLAUDE, engine, tmp_path if on_file else None)
    assert (found.input_tokens, found.cached_tokens, found.written_tokens, found.output_tokens) == (2600, 2000, 500, 10)
    assert found.usd == pytest.approx(BILLED)


def test_what_is_kept_for_an_hour_costs_twice_and_what_is_not_said_is_taken_for_that():
    hour = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 500}
    assert paid(claude(cache_creation=hour), CLAUDE, "auto").usd == pytest.approx(BILLED + 500 * 2.25 / 1e6)
    assert paid(claude(cache_creation=None), CLAUDE, "auto").usd == pytest.approx(BILLED + 500 * 2.25 / 1e6)


@pytest.mark.parametrize("engine", ["auto", "litellm"])
@pytest.mark.parametrize("on_file", [False, True])
def test_openais_cache_is_billed_as_openai_does(engine, on_file, tmp_path):
    found = paid(gpt, GPT, engine, tmp_path if on_file else None)
    assert (found.input_tokens, found.cached_tokens, found.output_tokens) == (1000, 800, 10)
    assert found.usd == pytest.approx((200 * 0.4 + 800 * 0.1 + 10 * 1.6) / 1e6)


def test_a_node_of_a_cluster_counts_what_the_provider_leaves_out():
    request = lm15.Request(model=CLAUDE, messages=(lm15.Message.user("Where?"),))
    with serving(claude()) as (address, _):
        told = Answerer().ask(CLAUDE, {"api_base": address, "api_key": "k"}, request_to_dict(request))
    usage = _read(told).usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (2600, 2000, 500)


def test_thoughts_that_gemini_counts_apart_are_paid_for_in_a_batch():
    usage = lm15.Usage(input_tokens=10, output_tokens=5, reasoning_tokens=40)
    answer = lm15.Response(id=None, model="m", message=lm15.Message.assistant([lm15.TextPart("Rome")]), finish_reason="stop", usage=usage)
    assert as_counted_together(answer, "gemini").usage.output_tokens == 45
    assert as_counted_together(answer, "openai").usage.output_tokens == 5


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, (0, 0, TokenParts())),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, (9, 2, TokenParts())),
        ({"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}}, (9, 2, TokenParts(4))),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}, (9, 2, TokenParts(4))),
        ({"input_tokens": 9, "output_tokens": 2, "cache_read_input_tokens": 4}, (13, 2, TokenParts(4))),
        # A gateway that leaves out what its prompt cache had, and thoughts that are more than the output.
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 40}}, (49, 2, TokenParts(40))),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 3}},
            (9, 5, TokenParts(reasoning=3)),
        ),
    ],
)
def test_counts_of_any_server_come_in_one_form(usage, expected):
    assert counts_of(usage) == expected


def test_a_price_that_is_not_given_is_never_too_low():
    given = Prices(overrides={"openai/a": (1.0, 4.0), "openai/b": (1.0, 4.0, 0.25), "openai/c": (1.0, 4.0, 0.25, 1.5)})
    assert given.rates("openai/a") == Rates(1.0, 4.0, 1.0, 1.25, 2.0, 4.0)
    assert given.rates("openai/b").cached == 0.25 and given.rates("openai/c") == Rates(1.0, 4.0, 0.25, 1.5, 1.5, 4.0)
    # Whether a provider takes off for a batch and for its cache at once, differs.
    assert given.rates("openai/b", batch=True).cached == 0.5
    listed = Prices()
    for model in (GPT, CLAUDE, "deepseek/deepseek-chat", "tensormesh/openai/gpt-oss-20b"):
        for batch in (False, True):
            rates = listed.rates(model, batch)
            assert 0 < rates.cached <= rates.input <= rates.written <= rates.for_an_hour
    assert listed.rates("gemini/gemini-2.5-pro", prompt=300_000).input == 2 * listed.rates("gemini/gemini-2.5-pro").input
    assert listed.rates(GPT, tier="priority").input > listed.rates(GPT).input


def test_a_limit_in_dollars_counts_cached_tokens_at_their_price(tmp_path):
    calls = 0
    with serving(gpt) as (address, bodies), recording(Ledger(Prices(overrides={"openai/m": (1000.0, 0.0, 10.0)}))), metered("solve"):
        asked = lm("openai/m", api_base=address, api_key="k", num_retries=0)
        with Journal(tmp_path / "calls.jsonl") as journal:
            while journal.paid.usd < 1.0:
                journaled(asked, journal)(f"Where is {calls}?")
                calls += 1
    assert calls == len(bodies) == 5 and journal.paid.usd == pytest.approx(5 * 0.208)


def test_lines_of_an_earlier_version_are_read_and_later_prices_hold_for_the_parts(tmp_path):
    path = tmp_path / "calls.jsonl"
    line = {"key": "00", "model": "openai/m", "input_tokens": 1000, "output_tokens": 10, "seconds": 1.0, "usd": 0.5, "finish": "stop"}
    new = {**line, "key": "01", "usd": None, "cached_tokens": 800}
    path.write_text("".join(json.dumps(one) + "\n" for one in (line, new)))
    with recording(Ledger(Prices(overrides={"openai/m": (1000.0, 0.0, 10.0)}))), Journal(path) as journal:
        assert journal.paid.usd == pytest.approx(0.5 + 0.208) and journal.paid.cached_tokens == 800
    assert "cached_tokens" not in Usage(1).to_dict() and Usage.from_dict({"calls": 1, "input_tokens": 3}).cached_tokens == 0


def test_reports_show_cached_tokens_where_there_were_any():
    assert input_text({"input_tokens": 1000}) == "1,000" and input_text({}) == "n/a"
    assert input_text({"input_tokens": 1000, "cached_tokens": 800}, 2) == "2,000 (1,600 from a prompt cache)"
    assert input_text({"input_tokens": 10, "cached_tokens": 8, "written_tokens": 1}) == "10 (8 from a prompt cache, 1 into a prompt cache)"
