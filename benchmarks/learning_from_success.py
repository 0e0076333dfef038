"""What does a student gain by rounds of learning from its solver's success? Paired with itself before, over seeds.

    python benchmarks/learning_from_success.py --recipe success --seeds 0,1,2 --methods expert,dpo --out runs/success

For each seed one run is distilled (training questions and training by that seed), and each method improves its student
in a folder of its own. Differences are on the same test questions, paired, over questions and seeds. `--target longer` or
`books` improves on questions of another kind, whose test questions are then asked too. Prints tables in markdown, and keeps
everything in the output folder, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from frame import Arguments, command, origin, origin_line, part_of, table, working
from over_seeds import Scores, compared, difference_cells, scores_of

from optimizers import Improvement, improve, load_config
from optimizers.evaluation.statistics import holm
from optimizers.jobs.jsonlines import read_lines
from optimizers.jobs.progress import Progress
from optimizers.reports.blocks import p_text, percent

TARGETS: dict[str, dict[str, str]] = {"same": {}, "longer": {"schema": "people", "hops": "4"}, "books": {"schema": "books", "hops": "2,3"}}
SIZES = {
    "train": ("data.train", "questions of the teacher"),
    "questions": ("improve.data.train", "questions of a round; those of the teacher if nobody says"),
    "dev": ("improve.data.dev", "dev questions"),
    "test": ("data.test", "test questions"),
    "rounds": ("improve.rounds", "rounds at most"),
    "samples": ("improve.samples", "decompositions a question"),
}
"""Argument -> the setting that it is short for, and what it is."""


def main() -> None:
    """Improve, compare, print tables in markdown."""
    arguments = _arguments()
    with working(arguments.out, "learning_from_success") as show:
        found = {method: {seed: _improved(arguments, method, seed, show) for seed in arguments.seeds} for method in arguments.methods}
    for name in ("test", "own"):
        if any((part.folder / "rounds" / "0" / f"{name}.jsonl").exists() for parts in found.values() for part in parts.values()):
            print(_comparison(name, found), flush=True)
    print(f"{_rounds(found)}\n\n{origin_line(origin(arguments.out))}")


def _arguments() -> argparse.Namespace:
    parser = Arguments(__doc__)
    parser.add_argument("--recipe", default="forgiving", help="settings to start from; sizes and rounds not given here are its own")
    parser.add_seeds()
    parser.add_argument("--methods", type=lambda text: text.split(","), default=["expert", "dpo"], help="of expert, dpo, grpo")
    parser.add_argument("--target", choices=sorted(TARGETS), default="same", help="questions to improve on")
    for name, (_, what) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, help=what)
    parser.add_set("improve.reward=gain")
    parser.add_out()
    return parser.parse_args()


def _improved(arguments: argparse.Namespace, method: str, seed: int, show: Progress) -> Improvement:
    given: dict[str, Any] = {
        "seed": seed,
        "out": str(arguments.out / f"run-{seed}"),
        "improve.method": method,
        "improve.out": str(arguments.out / f"{method}-{arguments.target}-{seed}"),
    }
    given |= {key: getattr(arguments, name) for name, (key, _) in SIZES.items() if getattr(arguments, name) is not None}
    if arguments.target != "same":
        given |= {"improve.task.name": "multihop", **{f"improve.task.{key}": value for key, value in TARGETS[arguments.target].items()}}
    given |= dict(arguments.set)
    return improve(load_config(arguments.recipe, given), part_of(show, f"{method} {seed}"))


def _scores(part: Improvement, name: str, number: int) -> Scores:
    return scores_of(read_lines(part.folder / "rounds" / str(number) / f"{name}.jsonl"))


def _comparison(name: str, found: Mapping[str, Mapping[int, Improvement]]) -> str:
    """The best round of each method against round 0, over questions and trainings."""
    title = "the questions improved on" if name == "test" else "the run's own questions"
    head = ["method", "questions", "plain", "improved", "difference, points", "p", "by seed", "p (Holm)", "best rounds"]
    rows, ps = [], []
    for method, parts in found.items():
        best = {seed: part.metrics["best"] for seed, part in parts.items()}
        plain = {seed: _scores(part, name, 0) for seed, part in parts.items()}
        better = {seed: _scores(part, name, best[seed]) for seed, part in parts.items()}
        rows.append([method, *difference_cells(better, plain), "", ", ".join(map(str, best.values()))])
        ps.append(compared(better, plain).p)
    for row, adjusted in zip(rows, holm(ps), strict=True):
        row[-2] = p_text(adjusted)
    return f"\n### On {title}\n\n{table(head, rows)}"


def _rounds(found: Mapping[str, Mapping[int, Improvement]]) -> str:
    head = ["method", "seed", "round", "right", "new rows", "dev score", "tokens", "seconds", "training, s"]
    rows = []
    for method, parts in found.items():
        for seed, part in parts.items():
            for one in part.table():
                judged = one.get("right", 0) + one.get("wrong", 0)
                right = f"{one['right'] / judged:.0%}" if judged else ""
                shown = [percent(one["dev"]), f"{one['tokens']:,}", f"{one['seconds']:.0f}", f"{one['training_seconds']:.0f}"]
                rows.append([method, str(seed), str(one["round"]), right, str(one["new_rows"]), *shown])
    return f"\n### Rounds\n\n{table(head, rows)}"


if __name__ == "__main__":
    command(main)
