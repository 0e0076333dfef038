"""DSPy engines that ask through a provider's batch API."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import dspy
from dspy import lm15

from programs.lms.artifacts import home
from programs.lms.batches.apis import batch_api
from programs.lms.batches.desk import Desk
from programs.lms.batches.spool import Spool
from programs.lms.ledger import current_call
from programs.lms.servers import address_of
from programs.lms.whole_answers import AsyncWholeAnswers, WholeAnswers

BATCH = "batch"
"""What `provider_data` of an answer has that came in a batch."""

AT_ONCE = 1000
"""Questions at a time of a job whose LM answers in batches, where it is set to fewer: what is not asked at once is another batch, and
another wait."""

_desks: dict[Path, Desk] = {}
_desks_lock = threading.Lock()


class _Engine:
    """What the two engines share.

    Args:
        model: The LM's model string.
        options: How it is reached: `api_base`, `api_key`, `timeout` and LiteLLM's others.
    """

    def __init__(self, model: str, options: Mapping[str, Any] | None = None) -> None:
        self.model, self.options = model, dict(options or {})
        self._api = batch_api(model, self.options)

    def submit(self, request: lm15.Request) -> Future[lm15.Response]:
        """Hand in a request, without waiting for its answer."""
        provider, address = self.model.partition("/")[0], address_of(self.model, self.options)
        folder = home() / "batches" / hashlib.sha256(f"{provider} {address}".encode()).hexdigest()[:16]
        with _desks_lock:
            if folder not in _desks:
                _desks[folder] = Desk(self._api, Spool(folder), address or provider)
            desk = _desks[folder]
        return desk.submit(request)

    def dump_state(self) -> dict[str, Any]:
        """What `load_state` needs; no key."""
        return {"model": self.model, "options": {name: value for name, value in self.options.items() if name != "api_key"}}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> Self:
        """An engine as it was saved."""
        return cls(**state)


class BatchEngine(_Engine, WholeAnswers):
    """Asks through a provider's batch API, for `dspy.LM(engine=…)`; see `programs.lms.lm`'s `batch`.

    Raises:
        ValueError: A provider whose batches are not known here.
    """

    def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer; blocks until its batch has ended, which may take a day."""
        _note()
        return _marked(self.submit(request).result())


class AsyncBatchEngine(_Engine, AsyncWholeAnswers):
    """`BatchEngine` for `dspy.LM(async_engine=…)`."""

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer."""
        _note()
        return _marked(await asyncio.wrap_future(self.submit(request)))


def leave_batches() -> int:
    """End all waits for batches, which stay on file for whoever asks the same again; how many requests are in them."""
    with _desks_lock:
        desks = list(_desks.values())
    return sum(desk.leave() for desk in desks)


def in_batches(lms: Iterable[dspy.LM]) -> bool:
    """Whether one of some LMs answers in batches."""
    return any(isinstance(getattr(lm, "engine", None), BatchEngine) for lm in lms)


def at_once(threads: int, batches: bool) -> int:
    """How many questions to ask at a time: `threads`, or enough for whole batches where answers come in those."""
    return max(threads, AT_ONCE) if batches else threads


def _note() -> None:
    call = current_call()
    if call is not None:
        call.batch = True


def _marked(response: lm15.Response) -> lm15.Response:
    return replace(response, provider_data={**(response.provider_data or {}), BATCH: True})
