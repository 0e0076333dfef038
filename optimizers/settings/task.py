"""Which questions, and how many: the sections `task` and `data`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optimizers.settings.section import MOST_QUESTIONS, Section, paths_as_texts
from programs.tasks.mixture import Mixture, parse_parts


class TaskConfig(BaseModel):
    """Which questions. Further keys are the task's own options: `hops`, `schema`, `path`, ..."""

    model_config = ConfigDict(extra="allow")

    name: str = "multihop"
    """Name of the task: one of `divide-or-conquer tasks`."""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else paths_as_texts(value)

    def options(self) -> dict[str, Any]:
        """What `load_task` takes beside the name."""
        return dict(self.model_extra or {})

    def with_parts_of(self, tasks: Mapping[str, TaskConfig]) -> TaskConfig:
        """The same task; of a mixture, parts that bear the name of one of `tasks` are that one, with its options."""
        parts = self.options().get("parts")
        if self.name != Mixture.name or not parts:
            return self
        found = parse_parts(parts)
        named = {name: tasks[part["name"]].model_dump() for name, part in found.items() if len(part) == 1 and part["name"] in tasks}
        return TaskConfig.model_validate({**self.model_dump(), "parts": found | named})


class DataConfig(Section):
    """How many questions of each split."""

    train: int = Field(200, ge=0, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of the task's questions that the teacher labels, at least 1; with `labelling.traces` those of the traces come on top, and 0
    takes these alone."""
    dev: int = Field(0, ge=0, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of questions whose loss picks the best checkpoint, and whose scores the threshold of a cascade; 0 keeps the last one."""
    test: int = Field(100, ge=1, le=MOST_QUESTIONS, json_schema_extra={"unit": "questions"})
    """Number of questions that every condition is asked."""
