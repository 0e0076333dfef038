"""What does pruning save, and what does it cost? The same study with and without it: training seconds, and the best dev scores.

    python benchmarks/study_pruning.py --out runs/pruning --seeds 0,1,2 --trials 12

Both studies of a seed share their labels and draw trials by the same seeds. A study that stands is read, not made again: the same
command continues. Writes `pruning.md` beside the studies. Any setting of `divide-or-conquer study` can follow `--`:
`-- --student local/<folder> --data.dev 8`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

from frame import Arguments, command, part_of, publish, recipe_and_settings, shared_labels, table, working

from optimizers import StudyResult, load_config, study
from optimizers.jobs.progress import Progress

PRUNERS = ("none", "both")


def main() -> None:
    """Make the studies that are missing, and print a table."""
    arguments = _arguments()
    recipe, settings = recipe_and_settings(arguments.settings, "study")
    settings["study.trials"] = arguments.trials
    with working(arguments.out, "study_pruning") as show:
        rows = [row(seed, both(arguments.out, recipe, settings, seed, show)) for seed in arguments.seeds]
    publish(arguments.out / "pruning.md", markdown(rows))


def _arguments() -> argparse.Namespace:
    parser = Arguments(__doc__)
    parser.add_out("runs/study_pruning")
    parser.add_seeds()
    parser.add_argument("--trials", type=int, default=12)
    parser.add_words()
    return parser.parse_args()


def both(out: Path, recipe: str, settings: dict[str, Any], seed: int, show: Progress) -> dict[str, StudyResult]:
    """The two studies of a seed, by their pruner."""
    return {pruner: made(out, recipe, {**settings, "study.pruner": pruner}, seed, show) for pruner in PRUNERS}


def made(out: Path, recipe: str, settings: dict[str, Any], seed: int, show: Progress) -> StudyResult:
    """A finished study; all take the labels of the first."""
    name = f"{settings['study.pruner']}-{seed}"
    config = load_config(recipe, {**settings, "out": str(out / name), "study.seed": seed, "training.seed": seed})
    with shared_labels(out, out / name):
        return study(config, part_of(show, name))


def row(seed: int, found: dict[str, StudyResult]) -> dict[str, Any]:
    """What pruning saved in one pair of studies."""
    seconds = {pruner: sum(trial["training_seconds"] or 0.0 for trial in result.trials) for pruner, result in found.items()}
    best = {pruner: result.best["score"] if result.best else None for pruner, result in found.items()}
    pruned = sum(trial["state"] == "pruned" for trial in found["both"].trials)
    saved = 1 - seconds["both"] / seconds["none"]
    return {"seed": seed, "seconds": seconds, "best": best, "pruned": pruned, "saved": saved}


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table with a row a seed and the mean."""
    head = ["seed", "training s without", "with pruning", "saved", "pruned trials", "best without", "best with"]
    lines = []
    for found in rows:
        seconds, best = found["seconds"], found["best"]
        scores = [f"{best[pruner]:.1%}" if best[pruner] is not None else "" for pruner in PRUNERS]
        times = [f"{seconds[pruner]:.0f}" for pruner in PRUNERS]
        lines.append([str(found["seed"]), *times, f"{found['saved']:.0%}", str(found["pruned"]), *scores])
    mean = ["mean", "", "", f"{fmean(found['saved'] for found in rows):.0%}", "", "", ""]
    return table(head, [*lines, mean])


if __name__ == "__main__":
    command(main)
