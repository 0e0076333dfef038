"""Registries of things that are chosen by name, such as tasks: the package's own, other packages', and those of a notebook."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
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
        return list(dict.fromkeys([*self._own, *(point.name for point in self._points()), *self._added]))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def add(self, name: str, thing: T) -> T:
        """Put something under a name, for this process alone."""
        if name in self._own or self._added.get(name, thing) is not thing:
            raise ValueError(f"There is a {self.kind} {name!r} already; choose another name.")
        self._added[name] = thing
        return thing

    def get(self, name: str) -> T:
        """What is registered under a name."""
        if name in self._own:
            return _load(self._own[name])
        if name in self._added:
            return self._added[name]
        for point in self._points():
            if point.name == name:
                return self._from_package(point)
        raise ValueError(f"Unknown {self.kind} {name!r}; expected one of {self.names()}{self.hint}.")

    def _points(self) -> Iterable[importlib.metadata.EntryPoint]:
        return importlib.metadata.entry_points(group=self.group)

    def _from_package(self, point: importlib.metadata.EntryPoint) -> T:
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(f"The {self.kind} {point.name!r} could not be loaded from {point.value!r}: {error}.") from error


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def accepted(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a function or class has a parameter for; the others are left out."""
    import inspect

    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}
