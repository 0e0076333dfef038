"""Dollars for a call: LiteLLM's price table for API models, seconds at an hourly price for local ones."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from programs.lms import model_strings
from programs.lms.api_models import load_litellm
from programs.lms.token_counts import NO_PARTS, TokenParts

LOCAL_PREFIXES = tuple(f"{prefix}/" for prefix in model_strings.LOCAL_PREFIXES)

_BATCH_SHARE = 0.5
"""What OpenAI, Azure, Anthropic, Gemini, Mistral and xAI ask for an answer in a batch, of the price of one at once."""

_WRITTEN, _FOR_AN_HOUR = 1.25, 2.0
"""What is taken for a token that is put into a provider's prompt cache, of the price of an input token, where no price is given: as
Anthropic asks, which is the dearest."""

_SMALL = 16_000
"""Tokens of a prompt up to which no model of LiteLLM's table has another price for long prompts; the smallest such limit is 32,000."""

_PROBE = 1_000_000


class Rates(NamedTuple):
    """Dollars per million tokens.

    Attributes:
        input, output: Of tokens without a price of their own.
        cached: Of input tokens that the provider found in its prompt cache.
        written: Of input tokens that it put there, for minutes.
        for_an_hour: Of input tokens that it put there for an hour.
        reasoning: Of output tokens that are thoughts.
    """

    input: float
    output: float
    cached: float
    written: float
    for_an_hour: float
    reasoning: float

    def usd(self, input_tokens: int, output_tokens: int, parts: TokenParts = NO_PARTS) -> float:
        """Dollars for some tokens; `parts` are of these."""
        cached = min(parts.cached, input_tokens)
        written = min(parts.written, input_tokens - cached)
        kept = written if parts.for_an_hour is None else min(parts.for_an_hour, written)
        reasoning = min(parts.reasoning, output_tokens)
        counts = (input_tokens - cached - written, output_tokens - reasoning, cached, written - kept, kept, reasoning)
        return sum(count * rate for count, rate in zip(counts, self, strict=True)) / 1e6


