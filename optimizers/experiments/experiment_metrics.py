"""Sums an experiment folder up into `metrics.json`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimizers.conditions import DECOMPOSER_STUDENTS, PLAIN_STUDENT, is_cascade, parts_in, stages_in
from optimizers.evaluation.answers import answers_on_file, scores_of
from optimizers.evaluation.passages import passages_of
from optimizers.evaluation.stages import stages_of
from optimizers.evaluation.statistics import Passages, holm, paired_comparison
from optimizers.evaluation.summary import summarise
from optimizers.evaluation.variance import variance_components
from optimizers.experiments.cascades import choice_on_file
from optimizers.experiments.grid import Cell, Grid, NamedTask
from optimizers.experiments.metrics import condition_cost, labelling_of, models_of, payback, provenance, trained
from optimizers.experiments.overlap import learned_from, overlap
from optimizers.experiments.students import RECIPES
from optimizers.jobs.jsonlines import read_json, read_lines
from optimizers.screening.precision import read_measures

REFERENCE = "teacher+teacher"
"""What every condition is compared with on the same test questions."""

_BESIDE = (
    ("S_D-R", "S_D-T"),
    ("S_E-R", "S_E-T"),
    ("S_E-A", "S_E-T"),
    ("S_E-T(direct)", "S_E-T"),
    ("S_E-A(direct)", "S_E-A"),
    ("S_E-A(direct)", "S_E-T(direct)"),
    ("fewshot", "student0"),
)
"""Roles that differ in one thing."""


@dataclass
class Measured:
    """A cell with what its answers come to: their entry of `metrics.json`, and the score by question id, of the scored ones."""

    cell: Cell
    summary: dict[str, Any]
    scores: dict[str, float]

    @property
    def name(self) -> str:
        return self.cell.condition.name

    def identity(self) -> dict[str, Any]:
        """What tells it from other cells."""
        variant = self.cell.variant
        draw, training, sampling = variant.seeds or (0, 0, 0)
        kind, _, value = variant.name.partition("=")
        return {
            "train": self.cell.train,
            "test": self.cell.test,
            "condition": self.name,
            "student": value if kind == "student" else None,
            "variant": variant.name,
            "seed": training,
            "data_seed": draw,
            "sampling_seed": sampling,
            "ablation": variant.ablation,
        }


def build_grid_metrics(grid: Grid) -> dict[str, Any]:
    """Everything that the report and a reader need, from the files of the experiment folder."""
    measured = [found for cell in grid.cells() if (found := _measured(grid, cell)) is not None]
    table = {(m.cell.test, m.cell.train, m.cell.variant.name, m.name): m for m in measured}
    costs = list(_costs(grid, measured))
    return {
        "schema": 1,
        "kind": "experiment",
        **_overlap(grid),
        **provenance(grid.config, grid.folder),
        "tasks": {name: _task(named) for name, named in grid.tasks.items()},
        "models": {role: grid.roles(grid.train[0], grid.variants[0]).model(role).model for role in _roles(grid)},
        "labelling": {train: labelling_of(_notes(grid, train)) for train in grid.train},
        "screening": list(_screening(grid)),
        "students": list(_students(grid)),
        "skipped": read_json(grid.folder / "skipped.json"),
        "cells": [{**m.identity(), **m.summary, "models": _models(grid, m.cell)} for m in measured],
        **_cascades(grid, measured),
        "comparisons": _comparisons(measured, table, {name: passages_of(grid.tasks[name].splits["test"]) for name in grid.test}),
        "errors": list(_errors(measured, table)),
        "calls": _calls(grid, measured),
        "cost": costs,
        "variance": list(_variance(measured)),
    }


def _overlap(grid: Grid) -> dict[str, int]:
    """How many test questions any student was trained on or chosen by, or the teacher's program shows."""
    learned = [example for name in grid.train for example in learned_from(grid.tasks[name].splits, ())]
    for train, variant in grid.trainings():
        learned += learned_from({}, read_lines(grid.distillation(train, variant).notes / "rows.jsonl"))
    program = grid.roles(grid.train[0], grid.variants[0]).teacher_program
    found = [overlap(learned, program, grid.tasks[name].splits["test"]) for name in grid.test]
    return {key: sum(one[key] for one in found) for key in ("overlap", "near_overlap", "same_passage")}


def _cascades(grid: Grid, measured: list[Measured]) -> dict[str, Any]:
    """How the threshold of each cascade was chosen, once for all test tasks; nothing in an experiment without any."""
    cells = {one.cell.choice: one for one in measured if one.cell.condition.parts}
    place = ("train", "variant", "student")
    found = [
        {**{key: one.identity()[key] for key in place}, **choice_on_file(grid.folder / "predictions", name)} for name, one in cells.items()
    ]
    return {"cascades": found} if found else {}


