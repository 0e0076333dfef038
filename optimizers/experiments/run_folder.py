"""The folder of a run or an experiment, opened once for a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimizers.jobs.folder import JobFolder, free
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.settings.run import RunConfig
from optimizers.settings.views import MAY_DIFFER, experiment_settings, filled_in, run_settings
from programs.compiled.state import CompiledPrompts

_GRID = {
    f"experiment.{key}"
    for key in ("train", "test", "conditions", "ablations", "rows", "limits", "training_seeds", "data_seeds", "sampling_seeds")
}
"""What may be added to an experiment, or left out for a time: every cell stands for itself."""


def open_folder(config: RunConfig, experiment: bool = False) -> Path:
    """The folder of a run, or of an experiment, made if it is not there.

    Raises:
        ValueError: It holds a run of another configuration; shows the difference.
    """
    folder = JobFolder(Path(config.out), "run")
    view = experiment_settings if experiment else run_settings
    there, now = folder.settings(), view(config)
    if there is not None and ("experiment" in there) != experiment:
        kinds = ("a run", "an experiment") if experiment else ("an experiment", "a run")
        raise ValueError(f"{folder.folder} holds {kinds[0]}, not {kinds[1]}. Choose a new folder: --out {free(folder.folder)}")
    # Of two compiled programs what they hold is compared.
    same = {"teacher.program"} if all("program" in _teacher(side) for side in (there or {}, now)) else set()
    folder.open(now, MAY_DIFFER | _GRID | same, filled_in(view), _stands_apart if experiment else None)
    if config.teacher.program:
        _keep_program(CompiledPrompts.read(config.teacher.program), folder.folder)
    return folder.folder


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


def _keep_program(prompts: CompiledPrompts, folder: Path) -> None:
    """Copy the teacher's compiled prompts beside what was made with them, so that the folder can be continued and read."""
    kept = folder / "teacher_program.json"
    if kept.exists() and _told(read_json(kept)) != _told(prompts.state):
        raise ValueError(
            f"{folder} was made with other prompts than {prompts.path} has now; choose a new folder, --out {free(folder)}, or give "
            f"those it was made with: --teacher.program {kept}"
        )
    write_json(kept, prompts.state)


def _told(state: Mapping[str, Any]) -> dict[str, Any]:
    """What of a program's state shapes prompts: later versions note more of how it was compiled."""
    return {name: value for name, value in state.items() if name not in ("compiled", "metadata")}


def _stands_apart(key: str, on_both_sides: bool) -> bool:
    """Whether a changed setting leaves all of an experiment's cells true: a part added or left out, more or fewer test questions."""
    parts = key.split(".")
    return parts[-2:] == ["data", "test"] or (parts[0] == "experiment" and (not on_both_sides or parts[1::2] == ["data", "test"]))
