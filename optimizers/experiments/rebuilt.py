"""The program of a condition of a run or an experiment, made again from what its folder says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dspy

from optimizers.conditions import TRAINED, Condition
from optimizers.experiments.run_folder import is_experiment, where_made
from optimizers.experiments.run_job import MainJob
from optimizers.jobs.folder import JobFolder
from optimizers.settings.load import load_config
from optimizers.settings.run import RunConfig

if TYPE_CHECKING:
    from optimizers.experiments.grid import Cell


def program_of(
    folder: Path, condition: str | None = None, test: str | None = None, train: str | None = None, variant: str | None = None
) -> dspy.Module:
    """The program of a condition with its models, prompts, formats and limits; see `Run.program`."""
    folder = folder.absolute()
    with where_made(folder):
        return _program_of(folder, condition, {"test": test, "train": train, "variant": variant})


def _program_of(folder: Path, condition: str | None, places: dict[str, str | None]) -> dspy.Module:
    config = load_config(str(folder / "config.toml"), {"out": str(folder)})
    kept = folder / "teacher_program.json"
    if config.teacher.program and kept.exists():
        config.teacher.program = str(kept)
    if is_experiment(JobFolder(folder, "run").settings() or {}):
        return _of_experiment(config, condition, places)
    given = [name for name, value in places.items() if value is not None]
    if given:
        raise ValueError(f"{folder} is a run, which has one {given[0]}; leave out {', '.join(given)}.")
    job = MainJob(config, reading=True)
    known = {one.name: one for one in job.conditions}
    name = condition or min(job.conditions, key=_rank).name
    if name not in known:
        raise ValueError(f"{folder} has no condition {name!r}; it has {list(known)}.")
    return job.program(known[name])


def _of_experiment(config: RunConfig, condition: str | None, places: dict[str, str | None]) -> dspy.Module:
    from optimizers.experiments.grid import Grid

    grid = Grid(config, reading=True)
    cells = list(grid.cells())
    wanted = {"condition": condition, **places}
    for name, value in wanted.items():
        found = [cell for cell in cells if value in (None, _value(cell, name))]
        if not found:
            raise ValueError(f"{grid.folder} has no {name} {value!r}{_beside(wanted, name)}; it has {_known(cells, name)}.")
        cells = found
    return grid.program(min(cells, key=lambda cell: _rank(cell.condition)))[0]


def _value(cell: Cell, name: str) -> str | None:
    return {"condition": cell.condition.name, "test": cell.test, "train": cell.train, "variant": cell.variant.name or "main"}[name]


def _known(cells: Sequence[Cell], name: str) -> list[str]:
    return list(dict.fromkeys(value for cell in cells if (value := _value(cell, name)) is not None))


def _beside(wanted: dict[str, str | None], name: str) -> str:
    """What had been asked for before the name that is not there."""
    before = list(wanted.items())[: list(wanted).index(name)]
    told = ", ".join(f"{one} {value!r}" for one, value in before if value is not None)
    return f" with {told}" if told else ""


def _rank(condition: Condition) -> int:
    """The distilled decomposer is what a run is made for; after it comes whatever was trained."""
    return 0 if condition.decomposer == "S_D-R" else 1 if condition.decomposer in TRAINED else 2 if condition.students else 3
