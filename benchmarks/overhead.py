"""How much longer does a whole run take than the computing in it?

    python benchmarks/overhead.py --run runs/embedded    # of a run that has ended
    python benchmarks/overhead.py                        # of a small one, made now

The computing is the time in which models answer, as their calls say, and in which steps of the training run; the rest is loading,
reading, writing, screening and the report. Prints seconds by stage; `--json` keeps them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from frame import Arguments

from optimizers.jobs.jsonlines import read_json, read_lines, write_json
from optimizers.jobs.work import read_timings

SMALL = {
    "data.train": 60,
    "data.test": 40,
    "training.max_steps": 40,
    "evaluation.conditions": "teacher+teacher,S_D-R+teacher",
}
"""Of `run @ embedded`, which takes 20 minutes."""


def main() -> None:
    parser = Arguments(__doc__)
    parser.add_argument("--run", type=Path, help="folder of a run that has ended")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or small_run(Path(folder) / "run")
        found = overhead(run)
    print(f"{found['wall']:.0f} s in all stages, of which {found['computing']:.0f} s computing: {found['wall'] / found['computing']:.3f}")
    if options.json:
        write_json(options.json, found)


def small_run(folder: Path) -> Path:
    """A run of the main job with few questions and steps."""
    from optimizers import load_config, run

    run(load_config("embedded", {**SMALL, "out": str(folder)}))
    return folder


def overhead(run: Path) -> dict[str, float]:
    """Seconds of all stages of a run that was made at one go, and of the computing in them."""
    metrics = read_json(run / "metrics.json")
    labels, answers = (
        sum(line.get("seconds") or 0.0 for line in read_lines(run / name)) for name in ("traces.jsonl", "predictions/calls.jsonl")
    )
    training = sum(student["seconds"] for student in metrics["students"].values())
    wall = sum(read_timings(run).values())
    return {"wall": wall, "computing": labels + answers + training, "labels": labels, "answers": answers, "training": training}


if __name__ == "__main__":
    main()
