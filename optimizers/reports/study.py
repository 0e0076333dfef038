"""The report of a study: `study.md`, `study.html` and `study.png`, from `study.json`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.jobs.jsonlines import read_json
from optimizers.reports.blocks import (
    Block,
    Bullets,
    Section,
    Table,
    Text,
    interval_of,
    is_number,
    missing_text,
    percent,
    percent_interval,
    picture_or_text,
)
from optimizers.reports.figures import ACCENT, ACCENT_MARKER, COLOURS, FAINT, OWN, canvases, rows_axis, styled, upright_intervals
from optimizers.reports.verdicts import difference_words
from optimizers.reports.write import write_sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FIGURE = "study.png"

_ERRORS_SHOWN = 20


def write_report(folder: Path) -> list[Path]:
    """Write `study.md`, `study.html` and `study.png` from `study.json`; returns these files."""
    found = read_json(folder / "study.json")
    return write_sections(folder, sections(found, folder), title=title(found), stem="study", figures=".", earlier=[_FIGURE])


def title(found: Mapping[str, Any]) -> str:
    """Which study it is."""
    return f"Study {found['name']}"


def sections(found: Mapping[str, Any], folder: Path) -> list[Section]:
    """The report of a study, in reading order.

    Args:
        found: `study.json`.
        folder: Where it lies, for the path of the best configuration.
    """
    return [Section("In short", _in_short(found, folder)), Section("Trials", _trials(found)), *_metric_errors(found)]


def _in_short(found: Mapping[str, Any], folder: Path) -> list[Block]:
    text = f"{found['finished']} of {found['planned']} trials finished; objective {found['objective']}, dev questions only."
    blocks: list[Block] = [Text(text)]
    if found["incomplete"]:
        further = "What is below is the best so far; the same command continues."
        blocks.append(Text(f"Incomplete: {found['incomplete']}. {further}", "warning"))
    if not found["best"]:
        return [*blocks, missing_text("No trial has a score.")]
    return [*blocks, Bullets([_best_line(found, folder), *_front_line(found), *_recipe_line(found), _importance_line(found)])]


def _best_line(found: Mapping[str, Any], folder: Path) -> str:
    best = next(trial for trial in found["trials"] if trial["number"] == found["best"][0])
    settings = ", ".join(f"{key} = {_shown(value)}" for key, value in best["params"].items())
    text = f"Best: trial {best['number']}, {percent(best['score'])} ({settings})."
    return f"{text} 'divide-or-conquer run @ {shlex.quote(str(folder / 'best.toml'))}' does the main job with it."


def _front_line(found: Mapping[str, Any]) -> list[str]:
    front = ", ".join(map(str, sorted(found["best"])))
    return [f"Pareto front (higher score or lower cost): trials {front}."] if len(found["best"]) > 1 else []


def _recipe_line(found: Mapping[str, Any]) -> list[str]:
    against = found["against_recipe"]
    if not against:
        return []
    return [
        f"Against the recipe as it stands (trial {against['recipe']}), paired on {against['n']} dev questions: "
        f"{difference_words(against)}. "
        "The best of several is picked by these same questions, which flatters it; those of 'run' do not."
    ]


def _importance_line(found: Mapping[str, Any]) -> str:
    shares = importance(found)
    if shares:
        return f"What the score depends on (PED-ANOVA): {', '.join(f'{key} {percent(share)}' for key, share in shares.items())}."
    if len(_complete(found)) > 1 and _all_tie(found):
        return "All trials have the same score, so none of the settings can be said to matter."
    return "There are too few trials to say which settings matter."


def importance(found: Mapping[str, Any]) -> dict[str, float]:
    """What share of the differences in score Optuna lays to each setting; empty where all trials tie or are too few."""
    return {} if _all_tie(found) else {key: share for key, share in found["importance"].items() if is_number(share)}


def _complete(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [trial for trial in found["trials"] if trial["state"] == "complete" and is_number(trial["score"])]


def _all_tie(found: Mapping[str, Any]) -> bool:
    return len({trial["score"] for trial in _complete(found)}) < 2


def _trials(found: Mapping[str, Any]) -> list[Block]:
    keys = list(found["space"])
    columns = ["trial", "state", *keys, "dev score", "95 % interval", f"cost ({found['cost_in']})", "training s", "why"]
    rows = [_trial_row(trial, keys) for trial in found["trials"]]
    alt = "Dev score by trial with the best so far" + ("; below it what the score depends on" if importance(found) else "")
    picture = picture_or_text(_FIGURE, study_figure(found), alt, "No trial has a score to draw.")
    return [picture, Table(columns, rows, frozenset({0, 1, len(columns) - 1}))]


def _trial_row(trial: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    why = trial["reason"] or ("the recipe as it stands" if trial["recipe"] else "")
    retry = f" (retry of {trial['retry_of']})" if trial["retry_of"] is not None else ""
    score = ["" if trial["score"] is None else percent(trial["score"]), percent_interval(trial) if trial["ci95"] else ""]
    values = [_shown(trial["params"].get(key)) for key in keys]
    return [
        str(trial["number"]),
        trial["state"],
        *values,
        *score,
        _shown(trial["cost"]),
        _shown(trial["training_seconds"]),
        (why + retry).strip(),
    ]


def _metric_errors(found: Mapping[str, Any]) -> list[Section]:
    raised = [(trial["number"], question, why) for trial in found["trials"] for question, why in (trial["metric_errors"] or {}).items()]
    if not raised:
        return []
    lines = [f"trial {number}, {question}: {why}" for number, question, why in raised[:_ERRORS_SHOWN]]
    more = [f"and {len(raised) - _ERRORS_SHOWN} more in study.json"] if len(raised) > _ERRORS_SHOWN else []
    return [Section("Errors of the metric", [Text("The metric raised on these answers, which count as wrong:"), Bullets([*lines, *more])])]


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


@styled
def study_figure(found: Mapping[str, Any]) -> Figure | None:
    """Scores in the order of the trials with the best so far, and below them what the score depends on; None without a score.

    Args:
        found: `study.json`.
    """
    trials, shares = _complete(found), importance(found)
    if not trials:
        return None
    figure, plots = canvases([3.0, 0.36 * len(shares) + 0.7] if shares else [3.0])
    _draw_history(plots[0], trials)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    if shares:
        _draw_importance(plots[1], shares)
    return figure


def _draw_history(axes: Axes, trials: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers, scores = [trial["number"] for trial in trials], [100 * trial["score"] for trial in trials]
    # Not clipped, as a score of 0 or 100 % lies upon the edge.
    axes.plot(numbers, scores, ACCENT_MARKER, color=ACCENT, clip_on=False, zorder=3, label=f"trial of {OWN}, 95% interval")
    upright_intervals(axes, numbers, [interval_of(trial) for trial in trials], ACCENT)
    axes.step(numbers, list(accumulate(scores, max)), where="post", color=COLOURS[0], linewidth=1.6, clip_on=False, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="trial", ylabel="dev score, %", xlim=(min(numbers) - 0.5, max(numbers) + 0.5), ylim=(0, 100), yticks=range(0, 101, 20))
    axes.grid(axis="y", color=FAINT, linewidth=0.8)


def _draw_importance(axes: Axes, shares: Mapping[str, float]) -> None:
    axes.barh(range(len(shares)), [100 * share for share in shares.values()], height=0.62, color=COLOURS[0])
    rows_axis(axes, list(shares))
    axes.set(xlim=(0, 101), xlabel="share of what the score depends on (PED-ANOVA), %")
