"""Predictors of any program by name, and copies of programs that hold what Python cannot copy."""

from __future__ import annotations

import copy
import functools
import re
import types
from typing import Any

import dspy
from pydantic import BaseModel

_UNQUOTED_KEY = re.compile(r"\[(?!\d+\])([^\]']*)\]")


def all_predictors(program: dspy.Module) -> list[tuple[str, dspy.Predict]]:
    """Every predictor with DSPy's name for it; DSPy's own listing leaves out those in compiled submodules and nested containers."""
    listed = {id(predictor): name for name, predictor in program.named_predictors()}
    return [
        (listed.get(id(module)) or _UNQUOTED_KEY.sub(r"['\1']", name.removeprefix("self.")), module)
        for name, module in program.named_sub_modules()
        if isinstance(module, dspy.Predict)
    ]


def own_lms(program: dspy.Module) -> list[dspy.LM]:
    """Every LM that the program holds, as a predictor's or as an attribute of a module, each once."""
    found: dict[int, dspy.LM] = {}
    for _, module in program.named_sub_modules():
        for value in vars(module).values():
            items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            found |= {id(item): item for item in items if isinstance(item, dspy.LM)}
    return list(found.values())


def copy_program(program: dspy.Module, twins: dict[int, Any] | None = None) -> dspy.Module:
    """A deep copy with predictors of its own; what cannot be copied (a client with a lock, a connection) is shared with the original.

    Args:
        program: What to copy; it is left as it is.
        twins: Id of an object -> what stands in its place in the copy.

    Raises:
        ValueError: Some module of the program cannot be copied.
    """
    copied: dspy.Module = _copied(program, twins or {})
    # DSPy leaves the callbacks of a module out of its copies, and whoever set them is to see the calls of this one too.
    for (_, original), (_, twin) in zip(program.named_sub_modules(), copied.named_sub_modules(), strict=False):
        if callbacks := getattr(original, "callbacks", None):
            twin.callbacks = callbacks
    return copied


def _copied(program: dspy.Module, twins: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(program, dict(twins))
    except Exception:
        memo = dict(twins)
    _share(program, memo, {id(module): module for _, module in program.named_sub_modules()}, set())
    try:
        return copy.deepcopy(program, memo)
    except Exception as error:
        raise ValueError(
            f"The program {type(program).__name__} cannot be copied ({error}), and its own LMs must not be changed. Give the class that "
            "is named a __deepcopy__ that returns self."
        ) from error


def _share(value: Any, memo: dict[int, Any], modules: dict[int, Any], seen: set[int]) -> None:
    """Enter into `memo` every object below `value` that cannot be copied, as its own copy.

    A client is shared as a whole: its parts may belong together, as a lock and what it guards, or a connection that closes with it.
    """
    if id(value) in seen or id(value) in memo:
        return
    seen.add(id(value))
    below = _parts(value)
    if below is not None:
        for part in below:
            _share(part, memo, modules, seen)
        return
    try:
        copy.deepcopy(value, {**memo, **modules})
    except Exception:
        memo[id(value)] = value


def _parts(value: Any) -> list[Any] | None:
    """What a value is looked through for; None for one that is copied or shared as a whole."""
    if isinstance(value, dspy.Module | BaseModel):
        return list(vars(value).values())
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    return None
