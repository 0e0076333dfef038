"""The folder of a run or an experiment, opened once for a configuration."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from optimizers.conditions import solvers_in
from optimizers.experiments.earlier import calls_on_file, journals_of, set_results_aside, take_over_calls
from optimizers.jobs.folder import Apart, JobFolder, flat, free
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.settings.run import RunConfig
from optimizers.settings.section import texts
from optimizers.settings.views import MAY_DIFFER, REACH, as_now, experiment_settings, filled_in, folder_settings, reach_of
from programs.compiled.state import CompiledPrompts

_WHICH_CELLS = ("train", "test", "conditions", "variant_conditions", "student_conditions", "rows_conditions", "transfer_conditions")
_WHICH_VARIANTS = ("ablations", "rows", "limits", "screenings", "training_seeds", "data_seeds", "sampling_seeds")
_GRID = {f"experiment.{key}" for key in (*_WHICH_CELLS, *_WHICH_VARIANTS)}
"""What may be added to an experiment, or left out for a time: every cell stands for itself."""


_OTHER_CALLS = ("seed", "task.", "teacher.", "labelling.temperature", "experiment.tasks.")
"""Settings under which the teacher would be asked something else, so that the folder is that of another job."""

_REDONE = {
    "data.train": "further questions are labelled, and the students trained again",
    "data.dev": "further questions are labelled, and the students trained again",
    "labelling.": "further samples are asked for, and the students trained again",
    "data.test": "the test questions are asked again",
    "solver.": "the test questions are asked again",
    "experiment.solvers.": "the test questions are asked again where that solver answers",
    "screening.": "the rows are screened and the students trained again",
    "": "the students are trained again",
}
"""Start of a setting's name -> what is done again with it, and all that follows."""

_DIRECTORY = "directory.json"
"""Where a folder was made: what is relative in its settings is so to there. It is not part of what is shared."""

_PATHS = (".path", ".program", ".traces")

_SOLVERS = "experiment.solvers."

_ENTRIES = ("solvers", "students", "tasks")
"""Tables of `experiment` whose entries stand each for itself."""

_WITHOUT_STUDENTS = ("data.test", "solver.", _SOLVERS)

_log = logging.getLogger("divide_or_conquer")


def open_folder(config: RunConfig, experiment: bool = False) -> Path:
    """The folder of a run, or of an experiment, made if it is not there.

    A changed setting that asks the teacher nothing else does its own stage and what follows again: earlier results are moved to
    `earlier/`, students beside themselves, and calls are kept.

    Raises:
        ValueError: It holds a run that asked something else; shows the difference.
    """
    folder = JobFolder(Path(config.out), "run", reuse="--labelling.calls_from")
    view = experiment_settings if experiment else folder_settings
    there, now = folder.settings(), view(config)
    if there is not None and is_experiment(there) != experiment:
        kinds = ("a run", "an experiment") if experiment else ("an experiment", "a run")
        own = f"'divide-or-conquer {'run' if experiment else 'experiment'} @ {folder.folder / 'config.toml'}'"
        raise ValueError(
            f"{folder.folder} holds {kinds[0]}, not {kinds[1]}. {own} goes on with it, or writes its report again; else choose a new "
            f"folder: --out {free(folder.folder)}"
        )
    # Of two compiled programs what they hold is compared.
    same = {"teacher.program"} if all("program" in _teacher(side) for side in (there or {}, now)) else set()
    sides = {table: (_names(there, table), _names(now, table)) for table in _ENTRIES}
    reach = reach_of(f"experiment.{table}.{name}" for table in ("solvers", "students") for name in set.intersection(*sides[table]))
    may_differ = MAY_DIFFER | REACH | _GRID | same | reach
    apart = functools.partial(_stands_apart, sides) if experiment else lambda key, on_both: _is_entry(sides, key)
    fill_in = filled_in(view)
    folder.check(now, may_differ, fill_in, lambda key, both: is_redone(key) or apart(key, both))
    if config.teacher.program:
        _check_program(CompiledPrompts.read(config.teacher.program), folder.folder)
    source = Path(config.labelling.calls_from) if config.labelling.calls_from else None
    journals = journals_of(source) if source else []
    if there is not None:
        _redo(folder.folder, _differences(as_now(fill_in(there), now), now, may_differ, apart), sides["solvers"][1])
    folder.open(now, may_differ, fill_in, lambda key, both: True)
    write_json(folder.folder / _DIRECTORY, {"working_directory": str(Path.cwd())})
    if source:
        take_over_calls(journals, source, folder.folder)
    if config.teacher.program:
        write_json(folder.folder / "teacher_program.json", CompiledPrompts.read(config.teacher.program).state)
    return folder.folder


