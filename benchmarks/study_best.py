"""What finished studies found against the recipe that they started from, on test questions that no trial was asked.

    python benchmarks/study_best.py runs/pruning/none-0 runs/pruning/none-1 runs/pruning/none-2 --out runs/study_best

Each study's `best.toml` is run, and its recipe (trial 0) is trained and run likewise; both answer the same test questions.
Pooled over studies, which should differ in their seeds. What is on file is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from over_seeds import Scores, difference_cells, table

from optimizers import StudyResult, load_config, run
from optimizers.jobs.progress import ProgressDisplay


def main() -> None:
    """Run what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/study_best"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    best: dict[int, Scores] = {}
    recipe: dict[int, Scores] = {}
    with ProgressDisplay() as display:
        for number, folder in enumerate(arguments.studies):
            result = StudyResult(folder)
            best[number] = _scores(result, {}, display, f"best {number}")
            settings = {**_recipe_of(result), "out": str(arguments.out / f"recipe-{number}")}
            recipe[number] = _scores(result, settings, display, f"recipe {number}")
    head = ["questions", "recipe", "best", "difference, points", "p", "by study"]
    text = table(head, [difference_cells(best, recipe)]) + "\n"
    (arguments.out / "study_best.md").write_text(text)
    print(text)


def _recipe_of(result: StudyResult) -> dict[str, Any]:
    """Settings that turn the best configuration into the one of trial 0."""
    first = next(trial for trial in result.trials if trial["recipe"])
    student = first["params"].get("study.student") or load_config(str(result.best_config)).evaluation.conditions[-1].split("+")[0]
    settings = {key: value for key, value in first["params"].items() if not key.startswith("study.")}
    return {**settings, "training.seed": first["training_seed"], "evaluation.conditions": f"{student}+solver"}


def _scores(result: StudyResult, settings: dict[str, Any], display: ProgressDisplay, name: str) -> Scores:
    config = load_config(str(result.best_config), settings)
    config.evaluation.conditions = config.evaluation.conditions[-1:]
    made = run(config, lambda stage, *rest: display.update(f"{name}: {stage}", *rest))
    return {line["id"]: line["score"] for line in made.predictions(config.evaluation.conditions[-1])}


if __name__ == "__main__":
    main()
