"""The storage of a study: opens it, refuses another study of the same name, and knows which process works on which trial."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from optimizers.settings.run import RunConfig
from optimizers.settings.views import REACH
from optimizers.studies.search_space import Space
from optimizers.studies.trial import deciding_settings

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

LEASE, REASON, KIND, RETRY_OF, RECIPE = "lease", "reason", "kind", "retry_of", "recipe"
"""Names of user attributes of trials."""

ERROR, DIED, INTERRUPTED = "error", "died", "interrupted"
"""Kinds of failed trials."""

_DEFINITION = "definition"

_MAX_DEATHS = 3

_log = logging.getLogger("divide_or_conquer")

_LOCK_SECONDS = 15


def open_storage(config: RunConfig) -> BaseStorage:
    """The journal file of the study's folder, or the database of `study.storage`.

    The journal's lock is a symbolic link, which is atomic on NFS too; one that a killed process left is taken after
    `_LOCK_SECONDS`.

    Raises:
        ValueError: A database that cannot be opened.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    url = config.study.storage
    if url is None:
        path = str(Path(config.out) / "study.journal")
        return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileSymlinkLock(path, grace_period=_LOCK_SECONDS)))
    try:
        # A connection that broke, as its server was started anew, is replaced before it is used.
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:
        raise ValueError(
            f"study.storage={url!r} cannot be opened: {error}. Expected a URL such as postgresql://user:password@host/name or "
            "sqlite:///study.db, with its driver installed; leave it out for the journal file."
        ) from error


def claims(folder: Path) -> FileLock:
    """The lock that a worker holds while it picks its next trial, so that several make exactly as many trials as are wanted."""
    return FileLock(folder / "claim.lock")


def open_study(config: RunConfig, space: Space) -> Study:
    """The study of that name, made if it is not there, with the configuration itself as its first trial.

    Raises:
        ValueError: The name exists with other dimensions, another objective, or other data or models; names the difference.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(config)
    with claims(Path(config.out)):
        return _opened(storage, config, space)


def _opened(storage: BaseStorage, config: RunConfig, space: Space) -> Study:
    import optuna

    directions: list[Any] = ["maximize", "minimize"] if config.study.objective == "score,cost" else ["maximize"]
    names = [found.study_name for found in optuna.get_all_study_summaries(storage)]
    if config.study.name in names:
        study = optuna.load_study(study_name=config.study.name, storage=storage, pruner=pruner(config))
        refuse_other(study, config, space)
    else:
        study = optuna.create_study(
            study_name=config.study.name, storage=storage, directions=directions, pruner=pruner(config), load_if_exists=True
        )
        study.set_user_attr(_DEFINITION, definition(config, space))
    if study.metric_names is None:
        # Dashboards and Optuna's plots would call them "Objective 0" and "Objective 1".
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["dev score", "cost"][: len(directions)])
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(space.defaults, user_attrs={RECIPE: True})
    return study


def definition(config: RunConfig, space: Space) -> dict[str, Any]:
    """The settings that must be equal for the trials of a study to be comparable."""
    searched = set(space.describe())
    kept = {key: value for key, value in deciding_settings(config).items() if key not in searched and key != "data.test"}
    study = config.study
    kept |= {f"study.{key}": getattr(study, key) for key in ("objective", "loss_checks")}
    kept |= {} if "study.student" in searched else {"study.student": study.student}
    if study.objective == "score,cost":
        kept["cost.local_usd_per_hour"] = config.cost.local_usd_per_hour
    return {"space": space.describe(), "settings": kept}


def refuse_other(study: Study, config: RunConfig, space: Space) -> None:
    """Compare the study with what is asked for.

    Raises:
        ValueError: They differ; says where.
    """
    there, now = study.user_attrs.get(_DEFINITION), definition(config, space)
    if there is None:
        raise ValueError(f"The study {study.study_name!r} in the storage was not made by this command; choose another --study.name.")
    lines = [
        *_differences("dimension ", there["space"], now["space"]),
        *_differences("", _without_reach(there["settings"]), _without_reach(now["settings"])),
    ]
    if lines:
        listed = "\n".join(f"  {line}" for line in lines)
        raise ValueError(
            f"The study {study.study_name!r} exists with another definition:\n{listed}\nTrials of the two could not be compared: choose "
            f"another name, --study.name {study.study_name}-2, or put back what differs."
        )


def _without_reach(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings but for where and how patiently a model is asked."""
    return {key: value for key, value in settings.items() if key not in REACH}