def is_experiment(settings: Mapping[str, Any]) -> bool:
    """Whether the settings of a folder are those of an experiment; a run's have at most further solvers in that section."""
    return "conditions" in settings.get("experiment", {})


def _names(settings: Mapping[str, Any] | None, table: str) -> set[str]:
    return {*(settings or {}).get("experiment", {}).get(table, {})}


def made_in(folder: Path) -> Path | None:
    """The working directory that relative paths in a folder's settings are meant from; None where it is not known, or gone."""
    place, out = Path(os.path.abspath(folder)), Path(str((JobFolder(folder, "run").settings() or {}).get("out") or "."))
    noted = read_json(folder / _DIRECTORY).get("working_directory")
    named = [Path(noted)] if isinstance(noted, str) and Path(noted).is_dir() else []
    # A project that was moved or copied has the same folders in it.
    inner = out.parts if not out.is_absolute() and ".." not in out.parts else ()
    around = [Path(*place.parts[: -len(inner)])] if inner and place.parts[-len(inner) :] == inner else []
    fitting = (one for one in [*named, *around] if (one / out).resolve() == place.resolve())
    return next(fitting, next(iter(named), None))


@contextlib.contextmanager
def where_made(folder: Path) -> Iterator[None]:
    """Read what is enclosed where a folder was made: the process changes to there, as tasks of other packages have paths too."""
    made = made_in(folder)
    with contextlib.chdir(made) if made not in (None, Path.cwd()) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def naming_places(config: RunConfig, folder: Path) -> Iterator[None]:
    """Say of a file that is not there from where it was looked for, and from where the folder's settings mean it.

    Raises:
        ValueError: As the enclosed, with both places.
    """
    try:
        yield
    except ValueError as error:
        if told := _places(config, folder, str(error)):
            raise ValueError(f"{error} {told}") from error
        raise


def _places(config: RunConfig, folder: Path, told: str) -> str:
    """Where a relative path that an error is about was looked for, and where it would be found; empty where it is about none."""
    here, made = Path.cwd(), made_in(folder)
    named = {where: text.removeprefix("local/").removeprefix("gguf/") for where, text in texts(config.model_dump())}
    missing = {where: text for where, text in named.items() if text in told and not Path(text).is_absolute() and not Path(text).exists()}
    if made not in (None, here) and any((made / text).exists() for text in missing.values()):
        return (
            f"Paths in the settings of {folder} are relative to {made}, where it was made, and were looked for in {here}: do it there, or "
            "give whole paths."
        )
    if not (folder / "config.toml").exists():
        return ""
    if any(where.endswith(_PATHS) for where in missing):
        return f"It was looked for in {here}{'' if made else f', as {folder} does not say where it was made'}."
    gone = [text for where, text in named.items() if where == "task.path" and text in told and not Path(text).exists()]
    return f"What is in {folder} was made with its questions, which a report needs too: put it back there, or a link to it." if gone else ""


