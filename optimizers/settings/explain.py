"""Sentences about settings that cannot be: which one, what would do, and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from optimizers.settings.run import RunConfig
from optimizers.settings.section import is_section

_SHOWN = 100

_BY_NAME = ("task", "teacher", "student", "solver")


def explain(error: ValidationError, section: str = "") -> str:
    """What is wrong, a line for each setting.

    Args:
        error: Of a configuration or of a part of it.
        section: Dotted name of that part.
    """
    return "\n".join(dict.fromkeys(_sentence(problem, section) for problem in error.errors()))


def _sentence(problem: Mapping[str, Any], section: str) -> str:
    where = ".".join(str(part) for part in (section, *problem["loc"]) if part != "")
    kind, given, told = problem["type"], problem["input"], problem["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        # Of a section that does not exist, the setting in it tells which one was meant.
        inner = next(iter(given), "") if isinstance(given, Mapping) else ""
        return unknown_setting(f"{where}.{inner}" if inner else where)
    if kind == "missing" and where.endswith(".model"):
        role = where.removesuffix(".model")
        return f"{role} has settings and names no model: add --{role} MODEL."
    if kind == "too_short" and not given:
        return f"{where} is empty: give at least one, or leave it out for the default."
    if kind in ("model_type", "dict_type") or (kind == "model_attributes_type"):
        return f"{where}={_short(given)} is no value: {where} is a section{_of_section(where)}"
    if isinstance(given, Mapping) and kind == "value_error":
        return ": ".join(filter(None, [where, told]))
    if isinstance(given, Mapping) and given:
        return f"{where}.{next(iter(given))} is no setting: {where} is one value, given as --{where} VALUE."
    return f"{where}={_short(given)}: {told}" if where else told


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def unknown_setting(where: str) -> str:
    """That there is no such setting, and those that may have been meant; of a section all, where none is near."""
    around = "experiment." if where.startswith("experiment.training.") else ""
    near = [around + name for name in _nearest(where.removeprefix(around))]
    if near:
        return f"Unknown setting {where!r}; did you mean {' or '.join(f'--{name}' for name in near)}?"
    section = where.removeprefix(around).rpartition(".")[0]
    return (
        f"Unknown setting {where!r}{_of_section(section) if section else f'; the sections are {_sections()}, listed in docs/settings.md.'}"
    )


def _of_section(section: str) -> str:
    inside = [name for name in known_names() if name.startswith(f"{section}.")]
    return f"; it has {', '.join(f'--{name}' for name in inside)}." if inside else f"; the sections are {_sections()}."


def _sections() -> str:
    return ", ".join(RunConfig.model_fields)


def _nearest(where: str) -> list[str]:
    """At most three: first those that lack only their section, then those that are spelt alike."""
    names, last = known_names(), where.rpartition(".")[2]
    same = [name for name in names if "." in name and name.rpartition(".")[2] == last]
    alike = difflib.get_close_matches(where, names, n=3, cutoff=0.6)
    beside = [name for name in alike if name.rpartition(".")[0] == where.rpartition(".")[0]]
    lasts = {} if "." in where else {name.rpartition(".")[2]: name for name in reversed(names)}
    further = [lasts[word] for word in difflib.get_close_matches(last, lasts, n=2, cutoff=0.8)]
    return list(dict.fromkeys([*beside, *same, *alike, *further]))[:3]


def known_names() -> list[str]:
    """Every setting by its dotted name, and the models and tasks that their bare names set."""
    return [*_BY_NAME, *(name for name in _names(RunConfig) if name != "training.base")]


def _names(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for key, field in section.model_fields.items():
        inner = next((one for one in (field.annotation, *get_args(field.annotation)) if is_section(one)), None)
        if inner is None:
            yield prefix + key
        else:
            name_of_entry = "NAME." if get_origin(field.annotation) is dict else ""
            yield from _names(inner, f"{prefix}{key}.{name_of_entry}")
