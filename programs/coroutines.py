"""Coroutines run to their end by code that is not asynchronous."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def run_to_end(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives, also where an event loop runs already, as in a notebook.

    Raises:
        Exception: Whatever the coroutine raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # A thread has one loop at most; the context carries DSPy's settings and who counts the cost.
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()