def _measured(grid: Grid, cell: Cell) -> Measured | None:
    """None where nothing was asked."""
    lines = answers_on_file(grid.folder / "predictions" / cell.path, grid.tasks[cell.test].splits["test"])
    return Measured(cell, summarise(lines), scores_of(lines)) if lines else None


def _roles(grid: Grid) -> list[str]:
    return list(grid.roles(grid.train[0], grid.variants[0]).configs)


def _notes(grid: Grid, train: str) -> Path:
    return grid.roles(train, grid.variants[0]).folder_of("notes")


def _task(named: NamedTask) -> dict[str, Any]:
    leaks = [
        {
            "train_task": train,
            "train": leak.train_id,
            "test": leak.test_id,
            "kind": leak.kind,
            "share": leak.share,
            "question": leak.test_question,
        }
        for train, found in named.leaks.items()
        for leak in found
    ]
    return {
        "task": named.config.task.name,
        "options": named.config.task.options(),
        "train": len(named.splits["train"]) if "train" in named.splits else None,
        "test": len(named.splits["test"]) if "test" in named.splits else None,
        "test_ids": [example.id for example in named.splits.get("test", [])],
        "measure": named.task.measure,
        "scoring": named.task.scoring,
        "leaks": leaks,
        "kept_out": len({leak["test"] for leak in leaks}),
    }


def _students(grid: Grid) -> Iterator[dict[str, Any]]:
    for train, variant in grid.trainings():
        distillation = grid.distillation(train, variant)
        overwritten = _overwritten(distillation.notes)
        for name, found in trained(distillation).items():
            draw, training, _ = variant.seeds or (0, 0, 0)
            recipe = RECIPES[name]
            yield {
                "train": train,
                "name": name,
                "base": distillation.roles.model("student0").model,
                "variant": variant.students_name,
                "seed": training,
                "data_seed": draw,
                "ablation": variant.ablation,
                "stages": list(recipe.stages),
                "policy": distillation.policy_of(name),
                "overwritten": overwritten.get(name, 0),
                **found,
            }


def _screening(grid: Grid) -> Iterator[dict[str, Any]]:
    """The measured policies; variants that look at the same samples in the same way are told once."""
    seen: list[Any] = []
    for train, variant in grid.trainings():
        for record in read_measures(grid.distillation(train, variant).notes):
            if (train, record) not in seen:
                seen.append((train, record))
                yield {"train": train, "variant": variant.students_name, **record}


def _overwritten(notes: Path) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for row in read_lines(notes / "rows.jsonl"):
        counts[row["student"]] += bool(row.get("overwritten"))
    return counts


def _models(grid: Grid, cell: Cell) -> dict[str, str]:
    return models_of(cell.condition, grid.roles(cell.train or grid.train[0], cell.variant))


Table = Mapping[tuple[str, str | None, str, str], Measured]


