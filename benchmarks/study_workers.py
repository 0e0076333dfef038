"""Two workers of one core each against one worker on one core, on the same trials: wall-clock seconds and their ratio.

    python benchmarks/study_workers.py --out runs/workers --trials 4

The trials are those of a random sampler, so that both studies make the same ones. Labels are collected first, outside the
times. A study that was measured is not measured again. Any setting of `divide-or-conquer study` can follow `--`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from optimizers import load_config
from optimizers.cli import parse_settings
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.studies.study import StudyJob, study_toml


def main() -> None:
    """Measure what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/study_workers")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    recipe, overrides = parse_settings(arguments.settings)
    fixed: dict[str, Any] = {"study.trials": arguments.trials, "study.sampler": "random", "study.pruner": "none"}
    found = {workers: measured(out, recipe or "study", {**overrides, **fixed}, workers) for workers in (1, 2)}
    table = "\n".join(
        [
            "| workers | cores each | seconds | finished trials |",
            "|---|---|---|---|",
            *(f"| {workers} | 1 | {one['seconds']:.0f} | {one['finished']} |" for workers, one in found.items()),
            f"\nratio {found[2]['seconds'] / found[1]['seconds']:.2f}\n",
        ]
    )
    (out / "workers.md").write_text(table)
    print(table)


def measured(out: Path, recipe: str, settings: dict[str, Any], workers: int) -> dict[str, Any]:
    """Seconds of a whole study; one that was stopped is made anew, as its time is lost."""
    folder = out / f"workers-{workers}"
    note = out / f"workers-{workers}.json"
    if note.exists():
        return read_json(note)
    shutil.rmtree(folder, ignore_errors=True)
    labels = out / "labels"
    if labels.exists():
        shutil.copytree(labels, folder / "labels")
    config = load_config(recipe, {**settings, "out": str(folder), "study.workers": workers})
    if not labels.exists():
        folder.mkdir(parents=True)
        StudyJob(config).label()
        shutil.copytree(folder / "labels", labels)
    path = out / f"workers-{workers}.toml"
    path.write_text(study_toml(config))
    cores = sorted(os.sched_getaffinity(0))[:workers]
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "optimizers.cli", "study", "@", str(path)], check=True, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    seconds = time.monotonic() - started
    found = json.loads((folder / "study.json").read_text())
    write_json(note, {"seconds": seconds, "finished": found["finished"]})
    return read_json(note)


if __name__ == "__main__":
    main()
