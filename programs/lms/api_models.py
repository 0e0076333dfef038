"""LiteLLM, which knows the providers, keys and prices of API models and has a tokenizer; and LMs that wait out a rate limit."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dspy
from dspy import lm15
from dspy._vendor.lm15.serde import request_to_dict, response_to_dict
from dspy.clients.backend_selection import select_backend
from dspy.utils.exceptions import LMError

from programs.lms.rate_limits import await_out, wait_out
from programs.lms.request_pace import RequestPace, check_pace
from programs.lms.servers import address_of, hide_keys, name_server
from programs.lms.told_errors import achecked, checked

_NO_TEXT = frozenset({"role", "type", "model", "id", "finish_reason", "usage", "config", "kwargs", "provider_data"})


def load_litellm() -> Any:
    """The `litellm` module, imported when it is first needed, as its import takes seconds."""
    # At import LiteLLM would fetch its price map from the network: a wait without one, and prices that change between runs.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    # Else it prints a link in red for every name that it does not know, beside the message that says what would do.
    litellm.suppress_debug_info = True
    return litellm


def estimated_tokens(value: Any) -> int:
    """About how many tokens the texts in a prompt or a reply have, by the tokenizer of GPT-4, which comes with LiteLLM."""
    texts = [text for text in _texts(value) if text]
    return len(load_litellm().encode(model="gpt-4", text="\n".join(texts))) if texts else 0


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, lm15.Request):
        yield from _texts(request_to_dict(value))
    elif isinstance(value, lm15.Response):
        yield from _texts(response_to_dict(value))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _NO_TEXT:
                yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


API_MAX_TOKENS = 1024
"""Length of a reply behind an API where none is set: a solution with its reasoning has some 100 to 400 tokens, and a reply in a loop goes
on to the limit, which is a provider's whole context where nobody sets one."""

_LIMITS = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "max_length", "num_predict", "n_predict"}
)
_THINKING = frozenset({"thinking", "reasoning_effort", "reasoning"})


class PatientLM(dspy.LM):
    """`dspy.LM` that waits until a rate limit of its server has passed, and bounds its replies; it is saved as a `dspy.LM`.

    The bound is `API_MAX_TOKENS` where neither the LM nor the call sets one. It goes with the call alone, so that calls that were paid for
    without it are still known by their options. Models that are told how to think have none, as their thoughts count too.

    Args:
        model: Its model string.
        requests_per_minute: Calls at most, by all threads and processes of this machine that ask the model; each waits for its turn, also
            one that DSPy's cache answers. DSPy's own retries of a call that failed (`num_retries`) take no further turn. None is no limit.
        **options: Of `dspy.LM`.

    Raises:
        ValueError: A limit of requests that is no number above 0.
    """

    def __init__(self, model: str, *args: Any, requests_per_minute: float | None = None, **options: Any) -> None:
        check_pace(requests_per_minute)
        super().__init__(model, *args, **options)
        self.requests_per_minute = requests_per_minute

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kwargs = self._bounded(kwargs)
        with self._naming_server():
            return wait_out(lambda: checked(self, functools.partial(self._once, *args), kwargs))

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """`__call__` without blocking the event loop."""
        kwargs = self._bounded(kwargs)
        with self._naming_server():
            return await await_out(lambda: achecked(self, functools.partial(self._aonce, *args), kwargs))

    def _once(self, *args: Any, **kwargs: Any) -> Any:
        if pace := self._pace():
            self._load_client(kwargs)
            pace.wait()
        return super().__call__(*args, **kwargs)

    async def _aonce(self, *args: Any, **kwargs: Any) -> Any:
        if pace := self._pace():
            await asyncio.to_thread(self._load_client, kwargs)
            await pace.await_turn()
        return await super().acall(*args, **kwargs)

    def _load_client(self, call: Mapping[str, Any]) -> None:
        """Import what the first call imports, which takes seconds: turns that were taken before would all be used when it is done."""
        # What is wrong with the LM or the call is for the call to say.
        with contextlib.suppress(Exception):
            if isinstance(self._engine_spec, str) and not select_backend(self, call).native:
                load_litellm()

    def _pace(self) -> RequestPace | None:
        limit = self.requests_per_minute
        return None if limit is None else RequestPace(self.model, address_of(self.model, self.kwargs), limit)

    @contextlib.contextmanager
    def _naming_server(self) -> Iterator[None]:
        try:
            yield
        except LMError as error:
            name_server(error, address_of(self.model, self.kwargs))
            hide_keys(error, self.kwargs)
            raise

    def limit(self, call: Mapping[str, Any]) -> int | None:
        """The limit of tokens that a call needs, as none is set: by the LM's options, those of the call, or its request's."""
        config = getattr(call.get("request"), "config", None)
        own = {name for name, value in {**self.kwargs, **call}.items() if value is not None}
        further = (config.extensions or {}) if config else {}
        named = own | {*further, *(further.get("extra_body") or {}), *(self.kwargs.get("extra_body") or {})}
        # DSPy gives OpenAI's reasoning models this option, set or not; they refuse the other, and low limits.
        reasons = "max_completion_tokens" in self.kwargs or getattr(config, "reasoning", None) is not None
        return None if reasons or getattr(config, "max_tokens", None) or named & (_LIMITS | _THINKING) else API_MAX_TOKENS

    def _bounded(self, call: dict[str, Any]) -> dict[str, Any]:
        most, request = self.limit(call), call.get("request")
        if most is None:
            return call
        if request is None:
            return {**call, "max_tokens": most}
        return {**call, "request": replace(request, config=replace(request.config, max_tokens=most))}

    def dump_state(self) -> dict[str, Any]:
        of_dspy = dspy.LM.dump_state(self)
        return {key: "dspy.clients.lm.LM" if value == f"{__name__}.PatientLM" else value for key, value in of_dspy.items()}


def ask(lm: dspy.LM, **call: Any) -> Any:
    """Ask an LM, and wait until a rate limit of its server has passed.

    Raises:
        LMError: What the call raises, or what a server told by status 200; see `checked`.
    """
    return lm(**call) if isinstance(lm, PatientLM) else wait_out(lambda: checked(lm, lm, call))


async def aask(lm: dspy.LM, **call: Any) -> Any:
    """`ask` without blocking the event loop."""
    return await (lm.acall(**call) if isinstance(lm, PatientLM) else await_out(lambda: achecked(lm, lm.acall, call)))


def said_by(error: BaseException) -> str:
    """What an error of an LM says; the status of a server whose words DSPy did not find, as those of FastAPI in `detail`."""
    told = " ".join(str(error).split())
    if not isinstance(error, LMError) or error.message.strip() or not error.status:
        return told
    return f"{told} HTTP {error.status}, without a message that could be read; the server's log says more"