class Prices:
    """Dollars for a call: LiteLLM's price table for API models, seconds at an hourly price for local ones.

    Args:
        local_usd_per_hour: What an hour of this machine costs; None leaves local calls without a price.
        overrides: Model string -> dollars per million input tokens and per million output tokens; then, if they are given, of input
            tokens that the provider found in its prompt cache (by default as the other input), and of those that it put there (by default
            1.25 times the other input, and twice where they are kept for an hour).
    """

    def __init__(self, local_usd_per_hour: float | None = None, overrides: Mapping[str, Sequence[float]] | None = None) -> None:
        self.local_usd_per_hour = local_usd_per_hour
        self.overrides = overrides or {}

    def usd(
        self,
        model: str,
        input_tokens: int,
        output_tokens: int,
        seconds: float,
        batch: bool = False,
        parts: TokenParts = NO_PARTS,
        *,
        calls: int = 1,
        tier: str | None = None,
    ) -> float | None:
        """Dollars, or None where no price is known.

        Args:
            model: Its model string.
            input_tokens: All of them, those of a prompt cache included.
            output_tokens: All of them, thoughts included.
            seconds: Of the model in this process.
            batch: As of `rates`.
            parts: Those of the tokens that may have prices of their own.
            calls: How many calls these tokens are of, as some models have higher prices for long prompts.
            tier: As of `rates`.
        """
        if model.startswith(LOCAL_PREFIXES):
            return None if self.local_usd_per_hour is None else seconds / 3600 * self.local_usd_per_hour
        rates = self.rates(model, batch, input_tokens // max(1, calls), tier)
        return None if rates is None else rates.usd(input_tokens, output_tokens, parts)

    def set_usd(
        self, model: str, input_tokens: int, output_tokens: int, seconds: float, batch: bool = False, parts: TokenParts = NO_PARTS
    ) -> float | None:
        """As `usd`, by the prices that were given here alone: None for what only LiteLLM's table could tell."""
        known = model.startswith(LOCAL_PREFIXES) or model in self.overrides
        return self.usd(model, input_tokens, output_tokens, seconds, batch, parts) if known else None

    def rates(self, model: str, batch: bool = False, prompt: int = 0, tier: str | None = None) -> Rates | None:
        """Dollars per million tokens of an API model; None if LiteLLM's table does not list it.

        Args:
            model: Its model string.
            batch: Whether it is asked in a batch: LiteLLM's price of those, or half of the other one where it lists none.
            prompt: Tokens of the prompt.
            tier: `priority` or `flex`, if the provider served it so; a price that was given here holds for all.
        """
        if model in self.overrides:
            return _given_rates(self.overrides[model], batch)
        # Some providers ask less at night, so that no price is kept for long.
        return _litellm_rates(model, batch, prompt if prompt > _SMALL else 0, tier, int(time.time() // 60))

    def check(self, limit: str, model: str, role: str = "") -> None:
        """Refuse a limit in dollars on calls that have no price, as it would never be reached.

        Args:
            limit: What sets the limit, in words for the message.
            model: Model string of the calls to be limited.
            role: What the model is for, put before its name.

        Raises:
            ValueError: No price is known.
        """
        if self.usd(model, 1, 1, 1.0) is None:
            local = "set cost.local_usd_per_hour, what an hour of this machine costs (0 if its time is free)"
            api = f'set cost.prices, in a file [cost.prices] "{model}" = [dollars per million input tokens, per million output tokens]'
            step = local if model.startswith(LOCAL_PREFIXES) else api
            raise ValueError(f"{limit} needs a price for {role}{model}: {step}, or limit calls, tokens or minutes in place of dollars.")


def _given_rates(given: Sequence[float], batch: bool) -> Rates:
    share = _BATCH_SHARE if batch else 1.0
    tokens_in, tokens_out = given[0] * share, given[1] * share
    # Whether a provider takes off for both, the batch and the cache, differs; the whole price of a batch is never too little.
    cached = given[2] if len(given) > 2 and not batch else tokens_in
    written = given[3] * share if len(given) > 3 else None
    dearer = (_WRITTEN * tokens_in, _FOR_AN_HOUR * tokens_in) if written is None else (written, written)
    return Rates(tokens_in, tokens_out, cached, *dearer, tokens_out)


@functools.lru_cache(maxsize=256)
def _litellm_rates(model: str, batch: bool, prompt: int, tier: str | None, minute: int) -> Rates | None:
    litellm = load_litellm()
    try:
        info = litellm.get_model_info(model)
        if None in (info.get("input_cost_per_token"), info.get("output_cost_per_token")):
            return None
        rates = _asked_rates(litellm, model, prompt or 1, tier)
    except Exception:
        return None
    return _rates_of_batches(rates, info, prompt) if batch else rates


def _asked_rates(litellm: Any, model: str, prompt: int, tier: str | None) -> Rates:
    """What LiteLLM asks for a prompt of this length, by kinds of its tokens."""

    def rate(side: int, **details: Any) -> float:
        usage = litellm.Usage(prompt_tokens=prompt, completion_tokens=_PROBE, total_tokens=prompt + _PROBE, **details)
        usd = litellm.cost_per_token(model=model, usage_object=usage, service_tier=tier)[side] / (_PROBE if side else prompt)
        return float(f"{usd * 1e6:.12g}")

    kept = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": prompt}
    tokens_in, tokens_out = rate(0), rate(1)
    cached = rate(0, prompt_tokens_details={"cached_tokens": prompt})
    # A price of 0 for what is put into a cache means that there is no price of its own.
    written = max(tokens_in, rate(0, prompt_tokens_details={"cache_creation_tokens": prompt}))
    hour = rate(0, prompt_tokens_details={"cache_creation_tokens": prompt, "cache_creation_token_details": kept})
    reasoning = rate(1, completion_tokens_details={"reasoning_tokens": _PROBE})
    return Rates(tokens_in, tokens_out, cached or tokens_in, written, max(written, hour), reasoning or tokens_out)


def _rates_of_batches(rates: Rates, info: Mapping[str, Any], prompt: int) -> Rates:
    shares = [_share(info, f"{side}_cost_per_token") for side in ("input", "output")]
    tokens_in, tokens_out = rates.input * shares[0], rates.output * shares[1]
    listed = None if prompt else info.get("cache_read_input_token_cost_batches")
    cached = min(listed * 1e6, tokens_in) if listed else tokens_in
    return Rates(tokens_in, tokens_out, cached, rates.written * shares[0], rates.for_an_hour * shares[0], rates.reasoning * shares[1])


def _share(info: Mapping[str, Any], name: str) -> float:
    """What is asked in a batch, of the price of an answer at once."""
    at_once, batch = info.get(name), info.get(f"{name}_batches")
    return batch / at_once if at_once and batch is not None else _BATCH_SHARE
