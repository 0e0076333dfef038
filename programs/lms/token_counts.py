"""The tokens of a call in one form, whichever server counted them: all of the input, all of the output, and the parts with own prices.

OpenAI and LiteLLM count cached tokens with the input and thoughts with the output; Anthropic's own counts leave out the cached ones,
Gemini's and xAI's the thoughts. DSPy evens that out for its own client, but not for the answers of another engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from dspy import lm15
from dspy.clients.call_result import usage_dict


class TokenParts(NamedTuple):
    """Tokens of a call, or of several, that may have a price of their own.

    Attributes:
        cached: Input tokens that the provider found in its prompt cache.
        written: Input tokens that it put there.
        for_an_hour: Those of the written ones that it keeps for an hour; None where it does not say, which is taken for all of them.
        reasoning: Output tokens that are thoughts.
    """

    cached: int = 0
    written: int = 0
    for_an_hour: int | None = None
    reasoning: int = 0


NO_PARTS = TokenParts()


def counts_of(usage: Mapping[str, Any], response: Any = None) -> tuple[int, int, TokenParts]:
    """Input tokens, output tokens and their parts.

    Args:
        usage: As DSPy tells it to a usage tracker, of any provider; 0 for what it does not have.
        response: The answer, if it is at hand: Anthropic's says how long the provider's cache keeps what was written.
    """
    details = _mapping(usage, "prompt_tokens_details", "input_tokens_details")
    thoughts = _mapping(usage, "completion_tokens_details", "output_tokens_details")
    cached = _first(details, "cached_tokens") or _first(usage, "cache_read_input_tokens", "prompt_cache_hit_tokens")
    written = _first(details, "cache_creation_tokens", "cache_write_tokens") or _first(usage, "cache_creation_input_tokens")
    tokens_in, tokens_out = _first(usage, "prompt_tokens", "input_tokens"), _first(usage, "completion_tokens", "output_tokens")
    reasoning = _first(thoughts, "reasoning_tokens")
    # Parts that are more than the whole are none of it: those who left them out would be billed too little.
    apart = "prompt_tokens" not in usage and not details
    tokens_in += cached + written if apart or cached + written > tokens_in else 0
    tokens_out += reasoning if reasoning > tokens_out else 0
    return tokens_in, tokens_out, TokenParts(cached, written, hour_of(usage, response), reasoning)


def together(one: TokenParts, other: TokenParts) -> TokenParts:
    """The sum of two."""
    hours = [parts.for_an_hour for parts in (one, other) if parts.written]
    kept = None if None in hours else sum(hour or 0 for hour in hours)
    return TokenParts(one.cached + other.cached, one.written + other.written, kept, one.reasoning + other.reasoning)


def as_counted_together(response: lm15.Response, provider: str | None = None, usage: Mapping[str, Any] | None = None) -> lm15.Response:
    """A response whose counts of input and output have all tokens in them, for an engine of which DSPy knows no provider.

    Args:
        response: As DSPy's own client gives it, with the provider's counts.
        provider: Whose counts these are.
        usage: What DSPy made of them, if it has done so already.
    """
    told = usage_dict(response, provider) if usage is None else usage
    counts = {
        ours: told[theirs] for ours, theirs in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")) if theirs in told
    }
    return replace(response, usage=replace(response.usage, **counts, total_tokens=told.get("total_tokens"))) if counts else response


def tier_of(response: Any) -> str | None:
    """`priority` or `flex`, where a provider says that it served a call at the price of that; None otherwise."""
    told = _data_of(response).get("service_tier") or getattr(response, "service_tier", None)
    return str(told) if told in ("priority", "flex") else None


def hour_of(usage: Mapping[str, Any], response: Any = None) -> int | None:
    """How many of the tokens that were put into the provider's prompt cache stay there for an hour; None if it does not say."""
    told = _mapping(_data_of(response), "usage")
    for source in (usage, told):
        details = _mapping(_mapping(source, "prompt_tokens_details"), "cache_creation_token_details") or _mapping(source, "cache_creation")
        if details:
            return _first(details, "ephemeral_1h_input_tokens")
    return None


def _data_of(response: Any) -> Mapping[str, Any]:
    """The provider's own data of a response of DSPy's client."""
    data = getattr(response, "provider_data", None)
    return data if isinstance(data, Mapping) else {}


def _mapping(values: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    found = (values.get(name) for name in names)
    return next((value for value in found if isinstance(value, Mapping)), {})


def _first(values: Mapping[str, Any], *names: str) -> int:
    return next((int(value) for name in names if (value := values.get(name)) and isinstance(value, int | float)), 0)
