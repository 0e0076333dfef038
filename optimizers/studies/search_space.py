"""The search space of a study: any setting of a configuration as a dimension, checked before the first trial."""

from __future__ import annotations

import difflib
import itertools
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from optimizers.settings.load import setting_names
from optimizers.settings.models import ModelConfig
from optimizers.settings.run import RunConfig
from optimizers.settings.study import studied_students

if typing.TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_BARE_MODELS = ("teacher", "student", "solver")

_MEASURE = "it decides which questions are asked, so that trials could not be compared"

_UNFIT = {
    "out": "it is a folder",
    "seed": f"{_MEASURE}; training.seed is the seed of a training",
    "task": _MEASURE,
    "data.dev": _MEASURE,
    "data.test": "no trial sees a test question",
    "labelling.threads": "it changes how fast labels are collected, not which",
    "labelling.max_calls": "it is a limit",
    "labelling.max_tokens": "it is a limit",
    "labelling.max_usd": "it is a limit",
    "labelling.failure_share": "it is a limit",
    "labelling.partial": "it is a limit",
    "training.save_steps": "the study spaces its dev losses by study.loss_checks",
    "training.threads": "it changes how fast a training is, not what it learns",
    "evaluation": "it says what `run` compares",
    "cost": "it says what time costs",
    "experiment": "a study trains one student on one task",
    "study": "it is a setting of the study itself",
    "improve": "a study does not go on with a student",
    "compile": "prompts are compiled before a study, and given by teacher.program",
    "screening.measure": "it measures policies that no student is trained on",
}

_ASKED = tuple(f"screening.{name}" for name in ("policy", "votes", "temperature", "judge", "single_stage"))

# The student decides whether its screening asks anything.
_LABELS = ("teacher.", "labelling.temperature", "study.student", *_ASKED)

_LARGEST = ("labelling.samples", "data.train")


