"""Settings and commands as they may be read by anybody: without keys, addresses of servers, and folders of somebody's machine."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import tomli_w

ADDRESS = "ADDRESS"
"""In place of a server's address."""
SECRET = "LEFT-OUT"
"""In place of what may be a key."""
_SECRET_NAME = re.compile(r"(key|token|secret|password|passwd|credential|credentials|authorization|cookie|header|headers)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(?:sk|hf|gsk|xai|ghp|AKIA|AIza)[-_]?[A-Za-z0-9_-]{16,}|\bBearer\s+\S+")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_ROOTED = re.compile(r"~|/[^/\n]+/")
_PREFIX = re.compile(r"(?:local|gguf)/(?=[/~]|[A-Za-z]:)")


def public_command(command: str) -> str:
    """A command line with values left out that are nobody else's business; see the module."""
    try:
        words = shlex.split(command)
    except ValueError:
        return _public_text(command)
    shown, flag = [], ""
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            shown.append(f"{name}={public_value(name, value)}")
        else:
            shown.append(word if word.startswith("--") else str(public_value(flag, word)))
        flag = word if word.startswith("--") else ""
    return shlex.join(shown)


def public_settings(toml: str) -> str:
    """The text of a configuration, likewise, without what is empty.

    Raises:
        ValueError: It is no TOML.
    """
    return tomli_w.dumps(_public_table(tomllib.loads(toml)))


def public_value(name: str, value: Any) -> Any:
    """A value as it may be shown.

    Args:
        name: Of its setting: `teacher.api_base`.
        value: A text, a number, a list or a table.
    """
    if isinstance(value, Mapping):
        return _public_table(value) if not _is_secret(name) else SECRET
    if isinstance(value, list):
        return [public_value(name, one) for one in value]
    if not isinstance(value, str):
        return value
    if _is_secret(name):
        return SECRET
    return ADDRESS if name.rstrip("/").endswith("api_base") else _public_text(value)


def _public_table(table: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: public_value(key, value) for key, value in table.items()}
    return {key: value for key, value in shown.items() if value not in ({}, None)}


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name))


def _public_text(text: str) -> str:
    table = _json_table(text)
    if table is not None:
        return json.dumps(_public_table(table))
    text = _ADDRESS.sub(ADDRESS, _SECRET_VALUE.sub(SECRET, text))
    return ",".join(map(_without_folders, text.split(",")))


def _json_table(text: str) -> dict[str, Any] | None:
    """What a setting holds that was typed as a JSON object; None for other texts."""
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _without_folders(text: str) -> str:
    """The last part of a path that starts at a root or a home, also behind `local/`; other texts as they are."""
    prefix = found[0] if (found := _PREFIX.match(text)) else ""
    path = text.removeprefix(prefix)
    if PureWindowsPath(path).drive:
        return prefix + PureWindowsPath(path).name
    return prefix + (PurePosixPath(path).name if _ROOTED.match(path) else path)
