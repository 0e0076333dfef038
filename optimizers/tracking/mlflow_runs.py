"""Runs of MLflow, by its client, which needs no run to be active in the process."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from optimizers.settings.tracking import LOGIN, TrackingConfig
from optimizers.tracking.tracker import Figures

_AT_A_TIME = 100

_LONGEST = 500
"""Characters of a parameter; later servers take more."""

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""By itself MLflow tries a server that is down for minutes, in which paid work would stand still."""


class MLflowRuns:
    """A `Tracker`.

    Args:
        settings: Its project is the experiment; its URI, or else MLflow's own, says where.
    """

    def __init__(self, settings: TrackingConfig) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        self._uri = settings.uri or mlflow.get_tracking_uri()
        self._given = settings.uri
        self.place = f"{LOGIN.sub('', self._uri)} {settings.project}"
        self._client = mlflow.MlflowClient(tracking_uri=self._uri)
        self._project = settings.project
        found = self._client.get_experiment_by_name(settings.project)
        self._experiment = found.experiment_id if found else self._client.create_experiment(settings.project)

    def begin(self, name: str, parent: str | None, known: str | None) -> str:
        """As of `Tracker`."""
        if known is not None and self._is_there(known):
            self._client.update_run(known, status="RUNNING")
            return known
        tags = {"mlflow.parentRunId": parent} if parent else {}
        return str(self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id)

    def _is_there(self, run: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def write(self, run: str, figures: Figures, step: int) -> None:
        """As of `Tracker`; a parameter that is another one now, which MLflow cannot hold, becomes a tag `now.NAME`."""
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.utils.time import get_current_time_millis

        params = {_plain(name): value[:_LONGEST] for name, value in figures.params.items()}
        known: Mapping[str, str] = self._client.get_run(run).data.params if params else {}
        changed = {name: value for name, value in params.items() if known.get(name, value) != value}
        self._client.log_batch(run, tags=[RunTag(f"now.{name}", value) for name, value in changed.items()])
        now = get_current_time_millis()
        metrics = [Metric(_plain(name), value, now, step) for name, value in figures.metrics.items()]
        for start in range(0, len(params), _AT_A_TIME):
            some = list(params.items())[start : start + _AT_A_TIME]
            self._client.log_batch(run, params=[Param(*one) for one in some if one[0] not in changed])
        for start in range(0, len(metrics), _AT_A_TIME):
            self._client.log_batch(run, metrics=metrics[start : start + _AT_A_TIME])
        for path in figures.files:
            self._client.log_artifact(run, str(path))

    def end(self, run: str, status: str) -> None:
        """As of `Tracker`."""
        self._client.set_terminated(run, status)

    def for_training(self, run: str) -> dict[str, Any]:
        """As of `Tracker`."""
        # A URI with a login comes from the environment, which the trainer's process has too.
        where = {"MLFLOW_TRACKING_URI": self._given} if self._given else {}
        return {"environment": {**where, "MLFLOW_EXPERIMENT_NAME": self._project, "MLFLOW_RUN_ID": run}}


def _plain(name: str) -> str:
    """A name as MLflow takes it: `S_D-R+teacher` becomes `S_D-R.teacher`."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("+", "."))
