"""Why replies ended, in the words of many servers, through DSPy's own engines and through LiteLLM's."""

from __future__ import annotations

import dspy
import pytest
from loopback import chat, serving

from optimizers.labelling.journal import Journal
from optimizers.labelling.journaled_lm import journaled
from programs.lms import lm
from programs.lms.ledger import Usage, metered

WORDS = [
    ("stop", "stop"),
    ("length", "length"),
    # Gemini behind a proxy, TGI, Mistral, Anthropic, Cohere and Bedrock.
    ("MAX_TOKENS", "length"),
    ("max_tokens", "length"),
    ("max_new_tokens", "length"),
    ("model_length", "length"),
    ("model_context_window_exceeded", "length"),
    ("eos", "stop"),
    ("eos_token", "stop"),
    ("end_turn", "stop"),
    ("stop_sequence", "stop"),
    ("COMPLETE", "stop"),
    ("content_filter", "content_filter"),
    ("abort", "abort"),
]


@pytest.mark.parametrize("kept", [True, False], ids=("journaled", "not journaled"))
@pytest.mark.parametrize(("word", "found"), WORDS, ids=[word for word, _ in WORDS])
def test_words_of_servers(tmp_path, word, found, kept):
    with serving(lambda _: chat("It is 3.", finish=word)) as (address, bodies), Journal(tmp_path / "calls.jsonl") as journal:
        asked = lm("hosted_vllm/m", api_base=address, num_retries=0)
        asked = journaled(asked, journal) if kept else asked
        for _ in range(2 if kept else 1):
            with metered("solve") as meter:
                assert asked("How many?") == ["It is 3."]
            # What the journal answers ended as it did when it was paid for.
            assert meter.total.finishes == {found: 1} and meter.cut_off == (found == "length")
        assert len(bodies) == 1


@pytest.mark.parametrize("word", [None, ""])
def test_a_server_that_says_nothing_is_taken_at_its_count_of_tokens(word):
    """A reply of as many tokens as it was allowed was cut off, whatever was said."""
    with serving(lambda _: chat("It is", finish=word)) as (address, _):
        for most, found in ((3, "length"), (4, "not said")):
            with metered("solve") as meter:
                lm("hosted_vllm/m", api_base=address, max_tokens=most)("How many?")
            assert meter.total.finishes == {found: 1}


@pytest.mark.parametrize("word", ["max_tokens", "model_length", "MAX_TOKENS"])
def test_words_that_litellm_turns_into_its_own(word):
    with serving(lambda _: chat("It is", finish=word)) as (address, _), metered("solve") as meter:
        lm("together_ai/m", api_base=address, api_key="none")("How many?")
    assert meter.total.finishes == {"length": 1}


def test_a_failed_call_has_no_end():
    refused = 400, {}, {"error": {"message": "no"}}
    with serving(lambda _: refused) as (address, _), metered("solve") as meter, pytest.raises(dspy.LMError):
        lm("hosted_vllm/m", api_base=address, num_retries=0)("How many?")
    assert (meter.total.failed, meter.total.finishes) == (1, {})


def test_ends_add_up_and_are_left_out_of_the_json_where_there_are_none():
    total = Usage(finishes={"stop": 2, "length": 1}) + Usage(finishes={"length": 1})
    assert total.finishes == {"stop": 2, "length": 2}
    assert Usage.from_dict(total.to_dict()) == total and "finishes" not in Usage().to_dict()
