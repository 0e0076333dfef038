"""The same study with and without pruning: training seconds saved, and the best dev score of each.

    python benchmarks/study_pruning.py --out runs/pruning --seeds 0,1,2 --trials 12

Both studies of a seed share their labels and draw trials by the same seeds. A study that stands is read, not made again: the same
command continues. Any setting of `divide-or-conquer study` can follow `--`: `-- --student local/<folder> --data.dev 8`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

from optimizers import StudyResult, load_config, study
from optimizers.cli import parse_settings


def main() -> None:
    """Make the studies that are missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/study_pruning")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    recipe, overrides = parse_settings(arguments.settings)
    rows = []
    for seed in map(int, arguments.seeds.split(",")):
        found = {
            pruner: made(Path(arguments.out), recipe or "study", overrides, seed, pruner, arguments.trials) for pruner in ("none", "both")
        }
        rows.append(row(seed, found))
        print(json.dumps(rows[-1]), flush=True)
    table = markdown(rows)
    (Path(arguments.out) / "pruning.md").write_text(table)
    print(table)


def made(out: Path, recipe: str, overrides: dict[str, str], seed: int, pruner: str, trials: int) -> StudyResult:
    """A finished study; the second of a seed takes the labels of the first."""
    folder = out / f"{pruner}-{seed}"
    labels = out / "labels"
    if labels.exists() and not (folder / "labels").exists():
        shutil.copytree(labels, folder / "labels")
    settings: dict[str, Any] = {**overrides, "out": str(folder), "study.pruner": pruner, "study.seed": seed, "study.trials": trials}
    settings["training.seed"] = seed
    result = study(load_config(recipe, settings))
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
    lines = [
        "| seed | training s without | with pruning | saved | pruned trials | best without | best with |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in rows:
        seconds, best = found["seconds"], found["best"]
        scores = [f"{best[pruner]:.1%}" if best[pruner] is not None else "" for pruner in ("none", "both")]
        cells = [found["seed"], f"{seconds['none']:.0f}", f"{seconds['both']:.0f}", f"{found['saved']:.0%}", found["pruned"], *scores]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, f"| mean | | | {fmean(found['saved'] for found in rows):.0%} | | | |"]) + "\n"


if __name__ == "__main__":
    main()
