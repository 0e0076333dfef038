"""What a folder made under other settings: moved aside, never deleted, and taken back where it is asked for again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from optimizers.finetune.train import EARLIER, keep_aside
from optimizers.jobs.folder import free
from optimizers.jobs.jsonlines import line_of, read_json, read_lines, write_json, write_whole
from optimizers.labelling.journal import JOURNALS, journals_below

_RESULTS = ("metrics.json", "report.md", "report.html", "figures", "rows.jsonl", "screening.json", "skipped.json", "program.json")
_MODELS = "models.json"

_log = logging.getLogger("divide_or_conquer")


def set_results_aside(folder: Path, students: bool, gone: Callable[[str], bool] = lambda condition: True) -> None:
    """Move the answers and the report to `earlier/`, so that no figure of other settings is left; the calls stay.

    Args:
        folder: Of a run or an experiment.
        students: Whether to move its students too, each beside itself under its content name.
        gone: Whether the answers of a condition are to be moved, by its name; all by default.
    """
    if students:
        # The last folder above a manifest is the student's; those that were moved before stay where they are.
        found = [path.parent for root in ("student", "students") for path in sorted((folder / root).rglob("manifest.json"))]
        for student in [path for path in found if path.parent.name != EARLIER]:
            keep_aside(student)
    answers = [path for path in (folder / "predictions").rglob("*.jsonl") if path.name not in JOURNALS and gone(path.stem)]
    moved = [path for path in (*answers, *(folder / name for name in _RESULTS)) if path.exists()]
    if not moved:
        return
    target = free(folder / "earlier" / "results")
    for path in moved:
        place = target / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    shutil.copy(folder / "config.toml", target / "config.toml")


def move_answers_of_others(answers: Path, models: Collection[str], predictions: Path) -> None:
    """Move answers aside that other students gave: a student may have been trained again on other rows.

    Args:
        answers: The file of a condition.
        models: Model strings of the students in it now.
        predictions: The folder of all answers; keeps the model strings in `models.json`.
    """
    name, noted = str(answers.relative_to(predictions)), read_json(predictions / _MODELS)
    if answers.exists() and noted.get(name, sorted(models)) != sorted(models):
        target = free(predictions.parent / "earlier" / "answers") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        answers.rename(target)
    if models and noted.get(name) != sorted(models):
        predictions.mkdir(parents=True, exist_ok=True)
        write_json(predictions / _MODELS, {**noted, name: sorted(models)})


def journals_of(source: Path) -> list[Path]:
    """The files in which an earlier job keeps its calls.

    Raises:
        ValueError: There are none.
    """
    found = sorted(journals_below(source))
    if not found:
        raise ValueError(f"labelling.calls_from={str(source)!r} has no calls on file; give the --out folder of an earlier job.")
    return found


def take_over_calls(journals: Sequence[Path], source: Path, folder: Path) -> None:
    """Copy the successful calls of an earlier job into a new folder's journals.

    They are marked, so that the new folder's budget does not count what another one paid.

    Args:
        journals: Of the earlier job.
        source: Its folder.
        folder: The new one; journals that it has already are left as they are.
    """
    for path in journals:
        target = folder / path.relative_to(source)
        if not target.exists():
            lines = [{"paid_in": str(source), **line} for line in read_lines(path) if "error" not in line]
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, map(line_of, lines))
            _log.warning("%d calls are taken over from %s", len(lines), path)


def calls_on_file(folder: Path) -> int:
    """How many calls a folder's journals hold."""
    return sum(line.count(b"\n") for path in journals_below(folder) for line in path.open("rb"))
