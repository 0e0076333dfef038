"""Which questions stand on the same passage: they are right or wrong together, and tell less than as many with passages of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any


def passage_key(context: str | None, own: int) -> int:
    """A number for a passage, the same in every process.

    Args:
        context: The passage; empty where a question has none, and so shares none.
        own: What stands for such a question, another one for each.
    """
    if not context:
        return own
    return int.from_bytes(hashlib.blake2b(context.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def passages_of(questions: Iterable[Any]) -> dict[Any, int]:
    """Question id -> its passage.

    Args:
        questions: Examples, or lines of predictions.
    """
    return {one["id"]: passage_key(one.get("context"), own) for own, one in enumerate(questions)}
