"""How a reply ended, as its server said it: DSPy takes every word that it does not know, and none at all, for `stop`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

STOP, LENGTH, NOT_SAID = "stop", "length", "not said"

_LONGEST = 40
_AT_THE_LIMIT = frozenset(
    "length max_tokens max_length max_new_tokens max_output_tokens max_completion_tokens model_length context_length "
    "model_context_window_exceeded token_limit incomplete".split()
)
_DECLINED = frozenset("content_filter refusal safety blocked guardrail_intervened prohibited_content blocklist recitation spii".split())
_BY_ITSELF = frozenset("stop eos eos_token end_turn stop_sequence stop_token endoftext completed complete finished".split())


def finish_of(reply: Any, output_tokens: int | None = None, max_tokens: int | None = None) -> str:
    """Why a reply ended: `stop`, `length` (at its limit of tokens, or the context's), the server's own word for it, or `not said`.

    Args:
        reply: A `Response` of DSPy, one of LiteLLM, or several; of several candidates one that was cut off tells for all.
        output_tokens: As counted, for a server that does not say why it ended.
        max_tokens: The limit that it was given.
    """
    found = [_known(word) for word in _words(reply)]
    if LENGTH in found:
        return LENGTH
    for word in found:
        if word not in (STOP, NOT_SAID):
            return word
    if STOP in found:
        return STOP
    return LENGTH if output_tokens and max_tokens and output_tokens >= max_tokens else NOT_SAID


def is_declined(reply: Any) -> bool:
    """Whether a server, or a filter before it, declined to answer: by its reason, or by words that stand apart from the text.

    Args:
        reply: As of `finish_of`.
    """
    return finish_of(reply) in _DECLINED or any(_refusal_in(choice) for choice in _choices(reply))


def _refusal_in(choice: Any) -> bool:
    message = _read(choice, "message")
    apart = _read(message, "provider_specific_fields")
    return bool(_read(message, "refusal") or (isinstance(apart, Mapping) and apart.get("refusal")))


def _known(word: Any) -> str:
    text = str(word or "").strip().lower()
    if text in _AT_THE_LIMIT:
        return LENGTH
    return STOP if text in _BY_ITSELF else text[:_LONGEST] or NOT_SAID


def _words(reply: Any) -> Iterator[Any]:
    """The reasons in a reply: those of the server where they stand in it, else DSPy's."""
    if isinstance(reply, list | tuple):
        for one in reply:
            yield from _words(one)
        return
    choices = _choices(reply)
    if choices:
        yield from map(_of_choice, choices)
    else:
        yield _read(reply, "finish_reason") or _read(reply, "status")


def _choices(reply: Any) -> list[Any]:
    """The server's candidates, of one reply or of several; none where it has another form."""
    if isinstance(reply, list | tuple):
        return [choice for one in reply for choice in _choices(one)]
    sent = _read(reply, "provider_data")
    return list(_read(reply, "choices") or (sent.get("choices") if isinstance(sent, Mapping) else None) or ())


def _of_choice(choice: Any) -> Any:
    # LiteLLM keeps the server's word here where its own is another.
    own = _read(choice, "provider_specific_fields")
    native = own.get("native_finish_reason") if isinstance(own, Mapping) else None
    return _read(choice, "finish_reason") if native is None else native


def _read(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
