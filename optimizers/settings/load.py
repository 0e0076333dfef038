"""A configuration from a recipe or a TOML file, and from dotted settings."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from optimizers.settings.models import ModelConfig
from optimizers.settings.run import RunConfig


def recipe_names() -> list[str]:
    """Recipes that come with the package, for `@ name`."""
    return sorted(p.name.removesuffix(".toml") for p in resources.files("optimizers.recipes").iterdir() if p.name.endswith(".toml"))


def read_recipe(name: str) -> dict[str, Any]:
    """Settings of a recipe of the package, or of a TOML file.

    Raises:
        ValueError: Neither a recipe nor a file, or no TOML.
    """
    path = Path(name)
    packaged = resources.files("optimizers.recipes") / f"{name}.toml"
    if not path.is_file() and name not in recipe_names():
        raise ValueError(f"No recipe and no file {name!r}; recipes: {recipe_names()}, or give the path of a TOML file.")
    try:
        return tomllib.loads(path.read_text() if path.is_file() else packaged.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is no valid TOML: {error}") from error


def load_config(recipe: str | None = None, overrides: dict[str, Any] | None = None) -> RunConfig:
    """A configuration from a recipe or file and dotted overrides, such as {"data.train": "300"}.

    Raises:
        ValueError: An unknown key (with the nearest valid ones) or a value of the wrong kind (with what was expected).
    """
    settings = read_recipe(recipe) if recipe else {}
    given = overrides or {}
    # Names of tasks first: another task than the recipe's takes none of its options, and all that are given beside it.
    for key in sorted(given, key=lambda key: key.removesuffix(".name") not in ("task", "improve.task")):
        _set(settings, _path(key), given[key])
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ValueError(_explain(error)) from error


def _path(key: str) -> list[str]:
    """The parts of a dotted key; the names of models may have dots themselves."""
    prices = "cost.prices."
    return ["cost", "prices", key.removeprefix(prices)] if key.startswith(prices) else key.split(".")


def _set(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value at a dotted path; a model given by its bare name keeps its other keys, and a task those of the same name."""
    *sections, last = path
    if not sections and last in {"teacher", "student", "solver"}:
        sections, last = [last], "model"
    if last == "task" and sections in ([], ["improve"]):
        sections, last = [*sections, "task"], "name"
    for section in sections:
        if isinstance(settings.get(section), str):
            settings[section] = {"name" if section == "task" else "model": settings[section]}
        settings = settings.setdefault(section, {})
    if (sections[-1:], last) == (["task"], "name") and settings.get("name", value) != value:
        settings.clear()
    settings[last] = value


def _explain(error: ValidationError) -> str:
    messages = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, setting_names(), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"expected one of {setting_names()}."
            messages.append(f"Unknown setting {where!r}; {hint}")
        else:
            messages.append(f"{where}={problem['input']!r}: {problem['msg']}")
    return "\n".join(messages)


def setting_names() -> list[str]:
    """All dotted keys of `RunConfig` that have a type of their own."""
    names = []
    for name, field in RunConfig.model_fields.items():
        inner = ModelConfig if name == "solver" else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += [f"{name}.{key}" for key in inner.model_fields if (name, key) != ("training", "base")]
        else:
            names.append(name)
    return names
