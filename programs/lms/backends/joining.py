"""What backends share whose requests all run in one batch, which new ones join between two tokens."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from programs.lms.backends.base import UNWANTED, GenerateRequest, GenerateResult, Interruptible, More, OnResult, guarded, too_long
from programs.lms.backends.transformers import prompt_tokens

MAX_ROWS = 64
CACHED_TOKENS = 2**16
"""On a GPU: 64 rows of 1,024 tokens, prompts and answers together; what does not fit waits."""


@dataclass
class Running:
    """A request in the batch.

    Attributes:
        index: Its place among the requests and results.
        handle: What the library knows it by, or has told of it.
    """

    index: int
    request: GenerateRequest
    input_tokens: int
    handle: Any
    seconds: float = 0.0


class JoiningBackend(Interruptible, ABC):
    """`Backend.generate` over a library that batches continuously."""

    tokenizer: Any
    context: int

    def generate(
        self, requests: Sequence[GenerateRequest], on_result: OnResult | None = None, more: More | None = None
    ) -> list[GenerateResult]:
        """See `Backend.generate`; requests that `more` brings join the running batch."""
        results: dict[int, GenerateResult] = {}
        running: dict[int, Running] = {}
        added = list(requests)
        try:
            while added or running:
                done = self._start_all(added, len(results) + len(running), running)
                done |= self._step(running)
                results |= done
                for index, result in done.items():
                    if on_result:
                        on_result(index, result)
                added = list(more()) if more else []
        finally:
            if running:
                self._drop(list(running.values()))
        return [results[index] for index in sorted(results)]

    @abstractmethod
    def _submit(self, prompt: list[int], request: GenerateRequest, budget: int) -> Any:
        """Hand a request to the library; what it is known by there.

        Args:
            prompt: Its token ids.
            request: Everything else that was asked for.
            budget: Tokens that it may write, at most.
        """

    @abstractmethod
    def _advance(self, running: dict[int, Running]) -> list[int]:
        """Have the library go on by about a token; the indices of the requests that are done."""

    @abstractmethod
    def _result(self, row: Running) -> GenerateResult:
        """What came of a request that is done."""

    @abstractmethod
    def _cancel(self, row: Running) -> None:
        """Let the library forget a request that is not done."""

    def _drop(self, rows: Sequence[Running]) -> None:
        """Cancel what was left unfinished, which would go on beside the next batch."""
        for row in rows:
            self._cancel(row)

    def _start(self, index: int, request: GenerateRequest) -> Running | GenerateResult:
        prompt = prompt_tokens(self.tokenizer, request.prompt)
        if len(prompt) >= self.context:
            return too_long(len(prompt), self.context)
        handle = self._submit(prompt, request, min(request.max_tokens, self.context - len(prompt)))
        return Running(index, request, len(prompt), handle)

    def _start_all(self, requests: Sequence[GenerateRequest], index: int, running: dict[int, Running]) -> dict[int, GenerateResult]:
        """Start requests; what can be refused at once is given back."""
        refused = {}
        for place, request in enumerate(requests, index):
            started = guarded(self._start, place, request)
            if isinstance(started, Running):
                running[place] = started
            else:
                refused[place] = started
        return refused

    def _step(self, running: dict[int, Running]) -> dict[int, GenerateResult]:
        """The results of the requests that are done after about a token, which leave `running`."""
        self.check_interrupted()
        if not running:
            return {}
        done = {index: UNWANTED for index, row in running.items() if not row.request.wanted()}
        for index in done:
            self._cancel(running.pop(index))
        started = time.monotonic()
        ended = self._advance(running)
        share = (time.monotonic() - started) / max(1, len(running))
        for row in running.values():
            row.seconds += share
        return done | {index: guarded(self._result, running.pop(index)) for index in ended}
