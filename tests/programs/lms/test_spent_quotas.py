"""A quota that is used up, which no wait brings back: real HTTP on this machine, replies as providers write them."""

from __future__ import annotations

import dspy
import pytest
from dspy import lm15
from dspy._vendor.lm15.serde import request_to_dict
from dspy.utils.exceptions import LMAuthError, LMBillingError, LMRateLimitError
from loopback import serving

from optimizers.errors import message
from optimizers.jobs.work import logging_to
from programs.lms import lm, rate_limits
from programs.lms.rate_limits import is_spent
from programs.lms.ray_pool import Answerer

OPENAI = "You exceeded your current quota, please check your plan and billing details."
QUOTA = {"message": OPENAI, "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
GEMINI = f"{OPENAI} Quota exceeded for metric: generate_content_free_tier_requests, limit: 10. Please retry in 20.2s."
SPENT = [
    (429, QUOTA),
    (429, {"message": OPENAI, "code": 429, "status": "RESOURCE_EXHAUSTED"}),
    (429, {"message": "Insufficient account balance", "code": 429}),
    (402, {"message": "Insufficient credits", "code": 402}),
    (403, {"message": "Billing hard limit has been reached", "type": "billing_limit", "code": "billing_hard_limit_reached"}),
]


def asked(address, model="openai/m", **options) -> dspy.LM:
    # DSPy's own retries of a call take seconds.
    return lm(model, api_base=address, api_key="k", num_retries=0, **options)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(rate_limits, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(rate_limits, "TOTAL_SECONDS", 0.3)
    monkeypatch.setattr(rate_limits, "_told", set())


@pytest.mark.parametrize("options", [{}, {"model": "hosted_vllm/m", "engine": "litellm"}], ids=("native", "litellm"))
@pytest.mark.parametrize(("status", "error"), SPENT, ids=("code", "words", "balance", "402", "403"))
async def test_a_spent_quota_is_told_at_once_and_asked_once(status, error, options):
    with serving(lambda body: (status, {}, {"error": error})) as (address, bodies):
        with pytest.raises(LMBillingError) as caught:
            asked(address, **options)("q")
        with pytest.raises(LMBillingError):
            await asked(address, **options).acall("q")
    assert error["message"] in message(caught.value) and "Check the account of the key." in message(caught.value)
    assert len(bodies) == 2


def test_a_key_that_may_not_is_no_spent_quota():
    refusal = 403, {}, {"error": {"message": "Your key has no access to m", "code": "forbidden"}}
    with serving(lambda body: refusal) as (address, bodies), pytest.raises(LMAuthError):
        asked(address)("q")
    assert len(bodies) == 1


def test_a_node_of_a_cluster_tells_of_a_spent_quota():
    request = request_to_dict(lm15.Request(model="openai/m", messages=(lm15.Message.user("q"),)))
    with serving(lambda body: (429, {}, {"error": {"message": "Insufficient account balance"}})) as (address, _):
        told = Answerer().ask("openai/m", {"api_base": address, "api_key": "k"}, request)
    assert told == ("error", ["billing", "Insufficient account balance"])


PASSING = [
    GEMINI,
    "Rate limit reached for m on requests per min (RPM): Limit 3. Visit your account's page for billing details to raise it.",
    "Rate limit reached. Please try again in 7.66s. Need more tokens? Upgrade at https://console.example/settings/billing",
    f'{OPENAI} {{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}}',
    "too many",
]


@pytest.mark.parametrize("told", PASSING)
def test_a_limit_that_passes_is_waited_out_though_it_speaks_of_quotas_and_billing(short, told):
    with serving(lambda body: (429, {}, {"error": {"message": told, "code": 429}})) as (address, bodies):
        with pytest.raises(LMRateLimitError):
            asked(address)("q")
        assert len(bodies) > 2


def test_a_server_that_says_when_is_believed():
    assert not is_spent(LMRateLimitError(OPENAI, retry_after=2.0)) and is_spent(LMRateLimitError(OPENAI))
    assert is_spent(LMRateLimitError("no", provider_code="insufficient_quota", retry_after=2.0))


def test_a_wait_is_told_once_on_the_screen_of_a_job(tmp_path, short, capsys):
    def ask():
        for _ in range(2):
            with pytest.raises(LMRateLimitError):
                asked(address)("q")

    with serving(lambda body: (429, {}, {"error": {"message": "Slow down, Ada"}})) as (address, _), logging_to(tmp_path / "log.txt"):
        ask()
    told, log = capsys.readouterr().err, (tmp_path / "log.txt").read_text()
    assert told.count("Slow down, Ada") == log.count("Slow down, Ada") == 1
    assert told.startswith("openai/m: too many calls for its server (429); the next try is in 0 s") and "To fix" not in told
