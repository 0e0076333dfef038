"""A configuration from a recipe or a TOML file, and from dotted settings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from optimizers.conditions import expand_conditions
from optimizers.finetune.spec import TrainingSpec
from optimizers.settings.experiment import ExperimentConfig
from optimizers.settings.explain import explain
from optimizers.settings.models import ModelConfig
from optimizers.settings.priced import check_prices
from optimizers.settings.run import RunConfig
from optimizers.settings.task import DataConfig

# No count, seed or length comes near; what is above it is a slip, and a loop over it would never end.
_LARGEST = 10**12


def recipe_names() -> list[str]:
    """Recipes that come with the package, for `@ name`."""
    return sorted(p.name.removesuffix(".toml") for p in resources.files("optimizers.recipes").iterdir() if p.name.endswith(".toml"))


def recipe_summaries() -> dict[str, str]:
    """Name of each recipe that comes with the package -> what it is: the first sentence of its file."""
    texts = {name: (resources.files("optimizers.recipes") / f"{name}.toml").read_text(encoding="utf-8") for name in recipe_names()}
    return {name: text.partition("\n")[0].lstrip("# ").partition(". ")[0].rstrip(".:") + "." for name, text in texts.items()}


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
        return tomllib.loads(path.read_text(encoding="utf-8-sig") if path.is_file() else packaged.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no valid TOML: {error}") from error


def load_config(recipe: str | None = None, overrides: Mapping[str, Any] | RunConfig | None = None) -> RunConfig:
    """A configuration from a recipe or file, with other settings put over it.

    Args:
        recipe: The name of one of the package, or the path of a TOML file; None starts from the package's defaults.
        overrides: Dotted settings, such as `{"data.train": 300}`; or a `RunConfig`, of which those that were set count, such as
            `RunConfig(data=DataConfig(train=300))`.

    Raises:
        ValueError: An unknown key (with the nearest valid ones) or a value of the wrong kind (with what was expected).
    """
    settings = read_recipe(recipe) if recipe else {}
    given = dict(_set_in(overrides)) if isinstance(overrides, BaseModel) else {**(overrides or {})}
    # Names of tasks first: another task than the recipe's takes none of its options, and all that are given beside it.
    for key in sorted(given, key=lambda key: key.removesuffix(".name") not in ("task", "improve.task")):
        _set(settings, _path(key), given[key])
    _refuse_base(settings)
    try:
        config = RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ValueError(explain(error)) from error
    _refuse_huge(config.model_dump())
    _check_experiment(config)
    if "experiment.conditions" in given and "experiment.transfer_conditions" not in given:
        _follow_conditions(config.experiment)
    return config


def for_job(config: RunConfig | Mapping[str, Any]) -> RunConfig:
    """The configuration of a job that begins, or is planned.

    Args:
        config: A `RunConfig`, or its fields as nested dicts.

    Raises:
        ValueError: A field that cannot be, or a price of a model that the job does not have.
    """
    found = RunConfig.model_validate(config)
    check_prices(found.model_dump())
    return found


def _set_in(section: BaseModel, within: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a section that somebody set, by dotted names; a task's own options are among them."""
    for name in sorted(section.model_fields_set):
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _set_in(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", section.model_dump(include={name}, exclude_unset=True)[name]


def _follow_conditions(experiment: ExperimentConfig) -> None:
    """Leave out of a recipe's `transfer_conditions` what is no longer measured: who names fewer conditions has not asked for those."""
    seeded = experiment.training_seeds or experiment.data_seeds or experiment.sampling_seeds
    kinds = [*(["students"] if experiment.students else []), *experiment.ablations, *(["seeds"] if seeded else [])]
    names = [*experiment.conditions, *(name for kind in kinds for name in experiment.measured_by(kind))]
    measured = expand_conditions(names, experiment.solvers)
    experiment.transfer_conditions = [name for name in experiment.transfer_conditions if name in (*measured, "all")]


def _refuse_base(settings: Mapping[str, Any]) -> None:
    for around, name in ((settings, "training"), (settings.get("experiment"), "experiment.training")):
        training = around.get("training") if isinstance(around, Mapping) else None
        if isinstance(training, Mapping) and training.get("base"):
            raise ValueError(f"{name}.base={training['base']!r} would have no effect: the model that is trained is --student MODEL.")


def _refuse_huge(settings: Mapping[str, Any]) -> None:
    for name, value in _numbers(settings):
        if abs(value) > _LARGEST:
            raise ValueError(f"{name}={value:.6g} is too large: numbers go up to {_LARGEST:.0e}.")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def _check_experiment(config: RunConfig) -> None:
    """Refuse parts of the grid that `experiment` alone would find wrong, late or never.

    Raises:
        ValueError: An unknown task, a number of questions or a training setting that cannot be.
    """
    experiment = config.experiment
    for name, sizes in experiment.data.items():
        try:
            experiment.task(name, config.task)
        except ValueError as error:
            raise ValueError(f"experiment.data.{name}: {error}") from None
        _validated(DataConfig, config.data.model_dump() | dict(sizes), f"experiment.data.{name}")
        if sizes.get("train") == 0:
            raise ValueError(f"experiment.data.{name}.train=0 should be greater than or equal to 1.")
    _validated(TrainingSpec, {**config.training.model_dump(), **experiment.training}, "experiment.training")


def _validated(section: type[BaseModel], settings: dict[str, Any], name: str) -> None:
    try:
        section.model_validate(settings)
    except ValidationError as error:
        raise ValueError(explain(error, name)) from error


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
            # Entries that the empty text drops make place for those given beside it.
            bare = settings[section]
            settings[section] = {"name" if section == "task" else "model": bare} if bare else {}
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise ValueError(f"{'.'.join(path)} is no setting: {section} is one value, {settings!r} so far.")
    if (sections[-1:], last) == (["task"], "name") and settings.get("name", value) != value:
        settings.clear()
    settings[last] = value


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
