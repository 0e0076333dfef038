"""The reference of all settings, as Markdown: `python -m optimizers.settings.reference > docs/settings.md`."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from optimizers.settings.models import ModelConfig
from optimizers.settings.run import RunConfig
from optimizers.settings.section import is_section
from optimizers.settings.task import TaskConfig
from optimizers.settings.valid_values import names_of

SHARED: dict[type[BaseModel], tuple[str, str]] = {ModelConfig: ("student", "model"), TaskConfig: ("task", "task")}
"""Sections that other settings are made of too: the section that shows their settings, and what one is called."""

_INTRODUCTION = """\
# Settings

Every setting of a run, with its default in the package. A recipe or a TOML file sets others (`divide-or-conquer run @ embedded`,
`run @ mine.toml`), and a dotted flag overrides both:

    divide-or-conquer run @ embedded --training.epochs 2 --evaluation.conditions single-stage,S_D-R+teacher

In TOML the part before the last dot is the table: `epochs = 2` under `[training]`. A setting that does not exist is refused, with the
nearest ones that do. A model or a task can also be given by its name alone: `--teacher openai/gpt-4.1-mini`, `--task gsm8k`. Where a
default is "not set", the last column says what happens then. An editor completes and checks all of them: see
[Editors and shells](editors.md).

This page is written by `python -m optimizers.settings.reference`, from the code.
"""


class Setting(NamedTuple):
    """A row of the reference: what is said of one setting."""

    name: str
    kind: str
    default: str
    unit: str
    valid: str
    text: str


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for name, section in sections():
        title, told = (name, _section_text(name)) if name else ("The run", "")
        rows = [f"| {' | '.join([f'`{row.name}`', *row[1:]])} |" for row in settings_of(section, name)]
        head = ["| setting | type | default | unit | valid values | what it does |", "|---|---|---|---|---|---|"]
        parts.append("\n".join([f"## {title}", "", *([told, ""] if told else []), *head, *rows, ""]))
    return "\n".join(parts)


def sections(section: type[BaseModel] = RunConfig, name: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections by their dotted names, those within one after it; of the shared ones each is shown once."""
    yield name, section
    for key, field in section.model_fields.items():
        inner, within = _section_in(field.annotation), f"{name}.{key}" if name else key
        if inner and (inner not in SHARED or SHARED[inner][0] == within):
            yield from sections(inner, within)


def settings_of(section: type[BaseModel], name: str) -> list[Setting]:
    """What is said of each setting of a section, and of the sections within it.

    Raises:
        ValueError: A setting without a docstring.
    """
    texts = docstrings(section)
    if missing := [key for key in section.model_fields if not texts.get(key)]:
        raise ValueError(f"Settings of {section.__name__} without a docstring: {missing}.")
    prefix, defaults = f"{name}." if name else "", _defaults(name)
    return [
        Setting(
            name=prefix + key,
            kind=_kind(field, prefix + key),
            default=_in_code(getattr(defaults, key)),
            unit=unit_of(field),
            valid=_valid(section, key, field),
            text=texts[key].replace("|", "\\|"),
        )
        for key, field in section.model_fields.items()
        if prefix + key != "training.base"  # it is `student`
    ]


def docstrings(section: type) -> dict[str, str]:
    """The attribute docstrings of a class and its bases, each in one line."""
    found: dict[str, str] = {}
    for base in reversed([one for one in section.__mro__ if issubclass(one, BaseModel) and one is not BaseModel]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, text in itertools.pairwise(statements):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _section_text(name: str) -> str:
    """What the section around it says of a section within."""
    around, _, last = name.rpartition(".")
    return docstrings(type(_defaults(around)))[last]


def _defaults(name: str) -> BaseModel:
    """The section of a dotted name, as it is where nothing is given."""
    section: BaseModel = RunConfig()
    for key in name.split(".") if name else []:
        section = getattr(section, key)
    return section


def _section_in(kind: Any) -> type[BaseModel] | None:
    """The section that an annotation is, or may be; none of those in a dict, whose names are the user's own."""
    return next((one for one in _options(kind) if is_section(one)), None)


def _kind(field: FieldInfo, name: str) -> str:
    inner = _section_in(field.annotation)
    if inner:
        shown, called = SHARED.get(inner, (name, "model" if issubclass(inner, ModelConfig) else "section"))
        return f"[{called}](#{shown.replace('.', '')})"
    return _in_words(field.annotation)


def unit_of(field: FieldInfo) -> str:
    """What a number counts; empty where it has no unit."""
    extra = field.json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) and "unit" in extra else ""


def _valid(section: type[BaseModel], key: str, field: FieldInfo) -> str:
    """The values that a setting takes: bounds, or names."""
    if _section_in(field.annotation):
        return ""
    names = names_of(section, key)
    if names:
        return names.told or _listed(names.known())
    literal = next((one for one in _options(field.annotation) if get_origin(one) is Literal), None)
    return _listed(get_args(literal)) if literal else _bounds(field)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _options(kind: Any) -> Sequence[Any]:
    """What an annotation may be, without nothing."""
    return [one for one in get_args(kind) if one is not NoneType] if get_origin(kind) in (Union, UnionType) else [kind]


def _plain(kind: Any) -> Any:
    """A type without its bounds."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _in_words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _in_words(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, _options(kind)))
    if origin is Literal:
        return "word"
    if origin is list:
        return {str: "words, joined by commas", int: "whole numbers, joined by commas", float: "2 to 4 numbers, joined by commas"}[
            _plain(parts[0])
        ]
    if origin is dict:
        return _by_name(parts[1])
    if kind in SHARED:
        return SHARED[kind][1]
    return {int: "whole number", float: "number", str: "text", bool: "`true` or `false`", Any: "value"}[kind]


def _by_name(kind: Any) -> str:
    if kind in SHARED:
        shown, called = SHARED[kind]
        return f"[{called}s](#{shown}) by name"
    if get_origin(kind) is dict:
        keys, value = get_args(kind)
        return f"by name, a {_in_words(value)} for each of {_listed(get_args(keys))}"
    return "values by name" if _plain(kind) is Any else f"by name, {_in_words(kind)}"


def _bounds(field: FieldInfo) -> str:
    words = {Ge: "at least {}", Gt: "above {}", Le: "at most {}", Lt: "below {}"}
    limits = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}
    found = [words[type(one)].format(getattr(one, limits[type(one)])) for one in field.metadata if type(one) in words]
    if any(isinstance(one, MinLen) for one in field.metadata):
        found.append("not empty")
    return " and ".join(found)


def _in_code(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, ModelConfig):
        value = value.model
    elif isinstance(value, TaskConfig):
        value = value.name
    elif isinstance(value, BaseModel):
        return ""
    elif isinstance(value, list):
        value = ",".join(map(str, value))
    elif isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if value not in ("", {}) else "none"


if __name__ == "__main__":
    print(reference(), end="")
