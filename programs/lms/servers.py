"""Which server stands behind an LM, where it is not the provider's own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from dspy.utils.exceptions import LMError

LOGIN = re.compile(r"[^\s/@:]+:[^\s/@]+@")
_OF_A_KEY = re.compile(r"(KEY|TOKEN|SECRET)(_ID)?$")
_SHORTEST_KEY = 8
"""Shorter values stand in for a key where none is wanted, and are words that an error may have."""
_UNREACHED = re.compile(r"refused|connect|resol|unreachable|name or service", re.IGNORECASE)


def address_of(model: str, options: Mapping[str, Any]) -> str:
    """The address that an LM was told, by its options or as LiteLLM reads it from the environment; empty for a provider's own.

    Args:
        model: Its model string; the provider stands before the first slash.
        options: As given to `dspy.LM`: `api_base` or `base_url`.
    """
    given = options.get("api_base") or options.get("base_url")
    provider = model.partition("/")[0].upper() if "/" in model else "OPENAI"
    names = (f"{provider}_API_BASE", f"{provider}_BASE_URL")
    return str(given or next((os.environ[name] for name in names if os.environ.get(name)), ""))


def name_server(error: LMError, address: str) -> None:
    """Add the address to what an error says of a server that was not reached, where it is missing, and take a login out of it."""
    told = str(error)
    if not address or not _UNREACHED.search(told):
        return
    behind = "" if address in told else f" (at {address})"
    error.message = LOGIN.sub("", f"{error.message}{behind}")
    error.args = (LOGIN.sub("", f"{told}{behind}"),)


def hide_keys(error: LMError, options: Mapping[str, Any]) -> None:
    """Take keys out of what an error says, as some servers repeat the one that they refuse, and errors are kept in runs that are shared.

    Args:
        error: Of an LM.
        options: Those of the LM, whose `api_key` is hidden; further that of every variable of the environment with a name as keys have.
    """
    named = (value for name, value in os.environ.items() if _OF_A_KEY.search(name))
    keys = {str(key) for key in (options.get("api_key"), *named) if key and len(str(key)) >= _SHORTEST_KEY}
    if any(key in str(error) or key in error.message for key in keys):
        shown = re.compile("|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True)))
        error.args = (shown.sub("***", str(error)),)
        error.message = shown.sub("***", error.message)
