"""Registries of things that are chosen by name, such as tasks: the package's own, other packages', and those of a notebook."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """One kind of thing by name: tasks, screening policies, backends, ...

    A package adds to it by an entry point, which also reaches the processes that a job starts:

        [project.entry-points."divide_or_conquer.tasks"]
        riddles = "my_package.riddles:Riddles"

    Args:
        kind: What error messages call one.
        group: The entry points' group.
        own: Name -> `module:attribute` of what comes with the package; nothing of it is imported before it is asked for.
        hint: Ends the message on an unknown name.

    Raises:
        ValueError: By `get`, an unknown name; by `add`, a name that is taken.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str], hint: str = "") -> None:
        self.kind, self.group, self.hint = kind, group, hint
        self._own = dict(own)
        self._added: dict[str, T] = {}

    def names(self) -> list[str]:
        """All names: first those of the package, then those of other packages and of `add`."""
        return list(dict.fromkeys([*self._own, *self._foreign(), *self._added]))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def is_own(self, name: str) -> bool:
        """Whether it comes with this package."""
        return name in self._own

    def add(self, name: str, thing: T) -> T:
        """Put something under a name, for this process alone."""
        if name in self._own or self._added.get(name, thing) is not thing:
            raise ValueError(f"There is a {self.kind} {name!r} already; choose another name.")
        self._added[name] = thing
        return thing

    def get(self, name: str) -> T:
        """The thing of a name."""
        if name in self._own:
            return _load(self._own[name])
        if name in self._added:
            return self._added[name]
        foreign = self._foreign()
        if name in foreign:
            return self._from_package(foreign[name])
        raise ValueError(f"Unknown {self.kind} {name!r}; expected one of {self.names()}{self.hint}.")

    def usable(self) -> dict[str, T]:
        """Everything that can be loaded by its name; of what cannot, a warning says why."""
        found = {}
        for name in self.names():
            try:
                found[name] = self.get(name)
            except ValueError as error:
                warnings.warn(str(error), stacklevel=2)
        return found

    def _foreign(self) -> dict[str, importlib.metadata.EntryPoint]:
        """Entry points of other packages; the first to take a name has it, and ours are never replaced."""
        found: dict[str, importlib.metadata.EntryPoint] = {}
        for point in importlib.metadata.entry_points(group=self.group):
            if point.name in self._own or found.setdefault(point.name, point).value != point.value:
                warnings.warn(f"The {self.kind} {point.name!r} of {point.value!r} is not used: that name is taken.", stacklevel=3)
        return found

    def _from_package(self, point: importlib.metadata.EntryPoint) -> T:
        try:
            thing = point.load()
        except Exception as error:
            raise ValueError(
                f"The {self.kind} {point.name!r} could not be loaded from {point.value!r}: {type(error).__name__}: {error}."
            ) from error
        if not callable(thing):
            raise ValueError(f"The {self.kind} {point.name!r} of {point.value!r} is {thing!r}, and must be a class or function.")
        return thing


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def accepted(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a function or class has a parameter for; the others are left out."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}


def missing_option(function: Callable[..., Any], options: Mapping[str, Any]) -> str | None:
    """The first parameter that has no default and is not among the options; None where nothing is missing."""
    collecting = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in collecting]
    return next((name for name in needed if name not in options), None)


def converted(what: str, function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as their parameters are annotated, also from the text that a command line gives.

    Raises:
        ValueError: A value that does not fit; names it.
    """
    from pydantic import TypeAdapter, ValidationError

    parameters = inspect.signature(function, eval_str=True).parameters
    found = dict(options)
    for name, value in options.items():
        annotation = parameters[name].annotation
        if annotation is not inspect.Parameter.empty:
            try:
                found[name] = TypeAdapter(annotation).validate_python(value)
            except ValidationError as error:
                raise ValueError(f"{name}={value!r} of {what}: {error.errors()[0]['msg']}.") from error
    return found
