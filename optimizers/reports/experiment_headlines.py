"""What an experiment shows, in sentences: which part distils, by training task, and what stands against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.reports import transfer as studies
from optimizers.reports.benefit import PLAIN, no_benefit, no_gain
from optimizers.reports.blocks import (
    Block,
    Bullets,
    Section,
    Text,
    count_text,
    interval_of,
    is_number,
    missing_text,
    number,
    overlap_blocks,
    percent,
    percent_interval,
    plain_value,
    signed_points,
)
from optimizers.reports.cells import (
    Cell,
    best_student,
    cells_of,
    comparison,
    gap,
    in_domain,
    is_student,
    label,
    named,
    points,
    roles,
    score_of,
    tests_of,
)
from optimizers.reports.conditions import UNTRAINED
from optimizers.reports.passages import passages_words
from optimizers.reports.read import REFERENCE, WITHOUT, RunFiles
from optimizers.reports.replies import Ending, cut_off_warning, endings_of, reply_warnings
from optimizers.reports.training import too_long_warnings
from optimizers.reports.verdicts import outcome


def what_it_says(run: RunFiles) -> Section:
    """Which part distils, by training task: the first section."""
    return Section("What it says", _headlines(run))


def _headlines(run: RunFiles) -> list[Block]:
    blocks: list[Block] = []
    if run.metrics.get("incomplete"):
        blocks.append(Text(f"This experiment is incomplete: {plain_value(run.metrics['incomplete'])}", "warning"))
    blocks += overlap_blocks(run.metrics)
    trained = _trained(run)
    tasks = trained or tests_of(run)
    blocks += [block for task in tasks for block in (*_harm(run, task), *_no_gain(run, task))]
    blocks += cut_off_warning(endings_in(run))
    blocks += too_long_warnings((_student_named(student), student) for student in run.records("students"))
    odd = reply_warnings((place_of(run, cell), cell) for cell in cells_of(run))
    if not any(score_of(cell) is not None for cell in cells_of(run)):
        return [
            *blocks,
            *odd,
            missing_text("No cell of the grid has a score, so there is no result yet. The same command again does what is missing."),
        ]
    if not trained:
        blocks.append(missing_text("No student was trained and tested, so which part distils cannot be said."))
    behind = short_of_teacher(run)
    blocks += [*(Text(text, "warning") for text in behind), *(studies.learning_picture(run) if behind else [])]
    for task in tasks:
        blocks += [Text(f"{task}: {_verdict(run, task)}"), Bullets(_task_lines(run, task))]
    note = "The best student of each kind is picked by the score shown, which flatters it a little where several were trained."
    return [*blocks, *odd, Text(note, "note")]


def _trained(run: RunFiles) -> list[str]:
    return list(dict.fromkeys(str(cell["train"]) for cell in cells_of(run) if cell.get("train")))


def short_of_teacher(run: RunFiles) -> list[str]:
    """Where no distilled decomposer scores as high as the teacher; the learning curve beside it says whether more rows would do."""
    found = [(task, best_student(run, task, 0), named(run, task, REFERENCE)) for task in _trained(run)]
    return [
        f"{task}: no distilled decomposer scores as high as the teacher; against {REFERENCE}, the best ({label(run, own)}): "
        f"{gap(run, own, teacher)}."
        for task, own, teacher in found
        if own and teacher and _difference(run, own, teacher) < 0
    ]


def _difference(run: RunFiles, a: Cell, b: Cell) -> float:
    """On the questions scored in both, where that is known; 0 without scores."""
    delta = (comparison(run, a, b) or {}).get("delta")
    return number(delta) if is_number(delta) else points(a, b) or 0.0


def place_of(run: RunFiles, cell: Cell) -> str:
    """A cell's condition with where it was trained and tested, and what was changed."""
    where = [f"trained on {cell['train']}"] if cell.get("train") else []
    where += [f"tested on {cell.get('test')}", *([str(cell["ablation"])] if cell.get("ablation") else [])]
    return f"{label(run, cell)}, {', '.join(where)}"


