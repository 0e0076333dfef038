"""What does a second worker gain? Two of one core each against one on one core, on the same trials: seconds and their ratio.

    python benchmarks/study_workers.py --out runs/workers --trials 4

The trials are those of a random sampler, so that both studies make the same ones. Labels are collected first, outside the
times. Writes `workers.md` beside the studies; one that was measured is not measured again. Any setting of
`divide-or-conquer study` can follow `--`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from frame import Arguments, command, publish, recipe_and_settings, shared_labels, table

from optimizers import RunConfig, load_config
from optimizers.jobs.jsonlines import read_json, write_json, write_whole
from optimizers.studies.study import StudyJob, study_toml


def main() -> None:
    """Measure what is missing, and print a table."""
    arguments = _arguments()
    recipe, settings = recipe_and_settings(arguments.settings, "study")
    settings |= {"study.trials": arguments.trials, "study.sampler": "random", "study.pruner": "none"}
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {workers: measured(arguments.out, recipe, settings, workers) for workers in (1, 2)}
    rows = [[str(workers), "1", f"{one['seconds']:.0f}", str(one["finished"])] for workers, one in found.items()]
    ratio = f"ratio {found[2]['seconds'] / found[1]['seconds']:.2f}"
    publish(arguments.out / "workers.md", f"{table(['workers', 'cores each', 'seconds', 'finished trials'], rows)}\n\n{ratio}")


def _arguments() -> argparse.Namespace:
    parser = Arguments(__doc__)
    parser.add_out("runs/study_workers")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_words()
    return parser.parse_args()


def measured(out: Path, recipe: str, settings: dict[str, Any], workers: int) -> dict[str, Any]:
    """Seconds of a whole study; one that was stopped is made anew, as its time is lost."""
    folder, note = out / f"workers-{workers}", out / f"workers-{workers}.json"
    if not note.exists():
        shutil.rmtree(folder, ignore_errors=True)
        config = load_config(recipe, {**settings, "out": str(folder), "study.workers": workers})
        _label(out, config)
        seconds = _timed(config, out / f"workers-{workers}.toml")
        write_json(note, {"seconds": seconds, "finished": read_json(folder / "study.json")["finished"]})
    return read_json(note)


def _label(out: Path, config: RunConfig) -> None:
    folder = Path(config.out)
    with shared_labels(out, folder) as there:
        if not there:
            folder.mkdir(parents=True)
            StudyJob(config).label()


def _timed(config: RunConfig, recipe: Path) -> float:
    """Seconds of a study in a process of its own, a core a worker."""
    write_whole(recipe, study_toml(config))
    cores = sorted(os.sched_getaffinity(0))[: config.study.workers]
    words = [sys.executable, "-m", "optimizers.cli", "study", "@", str(recipe)]
    started = time.monotonic()
    subprocess.run(words, check=True, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    return time.monotonic() - started


if __name__ == "__main__":
    command(main)
