"""Servers that are not there: their address is told, wherever it was set."""

import pytest
from dspy.utils.exceptions import LMError
from loopback import serving

from programs.lms.catalog import lm
from programs.lms.servers import address_of

NOWHERE = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("told", ["an option", "the environment"])
async def test_a_server_that_is_not_there_is_named_by_its_address(monkeypatch, told):
    options = {"api_base": NOWHERE} if told == "an option" else {}
    if not options:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", NOWHERE)
    nobody = lm("hosted_vllm/m", num_retries=0, **options)
    with pytest.raises(LMError, match=r"refused.*\(at http://127\.0\.0\.1:9/v1\)"):
        nobody("How many?")
    with pytest.raises(LMError, match=r"\(at http://127\.0\.0\.1:9/v1\)"):
        await nobody.acall("How many?")


def test_a_login_in_the_address_is_not_told():
    with pytest.raises(LMError) as caught:
        lm("hosted_vllm/m", num_retries=0, api_base="http://ann:secret@127.0.0.1:9/v1")("How many?")
    assert "secret" not in str(caught.value) and "127.0.0.1:9" in str(caught.value)


def test_a_key_that_a_server_repeats_is_not_told(monkeypatch):
    def refused(body):
        return 401, {}, {"error": {"message": "Incorrect API key provided: sk-given-0123, not sk-exported-4567"}}

    monkeypatch.setenv("SOME_API_KEY", "sk-exported-4567")
    with serving(refused) as (address, _), pytest.raises(LMError) as caught:
        lm("hosted_vllm/m", num_retries=0, api_base=address, api_key="sk-given-0123")("How many?")
    for told in (str(caught.value), caught.value.message):
        assert "Incorrect API key provided: ***, not ***" in told and "sk-" not in told


def test_the_address_is_that_of_the_provider_in_the_model_string(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://a/v1")
    assert address_of("openai/gpt-4.1-mini", {}) == address_of("gpt-4.1-mini", {}) == "http://a/v1"
    assert address_of("openai/gpt-4.1-mini", {"base_url": "http://b/v1"}) == "http://b/v1"
    assert address_of("anthropic/claude", {}) == ""
