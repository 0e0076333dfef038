"""JSON schema of the configuration, so that editors complete and check a TOML file while it is written."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from optimizers.settings.experiment import ExperimentConfig
from optimizers.settings.load import setting_names
from optimizers.settings.models import ModelConfig
from optimizers.settings.reference import docstrings
from optimizers.settings.run import RunConfig
from optimizers.settings.study import StudyConfig
from optimizers.settings.task import TaskConfig
from optimizers.settings.valid_values import names_of
from programs.tasks.registry import TASKS

# What editors read: Taplo, behind "Even Better TOML", knows none that is newer.
_DIALECT = "http://json-schema.org/draft-07/schema#"
_DIMENSION = {
    "type": "object",
    "properties": {
        "low": {"type": "number", "description": "The least value."},
        "high": {"type": "number", "description": "The greatest value."},
        "step": {"type": "number", "description": "Distance of two values; any value between, if not given."},
        "log": {"type": "boolean", "description": "Whether small and large values are tried alike, by their logarithm."},
        "choices": {"type": "array", "description": "The values, in place of low and high."},
    },
    "additionalProperties": False,
}


def configuration_schema() -> dict[str, Any]:
    """The schema of a TOML file that `load_config` reads, with the tasks and policies of other packages that are installed here.

    It is for writing: what it passes, `load_config` may still refuse, such as a section `solver` that names no model.
    """
    made = RunConfig.model_json_schema(schema_generator=_ForEditors)
    sections = made["$defs"]
    del sections["TrainingSpec"]["properties"]["base"]  # it is --student
    training = sections[ExperimentConfig.__name__]["properties"]["training"]
    training.pop("additionalProperties")
    training["allOf"] = [{"$ref": "#/$defs/TrainingSpec"}]
    space = sections[StudyConfig.__name__]["properties"]["space"]
    space["properties"] = {name: {"$ref": "#/$defs/Dimension"} for name in setting_names() if "." in name}
    sections["Dimension"] = _DIMENSION
    return {"$schema": _DIALECT, "title": "Configuration of divide-or-conquer", **made}


def write_schema(path: Path) -> None:
    """Write it to a file.

    Raises:
        ValueError: There is something else than a JSON schema at `path`, or no folder to write it to.
    """
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} for {path.name}; make it, or choose another.")
    if path.exists() and not _is_schema(path):
        raise ValueError(f"{path} is there already and is no JSON schema; choose another name, such as divide-or-conquer.schema.json.")
    path.write_text(as_text(), encoding="utf-8")


def as_text() -> str:
    """The schema as JSON, with a line end behind it."""
    return json.dumps(configuration_schema(), indent=2, ensure_ascii=False) + "\n"


def _is_schema(path: Path) -> bool:
    try:
        return "$schema" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


class _ForEditors(GenerateJsonSchema):
    """Says what TOML can say: no null, and the short forms that `load_config` takes; with the docstrings of all settings."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default") is None or isinstance(made["default"], dict):
            made.pop("default", None)
        return made

    def list_schema(self, schema: core_schema.ListSchema) -> JsonSchemaValue:
        return {"anyOf": [super().list_schema(schema), {"type": "string", "description": "Joined by commas."}]}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made, section = super().model_schema(schema), schema["cls"]
        for key, text in docstrings(section).items():
            if key in made["properties"]:
                made["properties"][key] = _described(section, key, made["properties"][key], text)
        if issubclass(section, TaskConfig):
            made["properties"] |= _task_options()
        if not issubclass(section, ModelConfig | TaskConfig):
            return made
        made.pop("required", None)  # settings of the teacher or the student alone are those of the default model
        return {"anyOf": [{"type": "string"}, made]}


def _described(section: type[BaseModel], key: str, made: dict[str, Any], text: str) -> dict[str, Any]:
    """A setting with its names, unit and docstring; a reference stands in `allOf`, as Draft 7 reads nothing beside one."""
    unit = made.get("unit")
    told = {"description": f"{text} In {unit}." if unit else text}
    if "$ref" in made:
        return {"allOf": [made], **told}
    return {**_named(section, key, made), **told}


def _named(section: type[BaseModel], key: str, made: dict[str, Any]) -> dict[str, Any]:
    names = names_of(section, key)
    if names is None:
        return made
    one: dict[str, Any] = {"type": "string", "enum": list(names.known())}
    one = {"anyOf": [one, {"type": "string"}]} if names.others else one
    if "anyOf" not in made:
        return {**{key: value for key, value in made.items() if key != "type"}, **one}
    listed, joined = made["anyOf"]
    return {**made, "anyOf": [{**listed, "items": one}, joined]}


def _task_options() -> dict[str, Any]:
    """Every option of every task, with the tasks that have it."""
    tasks: dict[str, list[str]] = {}
    for name, cls in TASKS.usable().items():
        for option in inspect.signature(cls).parameters:
            tasks.setdefault(option, []).append(name)
    return {option: {"description": f"An option of {', '.join(names)}."} for option, names in tasks.items()}
