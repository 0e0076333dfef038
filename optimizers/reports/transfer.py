"""Studies that the paper lacks or has in part: transfer between tasks, learning curves, ablations, errors, variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from optimizers.reports import experiment_figures as drawn
from optimizers.reports.blocks import (
    Block,
    Table,
    Text,
    count_text,
    interval_of,
    is_number,
    missing_text,
    number,
    percent,
    percent_interval,
    picture_or_text,
    points_difference,
    points_interval,
    signed_points,
)
from optimizers.reports.cells import (
    Cell,
    cells_of,
    comparison,
    in_domain,
    is_student,
    label,
    named,
    points,
    points_text,
    roles,
    score_of,
    words_of,
)
from optimizers.reports.read import REFERENCE, RunFiles
from optimizers.reports.verdicts import outcome_words

_FATES = {
    "decomposition": "better subquestions",
    "solver": "stronger solver",
    "either": "either of the two",
    "both": "both together",
    "neither": "neither",
}


# Transfer between tasks
def transfer(run: RunFiles) -> list[Block]:
    """Every student on every test task: score, and difference from the teacher in both stages."""
    cells = [cell for cell in cells_of(run) if cell.get("train") and not cell.get("ablation") and any(map(is_student, _parts(cell)))]
    if not any(cell.get("train") != cell.get("test") for cell in cells):
        return [missing_text("No student was tested on another task than the one it was trained on, so nothing is known of transfer.")]
    panels: dict[str, dict[tuple[str, str], tuple[float, float | None]]] = {}
    rows = []
    for cell in cells:
        reference, score = named(run, cell.get("test"), REFERENCE), score_of(cell)
        if score is not None:
            pair = (str(cell["train"]), str(cell.get("test")))
            panels.setdefault(label(run, cell), {})[pair] = (100 * score, points(cell, reference))
        record = comparison(run, cell, reference) if reference else None
        # On the questions scored in both, where that is known: on others the plain scores may differ the other way.
        apart = points_difference(record) if record else points_text(points(cell, reference))
        scores = [percent(score), percent_interval(cell), percent(score_of(reference)), apart]
        rows.append([label(run, cell), *words_of(cell, "train", "test"), *scores, points_interval(record or {}), outcome_words(record)])
    columns = [
        "Condition",
        "Trained on",
        "Tested on",
        "Score",
        "95% interval",
        REFERENCE,
        "Difference, points",
        "95% interval of it",
        "Verdict",
    ]
    alt = "Heat maps of training task by test task, one a condition; the numbers are in the table below."
    picture = picture_or_text("transfer.png", drawn.transfer_figure(panels), alt, "No student has a score to draw.")
    return [Text(_transfer_words(run, cells)), picture, Table(columns, rows, frozenset({0, 1, 2, 8}))]


def _parts(cell: Cell) -> tuple[str, str]:
    return roles(cell.get("condition"))


def _transfer_words(run: RunFiles, cells: Sequence[Cell]) -> str:
    parts = []
    for kind, side in (("decomposer", 0), ("solver", 1)):
        own: list[float] = []
        away: list[float] = []
        for cell in cells:
            delta = points(cell, named(run, cell.get("test"), REFERENCE))
            if delta is not None and is_student(_parts(cell)[side]) and _parts(cell)[1 - side] == "teacher":
                (own if cell.get("train") == cell.get("test") else away).append(delta)
        if own and away:
            near, far = signed_points(fmean(own)), signed_points(fmean(away))
            parts.append(f"{kind} students are on average {near} points from {REFERENCE} on their own task, {far} on others")
    return f"{_sentence(parts)}." if parts else f"Without scores of {REFERENCE} transfer can be read as plain scores only."


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    # Not `capitalize`, which would write names of conditions small.
    return text[:1].upper() + text[1:]


# Learning curves and other ablations
def learning_curves(run: RunFiles, *, drawn_above: bool = False) -> list[Block]:
    """Score against the number of training rows.

    Args:
        run: The experiment.
        drawn_above: Whether `learning_picture` stands elsewhere in the report already.
    """
    curves = _curves(run)
    if not curves:
        return [missing_text("No student was trained on several numbers of rows.")]
    lines = [
        [task, name, count_text(rows), percent(cell.get("score")), percent_interval(cell), count_text(cell.get("n"))]
        for task, found in curves.items()
        for name, curve in found.items()
        for rows, cell in sorted(curve.items())
    ]
    columns = ["Trained and tested on", "Condition", "Rows", "Score", "95% interval", "Questions"]
    picture = [Text("The figure stands at the top of this report.")] if drawn_above else learning_picture(run)
    return [Text(_learning_words(curves)), *picture, Table(columns, lines, frozenset({0, 1}))]


def learning_picture(run: RunFiles) -> list[Block]:
    """The curves as a figure; nothing where no student was trained on several numbers of rows."""
    curves = _curves(run)
    if not curves:
        return []
    shown = {task: {name: _points_of(curve) for name, curve in found.items()} for task, found in curves.items()}
    references = {task: 100 * score for task in curves if (score := score_of(named(run, task, REFERENCE))) is not None}
    alt = "Score against training rows, one plot a training task; the numbers are in the section on learning curves."
    figure = drawn.learning_figure(_drawable(shown), references)
    return [picture_or_text("learning.png", figure, alt, "No such cell has a score to draw.")]


def _curves(run: RunFiles) -> dict[str, dict[str, dict[float, Cell]]]:
    """By task and condition, the cell of each number of training rows, where there are several."""
    curves: dict[str, dict[str, dict[float, Cell]]] = {}
    for cell in cells_of(run):
        rows = _rows_of(run, cell)
        if rows is not None and cell.get("train") == cell.get("test"):
            curves.setdefault(str(cell["train"]), {}).setdefault(label(run, cell), {})[rows] = cell
    several = {task: {name: curve for name, curve in found.items() if len(curve) > 1} for task, found in curves.items()}
    return {task: found for task, found in several.items() if found}


def _rows_of(run: RunFiles, cell: Cell) -> float | None:
    """Training rows of a cell: of its ablation's name, else what is recorded of its student."""
    name, _, value = str(cell.get("ablation") or "").partition("=")
    if name:
        return float(value) if name == "rows" and value.replace("_", "").isdecimal() else None
    own = [role for role in _parts(cell) if is_student(role)]
    for student in run.records("students"):
        found = student.get("name") in own and not student.get("ablation") and _is_of(student, cell)
        if found and student.get("train") == cell.get("train") and is_number(student.get("rows")):
            return float(student["rows"])
    return None


