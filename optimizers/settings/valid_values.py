"""Settings that take names: which there are, for the reference, for editors and for completion in a shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from optimizers.conditions import ALL_CONDITIONS
from optimizers.screening.policy import POLICIES, answer_free
from optimizers.screening.screen import KEEP
from optimizers.settings.compile import PROMPT_OPTIMIZERS, CompileConfig
from optimizers.settings.evaluation import EvaluationConfig
from optimizers.settings.experiment import ABLATIONS, ExperimentConfig
from optimizers.settings.models import ModelConfig
from optimizers.settings.run import RunConfig
from optimizers.settings.screening import ScreeningConfig
from optimizers.settings.section import is_section
from optimizers.settings.study import StudyConfig, studied_students
from optimizers.settings.task import TaskConfig
from programs.compiled.state import STAGES
from programs.lms.embedded import MODELS
from programs.lms.weights import WEIGHTS
from programs.tasks.registry import TASKS


class Names(NamedTuple):
    """What a setting may be called.

    Attributes:
        known: Gives the names, those that other packages bring included.
        others: Whether further names can be right: of models, of solvers and tasks that a configuration names itself.
        told: What the reference says in place of the names, where these are many or other packages add to them.
    """

    known: Callable[[], Sequence[str]]
    others: bool = False
    told: str = ""


_MODELS = Names(lambda: [f"embedded/{name}" for name in MODELS] + [f"gguf/{name}" for name in WEIGHTS], others=True, told="a model string")
_CONDITIONS = Names(lambda: ALL_CONDITIONS, others=True, told="[conditions](concepts.md#conditions)")
_GRID_CONDITIONS = Names(lambda: ("all", *ALL_CONDITIONS), others=True, told="`all`, or [conditions](concepts.md#conditions)")
_TASKS = Names(TASKS.names, others=True, told="tasks of `experiment.tasks` or of `divide-or-conquer tasks`")
_POLICIES = Names(POLICIES.names, told="one of the [policies](screening.md)")
_MEASURABLE = Names(answer_free, told="[policies](screening.md) that need no reference answers")
_SCREENINGS = Names(lambda: (*KEEP, *POLICIES.names()), others=True, told="`first`, `all`, `fewest`, or [policies](screening.md)")


class Values(NamedTuple):
    """What is known of the values of a setting: none, if it is free.

    Attributes:
        known: Names, or those of its annotation, or true and false.
        several: Whether it takes some of them, joined by commas.
    """

    known: list[str]
    several: bool = False


NAMES: dict[tuple[type[BaseModel], str], Names] = {
    (TaskConfig, "name"): Names(TASKS.names, told="one of `divide-or-conquer tasks`"),
    (ModelConfig, "model"): _MODELS,
    (ScreeningConfig, "policy"): _POLICIES,
    (ScreeningConfig, "measure"): _MEASURABLE,
    (EvaluationConfig, "conditions"): _CONDITIONS,
    (ExperimentConfig, "conditions"): _GRID_CONDITIONS,
    (ExperimentConfig, "variant_conditions"): _CONDITIONS,
    (ExperimentConfig, "student_conditions"): _CONDITIONS,
    (ExperimentConfig, "rows_conditions"): _CONDITIONS,
    (ExperimentConfig, "transfer_conditions"): _CONDITIONS,
    (ExperimentConfig, "train"): _TASKS,
    (ExperimentConfig, "test"): _TASKS,
    (ExperimentConfig, "ablations"): Names(lambda: ABLATIONS),
    (ExperimentConfig, "screenings"): _SCREENINGS,
    (StudyConfig, "student"): Names(studied_students),
    (CompileConfig, "optimizer"): Names(lambda: PROMPT_OPTIMIZERS),
    (CompileConfig, "stages"): Names(lambda: STAGES),
}
"""By section and setting; a setting whose annotation lists its values needs no entry."""


def names_of(section: type[BaseModel], key: str) -> Names | None:
    """The names that a setting takes, also of a section that a given one derives from; None if it takes none of a list."""
    return next((NAMES[one, key] for one in section.__mro__ if (one, key) in NAMES), None)


def values_of(setting: str) -> Values:
    """The values that are known of a setting.

    Args:
        setting: Dotted name, `teacher` and `task` alone included.
    """
    section, key = section_of(setting)
    if section is None or key not in section.model_fields:
        return Values([])
    annotation = section.model_fields[key].annotation
    inner = next((one for one in _parts(annotation) if isinstance(one, type) and issubclass(one, ModelConfig | TaskConfig)), None)
    if inner:
        return values_of(f"{setting}.{'name' if issubclass(inner, TaskConfig) else 'model'}")
    names = names_of(section, key)
    return Values(list(names.known()) if names else listed_in(annotation), get_origin(annotation) is list)


def listed_in(annotation: Any) -> list[str]:
    """The values that an annotation lists by itself, true and false of a switch; none where it is free."""
    return list(dict.fromkeys(_listed(annotation)))


def section_of(setting: str) -> tuple[type[BaseModel] | None, str]:
    """The section that a dotted name leads to, through names of the user's own too, and the setting in it."""
    around: Any = RunConfig
    *sections, last = setting.split(".")
    for key in sections:
        inside = _inside(around, key)
        around = next((one for one in _parts(inside) if is_section(one) or get_origin(one) is dict), None)
    return (around if is_section(around) else None), last


def _inside(around: Any, key: str) -> Any:
    """The annotation of a setting of a section, or of any entry where the user names them."""
    if is_section(around):
        return around.model_fields[key].annotation if key in around.model_fields else None
    return get_args(around)[1] if get_origin(around) is dict else None


def _parts(annotation: Any) -> tuple[Any, ...]:
    """An annotation and what it is a union of."""
    return (annotation, *get_args(annotation)) if get_origin(annotation) is not dict else (annotation,)


def _listed(annotation: Any) -> Iterator[str]:
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            yield from map(str, get_args(part))
        elif part is bool:
            yield from ("true", "false")
        elif part is not annotation and part is not NoneType:
            yield from _listed(part)
