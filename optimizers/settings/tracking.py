"""Where a job is shown beside its folder: the section `tracking`."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from optimizers.settings.section import Names, Section

TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")
"""What the package, its module, and transformers' integration are all called."""

LOGIN = re.compile(r"(?<=://)[^/@\s'\"]+@")
"""The login in an address."""


class TrackingConfig(Section):
    """Experiment trackers that a job is told to while it runs; what comes out of it does not hang on them."""

    report_to: Names = []
    """Which trackers: some of `tensorboard`, `mlflow`, `wandb` and `trackio`. Their packages are installed apart from this one; keys and
    passwords come from their own environment variables."""
    project: str = Field("divide-or-conquer", min_length=1)
    """What runs are gathered in: the experiment of MLflow, the project of W&B and trackio."""
    name: str | None = Field(None, min_length=1)
    """Name of the run in the trackers; the name of the job's folder, if not given."""
    uri: str | None = Field(None, min_length=1)
    """Tracking URI of MLflow, such as `http://localhost:5000` or `sqlite:///mlflow.db`; MLflow's own (`MLFLOW_TRACKING_URI`), if not
    given."""
    files: bool = True
    """Whether the report and the configuration are uploaded too: a report shows questions and answers."""

    @field_validator("report_to")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        names = [] if names == ["none"] else list(dict.fromkeys(names))
        unknown = [name for name in names if name not in TRACKERS]
        if unknown:
            raise ValueError(f"no tracker {unknown[0]!r}; expected some of {', '.join(TRACKERS)}, joined by commas, or none")
        return names

    @model_validator(mode="after")
    def _without_password(self) -> Self:
        # Of the whole section, as a message about the one value would show it; the folder's configuration and report do too.
        if self.uri is not None and LOGIN.search(self.uri):
            raise ValueError("the uri has a login in it; set MLFLOW_TRACKING_USERNAME and _PASSWORD, or the whole of MLFLOW_TRACKING_URI")
        return self
