"""What engines for `dspy.LM` share that give whole answers: a stream of one is the answer's events, once it is there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

from dspy import lm15


class _Shared:
    """A copy of an LM asks the same engine, which holds no request of its own."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class WholeAnswers(_Shared, ABC):
    """For `dspy.LM(engine=…)`."""

    @abstractmethod
    def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer."""

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        """The answer as events, once it is whole."""
        return iter(lm15.response_to_events(self.complete(request)))

    def close(self) -> None:
        """Nothing to do: what an engine asks outlives it."""


class AsyncWholeAnswers(_Shared, ABC):
    """For `dspy.LM(async_engine=…)`."""

    @abstractmethod
    async def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer."""

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        """The answer as events, once it is whole."""
        for event in lm15.response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Nothing to do: what an engine asks outlives it."""
