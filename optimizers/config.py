"""The configuration of a run: pydantic models, filled from TOML and dotted overrides."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optimizers.finetune.spec import TrainingSpec
from programs.conditions import DEFAULT_CONDITIONS, SOLVER_CONDITIONS
from programs.lms.catalog import is_local


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TaskConfig(BaseModel):
    """Which questions. Further keys are the task's own options: `hops`, `schema`, `path`, ..."""

    model_config = ConfigDict(extra="allow")

    name: str = "multihop"
    """One of `divide-or-conquer tasks`."""

    def options(self) -> dict[str, Any]:
        """What `load_task` takes beside the name."""
        return dict(self.model_extra or {})


class ModelConfig(_Section):
    """An LM: a model string of this package (`embedded/...`, `local/...`, `hf/...`) or of LiteLLM (`openai/...`)."""

    model: str
    temperature: float | None = None
    """0 for models of this package, the provider's default for others."""
    max_tokens: int | None = Field(None, ge=1)
    api_base: str | None = None
    """Address of an OpenAI-compatible server; keys come from the environment alone."""
    timeout: float | None = Field(None, gt=0)
    """Seconds that an API call may take."""
    adapter: Literal["line", "line-terse", "chat"] | None = None
    """Prompt format; by default the one that a model of this package was trained on, and `line` for others."""

    def in_process(self) -> ModelConfig:
        """The same model as one of this process, for a student: a bare `org/name` is one of the Hugging Face hub."""
        return self if is_local(self.model) else self.model_copy(update={"model": f"hf/{self.model}"})

    def options(self) -> dict[str, Any]:
        """What `programs.lms.lm` takes beside the model string."""
        return self.model_dump(exclude={"model", "adapter"}, exclude_none=True)


class DataConfig(_Section):
    """How many questions."""

    train: int = Field(200, ge=1)
    dev: int = Field(0, ge=0)
    """Questions whose loss picks the best checkpoint; 0 keeps the last."""
    test: int = Field(100, ge=1)


class LabellingConfig(_Section):
    """How the teacher is asked, and where it stops."""

    samples: int = Field(1, ge=1)
    """Decompositions a question; more than one needs a temperature."""
    temperature: float | None = Field(None, ge=0)
    threads: int = Field(16, ge=1)
    max_calls: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    max_usd: float | None = Field(None, gt=0)
    failure_share: float = Field(0.2, gt=0, le=1)
    """Share of failed questions at which labelling stops."""
    partial: bool = False
    """Go on with what there is when a limit or the failure share stopped labelling."""


class ScreeningConfig(_Section):
    """Which teacher decompositions become rows."""

    keep: Literal["first", "all"] = "first"
    """With several samples: the first right one, or all distinct right ones."""
    min_rows: int = Field(20, ge=1)
    """Fewer rows than this are not trained on."""


class EvaluationConfig(_Section):
    """What is compared."""

    conditions: list[str] = list(DEFAULT_CONDITIONS)
    threads: int = Field(16, ge=1)


class CostConfig(_Section):
    """What a local model's time costs."""

    local_usd_per_hour: float | None = Field(None, ge=0)
    """Dollars an hour of this machine; without it local calls have no price."""


class RunConfig(_Section):
    """Everything that decides a run."""

    seed: int = 0
    out: str = "runs/default"
    task: TaskConfig = Field(default_factory=TaskConfig)
    teacher: ModelConfig = ModelConfig(model="embedded/teacher")
    student: ModelConfig = ModelConfig(model="embedded/base")
    solver: ModelConfig | None = None
    """Solves in the conditions that end in `+solver`; the teacher, if not given."""
    data: DataConfig = DataConfig()
    labelling: LabellingConfig = LabellingConfig()
    screening: ScreeningConfig = ScreeningConfig()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationConfig = EvaluationConfig()
    cost: CostConfig = CostConfig()

    def conditions(self) -> list[str]:
        """What is compared; with a solver of its own and no conditions given, the students work for that solver."""
        given = self.evaluation.conditions
        return list(SOLVER_CONDITIONS) if self.solver and given == list(DEFAULT_CONDITIONS) else given

    def to_toml(self) -> str:
        """TOML that `load_config` reads back to the same configuration."""
        return tomli_w.dumps(self.model_dump(exclude_none=True, exclude={"training": {"base"}}))


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
    for key, value in (overrides or {}).items():
        _set(settings, key.split("."), value)
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ValueError(_explain(error)) from error


def _set(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value at a dotted path; a model or task given by its bare name keeps its other keys."""
    *sections, last = path
    if not sections and last in {"teacher", "student", "solver"}:
        sections, last = [last], "model"
    if not sections and last == "task":
        sections, last = ["task"], "name"
    for section in sections:
        settings = settings.setdefault(section, {})
    settings[last] = value.split(",") if path[-1] == "conditions" and isinstance(value, str) else value


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