def _is_of(student: Mapping[str, Any], cell: Cell) -> bool:
    """Whether a student is the one of that cell and not of another base or variant."""
    if "variant" in student:
        return student["variant"] == (f"student={cell['student']}" if cell.get("student") else "")
    return student.get("base") in (None, cell.get("student"))


def _points_of(curve: Mapping[float, Cell]) -> list[drawn.Point]:
    scored = [(rows, score, *interval_of(cell)) for rows, cell in sorted(curve.items()) if (score := score_of(cell)) is not None]
    return [(rows, 100 * score, _hundred(low), _hundred(high)) for rows, score, low, high in scored]


def _hundred(value: Any) -> float | None:
    return 100 * value if is_number(value) else None


def _drawable(shown: Mapping[str, Mapping[str, list[drawn.Point]]]) -> dict[str, dict[str, list[drawn.Point]]]:
    kept = {task: {name: curve for name, curve in found.items() if curve} for task, found in shown.items()}
    return {task: found for task, found in kept.items() if found}


def _learning_words(curves: Mapping[str, Mapping[str, Mapping[float, Cell]]]) -> str:
    parts = []
    for task, found in curves.items():
        for name, curve in found.items():
            fewest, most = min(curve), max(curve)
            delta = points(curve[most], curve[fewest])
            if delta is not None:
                parts.append(
                    f"on {task}, {name} goes by {signed_points(delta)} points from {count_text(fewest)} to {count_text(most)} rows"
                )
    return f"{_sentence(parts)} (differences of plain scores)." if parts else "The cells of these curves have no scores."


def ablations(run: RunFiles) -> list[Block]:
    """Every other changed setting, against the same condition as configured."""
    rows = []
    for cell in cells_of(run):
        if cell.get("ablation") and not str(cell["ablation"]).startswith("rows="):
            base = _configured(run, cell)
            delta = points_text(points(cell, base))
            scores = [percent(cell.get("score")), percent_interval(cell), percent(score_of(base)), delta, count_text(cell.get("n"))]
            rows.append([*words_of(cell, "ablation"), label(run, cell), *words_of(cell, "train", "test"), *scores])
    few = [cell for cell in cells_of(run) if _parts(cell)[0] == "fewshot" and not cell.get("ablation")]
    rows += [_few_shot_row(run, cell) for cell in few]
    if not rows:
        return [missing_text("No other setting was varied in this experiment.")]
    ups = sum(row[7].startswith("+") and row[7] != "+0.0" for row in rows)
    text = f"{len(rows)} cells with one setting changed; {ups} score above the same condition as configured (differences are not tested)."
    columns = [
        "Changed",
        "Condition",
        "Trained on",
        "Tested on",
        "Score",
        "95% interval",
        "As configured",
        "Difference, points",
        "Questions",
    ]
    return [Text(text), Table(columns, rows, frozenset({0, 1, 2, 3}))]


