"""Values of fields as JSON and back: a metric and a student's row see what the program gave, also after a restart.

What JSON has stands as it is. Everything else bears the name of its class: `{"$type": "module:Class", "value": ...}`. Classes are
looked up by name among those that the program declares and those that are loaded; nothing is imported, and only data are made:
enums, pydantic models, DSPy's examples, and what pydantic reads from JSON (dates, decimals, dataclasses, ...).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import reduce
from typing import Any, get_args

import dspy
from pydantic import BaseModel, RootModel, TypeAdapter

TYPE, VALUE = "$type", "value"
_JSON = (bool, int, float, str)
_BARE: tuple[Any, ...] = (int, float, str, list, dict)
_CONTAINERS = (list, tuple, set, frozenset)


class NotOnFileError(TypeError):
    """A value that cannot be written as JSON and read back as the same."""


class Types:
    """Classes by the names that they have on file."""

    def __init__(self) -> None:
        self._classes: dict[str, type] = {}

    def name_of(self, cls: type) -> str:
        """The name of a class on file; the class is known from now on."""
        name = f"{cls.__module__}:{cls.__qualname__}"
        self._classes[name] = cls
        return name

    def learn(self, annotation: Any) -> None:
        """Know the classes of an annotation, and of the fields of these."""
        for part in classes_of(annotation):
            self.name_of(part)

    def find(self, name: str) -> type | None:
        """The class of this name; None if no module that is loaded has it."""
        if name in self._classes:
            return self._classes[name]
        module, _, path = name.partition(":")
        try:
            found = reduce(getattr, path.split("."), sys.modules[module])
        except (KeyError, AttributeError):
            return None
        return found if isinstance(found, type) else None

    def knows_all(self, value: Any) -> bool:
        """Whether every class that an encoded value names can be found."""
        if isinstance(value, list):
            return all(map(self.knows_all, value))
        if not isinstance(value, dict):
            return True
        return (TYPE not in value or self.find(value[TYPE]) is not None) and all(map(self.knows_all, value.values()))


def classes_of(annotation: Any, seen: set[Any] | None = None) -> Iterator[type]:
    """The classes of an annotation, and those of the fields of these."""
    seen = set() if seen is None else seen
    for argument in get_args(annotation):
        yield from classes_of(argument, seen)
    if not isinstance(annotation, type) or annotation in seen:
        return
    seen.add(annotation)
    yield annotation
    if issubclass(annotation, BaseModel):
        for field in annotation.model_fields.values():
            yield from classes_of(field.annotation, seen)
    elif is_dataclass(annotation):
        for declared in fields(annotation):
            yield from classes_of(declared.type, seen)


def is_plain(annotation: Any) -> bool:
    """Whether JSON has all values of an annotation."""
    return all(part in (*_JSON, list, dict, type(None)) for part in classes_of(annotation))


def shape_of(annotation: Any) -> Any:
    """What tells two annotations apart: names, and the members and fields of classes."""
    try:
        return [str(annotation), TypeAdapter(annotation).json_schema()]
    except Exception:
        return str(annotation)


def encoded(value: Any, types: Types) -> Any:
    """A value as JSON.

    Raises:
        NotOnFileError: It could not be read back as the same.
    """
    if value is None or (type(value) in _JSON and not _is_beyond_json(value)):
        return value
    if type(value) is list:
        return [encoded(item, types) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value) and TYPE not in value:
        return {key: encoded(item, types) for key, item in value.items()}
    bare = _bare(value)
    if bare is not value:
        return encoded(bare, types)
    return {TYPE: types.name_of(type(value)), VALUE: _content(value, types)}


def _bare(value: Any) -> Any:
    """A number of NumPy, or an instance of a class under `str` and its like, as Python's own."""
    if isinstance(value, Enum):
        return value
    for cls in _BARE:
        if isinstance(value, cls) and type(value) is not cls:
            return cls(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    return value


def _is_beyond_json(value: Any) -> bool:
    """Whether a value is NaN or infinite."""
    return isinstance(value, float) and not math.isfinite(value)


def _content(value: Any, types: Types) -> Any:
    if _is_beyond_json(value):
        return str(value)
    if isinstance(value, Enum):
        return encoded(value.value, types)
    if isinstance(value, dspy.Example):
        return {key: encoded(item, types) for key, item in value.items()}
    if isinstance(value, BaseModel):
        given = {**vars(value), **(value.model_extra or {})}
        return {"given": sorted(value.model_fields_set), "fields": {name: encoded(item, types) for name, item in given.items()}}
    if isinstance(value, dict):
        return [[encoded(key, types), encoded(item, types)] for key, item in value.items()]
    if type(value) in _CONTAINERS:
        return [encoded(item, types) for item in value]
    return _as_pydantic_writes_it(value)


def _as_pydantic_writes_it(value: Any) -> Any:
    try:
        adapter = TypeAdapter(type(value))
        content = adapter.dump_python(value, mode="json")
        same = adapter.validate_python(content) == value
    except Exception as error:
        raise NotOnFileError(f"a {type(value).__name__} cannot be written: {error}") from error
    if not same:
        raise NotOnFileError(f"a {type(value).__name__} is not read back as it was")
    return content


def decoded(value: Any, types: Types) -> Any:
    """The inverse of `encoded`.

    Raises:
        ValueError: A class that is not loaded, or that the content does not fit.
    """
    if isinstance(value, list):
        return [decoded(item, types) for item in value]
    if not isinstance(value, dict):
        return value
    if TYPE not in value:
        return {key: decoded(item, types) for key, item in value.items()}
    cls = types.find(value[TYPE])
    if cls is None:
        raise ValueError(f"The class {value[TYPE]!r} of a value on file is not loaded; import its module first.")
    return _made(cls, value[VALUE], types)


def _made(cls: type, content: Any, types: Types) -> Any:
    if issubclass(cls, Enum):
        return cls(decoded(content, types))
    if issubclass(cls, dspy.Example):
        return cls(**decoded(content, types))
    if issubclass(cls, RootModel):
        return cls.model_construct(decoded(content["fields"]["root"], types))
    if issubclass(cls, BaseModel):
        # Without the class's validators, which have seen these values once and may change them at every turn.
        return cls.model_construct(set(content["given"]), **decoded(content["fields"], types))
    if cls is dict:
        return {decoded(key, types): decoded(item, types) for key, item in content}
    return cls(decoded(content, types)) if cls in _CONTAINERS else TypeAdapter(cls).validate_python(content)


def written(fields: Mapping[str, Any], types: Types) -> tuple[dict[str, Any], list[str]]:
    """Fields as JSON; and those that had to be left out, as `name (class)`."""
    plain, left_out = {}, []
    for name, value in fields.items():
        try:
            plain[name] = encoded(value, types)
        except (NotOnFileError, RecursionError):
            left_out.append(f"{name} ({type(value).__name__})")
    return plain, left_out
