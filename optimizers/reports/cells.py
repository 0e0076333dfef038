"""Cells of an experiment's grid and their differences: how a report finds them and what it says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.conditions import is_cascade, parts_in, stages_in
from optimizers.reports.blocks import is_number, number, signed_points
from optimizers.reports.conditions import oriented
from optimizers.reports.read import RunFiles, part
from optimizers.reports.verdicts import difference_words

Cell = Mapping[str, Any]

_PLACE = ("train", "student", "seed", "data_seed", "ablation")


def cells_of(run: RunFiles, part: str = "cells") -> list[Cell]:
    """The cells in their order, of several seeds the one with the lowest: the others stand under the variance.

    Args:
        run: The experiment.
        part: `cells`, or another list of `metrics.json` with an entry a cell.
    """
    found: dict[tuple[str, ...], Cell] = {}
    for cell in run.records(part):
        key = tuple(str(cell.get(name)) for name in ("train", "test", "condition", "student", "ablation"))
        if key not in found or _seeds(cell) < _seeds(found[key]):
            found[key] = cell
    return list(found.values())


def _seeds(cell: Cell) -> tuple[float, float]:
    return number(cell.get("seed")), number(cell.get("data_seed"))


def tests_of(run: RunFiles) -> list[str]:
    """Names of the tasks that were tested on, those of `tasks` first."""
    tested = {str(cell["test"]): None for cell in run.records("cells") if cell.get("test") is not None}
    return [*(name for name in run.part("tasks") if name in tested), *(name for name in tested if name not in run.part("tasks"))]


def task_of(run: RunFiles, name: str) -> Mapping[str, Any]:
    """What is recorded of the task with that name."""
    return part(run.part("tasks"), name)


def in_domain(run: RunFiles, test: Any, part: str = "cells") -> list[Cell]:
    """Cells tested on `test` whose student, if there is one, was trained on it too; no ablations."""
    own = [c for c in cells_of(run, part) if c.get("test") == test and c.get("train") in (None, test) and not c.get("ablation")]
    general = {cell.get("condition") for cell in own if cell.get("train") is None}
    # Variants of a student repeat conditions that hold no student, which stand here once.
    return [c for c in own if c.get("train") is None or has_student(c) or c.get("condition") not in general]


def has_student(cell: Cell) -> bool:
    """Whether the student's model, trained or not, has a part in it."""
    parts = parts_in(str(cell.get("condition")))
    return any(is_student(role) or role in ("student0", "fewshot") for part in parts for role in roles(part))


def roles(condition: Any) -> tuple[str, str]:
    """Decomposer (empty with a single stage) and solver of a condition's name; both empty for a cascade, whose parts have their own."""
    if is_cascade(str(condition)):
        return "", ""
    return stages_in(str(condition)) or ("", str(condition).partition("@")[2] or "solver")


def is_student(role: str) -> bool:
    """Whether that role is one that was trained."""
    return role.startswith(("S_D", "S_E", "S_C")) or role == "joint"


def is_control(cell: Cell) -> bool:
    """Whether its subquestions are ones that nobody has in use: the data set's own, or made to be no help."""
    controls = ("reference", "shuffled", "other", "generic")
    return any(roles(part)[0] in controls for part in parts_in(str(cell.get("condition"))))


def label(run: RunFiles, cell: Cell) -> str:
    """The condition, with the student's base where the experiment has several and this is not the unnamed first."""
    name, base = str(cell.get("condition")), cell.get("student")
    if base is None or not has_student(cell):
        return name
    bases = {other.get("student") for other in run.records("cells") if has_student(other)}
    if len(bases) < 2:
        return name
    short = {_model_name(other) for other in bases}
    return f"{name} ({_model_name(base) if len(short) == len(bases) else base})"


def _model_name(model: Any) -> str:
    """Without who made it and which revision it is."""
    return str(model).rsplit("/", 1)[-1].partition("@")[0]


def score_of(cell: Cell | None) -> float | None:
    """The score, or None."""
    score: Any = (cell or {}).get("score")
    return score if is_number(score) else None


# Differences
def comparison(run: RunFiles, a: Cell, b: Cell) -> Mapping[str, Any] | None:
    """The paired comparison of two cells of one test, whichever way round the file holds it."""
    for record in run.records("comparisons"):
        found = oriented(record, str(a.get("condition")), str(b.get("condition")))
        first, second = (a, b) if record.get("a") == a.get("condition") else (b, a)
        if found is not None and record.get("test") == a.get("test") and all(_fits(record, key, first, second) for key in _PLACE):
            return found
    return None


def _fits(record: Mapping[str, Any], key: str, first: Cell, second: Cell) -> bool:
    """Whether a comparison is of these cells: it bears the place of its first one, or of the second where that has none."""
    place = first.get(key)
    return key not in record or record[key] == place or (place is None and record[key] == second.get(key))


def gap(run: RunFiles, a: Cell, b: Cell) -> str:
    """The difference of two cells in words: paired with its interval and p if it was tested, else of the plain scores."""
    record = comparison(run, a, b)
    if record is not None and is_number(record.get("delta")):
        return difference_words(record)
    first, second = score_of(a), score_of(b)
    return "no score to compare" if first is None or second is None else f"{signed_points(100 * (first - second))} points (not tested)"


def points(a: Cell | None, b: Cell | None) -> float | None:
    """Difference of two scores in percentage points; None where one is missing."""
    first, second = score_of(a), score_of(b)
    return None if first is None or second is None else 100 * (first - second)


def points_text(value: float | None) -> str:
    """A difference in percentage points with its sign."""
    return "n/a" if value is None else signed_points(value)


def words_of(record: Mapping[str, Any], *keys: str) -> list[str]:
    """The words under these keys, `-` where there is none."""
    return [str(record.get(key) or "-") for key in keys]


def named(run: RunFiles, test: Any, condition: str) -> Cell | None:
    """The cell of that condition on `test`, its student trained there too; None if it was not run."""
    return next((cell for cell in in_domain(run, test) if cell.get("condition") == condition), None)


def best_student(run: RunFiles, test: str, side: int) -> Cell | None:
    """The best trained decomposer (side 0) or solver (side 1) with the teacher in the other stage."""
    scored = [cell for cell in in_domain(run, test) if score_of(cell) is not None]
    pairs = [(roles(cell.get("condition")), cell) for cell in scored]
    mine = [cell for parts, cell in pairs if is_student(parts[side]) and parts[1 - side] == "teacher"]
    return max(mine, key=lambda cell: score_of(cell) or 0, default=None)
