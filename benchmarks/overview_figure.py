"""Draw README's picture: who decomposes and who solves, what is right, and what the teacher's tokens would cost.

    python benchmarks/overview_figure.py --prices 0.4,1.6 --out docs/overview.png \
        "Questions that need every step=runs/embedded" "GSM8K=runs/gsm8k"

Folders are those of a run or an experiment. The dollars are those of the teacher's tokens alone, at the prices given (per million
read and written); a student runs on a machine of one's own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optimizers.evaluation.stages import stages_of
from optimizers.reports.blocks import interval_of
from optimizers.reports.figures import ACCENT, COLOURS, FAINT, INK, WIDTH, png, rows_axis, styled

ROWS = {
    "S_D-R+teacher": "student decomposes,\nteacher solves",
    "teacher+teacher": "teacher decomposes\nand solves",
    "teacher+S_E-T": "teacher decomposes,\nstudent solves",
    "single-stage-cot": "teacher, chain of thought",
    "none+teacher": "teacher solves\nwithout subquestions",
}


def conditions_of(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Conditions of a run, or the cells of an experiment's own students, by name."""
    metrics = json.loads((folder / "metrics.json").read_text())
    if "conditions" in metrics:
        return metrics["conditions"]
    return {cell["condition"]: cell for cell in metrics["cells"] if not cell["variant"]}


def teachers_dollars(condition: Mapping[str, Any], teacher: str, prices: tuple[float, float]) -> float:
    """Dollars of a thousand questions."""
    paid = [usage for stage, usage in stages_of(condition).items() if condition["models"].get(stage) == teacher]
    return sum(usage["input_tokens"] * prices[0] + usage["output_tokens"] * prices[1] for usage in paid) / condition["n"] / 1000


def draw(axes: Axes, title: str, conditions: Mapping[str, Mapping[str, Any]], prices: tuple[float, float]) -> None:
    """One plot: a row a condition that was run."""
    teacher = conditions["teacher+teacher"]["models"]["solve"]
    rows = [name for name in ROWS if name in conditions]
    for y, name in enumerate(rows):
        condition, (low, high) = conditions[name], interval_of(conditions[name])
        colour = ACCENT if name == "S_D-R+teacher" else COLOURS[0]
        axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(100 * condition["score"], y, "o", color=colour, markersize=8, clip_on=False)
        dollars = teachers_dollars(condition, teacher, prices)
        axes.text(104, y, f"{100 * condition['score']:.0f}%   ${dollars:.2f}", va="center", color=colour if colour != COLOURS[0] else INK)
    rows_axis(axes, [ROWS[name] for name in rows])
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set(xlim=(0, 101))
    axes.axvline(0, color=FAINT)


@styled
def overview(folders: Mapping[str, Path], prices: tuple[float, float]) -> Figure:
    """The picture, a plot a folder."""
    found = {title: conditions_of(folder) for title, folder in folders.items()}
    heights = [0.55 * sum(name in conditions for name in ROWS) + 0.6 for conditions in found.values()]
    figure = Figure(figsize=(WIDTH * 1.15, sum(heights) + 0.3), layout="constrained")
    plots = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
    for axes, (title, conditions) in zip(plots, found.items(), strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, title, conditions, prices)
    plots[-1].set_xlabel("right answers, %, with 95% interval; dollars a thousand questions behind them")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="TITLE=FOLDER")
    parser.add_argument("--prices", required=True, help="dollars per million tokens read and written: 0.4,1.6")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    titles = dict(word.split("=", 1) for word in arguments.folders)
    read, written = map(float, arguments.prices.split(","))
    arguments.out.write_bytes(png(overview({title: Path(folder) for title, folder in titles.items()}, (read, written))))


if __name__ == "__main__":
    main()