def _differences(kind: str, there: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for key in sorted({*there, *now}):
        if there.get(key) != now.get(key):
            before, after = (repr(side[key]) if key in side else "none" for side in (there, now))
            yield f"{kind}{key}: {before} there, {after} now"


def pruner(config: RunConfig) -> Any:
    """Optuna's pruner for `study.pruner`."""
    import optuna

    if config.study.pruning == "none":
        return optuna.pruners.NopPruner()
    from optimizers.studies.pruner import StagedPruner

    with _experimental():
        return StagedPruner(config.study)


def sampler(config: RunConfig, seed: int) -> Any:
    """A new sampler for each trial, so that neither a second worker nor a second call draws the same values again."""
    import optuna

    study = config.study
    with _experimental():
        if study.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=study.startup_trials)
        if study.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=study.startup_trials)
        return {"random": optuna.samplers.RandomSampler, "nsgaii": optuna.samplers.NSGAIISampler}[study.sampler](seed=seed)


def sign_of_life(number: int) -> list[Any]:
    """Which process of which machine works on a trial, and how often it has said so."""
    return [platform.node(), os.getpid(), number]


class Lease:
    """A sign of life of the process that works on a trial, renewed in its user attributes until the `with` ends.

    Optuna's journal has no heartbeat, nor have `ask` and `tell`, and the heartbeat of a database compares clocks. Here
    a process that waits looks whether the sign changes.

    Args:
        trial: The trial.
        seconds: Without a new sign for so long, others take it for dead.

    Attributes:
        lost: Whether others took the process for dead, and have taken up its trial.
    """

    def __init__(self, trial: Trial, seconds: float) -> None:
        self.lost = False
        self._trial, self._every = trial, seconds / 4
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

        number = 0
        while not self._ended.wait(self._every):
            number += 1
            try:
                self._trial.set_user_attr(LEASE, sign_of_life(number))
            except UpdateFinishedTrialError:
                self.lost = True
                return
            except StorageInternalError as error:
                # A database may come back; whether it does, the worker finds out when it needs it.
                _log.info("no sign of life could be left in the study's storage: %s", error.__cause__ or error)


class DeathWatch:
    """Finds running trials whose worker is dead: at once on this machine, after `seconds` without a sign elsewhere."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._signs: dict[int, tuple[Any, float]] = {}

    def is_dead(self, trial: FrozenTrial) -> bool:
        """Whether nobody works on a running trial any more."""
        lease = trial.user_attrs.get(LEASE)
        if lease and lease[0] == platform.node() and lease[1] != os.getpid() and not _is_alive(lease[1]):
            return True
        sign, since = self._signs.get(trial.number, (None, 0.0))
        if trial.number not in self._signs or sign != lease:
            self._signs[trial.number] = (lease, time.monotonic())
            return False
        return time.monotonic() - since > self._seconds


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed child of this process is there until somebody waits for it.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def mend(study: Study, watch: DeathWatch) -> None:
    """Mark trials of dead workers as failed, and queue every failed trial that deserves another try.

    For one process at a time; whatever a killed one left undone, the next call does.
    """
    import optuna
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if watch.is_dead(trial):
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                fail(study, optuna.Trial(study, trial._trial_id), DIED, "its worker was killed")
    trials = study.get_trials(deepcopy=False)
    followed = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    for trial in trials:
        if trial.state == TrialState.FAIL and trial.number not in followed and _deserves_another(trial, trials):
            attributes = {RETRY_OF: trial.number} | ({RECIPE: True} if trial.user_attrs.get(RECIPE) else {})
            study.enqueue_trial(trial.params or trial.system_attrs.get("fixed_params", {}), user_attrs=attributes)


def fail(study: Study, trial: Trial, kind: str, reason: str) -> None:
    """End a trial as failed, with the reason in its user attributes."""
    from optuna.trial import TrialState

    trial.set_user_attr(KIND, kind)
    trial.set_user_attr(REASON, reason[:2000])
    study.tell(trial.number, state=TrialState.FAIL)


def _deserves_another(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """One more try after an error, a few after killed workers, always after an interruption."""
    kinds = []
    number: int | None = trial.number
    while number is not None:
        kinds.append(trials[number].user_attrs.get(KIND, ERROR))
        number = trials[number].user_attrs.get(RETRY_OF)
    return kinds.count(ERROR) <= 1 and kinds.count(DIED) <= _MAX_DEATHS


def is_over(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial has ended and will not be tried again."""
    from optuna.trial import TrialState

    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (
        trial.state == TrialState.FAIL and not _deserves_another(trial, trials)
    )


@contextlib.contextmanager
def _experimental() -> Iterator[None]:
    """Keeps quiet that Optuna may yet change what it offers here."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
