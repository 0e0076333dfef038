"""Two of Optuna's pruners on one trial: percentile (by default median) on its dev losses, Wilcoxon on its questions' scores."""

from __future__ import annotations

import copy
from typing import Any

from optuna import Study
from optuna.pruners import BasePruner, PercentilePruner, WilcoxonPruner
from optuna.trial import FrozenTrial

from optimizers.settings.study import StudyConfig
from optimizers.studies.trial import QUESTION_STEPS


class StagedPruner(BasePruner):
    """Percentile of the dev loss while a trial trains, Wilcoxon's test while it answers.

    Both read a trial's `intermediate_values`, which are told apart by their step: below `QUESTION_STEPS` they are
    negated dev losses, from there on each is the score of one dev question.

    Args:
        settings: The section `study`, of which it takes `pruning`, `pruner_percentile`, `pruner_startup_trials`, `p_threshold` and `batch`.
    """

    def __init__(self, settings: StudyConfig) -> None:
        self._median = settings.pruning in ("median", "both")
        self._wilcoxon = settings.pruning in ("wilcoxon", "both")
        self._by_loss = PercentilePruner(settings.pruner_percentile, n_startup_trials=settings.pruner_startup_trials)
        self._by_score = WilcoxonPruner(p_threshold=settings.p_threshold, n_startup_steps=settings.batch)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """See `BasePruner.prune`."""
        if trial.last_step is None:
            return False
        if trial.last_step < QUESTION_STEPS:
            return self._median and bool(self._by_loss.prune(study, trial))
        return self._wilcoxon and bool(self._by_score.prune(_QuestionsOnly(study), _questions_only(trial)))  # type: ignore[arg-type]


class _QuestionsOnly:
    """What `WilcoxonPruner` asks of a study."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self.direction = study.direction

    @property
    def best_trial(self) -> FrozenTrial:
        return _questions_only(self._study.best_trial)


def _questions_only(trial: FrozenTrial) -> Any:
    view = copy.copy(trial)
    view.intermediate_values = {step: value for step, value in trial.intermediate_values.items() if step >= QUESTION_STEPS}
    return view
