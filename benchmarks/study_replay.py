"""What would median pruning have saved of studies that ran without it? By the dev losses that their trials reported.

    python benchmarks/study_replay.py runs/pruning/none-0 runs/pruning/none-1 --startup 1,2,4 --percentile 50,33

Each trial is shown to the pruner loss by loss, after the trials before it. A real study with pruning also draws other trials
afterwards, which this cannot know; `study_pruning.py` makes both studies, at twice the time. Prints a table, writes nothing.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import optuna
from frame import Arguments, table, whole_numbers
from optuna.trial import FrozenTrial, TrialState

from optimizers import StudyResult
from optimizers.settings.run import RunConfig
from optimizers.studies.storage import pruner
from optimizers.studies.trial import QUESTION_STEPS


def main() -> None:
    """Print a table with a row a study and a setting."""
    parser = Arguments(__doc__)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--startup", type=whole_numbers, default=[1, 2, 4], help="values of study.pruner_startup_trials")
    parser.add_argument("--percentile", type=whole_numbers, default=[50, 33], help="values of study.pruner_percentile")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    head = ["study", "percentile", "startup trials", "trials", "stopped", "training saved", "best score", "best of those not stopped"]
    settings = itertools.product(arguments.percentile, arguments.startup, arguments.studies)
    print(table(head, [replayed(folder, startup, percentile) for percentile, startup, folder in settings]))


def replayed(folder: Path, startup: int, percentile: float = 50.0) -> list[str]:
    """Cells of one study under one number of trials before pruning starts, and one share of trainings that may go on."""
    trials = [trial for trial in StudyResult(folder).study().trials if trial.state == TrialState.COMPLETE]
    judge = pruner(
        RunConfig.model_validate({"study": {"pruner": "median", "pruner_startup_trials": startup, "pruner_percentile": percentile}})
    )
    before = optuna.create_study(direction="maximize")
    spent, saved, stopped = 0.0, 0.0, []
    for trial in trials:
        checks = [step for step in sorted(trial.intermediate_values) if step < QUESTION_STEPS]
        seconds = trial.user_attrs["training_seconds"]
        end = next((step for step in checks if judge.prune(before, _until(trial, step))), None)
        spent += seconds
        if end is None:
            before.add_trial(trial)
        else:
            stopped.append(trial.number)
            saved += seconds * (1 - checks.index(end) / len(checks) - 1 / len(checks))
    best = [max((one.value or 0.0 for one in found), default=0.0) for found in (trials, before.trials)]
    counts = [f"{percentile:g}", str(startup), str(len(trials)), str(len(stopped)), f"{saved / spent:.0%}"]
    return [folder.name, *counts, *(f"{score:.1%}" for score in best)]


def _until(trial: FrozenTrial, step: int) -> FrozenTrial:
    """The trial when it had reported no more than the losses up to a step."""
    view = copy.copy(trial)
    view.state = TrialState.RUNNING
    view.intermediate_values = {at: value for at, value in trial.intermediate_values.items() if at <= step}
    return view


if __name__ == "__main__":
    main()
