"""The report of an improvement: `improve.md`, `improve.html` and a figure, from `improve.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.jobs.jsonlines import read_json
from optimizers.reports.blocks import (
    Block,
    Bullets,
    Section,
    Table,
    Text,
    count_text,
    is_number,
    missing_text,
    number,
    overlap_blocks,
    percent,
    percent_interval,
    picture_or_text,
    usd_text,
)
from optimizers.reports.figures import ACCENT, ACCENT_MARKER, COLOURS, FAINT, GREY, OWN, canvas, legend_below, styled, upright_intervals
from optimizers.reports.tokens import MEANING, amounts_text
from optimizers.reports.verdicts import difference_words
from optimizers.reports.write import write_sections

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SETS = {"test": "the test questions", "own": "the test questions of the run's own task"}

_METHODS = {"expert": "expert iteration", "dpo": "DPO", "grpo": "GRPO"}

_COLUMNS = ("round", "decompositions", "right", "new rows", "rows", "dev score", "95 % interval", "tokens", "seconds", "dollars")

_FIGURE = "improve.png"


def write_report(folder: Path) -> list[Path]:
    """Write `improve.md`, `improve.html` and `figures/improve.png` from `improve.json`; returns these files."""
    found = read_json(folder / "improve.json")
    return write_sections(folder, sections(found), title=title(found), stem="improve", earlier=[_FIGURE])


def title(found: Mapping[str, Any]) -> str:
    """Which student was improved, and by which method."""
    method = found["settings"]["method"]
    return f"{found['student']}, improved by {_METHODS.get(method, method)}"


def sections(found: Mapping[str, Any]) -> list[Section]:
    """The report of an improvement, in reading order.

    Args:
        found: `improve.json`.
    """
    tests = [_against(name, tested) for name, tested in found["tests"].items()]
    against: Block = Bullets(tests) if tests else missing_text("No test question was asked.")
    return [Section("In short", _in_short(found)), Section("Rounds", _rounds(found)), Section("Against round 0", [against])]


def _in_short(found: Mapping[str, Any]) -> list[Block]:
    settings = found["settings"]
    hidden = ", who is not told the question" if settings.get("hide_question") else ""
    text = f"Reward: {settings['reward']}, by {found['solver']}{hidden}. It ended because {found['ended']}; "
    blocks: list[Block] = [Text(f"{text}round {found['best']} is the best.")]
    if "incomplete" in found:
        blocks.append(Text(f"Incomplete: {found['incomplete']}. The same command continues.", "warning"))
    blocks += overlap_blocks(found)
    if found.get("kept_out"):
        left = ", ".join(f"{count} of {_SETS.get(name, name)}" for name, count in found["kept_out"].items())
        blocks.append(Text(f"Kept out, as rows made from the teacher's repeat them: {left}."))
    return blocks


def _rounds(found: Mapping[str, Any]) -> list[Block]:
    rounds, best = found["rounds"], found["best"]
    text = (
        "Right: share of the judged decompositions that reached the reward. Tokens, seconds and dollars: of the tries and the dev "
        "questions; a round's training stands by itself. "
        f"{MEANING} A local model without a price an hour has no dollars."
    )
    table = Table([*_COLUMNS, "training, s"], [_round_row(one, best, found["solver"]) for one in rounds], frozenset({0}))
    picture = picture_or_text(_FIGURE, rounds_figure(rounds, best), "Dev score by round", "No round has a dev score to draw.")
    return [table, picture, Text(text)]


def _round_row(one: Mapping[str, Any], best: int, solver: str) -> list[str]:
    share = _right_share(one)
    return [
        f"{one['round']} (best)" if one["round"] == best else str(one["round"]),
        count_text(one["decompositions"]) if "decompositions" in one else "",
        "" if share is None else f"{share:.0%}",
        count_text(one["new_rows"]),
        count_text(one["rows"]),
        percent(one["dev"]) + ("" if one["complete"] else " (not all asked)"),
        percent_interval(one),
        _tokens_words(one, solver),
        count_text(one["seconds"]),
        usd_text(one["usd"]),
        count_text(one["training_seconds"]),
    ]


def _tokens_words(one: Mapping[str, Any], solver: str) -> str:
    """Paid and local tokens apart: the student decomposes, the solver does all else. An earlier version wrote the sum alone."""
    if not one.get("stages"):
        return count_text(one["tokens"])
    used = [(one.get("model") if stage == "decompose" else solver, usage) for stage, usage in one["stages"].items()]
    return amounts_text((model, number(usage["input_tokens"]) + number(usage["output_tokens"])) for model, usage in used)


def _right_share(one: Mapping[str, Any]) -> float | None:
    """Of the judged tries of a round; None where there were none."""
    judged = one.get("right", 0) + one.get("wrong", 0)
    return one["right"] / judged if judged else None


def _against(name: str, tested: Mapping[str, Any]) -> str:
    scores = ", ".join(f"{key} {percent(value['score'])}" for key, value in tested.items() if key.startswith("round"))
    compared, questions = tested.get("comparison"), _SETS.get(name, name)
    if compared is None:
        return f"On {questions}: {scores or 'not asked'}."
    if compared["a"] == compared["b"]:
        return f"On {questions} ({compared['n']}): {scores}. No round scored higher than round 0 on the dev questions."
    return f"On {questions} ({compared['n']}, paired): {scores}; difference {difference_words(compared)}."


@styled
def rounds_figure(rounds: Sequence[Mapping[str, Any]], best: int) -> Figure | None:
    """Dev score and 95 % interval of each round, and the share of right decompositions that it learned from."""
    scored = [one for one in rounds if is_number(one["dev"])]
    if not scored:
        return None
    figure, axes = canvas(3.4)
    numbers = [one["round"] for one in scored]
    axes.plot(numbers, [100 * one["dev"] for one in scored], f"-{ACCENT_MARKER}", color=ACCENT, label=f"{OWN}: dev score, 95% interval")
    upright_intervals(axes, numbers, [one["ci95"] for one in scored], ACCENT)
    tried = [(one["round"], 100 * share) for one in scored if (share := _right_share(one)) is not None]
    if tried:
        axes.plot(*zip(*tried, strict=True), "--s", color=COLOURS[0], markersize=5, label="right tries")
    chosen = next((one for one in scored if one["round"] == best), scored[0])
    axes.plot(chosen["round"], 100 * chosen["dev"], "o", markersize=12, markerfacecolor="none", color=GREY, label="best")
    axes.set(xlabel="round", ylabel="%", ylim=(0, 103), xticks=numbers)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    legend_below(figure)
    return figure
