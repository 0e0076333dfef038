"""The report of a study: `study.md` and `study.png`, from `study.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.jobs.jsonlines import read_json
from optimizers.reports.figures import png, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(folder: Path) -> None:
    """`study.md` and `study.png` from `study.json`."""
    found = read_json(folder / "study.json")
    figure = study_figure(found)
    if figure is not None:
        (folder / "study.png").write_bytes(png(figure))
    (folder / "study.md").write_text(_markdown(found))


def _markdown(found: dict[str, Any]) -> str:
    lines = [f"# Study {found['name']}", ""]
    lines.append(f"{found['finished']} of {found['planned']} trials finished; objective {found['objective']}, dev questions only.")
    if found["incomplete"]:
        lines.append(f"\n**Incomplete**: {found['incomplete']}. What is below is the best so far; the same command continues.")
    lines += ["", *_best_lines(found), "", *_table(found), "", *_metric_lines(found)]
    return "\n".join(lines) + "\n"


def _best_lines(found: dict[str, Any]) -> list[str]:
    if not found["best"]:
        return ["No trial has a score."]
    best = next(trial for trial in found["trials"] if trial["number"] == found["best"][0])
    settings = ", ".join(f"{key} = {_shown(value)}" for key, value in best["params"].items())
    lines = [
        f"Best: trial {best['number']}, {best['score']:.1%} ({settings}). `divide-or-conquer run @ best.toml` does the main job with it."
    ]
    if len(found["best"]) > 1:
        lines.append(f"Pareto front (higher score or lower cost): trials {', '.join(map(str, sorted(found['best'])))}.")
    against = found["against_recipe"]
    if against:
        low, high = against["ci95"]
        lines.append(
            f"Against the recipe as it stands (trial {against['recipe']}), paired on {against['n']} dev questions: "
            f"{100 * against['delta']:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}, "
            f"p = {against['p']:.2g}). The best of several is picked by these same questions, which flatters it; those of `run` do not."
        )
    return lines


def _table(found: dict[str, Any]) -> list[str]:
    keys = list(found["space"])
    cost = f"cost ({found['cost_in']})"
    head = ["trial", "state", *keys, "dev score", "95 % interval", cost, "training s", "why"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for trial in found["trials"]:
        why = trial["reason"] or ("the recipe as it stands" if trial["recipe"] else "")
        why += f" (retry of {trial['retry_of']})" if trial["retry_of"] is not None else ""
        interval = f"{trial['ci95'][0]:.1%} to {trial['ci95'][1]:.1%}" if trial["ci95"] else ""
        score = f"{trial['score']:.1%}" if trial["score"] is not None else ""
        values = [_shown(trial["params"].get(key, "")) for key in keys]
        cells = [
            str(trial["number"]),
            trial["state"],
            *values,
            score,
            interval,
            _shown(trial["cost"]),
            _shown(trial["training_seconds"]),
            why,
        ]
        lines.append("| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |")
    return lines


def _metric_lines(found: dict[str, Any]) -> list[str]:
    raised = [(trial["number"], question, why) for trial in found["trials"] for question, why in (trial["metric_errors"] or {}).items()]
    if not raised:
        return []
    lines = [f"- trial {number}, {question}: {why}" for number, question, why in raised]
    return ["The metric raised on these answers, which count as wrong:", "", *lines[:20], *(["- ..."] if len(lines) > 20 else [])]


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


@styled
def study_figure(found: Mapping[str, Any]) -> Figure | None:
    """Scores in the order of the trials with the best so far, and what Optuna finds each dimension to matter; None without a score.

    Args:
        found: `study.json`.
    """
    from matplotlib.figure import Figure

    done = [trial for trial in found["trials"] if trial["state"] == "complete"]
    if not done:
        return None
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    history, matters = figure.subplots(1, 2)
    numbers, scores = [trial["number"] for trial in done], [trial["score"] for trial in done]
    history.plot(numbers, scores, "o", label="trial")
    history.step(numbers, [max(scores[: n + 1]) for n in range(len(scores))], where="post", label="best so far")
    history.set(xlabel="trial", ylabel="dev score")
    history.legend()
    importance = found["importance"]
    matters.barh(list(importance), list(importance.values()))
    matters.invert_yaxis()
    matters.set(xlabel="importance (PED-ANOVA)" if importance else "importance: too few trials")
    return figure
