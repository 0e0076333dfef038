"""Tables and figure of `carry_over.py`: what each arm keeps of the teacher's score, and what it gains on the plain recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from carry_over_arms import PLAIN
from frame import origin_line, table

from optimizers.evaluation.several_seeds import crossed_comparison, crossed_mean, crossed_retention
from optimizers.evaluation.statistics import holm, mean_interval
from optimizers.jobs.jsonlines import read_json, write_json, write_whole
from optimizers.reports.blocks import is_number, p_text, points_difference, points_interval
from optimizers.reports.figures import COLOURS, canvas, legend_below, rows_axis, styled

if TYPE_CHECKING:
    from carry_over_arms import Arm
    from carry_over_study import Study
    from matplotlib.figure import Figure


def write_report(study: Study, origin: Mapping[str, Any]) -> str:
    """Write `carry_over.json`, `carry_over.md` and `carry_over.png` into the study's folder; returns the markdown."""
    found = summary(study)
    write_json(study.folder / "carry_over.json", {**origin, **found})
    text = f"{markdown(found)}\n{origin_line(origin)}\n"
    write_whole(study.folder / "carry_over.md", text)
    figure = retention_figure(found)
    if figure is not None:
        figure.savefig(study.folder / "carry_over.png", dpi=150)
    return text


def summary(study: Study) -> dict[str, Any]:
    """Everything that the tables show, from the files of the study."""
    scores = {(arm.name, test): _scores(study, arm, test) for arm in study.arms for test in study.tests}
    teacher = {test: study.scores(test) for test in study.tests}
    cells = [_cell(arm, test, found, teacher[test], scores[PLAIN, test]) for (arm, test), found in scores.items() if found]
    tested = [cell for cell in cells if cell["against_plain"]]
    for cell, p in zip(tested, holm([cell["against_plain"]["p"] for cell in tested]), strict=True):
        cell["against_plain"]["p_holm"] = p
    return {
        "seeds": study.seeds,
        "questions": study.config.data.train,
        "tests": {test: _teacher(study, test, teacher[test]) for test in study.tests},
        "arms": {arm.name: {"settings": arm.to_dict(), "students": _students(study, arm)} for arm in study.arms},
        "cells": cells,
        "skipped": read_json(study.folder / "skipped.json"),
    }


def _scores(study: Study, arm: Arm, test: str) -> dict[int, dict[str, float]]:
    """By seed; half of a test is none."""
    return {seed: study.scores(test, arm, seed) for seed in study.seeds if study.is_done(arm, seed)}


def _cell(arm: str, test: str, scores: Any, teacher: Mapping[str, float], plain: Any) -> dict[str, Any]:
    score, kept = crossed_mean(scores), crossed_retention(scores, teacher)
    cell: dict[str, Any] = {"arm": arm, "test": test, "seeds": list(scores), "n": score.n, "score": score.estimate}
    cell |= {"ci95": [score.low, score.high], "by_seed": {seed: crossed_mean({seed: own}).estimate for seed, own in scores.items()}}
    cell |= {"retention": {"ratio": kept.estimate, "ci95": [kept.low, kept.high]}, "against_plain": None}
    compared = crossed_comparison(scores, plain)
    if arm != PLAIN and compared.n:
        difference = {"n": compared.n, "delta": compared.delta, "ci95": [compared.low, compared.high], "p": compared.p}
        cell["against_plain"] = {**difference, "wins": compared.wins, "losses": compared.losses, "ties": compared.ties}
    return cell


def _teacher(study: Study, test: str, scores: Mapping[str, float]) -> dict[str, Any]:
    found = mean_interval(list(scores.values()))
    leaked = sum(name == test for name, _ in study.leaked)
    return {"n": found.n, "score": found.estimate, "ci95": [found.low, found.high], "kept_out": leaked}


def _students(study: Study, arm: Arm) -> dict[str, Any]:
    return {str(seed): note for seed in study.seeds if (note := read_json(study.note(arm, seed)))}