def _teacher(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    found = settings.get("teacher")
    return found if isinstance(found, Mapping) else {}


def refuse_nothing_done(config: RunConfig) -> None:
    """Refuse to report on a folder in which no job was begun.

    Raises:
        ValueError: There is no configuration in it.
    """
    folder = JobFolder(Path(config.out), "run")
    if folder.settings() is None:
        raise ValueError(f"{folder.folder} holds no run to report on. Name the folder of one, --out FOLDER, or do one first.")


def is_redone(key: str) -> bool:
    """Whether a setting may be another in the folder of a run: what hangs on it is done again, and the teacher asked nothing else."""
    return not key.startswith(_OTHER_CALLS)


def _differences(there: dict[str, Any], now: dict[str, Any], may_differ: Collection[str], apart: Apart) -> dict[str, tuple[Any, Any]]:
    one, other = flat(there), flat(now)
    names = [name for name in sorted({*one, *other} - set(may_differ)) if one.get(name) != other.get(name)]
    return {name: (one.get(name), other.get(name)) for name in names if not apart(name, name in one and name in other)}


def _redo(folder: Path, changed: dict[str, tuple[Any, Any]], solvers: Collection[str]) -> None:
    """Move aside what other settings made, and say so in a line a setting; `solvers` are the names of further ones."""
    if not changed:
        return
    kept = calls_on_file(folder)
    for name, (before, after) in changed.items():
        what = next(text for start, text in _REDONE.items() if name.startswith(start))
        # A warning, as the folder's log is not open yet and a user is to see it.
        _log.warning("%s %s → %s: %s; %d calls on file are kept", name, _said(before), _said(after), what, kept)
    of_solvers = {_entry(solvers, name.removeprefix(_SOLVERS)) if name.startswith(_SOLVERS) else None for name in changed}
    if None in of_solvers:
        set_results_aside(folder, students=not all(name.startswith(_WITHOUT_STUDENTS) for name in changed))
    else:
        set_results_aside(folder, False, lambda condition: not of_solvers.isdisjoint(solvers_in(condition)))


def _said(value: Any) -> str:
    return "not set" if value is None else str(value)


def _check_program(prompts: CompiledPrompts, folder: Path) -> None:
    """Refuse other prompts than those that the folder was made with, which are kept in it."""
    kept = folder / "teacher_program.json"
    if kept.exists() and _told(read_json(kept)) != _told(prompts.state):
        raise ValueError(
            f"{folder} was made with other prompts than {prompts.path} has now; choose a new folder, --out {free(folder)}, or give "
            f"those it was made with: --teacher.program {kept}"
        )


def _told(state: Mapping[str, Any]) -> dict[str, Any]:
    """What of a program's state shapes prompts: later versions note more of how it was compiled."""
    return {name: value for name, value in state.items() if name not in ("compiled", "metadata")}


_Sides = Mapping[str, tuple[set[str], set[str]]]
"""By table of `experiment`, the names that a folder has, and those that it is to have."""


def _stands_apart(sides: _Sides, key: str, on_both_sides: bool) -> bool:
    """Whether a changed setting leaves all of an experiment's cells true: a part added or left out, more or fewer test questions."""
    parts = key.split(".")
    if parts[-2:] == ["data", "test"]:
        return True
    if parts[0] != "experiment" or parts[1] in (*_ENTRIES, "training"):
        return _is_entry(sides, key)
    return not on_both_sides or parts[1::2] == ["data", "test"]


def _is_entry(sides: _Sides, key: str) -> bool:
    """Whether a setting is of an entry that was added, or left out, as a whole; a setting more or less makes another entry."""
    for table, (there, now) in sides.items():
        prefix = f"experiment.{table}."
        if key.startswith(prefix):
            return _entry(there | now, key.removeprefix(prefix)) not in there & now
    return False


def _entry(names: Collection[str], setting: str) -> str | None:
    """Whose setting it is, by the longest name, as names may have dots."""
    return max((name for name in names if setting.startswith(f"{name}.")), key=len, default=None)
