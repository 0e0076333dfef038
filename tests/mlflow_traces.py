"""Traces that mlflow's autolog writes into a database of its own, with nothing left for the tests after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def traced(folder: Path) -> Iterator[Callable]:
    """Logs every DSPy call of the block; the function given flushes and searches, with ``search_traces``' arguments.

    A tracking address and an experiment that are set hold for the whole process, before any environment variable.
    """
    import mlflow
    from mlflow.tracking import fluent

    def found(**search):
        mlflow.flush_trace_async_logging()
        return mlflow.search_traces(**search)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
            patch.setenv(name, "")
        patch.setattr(fluent, "_active_experiment_id", None)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("traces", artifact_location=str(folder / "files")))
        mlflow.dspy.autolog()
        try:
            yield found
        finally:
            mlflow.dspy.autolog(disable=True)
            mlflow.set_tracking_uri(None)
