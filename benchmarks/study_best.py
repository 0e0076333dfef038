"""Is what studies found better than the recipe they started from, on test questions that no trial was asked?

    python benchmarks/study_best.py runs/pruning/none-0 runs/pruning/none-1 runs/pruning/none-2 --out runs/study_best

Each study's `best.toml` is run, and its recipe (trial 0) is trained and run likewise; both answer the same test questions.
The comparison is over studies, too, which should differ in their seeds. Writes `study_best.md` into `--out`, beside the recipes' runs; the
best configurations run in their studies' folders. What is on file is not done again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frame import Arguments, command, part_of, publish, table, working
from over_seeds import Scores, difference_cells, scores_of

from optimizers import StudyResult, load_config, run
from optimizers.jobs.progress import Progress


def main() -> None:
    """Run what is missing, and print a table."""
    parser = Arguments(__doc__)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_out("runs/study_best")
    arguments = parser.parse_args()
    best: dict[int, Scores] = {}
    recipe: dict[int, Scores] = {}
    with working(arguments.out, "study_best") as show:
        for number, folder in enumerate(arguments.studies):
            result = StudyResult(folder)
            best[number] = _scores(result, {}, part_of(show, f"best {number}"))
            settings = {**_recipe_of(result), "out": str(arguments.out / f"recipe-{number}")}
            recipe[number] = _scores(result, settings, part_of(show, f"recipe {number}"))
    head = ["questions", "recipe", "best", "difference, points", "p", "by study"]
    publish(arguments.out / "study_best.md", table(head, [difference_cells(best, recipe)]))


def _recipe_of(result: StudyResult) -> dict[str, Any]:
    """Settings that turn the best configuration into the one of trial 0."""
    first = next(trial for trial in result.trials if trial["recipe"])
    student = first["params"].get("study.student") or load_config(str(result.best_config)).evaluation.conditions[-1].split("+")[0]
    settings = {key: value for key, value in first["params"].items() if not key.startswith("study.")}
    return {**settings, "training.seed": first["training_seed"], "evaluation.conditions": f"{student}+solver"}


def _scores(result: StudyResult, settings: dict[str, Any], show: Progress) -> Scores:
    config = load_config(str(result.best_config), settings)
    config.evaluation.conditions = config.evaluation.conditions[-1:]
    return scores_of(run(config, show).predictions(config.evaluation.conditions[-1]))


if __name__ == "__main__":
    command(main)