class _Range(BaseModel):
    """One entry of `[study.space]`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False
    choices: list[Any] | None = None


_WORDS = frozenset(_Range.model_fields)


@dataclass(frozen=True)
class Dimension:
    """One setting that a study varies.

    Attributes:
        key: Dotted setting.
        spec: Its declaration, without what is not set; a later call's is compared with it.
        distribution: Optuna's form of it.
    """

    key: str
    spec: dict[str, Any]
    distribution: BaseDistribution

    @property
    def extremes(self) -> list[Any]:
        """The values to check, so that all can be used: every choice, or both ends of a range."""
        return list(self.spec.get("choices") or (self.spec["low"], self.spec["high"]))

    @property
    def values(self) -> list[Any] | None:
        """All values, where there are finitely many."""
        if "choices" in self.spec:
            return list(self.spec["choices"])
        step = getattr(self.distribution, "step", None)
        if step is None:
            return None
        low, high = self.spec["low"], self.spec["high"]
        return [low + step * n for n in range(int((high - low) / step) + 1)]

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the dimension."""
        if value is None:
            return False
        try:
            return self.distribution._contains(self.distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            return False

    def __str__(self) -> str:
        if "choices" in self.spec:
            return "one of " + ", ".join(map(str, self.spec["choices"]))
        step = f" by {self.spec['step']:g}" if "step" in self.spec else ""
        return f"{self.spec['low']:g} to {self.spec['high']:g}{step}{', log' if self.spec.get('log') else ''}"


class Space:
    """All dimensions of a study.

    Args:
        config: Its `study.space` declares them; its own values are the first trial.

    Raises:
        ValueError: Unknown or unfit key, empty range, log scale through zero, value of the wrong kind, a choice twice, or
            the configuration's own value outside of its dimension. Names the key and what would be valid.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        declared = dict(_declared(config.study.space))
        if not declared:
            raise ValueError(
                'A study needs at least one dimension under [study.space], for example "training.learning_rate" = '
                "{ low = 1e-4, high = 3e-3, log = true }; or start from the recipe: divide-or-conquer study @ study."
            )
        self.dimensions = [_dimension(key, value) for key, value in declared.items()]
        for dimension in self.dimensions:
            self._check(dimension)
        self.defaults = {dimension.key: self._default(dimension) for dimension in self.dimensions}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What `optuna.Study.ask` takes."""
        return {dimension.key: dimension.distribution for dimension in self.dimensions}

    def apply(self, params: Mapping[str, Any]) -> RunConfig:
        """The configuration of a trial.

        Raises:
            ValueError: A value that the setting cannot have.
        """
        settings = self.config.model_dump(exclude_none=True, exclude={"training": {"base"}})
        for key, value in params.items():
            *sections, last = key.split(".")
            inner = settings
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[last] = value
        try:
            return RunConfig.model_validate(settings)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise ValueError(f"study.space: {where} cannot be {problem['input']!r}: {problem['msg']}.") from error

    def label_configs(self) -> list[RunConfig]:
        """The configurations to label with before the first trial: every teacher, with the most questions and samples."""
        largest = {d.key: max(d.extremes) for d in self.dimensions if d.key in _LARGEST}
        varied = [d for d in self.dimensions if d.key.startswith(_LABELS)]
        grids = [[(d.key, value) for value in d.values or []] for d in varied]
        return [self.apply(largest | dict(combination)) for combination in itertools.product(*grids)]

    def describe(self) -> dict[str, dict[str, Any]]:
        """Dimensions as they were declared."""
        return {dimension.key: dimension.spec for dimension in self.dimensions}

    def _check(self, dimension: Dimension) -> None:
        if dimension.key.startswith(_LABELS) and dimension.values is None:
            raise ValueError(
                f"study.space: {dimension.key} changes what is asked for labels, which are collected before the first trial; "
                "give it choices or a step."
            )
        for value in dimension.extremes:
            self.apply({dimension.key: value})
            if dimension.key == "study.student" and value not in studied_students():
                raise ValueError(f"study.space: study.student cannot be {value!r}; expected some of {studied_students()}.")

    def _default(self, dimension: Dimension) -> Any:
        value: Any = self.config
        for part in dimension.key.split("."):
            value = getattr(value, part, None)
        if not dimension.contains(value):
            shown = "not set" if value is None else repr(value)
            raise ValueError(
                f"study.space: {dimension.key} is {shown} in the configuration, which is not in its dimension ({dimension}). The first "
                f"trial is the configuration as it stands, for the comparison: set it to a value of the dimension, such as "
                f"--{dimension.key} {dimension.extremes[0]}, or widen the dimension."
            )
        return value


def _declared(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dimensions of flat or nested tables, from a file or as text from the command line."""
    for name, value in space.items():
        key, value = prefix + name, _parsed(value)
        if isinstance(value, Mapping) and value and not _WORDS & set(value):
            yield from _declared(value, f"{key}.")
        else:
            yield (f"{key}.model" if key in _BARE_MODELS else key), value


def _parsed(value: Any) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"] if isinstance(value, str) else value
    except tomllib.TOMLDecodeError:
        return value


def _dimension(key: str, value: Any) -> Dimension:
    _check_key(key)
    try:
        given = _Range.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, (key, *problem["loc"])))
        raise ValueError(
            f"study.space: {where}: {problem['msg']}. A dimension is {{ low, high }} with log = true or step where "
            "wanted, or { choices = [...] }."
        ) from error
    spec = {name: value for name, value in given.model_dump().items() if value is not None and value is not False}
    return Dimension(key, spec, _choices(key, given) if given.choices is not None else _interval(key, given))


def _check_key(key: str) -> None:
    parts = key.split(".")
    unfit = next((reason for name, reason in _UNFIT.items() if parts[: name.count(".") + 1] == name.split(".")), None)
    if unfit and key != "study.student":
        raise ValueError(f"study.space: {key} cannot be searched: {unfit}.")
    valid = searchable()
    if key not in valid:
        near = difflib.get_close_matches(key, valid, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"expected some of {valid}."
        raise ValueError(f"study.space: unknown setting {key!r}; {hint}")


def searchable() -> list[str]:
    """All settings that can be a dimension."""
    bare = [name for name in setting_names() if "." in name]
    return [name for name in bare if name == "study.student" or not any(name == u or name.startswith(f"{u}.") for u in _UNFIT)]


def _choices(key: str, given: _Range) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    choices = given.choices or []
    if not choices:
        raise ValueError(f"study.space: {key} has no choices; give at least two.")
    twice = next((choice for place, choice in enumerate(choices) if choice in choices[:place]), None)
    if twice is not None:
        raise ValueError(f"study.space: {key} has the choice {twice!r} twice; give each once.")
    for choice in choices:
        if not isinstance(choice, bool | int | float | str):
            raise ValueError(f"study.space: {key} has the choice {choice!r}; expected texts, numbers, true or false.")
    if given.low is not None or given.high is not None or given.step is not None or given.log:
        raise ValueError(f"study.space: {key} has choices and a range; give one of them.")
    return CategoricalDistribution(choices)


def _interval(key: str, given: _Range) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high, step = given.low, given.high, given.step
    if low is None or high is None:
        raise ValueError(f"study.space: {key} needs both low and high, or choices.")
    if low >= high:
        raise ValueError(f"study.space: the range of {key} is empty: low = {low:g} is not below high = {high:g}.")
    if given.log and low <= 0:
        raise ValueError(f"study.space: {key} has a log scale through zero: low = {low:g} must be above 0, or leave out log.")
    if step is not None and (step <= 0 or step > high - low or given.log):
        raise ValueError(f"study.space: {key}: step = {step:g} must be above 0, at most high - low = {high - low:g}, and without log.")
    kind = _kind(key)
    if kind is int:
        if not all(float(number).is_integer() for number in (low, high, step or 1)):
            raise ValueError(f"study.space: {key} takes whole numbers; low = {low:g}, high = {high:g}, step = {step or 1:g} are not.")
        return IntDistribution(int(low), int(high), log=given.log, step=int(step or 1))
    if kind is float:
        return FloatDistribution(float(low), float(high), log=given.log, step=step)
    raise ValueError(f"study.space: {key} takes no number; give {{ choices = [...] }}.")


def _kind(key: str) -> type | None:
    """`int` or `float`, where the setting is a number."""
    section, _, name = key.partition(".")
    model: Any = ModelConfig if section == "solver" else RunConfig.model_fields[section].annotation
    found = _types(model.model_fields[name].annotation)
    return float if float in found else int if int in found and bool not in found else None


def _types(annotation: Any) -> set[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return {inner for part in typing.get_args(annotation) for inner in _types(part)}
    return {annotation}
