"""A worker of a study: takes one trial after the other until all are done. `python -m optimizers.studies.worker FILE CORES`."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.jobs.display import showing
from optimizers.jobs.progress import Progress, end_with_parent, no_progress
from optimizers.jobs.work import logging_to
from optimizers.labelling.journal import exceeded
from optimizers.settings.load import load_config
from optimizers.settings.run import RunConfig
from optimizers.studies.search_space import Space
from optimizers.studies.storage import (
    ERROR,
    INTERRUPTED,
    LEASE,
    REASON,
    RETRY_OF,
    DeathWatch,
    Lease,
    claims,
    fail,
    is_over,
    mend,
    open_study,
    sampler,
    sign_of_life,
)
from optimizers.studies.trial import PRUNED, TrialRun, TrialStopped, remove_weights, trial_key
from optimizers.tracking.figures import trial_numbers
from optimizers.tracking.job import Tracking, current_tracking
from optimizers.tracking.tracker import FINISHED, KILLED

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_log = logging.getLogger("divide_or_conquer")

FOLDER, TRAINING_SEED, SAMPLER_SEED = "folder", "training_seed", "sampler_seed"

KEPT = ("score", "ci95", "cost", "training_seconds", "inference_seconds", "usd", "rows", "model", "metric_errors")
"""The entries of `trial.json` that a trial's user attributes hold too."""

_WAIT_SECONDS = 0.5


class Worker:
    """Works on a study until it is done or a budget is spent.

    Args:
        config: The study's configuration; its folder has the labels.
        study: As `open_study` gave it.
        space: Its dimensions.
        progress: Called with (stage, done, total, note).
        deadline: `time.time()` at which to stop; None goes on.
    """

    def __init__(
        self, config: RunConfig, study: Study, space: Space, progress: Progress = no_progress, deadline: float | None = None
    ) -> None:
        self.config, self.study, self.space, self.progress, self.deadline = config, study, space, progress, deadline
        self.folder = Path(config.out)
        self._deaths = DeathWatch(config.study.lease_seconds)

    def run(self) -> str | None:
        """Work; returns why it stopped early, or None when all trials are done."""
        while True:
            show(self.study, self.config, self.progress)
            spent = self.spent()
            if spent:
                return spent
            trial = self._claim()
            if trial is not None:
                self._work(trial)
            elif self._all_over():
                return None
            else:
                time.sleep(_WAIT_SECONDS)

    def spent(self) -> str | None:
        """Which budget is spent, in words."""
        settings = self.config.study
        if self.deadline is not None and time.time() >= self.deadline:
            return f"study.max_minutes={settings.max_minutes:g} are over"
        usd = sum(trial.user_attrs.get("usd") or 0.0 for trial in self.study.get_trials(deepcopy=False))
        if settings.max_usd is not None and usd >= settings.max_usd:
            return f"study.max_usd={settings.max_usd:g} is spent ({usd:.4f})"
        whole = self.config.job_limits(Path())
        return exceeded(whole, whole.elsewhere) if whole else None

    def _claim(self) -> Trial | None:
        """The next trial, which others see as taken; None if there is none to take now."""
        from optuna.trial import TrialState

        with claims(self.folder):
            mend(self.study, self._deaths)
            trials = self.study.get_trials(deepcopy=False)
            number = next((trial.number for trial in trials if trial.state == TrialState.WAITING), len(trials))
            if number == len(trials) and len(firsts(trials)) >= self.config.study.trials:
                return None
            seed = self.config.study.seed + 1000 * number
            self.study.sampler = sampler(self.config, seed)
            trial = self.study.ask(self.space.distributions)
            trial.set_user_attr(LEASE, sign_of_life(0))
            trial.set_user_attr(SAMPLER_SEED, seed)
        return trial

    def _all_over(self) -> bool:
        trials = self.study.get_trials(deepcopy=False)
        return all(is_over(trial, trials) or _is_followed(trial, trials) for trial in trials)

    def _work(self, trial: Trial) -> None:
        """Do one trial and tell the study what came of it."""
        config = self.space.apply(trial.params)
        folder = self.folder / "trials" / trial_key(config)
        trial.set_user_attr(FOLDER, str(folder.relative_to(self.folder)))
        trial.set_user_attr(TRAINING_SEED, config.training.seeded(config.seed).seed)
        with Lease(trial, self.config.study.lease_seconds) as lease:
            watch = _TrialWatch(trial, self, lease)
            try:
                result = self._tracked(trial, config, folder, watch)
                ending = functools.partial(self._tell, trial, result)
            except KeyboardInterrupt as error:
                # Queued again; Ctrl-C ends the worker too, a stop does not.
                self._end(lease, functools.partial(fail, self.study, trial, INTERRUPTED, str(error) or "interrupted"))
                if not isinstance(error, TrialStopped):
                    raise
                return
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                _log.warning("trial %d: %s", trial.number, reason)
                ending = functools.partial(fail, self.study, trial, ERROR, reason)
            self._end(lease, ending)
        with claims(self.folder):
            remove_losers(self.study, self.folder)

    def _tracked(self, trial: Trial, config: RunConfig, folder: Path, watch: _TrialWatch) -> dict[str, Any]:
        """Do a trial in the sight of the study's trackers."""
        run, tracking = TrialRun(config, folder, self.folder / "labels", self._progress_of(trial)), current_tracking()
        if tracking is None:
            return run.run(watch)
        with tracking.trial(folder.name, f"trial {trial.number}", {"trial": trial.number, **trial.params}) as told:
            result = run.run(watch)
            told(trial_numbers(result), KILLED if result["state"] == PRUNED else FINISHED)
            return result

    def _end(self, lease: Lease, ending: Callable[[], Any]) -> None:
        """Tell the end of a trial, unless others took it for dead and up while this process was asleep."""
        from optuna.exceptions import UpdateFinishedTrialError

        lease.__exit__()
        if not lease.lost:
            with contextlib.suppress(UpdateFinishedTrialError):
                ending()

    def _tell(self, trial: Trial, result: dict[str, Any]) -> None:
        from optuna.trial import TrialState

        for name in KEPT:
            if name in result:
                trial.set_user_attr(name, result[name])
        if result["state"] == PRUNED:
            trial.set_user_attr(REASON, result["reason"])
            self.study.tell(trial.number, state=TrialState.PRUNED)
        else:
            both = self.config.study.objective == "score,cost"
            self.study.tell(trial.number, [result["score"], result["cost"]] if both else result["score"])

    def _progress_of(self, trial: Trial) -> Progress:
        return lambda stage, done, total, note: self.progress(f"trial {trial.number}: {stage}", done, total, note)