def _verdict(run: RunFiles, task: str) -> str:
    """Which part distils, by what the best students' differences from the teacher in both stages show."""
    teacher = named(run, task, REFERENCE)
    found = {"decomposer": best_student(run, task, 0), "solver": best_student(run, task, 1)}
    results = {part: outcome(comparison(run, cell, teacher)) for part, cell in found.items() if cell and teacher}
    if len(results) < 2 or "untested" in results.values():
        missing = [part for part in found if results.get(part, "untested") == "untested"]
        return f"which part distils cannot be said: no tested difference from {REFERENCE} for the {' and the '.join(missing)} student."
    lost = [part for part, result in results.items() if result == "lower"]
    if not lost:
        possible = _possible_losses(run, teacher, found)
        return f"both parts distil as far as can be told: for neither student can a loss against the teacher be shown{possible}."
    if len(lost) == 2:
        sizes = (f"the {part} student is {gap(run, cell, teacher)}" for part, cell in found.items() if cell and teacher)
        return f"neither part distils without a loss: against the teacher {', '.join(sizes)}."
    kept = "solver" if lost == ["decomposer"] else "decomposer"
    return f"the {kept} distils as far as can be told, the {lost[0]} does not: the {lost[0]} student alone loses by more than chance."


def _harm(run: RunFiles, task: str) -> list[Block]:
    """That the teacher's own subquestions are no help to its solver: what a decomposer distils then is that."""
    teacher = named(run, task, REFERENCE)
    found = {name: named(run, task, name) for name in PLAIN}
    told = no_benefit(teacher, [(name, cell, comparison(run, cell, teacher)) for name, cell in found.items() if cell and teacher])
    return [Text(f"{task}: {told[0].lower()}{told[1:]}", "warning")] if told else []


def _no_gain(run: RunFiles, task: str) -> list[Block]:
    """Which students decompose no better than the same model untrained."""
    cells = [cell for cell in in_domain(run, task) if score_of(cell) is not None]
    pairs = (
        (cell, before)
        for cell in cells
        for before in cells
        if before.get("condition") == UNTRAINED and before.get("student") == cell.get("student") and _decomposes_for_teacher(cell)
    )
    told = [no_gain(label(run, a), a, label(run, b), b, comparison(run, a, b)) for a, b in pairs]
    return [Text(f"{task}: {one[0].lower()}{one[1:]}", "warning") for one in told if one]


def _decomposes_for_teacher(cell: Cell) -> bool:
    decomposer, solver = roles(cell.get("condition"))
    return is_student(decomposer) and solver == "teacher"


def _possible_losses(run: RunFiles, teacher: Cell | None, found: Mapping[str, Cell | None]) -> str:
    """How much could have been lost all the same: with few questions that is much."""
    bounds = {part: interval_of(comparison(run, cell, teacher) or {})[0] for part, cell in found.items() if cell and teacher}
    told = [f"{signed_points(100 * low)[1:]} points by the {part}" for part, low in bounds.items() if is_number(low) and low < 0]
    return f"; a loss of up to {' and '.join(told)} cannot be ruled out" if told else ""


def _task_lines(run: RunFiles, task: str) -> list[str]:
    teacher = named(run, task, REFERENCE)
    without = named(run, task, WITHOUT)
    shown: dict[str, Cell | None] = {
        **({"The same solver without subquestions": without} if without else {}),
        "Best decomposer student": best_student(run, task, 0),
        "Best solver student": best_student(run, task, 1),
        "One stage by chain of thought": named(run, task, "single-stage-cot"),
        "Plain distillation of the chain of thought": named(run, task, "single-stage-cot@S_C-T"),
    }
    lines = [f"Teacher in both stages: {_scored(run, teacher)}." if teacher else f"{REFERENCE} was not run, so nothing is held against it."]
    for name, cell in shown.items():
        if cell is not None:
            against = f"; against {REFERENCE} {gap(run, cell, teacher)}" if teacher else ""
            lines.append(f"{name}: {_scored(run, cell)}{against}.")
    missing = [f"{name[0].lower()}{name[1:]}" for name, cell in shown.items() if cell is None]
    shared = passages_words(cell for cell in cells_of(run) if cell.get("test") == task).strip()
    return [*lines, *([shared] if shared else []), *([f"Not run: {'; '.join(missing)}."] if missing else [])]


def _scored(run: RunFiles, cell: Cell) -> str:
    scored = cell.get("scored", cell.get("n"))
    return f"{label(run, cell)} {percent(cell.get('score'))} (95% interval {percent_interval(cell)}, {count_text(scored)} questions)"


def endings_in(run: RunFiles) -> list[Ending]:
    """How the replies of all cells, and of the labelling, ended."""
    return endings_of(((place_of(run, cell), cell) for cell in cells_of(run)), run.part("labelling"), by_task=True)


def _student_named(student: Mapping[str, Any]) -> str:
    variant = student.get("ablation") or student.get("variant")
    return " ".join(str(word) for word in (student.get("name"), "trained on", student.get("train"), variant) if word)