def _comparisons(measured: list[Measured], table: Table, passages: Mapping[str, Passages]) -> list[dict[str, Any]]:
    """Every cell against its references on the same questions, each pair once, Holm-adjusted over the grid."""
    rows: list[dict[str, Any]] = []
    # Two conditions may be each other's reference; counted twice, the pair would make Holm's correction too strict.
    seen: set[frozenset[int]] = set()
    for one in measured:
        for other in _references(one, table):
            pair = frozenset({id(one), id(other)})
            if pair in seen:
                continue
            seen.add(pair)
            place = {key: value for key, value in one.identity().items() if key != "condition"}
            found = paired_comparison(one.scores, other.scores, passages=passages.get(one.cell.test))
            rows.append({**place, "a": one.name, "b": other.name, **found.to_dict()})
    for row, adjusted in zip(rows, holm([float(row["p"]) for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _references(one: Measured, table: Table) -> Iterator[Measured]:
    """What a condition is compared with: the teacher in both stages, the untuned student in its place, its sibling."""
    decomposer, solver = stages_in(one.name) or (one.name, "")
    names = [REFERENCE, *(parts_in(one.name) if is_cascade(one.name) else ())]
    if solver and solver != "teacher" and decomposer in ("student0", *DECOMPOSER_STUDENTS):
        names.append(f"teacher+{solver}")
    if decomposer in DECOMPOSER_STUDENTS:
        names.append(f"student0+{solver}")
    if one.name in (REFERENCE, f"single-stage-cot@{PLAIN_STUDENT}"):
        names.append("single-stage-cot")
    roles = (decomposer, solver)
    for role, sibling in _BESIDE:
        if role in roles:
            names.append("+".join(sibling if one_role == role else one_role for one_role in roles))
    if decomposer == solver and solver in DECOMPOSER_STUDENTS:
        names.append(f"{decomposer}+student0")
    for name in dict.fromkeys(names):
        other = _beside(one, name, table)
        if other is not None and name != one.name:
            yield other


def _beside(one: Measured, name: str, table: Table) -> Measured | None:
    """The cell of another condition on the same test task, with students of the same making or with none."""
    cell = one.cell
    return table.get((cell.test, cell.train, cell.variant.name, name)) or table.get((cell.test, None, "", name))


def _errors(measured: list[Measured], table: Table) -> Iterator[dict[str, Any]]:
    """Of the questions that a two-stage condition fails: which repair would have helped?

    The decomposition is at fault where the same solver is right with better subquestions (the data set's own, or else
    the teacher's), the solver where the teacher is right with the same ones; `either` where each repair alone helps,
    `both` where it takes the two, `neither` where even that does not. Before the teacher as solver no better one is tried:
    what better subquestions do not rescue there is `neither`, and whose fault it is stays open.
    """
    for one in measured:
        stages = stages_in(one.name)
        better = next((name for name in ("reference", "teacher") if (one.cell.test, None, "", f"{name}+teacher") in table), None)
        if stages is None or better is None or one.cell.variant.name or one.name == f"{better}+teacher":
            continue
        decomposer, solver = stages
        repairs = {
            "decomposition": _beside(one, f"{better}+{solver}", table) or _beside(one, f"teacher+{solver}", table),
            "solver": None if solver == "teacher" else _beside(one, f"{decomposer}+teacher", table),
            "both": _beside(one, f"{better}+teacher", table),
        }
        # A repair that was not measured would pass for one that does not help.
        if any(found is None for repair, found in repairs.items() if repair != "solver" or solver != "teacher"):
            continue
        wrong = [question for question, score in one.scores.items() if score < 1]
        counts = dict.fromkeys(("decomposition", "solver", "either", "both", "neither"), 0)
        for question in wrong:
            counts[_fault(question, repairs)] += 1
        yield {"train": one.cell.train, "test": one.cell.test, "condition": one.name, "wrong": len(wrong), **counts, "rescuer": better}


def _fault(question: str, repairs: Mapping[str, Measured | None]) -> str:
    right = {name: found is not None and found.scores.get(question, 0) >= 1 for name, found in repairs.items()}
    if right["decomposition"] and right["solver"]:
        return "either"
    if right["decomposition"]:
        return "decomposition"
    if right["solver"]:
        return "solver"
    return "both" if right["both"] else "neither"


def _calls(grid: Grid, measured: list[Measured]) -> dict[str, int]:
    """Calls that the conditions asked for, and those that were made, as each is made once."""
    requested = sum(usage["calls"] for one in measured for usage in stages_of(one.summary).values())
    made = sum(1 for _ in read_lines(grid.folder / "predictions" / "calls.jsonl"))
    return {"requested": requested, "made": min(made, requested), "saved": max(0, requested - made)}


def _costs(grid: Grid, measured: list[Measured]) -> Iterator[dict[str, Any]]:
    prices: dict[str, dict[str, Any]] = {}
    for one in measured:
        cost = condition_cost(one.summary, _models(grid, one.cell), grid.prices)
        entry = {**one.identity(), "per_question": cost["total"], "stages": cost["stages"]}
        if one.name == REFERENCE and one.cell.train is None:
            prices[one.cell.test] = cost
        yield {**entry, **_payback(grid, one, cost, prices.get(one.cell.test))}


def _payback(grid: Grid, one: Measured, cost: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> dict[str, Any]:
    """The one-off cost of a condition's students, and after how many questions it is paid back."""
    if one.cell.train is None or not one.cell.condition.students or teacher is None:
        return {}
    return payback(grid.distillation(one.cell.train, one.cell.variant), one.cell.condition.students, cost, teacher, grid.prices)


def _variance(measured: list[Measured]) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[str | None, str, str], dict[tuple[int, int, int], dict[str, float]]] = defaultdict(dict)
    for one in measured:
        if one.cell.variant.seeds is not None:
            groups[one.cell.train, one.cell.test, one.name][one.cell.variant.seeds] = one.scores
    for (train, test, condition), scores in groups.items():
        found = variance_components(scores).to_dict()
        points = {f"{factor}_sd": value for factor, value in found.pop("sd").items()}
        yield {"train": train, "test": test, "condition": condition, **found, **points}
