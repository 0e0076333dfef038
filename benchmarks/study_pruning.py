"""The same study with and without pruning: training seconds saved, and the best dev score of each.

    python benchmarks/study_pruning.py --out runs/pruning --seeds 0,1,2 --trials 12

Both studies of a seed share their labels and draw trials by the same seeds. A study that stands is read, not made again: the same
command continues. Any setting of `divide-or-conquer study` can follow `--`: `-- --student local/<folder> --data.dev 8`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

from over_seeds import table, whole_numbers

from optimizers import StudyResult, load_config, study
from optimizers.cli import parse_settings
from optimizers.jobs.progress import ProgressDisplay


def main() -> None:
    """Make the studies that are missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/study_pruning")
    parser.add_argument("--seeds", type=whole_numbers, default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    recipe, overrides = parse_settings(arguments.settings)
    rows = []
    given = {**overrides, "study.trials": arguments.trials}
    with ProgressDisplay() as display:
        for seed in arguments.seeds:
            found = {
                pruner: made(Path(arguments.out), recipe or "study", {**given, "study.pruner": pruner}, seed, display)
                for pruner in ("none", "both")
            }
            rows.append(row(seed, found))
    text = markdown(rows)
    (Path(arguments.out) / "pruning.md").write_text(text)
    print(text)


def made(out: Path, recipe: str, given: dict[str, Any], seed: int, display: ProgressDisplay) -> StudyResult:
    """A finished study; all take the labels of the first."""
    name = f"{given['study.pruner']}-{seed}"
    folder = out / name
    labels = out / "labels"
    if labels.exists() and not (folder / "labels").exists():
        shutil.copytree(labels, folder / "labels")
    settings = {**given, "out": str(folder), "study.seed": seed, "training.seed": seed}
    result = study(load_config(recipe, settings), lambda stage, *rest: display.update(f"{name}: {stage}", *rest))
    if not labels.exists():
        shutil.copytree(folder / "labels", labels)
    return result


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
        scores = [f"{best[pruner]:.1%}" if best[pruner] is not None else "" for pruner in ("none", "both")]
        times = [f"{seconds[pruner]:.0f}" for pruner in ("none", "both")]
        lines.append([str(found["seed"]), *times, f"{found['saved']:.0%}", str(found["pruned"]), *scores])
    mean = ["mean", "", "", f"{fmean(found['saved'] for found in rows):.0%}", "", "", ""]
    return table(head, [*lines, mean]) + "\n"


if __name__ == "__main__":
    main()