def _configured(run: RunFiles, cell: Cell) -> Cell | None:
    same = (c for c in cells_of(run) if not c.get("ablation") and all(c.get(key) == cell.get(key) for key in ("test", "condition")))
    return next((c for c in same if c.get("train") in (None, cell.get("train"))), None)


def _few_shot_row(run: RunFiles, cell: Cell) -> list[str]:
    """Against the same model without examples; a student trained for it stands in Table 1."""
    name = f"student0+{_parts(cell)[1]}"
    base = next((other for other in in_domain(run, str(cell.get("test"))) if other.get("condition") == name), None)
    scores = [percent(cell.get("score")), percent_interval(cell), percent(score_of(base)), points_text(points(cell, base))]
    return ["examples in the prompt", label(run, cell), *words_of(cell, "train", "test"), *scores, count_text(cell.get("n"))]


# Errors and variance
def errors(run: RunFiles) -> list[Block]:
    """What would have repaired the wrong answers."""
    records = run.records("errors")
    if not records:
        return [missing_text("No analysis of errors was made in this experiment.")]
    totals = {key: sum(number(record.get(key)) for record in records) for key in _FATES}
    wrong = sum(totals.values())
    most = max(totals, key=lambda key: totals[key])
    text = (
        f"Of {count_text(wrong)} wrong answers of all conditions, most ({count_text(totals[most])}) are repaired by: {_FATES[most]}"
        f"{' of the repairs that were tried' if most == 'neither' else ''}. "
        "Better subquestions are those of the rescuer before the same solver; the stronger solver has the condition's own subquestions; "
        "'either' counts answers that each of the two alone repairs, 'both' those that only the two together do. "
        "Before the teacher as solver no stronger one was tried."
    )
    blocks: list[Block] = [Text(text if wrong else "No wrong answer was classified.")]
    for index, (test, group) in enumerate(groupby(sorted(records, key=_test_name), key=_test_name), 1):
        shown = {_error_name(record): record for record in group}
        alt = f"Wrong answers on {test} by what repairs them; the numbers are in the table below."
        blocks += [
            Text(f"Tested on {test}:"),
            picture_or_text(f"errors-{index}.png", drawn.error_figure(shown, _FATES), alt, "Nothing to draw."),
        ]
    columns = ["Condition", "Trained on", "Tested on", "Rescuer", "Wrong", *(text.capitalize() for text in _FATES.values())]
    rows = [
        [*words_of(r, "condition", "train", "test", "rescuer"), *(count_text(r.get(key)) for key in ("wrong", *_FATES))] for r in records
    ]
    return [*blocks, Table(columns, rows, frozenset(range(4)))]


def _test_name(record: Mapping[str, Any]) -> str:
    return str(record.get("test"))


def _error_name(record: Mapping[str, Any]) -> str:
    away = record.get("train") not in (None, record.get("test"))
    return f"{record.get('condition')}" + (f" (from {record['train']})" if away else "")


def variance(run: RunFiles) -> list[Block]:
    """What seeds change, by where they enter."""
    records = run.records("variance")
    if not records:
        return [missing_text("No condition was run with several seeds, so the intervals here are of the questions alone.")]
    keys = ("data", "training", "sampling")
    widest = max(records, key=lambda r: max(number(_spread(r, key)) for key in keys))
    source = max(keys, key=lambda key: number(_spread(widest, key)))
    text = f"The largest spread over seeds is {_sd(widest, source)} points ({source}, {widest.get('condition')})"
    if not any(is_number(_spread(record, key)) for record in records for key in keys):
        text = "No spread over seeds could be told, as no seed was varied"
    text += "; the last column is the standard error that comes of the finite number of questions, for comparison."
    columns = [
        "Condition",
        "Trained on",
        "Tested on",
        "Mean",
        "Questions",
        "Cells",
        "SD of data, points",
        "SD of training",
        "SD of sampling",
    ]
    rows = [
        [*words_of(r, "condition", "train", "test"), percent(r.get("mean")), count_text(r.get("n_questions")), count_text(r.get("cells"))]
        + [_sd(r, key) for key in (*keys, "question")]
        for r in records
    ]
    return [Text(text), Table([*columns, "SD of questions"], rows, frozenset(range(3)))]


def _spread(record: Mapping[str, Any], source: str) -> Any:
    return record.get(f"{source}_sd", (record.get("sd") or {}).get(source))


def _sd(record: Mapping[str, Any], source: str) -> str:
    value = _spread(record, source)
    return f"{value:.2f}" if is_number(value) else "n/a"