def markdown(found: Mapping[str, Any]) -> str:
    """Two tables: scores and retention, and differences from the plain arm."""
    tests = list(found["tests"])
    cells = {(cell["arm"], cell["test"]): cell for cell in found["cells"]}
    head = f"Teacher questions of every arm: {found['questions']}. Seeds: {', '.join(map(str, found['seeds']))}. "
    parts = ["# What makes a student carry over", head + "Intervals are 95 %, over questions and seeds.", "", "## What is kept"]
    parts += ["", "Score, and in brackets its share of the teacher's on the same questions, with the interval of the share.", ""]
    parts.append(table(["arm", "seeds", "rows", "steps", *tests], [_teacher_row(found), *_kept_rows(found, cells)]))
    parts += [
        "",
        "## Against the plain recipe",
        "",
        "Points, paired by seed and question; the interval is that of p, not of p after Holm over this table.",
        "",
    ]
    parts.append(table(["arm", *tests], _difference_rows(found, cells)))
    parts += ["", *(f"- not trained: {name}: {reason}" for name, reason in found["skipped"].items())]
    return "\n".join(parts).rstrip() + "\n"


def _teacher_row(found: Mapping[str, Any]) -> list[str]:
    return ["teacher", "", "", "", *(f"{_percent(test['score'])} (n={test['n']})" for test in found["tests"].values())]


def _kept_rows(found: Mapping[str, Any], cells: Mapping[tuple[str, str], Any]) -> list[list[str]]:
    rows = []
    for arm, about in found["arms"].items():
        students = about["students"].values()
        trained = [_range(student[key] for student in students) for key in ("rows", "steps")]
        rows.append([arm, str(len(about["students"])), *trained, *(_kept(cells.get((arm, test))) for test in found["tests"])])
    return rows


def _kept(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "-"
    kept, (low, high) = cell["retention"]["ratio"], cell["retention"]["ci95"]
    return f"{_percent(cell['score'])} ({_percent(kept)}: {_percent(low)} to {_percent(high)})"


def _difference_rows(found: Mapping[str, Any], cells: Mapping[tuple[str, str], Any]) -> list[list[str]]:
    return [[arm, *(_difference(cells.get((arm, test))) for test in found["tests"])] for arm in found["arms"] if arm != PLAIN]


def _difference(cell: Mapping[str, Any] | None) -> str:
    against = (cell or {}).get("against_plain")
    if not against:
        return "-"
    ps = f"p {p_text(against['p'])}, after Holm {p_text(against['p_holm'])}"
    return f"{points_difference(against)} ({points_interval(against)}; {ps})"


def _percent(value: Any) -> str:
    return f"{100 * value:.1f} %" if is_number(value) else "-"


def _range(values: Any) -> str:
    found = sorted(set(values))
    return "-" if not found else str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


@styled
def retention_figure(found: Mapping[str, Any]) -> Figure | None:
    """The share of the teacher's score that each arm keeps, a row an arm and a colour a test."""
    arms = [arm for arm in found["arms"] if any(cell["arm"] == arm for cell in found["cells"])]
    if not arms:
        return None
    tests = list(found["tests"])
    figure, axes = canvas(0.22 * len(arms) * len(tests) + 1.6)
    for number, test in enumerate(tests):
        for cell in (cell for cell in found["cells"] if cell["test"] == test and is_number(cell["retention"]["ratio"])):
            y = arms.index(cell["arm"]) + 0.7 * ((number + 0.5) / len(tests) - 0.5)
            low, high = cell["retention"]["ci95"]
            if is_number(low) and is_number(high):
                axes.plot([100 * low, 100 * high], [y, y], color=COLOURS[number], linewidth=1.8)
            axes.plot(100 * cell["retention"]["ratio"], y, "o", color=COLOURS[number], markersize=5)
        axes.plot([], [], "o", color=COLOURS[number], label=test)
    rows_axis(axes, arms)
    axes.axvline(100, color="#888888", linewidth=1)
    axes.set_xlabel("share of the teacher's score, %; bar: 95% interval")
    legend_below(figure)
    return figure
