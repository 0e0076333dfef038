"""The interface of a backend: text in, text out, many requests at a time. It knows neither DSPy nor queues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar


def _is_wanted() -> bool:
    return True


@dataclass(frozen=True)
class GenerateRequest:
    """One prompt with its settings.

    Attributes:
        prompt: As `programs.lms.chat.render` wrote it, special tokens included.
        max_tokens: Length of the answer in tokens, at most.
        temperature: 0 takes the likeliest token.
        top_p: Sample among the likeliest tokens that hold this much probability.
        top_k: Sample among this many likeliest tokens; 0 for all.
        seed: Seed of the sampling. In float32 the same seed gives the same text whatever else is in the batch. In
            bfloat16 it does not quite, at temperature 0 neither; see `programs.lms.devices.device_and_dtype`.
        stop: Texts at which the answer ends; they are cut off.
        wanted: Asked between two tokens; once it is False, nobody waits for the answer, and a backend may leave it where it is.
    """

    prompt: str
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    wanted: Callable[[], bool] = field(default=_is_wanted, repr=False, compare=False)


@dataclass(frozen=True)
class GenerateResult:
    """What came of one request.

    Attributes:
        text: Without special tokens and without the stop text.
        finish_reason: `stop` if the model or a stop text ended it, `length` if `max_tokens` or the context did.
        seconds: This request's share of the time that its batch took; shares add up to the time spent.
        error: Why there is no text; empty if there is.
        too_long: Whether the error is that the prompt does not fit the context.
    """

    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    finish_reason: Literal["stop", "length"] = "stop"
    seconds: float = 0.0
    error: str = ""
    too_long: bool = False


_Work = TypeVar("_Work")
OnResult = Callable[[int, GenerateResult], None]
More = Callable[[], Sequence[GenerateRequest]]


class Interrupted(Exception):
    """`generate` was left before its end; see `Interruptible`."""


class Interruptible:
    """A backend that can be stopped between two tokens, as the process does at its end.

    `interrupt` is not part of `Backend`: where a backend has none, the process waits at its end for what is under way.
    """

    _interrupted = False

    def interrupt(self) -> None:
        """Let `generate` raise `Interrupted` before its next token; called from another thread, for good."""
        self._interrupted = True

    def check_interrupted(self) -> None:
        """Called between two tokens.

        Raises:
            Interrupted: `interrupt` was called.
        """
        if self._interrupted:
            raise Interrupted


class Backend(Protocol):
    """A loaded model. Used by one thread at a time."""

    name: str
    tokenizer: Any

    def generate(
        self, requests: Sequence[GenerateRequest], on_result: OnResult | None = None, more: More | None = None
    ) -> list[GenerateResult]:
        """Results in the order of the requests.

        Args:
            requests: Any number; the backend bounds its own memory.
            on_result: Called with a request's index as soon as its result is there.
            more: Asked now and then for requests that have arrived since; they get the next indices.
        """

    def close(self) -> None:
        """Give the memory back."""


def too_long(tokens: int, context: int) -> GenerateResult:
    """The result of a prompt that leaves no room for an answer."""
    message = f"the prompt has {tokens} tokens, the model's context holds {context}; shorten the prompt or the demos"
    return GenerateResult(input_tokens=tokens, error=message, too_long=True)


UNWANTED = GenerateResult(error="nobody waits for the answer any more")
"""The result of a request that is no longer wanted."""


def guarded(work: Callable[..., _Work], *args: Any) -> _Work | GenerateResult:
    """What `work(*args)` returns for one request; its exception as the result of that request, so that the others go on."""
    try:
        return work(*args)
    except Exception as error:
        return GenerateResult(error=repr(error))


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of the stop texts, and whether there was one."""
    ends = [text.find(mark) for mark in stop if mark in text]
    return (text[: min(ends)], True) if ends else (text, False)
