"""Errors that a server tells by status 200: gateways do once they have begun to answer, and DSPy reads them as an empty reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import dspy
from dspy import lm15
from dspy.utils.exceptions import LMError, LMRateLimitError, LMServerError

_TOO_MANY = "429"
_LONGEST = 300


CODE = "told_with_status_200"
"""`code` of these errors, whose classes are DSPy's, by which failures are counted."""


def checked(lm: dspy.LM, ask: Callable[..., Any], call: dict[str, Any]) -> Any:
    """What `ask` gives for a call, where the server answered it; asked once more where DSPy's cache may have kept the error.

    Args:
        lm: The LM that is asked.
        ask: Asks it.
        call: Its arguments; `cache` is turned off in them once an error was told, as whoever asks again would be given it again.

    Raises:
        LMRateLimitError: The body or one of its choices tells an error with the code 429.
        LMServerError: It tells another one (OpenRouter's `choices[0].error`, also behind a part of a text; `{"error": "overloaded"}`), or
            has a message in place of choices (`{"detail": "no such model"}`).
    """
    try:
        return _answer(ask(**call), lm.model)
    except LMError as error:
        if error.code != CODE or not _stops_caching(lm, call):
            raise
    return _answer(ask(**call), lm.model)


async def achecked(lm: dspy.LM, ask: Callable[..., Awaitable[Any]], call: dict[str, Any]) -> Any:
    """`checked` without blocking the event loop."""
    try:
        return _answer(await ask(**call), lm.model)
    except LMError as error:
        if error.code != CODE or not _stops_caching(lm, call):
            raise
    return _answer(await ask(**call), lm.model)


def _stops_caching(lm: dspy.LM, call: dict[str, Any]) -> bool:
    cached, call["cache"] = call.get("cache", getattr(lm, "cache", False)), False
    return bool(cached)


def _answer(response: Any, model: str) -> Any:
    sent = response.provider_data if isinstance(response, lm15.Response) else None
    if isinstance(sent, Mapping) and (told := _told(sent)):
        raise _error(told, model)
    return response


def _told(sent: Mapping[str, Any]) -> Any:
    """What a body says of an error; None of an answer."""
    if sent.get("error"):
        return sent["error"]
    choices = sent.get("choices")
    if choices and isinstance(choices, list):
        return next((choice["error"] for choice in choices if isinstance(choice, Mapping) and choice.get("error")), None)
    # With some APIs `message` is the answer, as a dict.
    return sent.get("detail") or (sent["message"] if isinstance(sent.get("message"), str) else None)


def _error(told: Any, model: str) -> LMError:
    code = str(told.get("code")) if isinstance(told, Mapping) else ""
    message = str(told.get("message") or told) if isinstance(told, Mapping) else str(told)
    kind = LMRateLimitError if code == _TOO_MANY else LMServerError
    status = int(code) if code.isdigit() else None
    return kind(f"The server answered by an error, with status 200: {message[:_LONGEST]}", model=model, status=status, code=CODE)
