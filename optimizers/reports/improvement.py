"""What came of the rounds: `improve.json`, `improve.md` and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.jobs.jsonlines import read_json
from optimizers.reports.blocks import is_number
from optimizers.reports.figures import COLOURS, FAINT, canvas, legend_below, png, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SETS = {"test": "the test questions", "own": "the test questions of the run's own task"}


def write_report(folder: Path) -> None:
    """`improve.md` and `figures/improve.png` from `improve.json`."""
    metrics = read_json(folder / "improve.json")
    figure = rounds_figure(metrics["rounds"], metrics["best"])
    if figure is not None:
        (folder / "figures").mkdir(exist_ok=True)
        (folder / "figures" / "improve.png").write_bytes(png(figure))
    (folder / "improve.md").write_text(_markdown(metrics, figure is not None))


def _markdown(metrics: Mapping[str, Any], drawn: bool) -> str:
    settings = metrics["settings"]
    hidden = ", who is not told the question" if settings.get("hide_question") else ""
    name = {"expert": "expert iteration", "dpo": "DPO", "grpo": "GRPO"}[settings["method"]]
    parts = [
        f"# {metrics['student']}, improved by {name}",
        f"Reward: {settings['reward']}, by {metrics['solver']}{hidden}. It ended because {metrics['ended']}; "
        f"round {metrics['best']} is the best.",
        *([f"**Incomplete:** {metrics['incomplete']}. The same command continues."] if "incomplete" in metrics else []),
        "## Rounds",
        _table(metrics["rounds"], metrics["best"]),
        *(["![Dev score by round](figures/improve.png)"] if drawn else []),
        "Right: share of the judged decompositions that reached the reward. Tokens, seconds and dollars: of the tries and the dev "
        "questions; a round's training stands by itself. A local model without a price an hour has no dollars.",
        "## Against round 0",
        *[_against(name, found) for name, found in metrics["tests"].items()],
    ]
    return "\n\n".join(parts) + "\n"


def _table(rounds: Sequence[Mapping[str, Any]], best: int) -> str:
    head = "| round | decompositions | right | new rows | rows | dev score | 95 % interval | tokens | seconds | dollars | training, s |"
    lines = [head, "|" + "---|" * 11]
    for one in rounds:
        judged = one.get("right", 0) + one.get("wrong", 0)
        right = f"{one['right'] / judged:.0%}" if judged else ""
        cells = [
            f"**{one['round']}**" if one["round"] == best else str(one["round"]),
            str(one.get("decompositions", "")),
            right,
            str(one["new_rows"]),
            str(one["rows"]),
            _percent(one["dev"]) + ("" if one["complete"] else " (not all asked)"),
            f"{_percent(one['ci95'][0])} to {_percent(one['ci95'][1])}",
            f"{one['tokens']:,}",
            f"{one['seconds']:.0f}",
            "no price" if one["usd"] is None else f"{one['usd']:.4f}",
            f"{one['training_seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _against(name: str, found: Mapping[str, Any]) -> str:
    scores = ", ".join(f"{key} {_percent(value['score'])}" for key, value in found.items() if key.startswith("round"))
    compared = found.get("comparison")
    if compared is None:
        return f"On {_SETS[name]}: {scores or 'not asked'}."
    if compared["a"] == compared["b"]:
        return f"On {_SETS[name]} ({compared['n']}): {scores}. No round was better than round 0 on the dev questions."
    low, high = compared["ci95"]
    return (
        f"On {_SETS[name]} ({compared['n']}, paired): {scores}; difference {100 * compared['delta']:+.1f} points "
        f"({100 * low:+.1f} to {100 * high:+.1f}), p = {compared['p']:.3f}."
    )


def _percent(value: Any) -> str:
    return f"{value:.1%}" if is_number(value) else "none"


@styled
def rounds_figure(rounds: Sequence[Mapping[str, Any]], best: int) -> Figure | None:
    """Dev score and 95 % interval of each round, and the share of right decompositions that it learned from."""
    scored = [one for one in rounds if is_number(one["dev"])]
    if not scored:
        return None
    figure, axes = canvas(3.4)
    numbers = [one["round"] for one in scored]
    axes.plot(numbers, [100 * one["dev"] for one in scored], "-o", color=COLOURS[0], label="dev score, 95% interval")
    for one in scored:
        low, high = one["ci95"]
        if is_number(low) and is_number(high):
            axes.plot([one["round"]] * 2, [100 * low, 100 * high], color=COLOURS[0], linewidth=2.0, alpha=0.5)
    tried = [
        (one["round"], 100 * one["right"] / (one["right"] + one["wrong"])) for one in scored if one.get("right", 0) + one.get("wrong", 0)
    ]
    if tried:
        axes.plot(*zip(*tried, strict=True), "--s", color=COLOURS[1], markersize=5, label="right tries")
    chosen = next((one for one in scored if one["round"] == best), scored[0])
    axes.plot(chosen["round"], 100 * chosen["dev"], "o", markersize=12, markerfacecolor="none", color=COLOURS[2], label="best")
    axes.set(xlabel="round", ylabel="%", ylim=(0, 103), xticks=numbers)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    legend_below(figure, len(axes.get_legend_handles_labels()[0]))
    return figure
