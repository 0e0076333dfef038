"""What a shell completes behind a command that takes settings: recipes, settings, and the values that are known of them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from typer.core import TyperCommand


class Suggestion(NamedTuple):
    """One completion, as Click's `CompletionItem` has it; Typer keeps that class to itself."""

    value: str
    help: str | None = None
    type: str = "plain"


class SettingsCommand(TyperCommand):
    """A command that takes any setting as a flag, besides those that it declares."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        return [*super().shell_complete(ctx, incomplete), *suggestions(ctx.args, incomplete)]


def suggestions(words: Sequence[str], incomplete: str) -> list[Suggestion]:
    """What may stand at the end of a command line.

    Args:
        words: Behind the command, without flags that it declares itself.
        incomplete: The beginning of the word to complete; may be empty.
    """
    before = words[-1] if words else ""
    if before == "@":
        return _starting(incomplete, _recipes())
    if before.startswith("--") and "=" not in before:
        return _values(before[2:], words, incomplete)
    if incomplete.startswith("-"):
        return _starting(incomplete, _flags(words))
    return [] if _recipe_in(words) else _starting(incomplete, [Suggestion("@"), *(Suggestion(f"@{one.value}") for one in _recipes())])


def stages_of_experiment(incomplete: str) -> list[str]:
    """Stages for `experiment --stages`."""
    from optimizers.experiments.experiment import GRID_STAGES

    return _joined(incomplete, GRID_STAGES)


def redone(incomplete: str) -> list[str]:
    """Names for `--redo`."""
    from optimizers.conditions import TRAINED

    return _joined(incomplete, ("distill", *TRAINED))


def weights(incomplete: str) -> list[str]:
    """Names for `fetch`."""
    from programs.lms.weights import WEIGHTS

    return [name for name in WEIGHTS if name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Models that need no path; `local/<folder>` is typed."""
    from optimizers.settings.valid_values import values_of

    return [name for name in values_of("teacher").known if name.startswith(incomplete)]


def _starting(incomplete: str, found: Iterable[Suggestion]) -> list[Suggestion]:
    return [one for one in found if one.value.startswith(incomplete)]


def _joined(incomplete: str, names: Iterable[str]) -> list[str]:
    """Names for the last part of a list that commas join; none twice."""
    given, comma, last = incomplete.rpartition(",")
    return [f"{given}{comma}{name}" for name in names if name.startswith(last) and name not in given.split(",")]


def _recipes() -> list[Suggestion]:
    from optimizers.settings.load import recipe_names

    return [Suggestion(name, "a recipe of the package") for name in recipe_names()]


def _flags(words: Sequence[str]) -> Iterator[Suggestion]:
    from optimizers.settings.explain import known_names
    from optimizers.settings.reference import sections, settings_of

    told = {row.name: row.text for name, section in sections() for row in settings_of(section, name)}
    for name in known_names():
        if ".NAME." not in name:
            yield Suggestion(f"--{name}", told.get(name, told.get(f"student.{name.rpartition('.')[2]}")))
    for option in _task_parameters(words):
        yield Suggestion(f"--task.{option}", "an option of the task")


def _values(setting: str, words: Sequence[str], incomplete: str) -> list[Suggestion]:
    from optimizers.settings.valid_values import listed_in, values_of

    if setting.startswith("task.") and setting != "task.name":
        annotation = _task_parameters(words).get(setting.removeprefix("task."))
        return _starting(incomplete, map(Suggestion, listed_in(annotation)))
    values = values_of(setting)
    if values.several:
        return [Suggestion(name) for name in _joined(incomplete, values.known)]
    return _starting(incomplete, map(Suggestion, values.known))


def _task_parameters(words: Sequence[str]) -> dict[str, Any]:
    """The options of the task that the words choose, with their types."""
    from programs.tasks.registry import task_class

    with suppress(ValueError):
        return {name: one.annotation for name, one in inspect.signature(task_class(_task_in(words)), eval_str=True).parameters.items()}
    return {}


def _task_in(words: Sequence[str]) -> str:
    """The name of the task that is asked for, by flag or by recipe."""
    from optimizers.settings.load import read_recipe
    from optimizers.settings.task import TaskConfig

    given = [value for flag, value in itertools.pairwise(words) if flag in ("--task", "--task.name")]
    if given:
        return given[-1]
    with suppress(ValueError, OSError):
        return TaskConfig.model_validate(read_recipe(_recipe_in(words)).get("task", {})).name
    return TaskConfig().name


def _recipe_in(words: Sequence[str]) -> str:
    behind = [value for at, value in itertools.pairwise(words) if at == "@"]
    return next((word[1:] for word in words if word.startswith("@") and word != "@"), behind[0] if behind else "")