def firsts(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that are not retries of another one."""
    return [trial for trial in trials if RETRY_OF not in trial.user_attrs]


def _is_followed(trial: FrozenTrial, trials: list[FrozenTrial]) -> bool:
    return any(other.user_attrs.get(RETRY_OF) == trial.number for other in trials)


def show(study: Study, config: RunConfig, progress: Progress) -> None:
    """Show how many trials are over, and the best score."""
    trials = study.get_trials(deepcopy=False)
    over = sum(is_over(trial, trials) for trial in trials)
    scores = [trial.values[0] for trial in trials if trial.state.name == "COMPLETE"]
    progress("trials", min(over, config.study.trials), config.study.trials, f"best {max(scores):.1%}" if scores else "")


def best_trials(study: Study) -> list[FrozenTrial]:
    """The best trial, or those of the Pareto front; none before one is complete."""
    from optuna.trial import TrialState

    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    return study.best_trials if len(study.directions) > 1 else [study.best_trial]


def remove_losers(study: Study, folder: Path) -> None:
    """Delete the weights of every finished trial that is not among the best; the caller holds `claims`."""
    trials = study.get_trials(deepcopy=False)
    best = best_trials(study)
    kept = {trial.user_attrs.get(FOLDER) for trial in trials if trial in best or not is_over(trial, trials)}
    for name in {trial.user_attrs[FOLDER] for trial in trials if FOLDER in trial.user_attrs} - kept:
        remove_weights(folder / name)


class _TrialWatch:
    """`Watch` of one Optuna trial."""

    def __init__(self, trial: Trial, worker: Worker, lease: Lease) -> None:
        self._trial, self._worker, self._lease = trial, worker, lease
        self._prunes = len(worker.study.directions) == 1

    def report(self, step: int, value: float) -> None:
        # Optuna takes intermediate values for one objective alone.
        if self._prunes:
            self._trial.report(value, step)

    def should_prune(self) -> bool:
        return self._prunes and self._trial.should_prune()

    def stopped(self) -> bool:
        deadline = self._worker.deadline
        return self._lease.lost or (deadline is not None and time.time() >= deadline)


def main(path: str, cores: str, deadline: str) -> int:
    """Work as one of several processes, on some of the cores; 0 when the study is done or a budget is spent."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job would ignore
    end_with_parent(signal.SIGINT)  # as on Ctrl-C, which gives the trial back
    if hasattr(os, "sched_setaffinity"):
        # The trainer's process and every library's threads go by the cores that they may use.
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    config = load_config(path)
    space = Space(config)
    tracking = Tracking(config, "study", Path(config.out), joins=True)
    with logging_to(Path(path).with_suffix(f".{os.getpid()}.log")), showing(None) as show_progress, tracking:
        study = open_study(config, space)
        Worker(config, study, space, show_progress, float(deadline) if deadline != "none" else None).run()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
