"""What a study searches, how, and when it stops: the section `study`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from optimizers.conditions import DECOMPOSER_STUDENTS, MATCHED
from optimizers.settings.section import Section


def studied_students() -> list[str]:
    """Students that a study can train: those that only decompose, each by itself."""
    return [name for name in DECOMPOSER_STUDENTS if name != "joint" and not name.endswith(MATCHED)]


class StudyConfig(Section):
    """Settings of `divide-or-conquer study`; `run` does not read them."""

    name: str = Field("study", min_length=1)
    """Name of the study in its storage."""
    space: dict[str, Any] = {}
    """Dimensions to search, by dotted setting: each `{ low, high }`, with `log = true` or `step` where wanted, or `{ choices = [...] }`.
"""
    trials: int = Field(12, ge=1, json_schema_extra={"unit": "trials"})
    """Trials in all, over all workers. The first is the recipe as it stands; the retry of a failed trial does not count."""
    objective: Literal["score", "score,cost"] = "score"
    """What is optimised: the dev score of the two-stage program, or that score and what the student costs (a Pareto front)."""
    student: str = "S_D-R"
    """Which student is trained; its name decides the screening: S_D-T keeps what can be read, S_D-R what led to the right answer."""
    sampler: Literal["tpe", "random", "nsgaii", "gp"] = "tpe"
    """Optuna's sampler."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the sampler; each trial has a seed of its own made from it."""
    startup_trials: int = Field(4, ge=1, json_schema_extra={"unit": "trials"})
    """Trials drawn at random before TPE or GP uses what it has seen."""
    pruner: Literal["wilcoxon", "median", "both", "none"] | None = None
    """What stops bad trials early: `wilcoxon` compares scores of single questions, `median` the dev loss while training. By default both,
    and none with two objectives."""
    pruner_startup_trials: int = Field(2, ge=1, json_schema_extra={"unit": "trials"})
    """Complete trials before pruning by dev loss starts."""
    pruner_percentile: float = Field(50.0, gt=0, le=100, json_schema_extra={"unit": "of 100 trainings"})
    """Of 100 trainings, how many pruning by dev loss lets go on: 50 stops those above the median dev loss, 33 saves more and risks more.
"""
    p_threshold: float = Field(0.1, gt=0, lt=1, json_schema_extra={"unit": "probability"})
    """P value of the Wilcoxon test below which a trial is stopped; a higher one prunes more."""
    batch: int = Field(8, ge=1, json_schema_extra={"unit": "questions"})
    """Dev questions between two checks of the Wilcoxon pruner."""
    loss_checks: int = Field(4, ge=1, lt=100, json_schema_extra={"unit": "checks a training"})
    """How many times each training measures the dev loss and saves a checkpoint."""
    storage: str | None = None
    """URL of a database (postgresql://, mysql://, sqlite:///); by default the journal file `<out>/study.journal`."""
    workers: int = Field(1, ge=1, json_schema_extra={"unit": "processes"})
    """Worker processes on this machine. The same command elsewhere, on the same storage and folder, joins the study."""
    max_minutes: float | None = Field(None, gt=0, json_schema_extra={"unit": "minutes"})
    """Wall-clock minutes of one call of the command, at most; no limit, if not given."""
    max_usd: float | None = Field(None, gt=0, json_schema_extra={"unit": "US dollars"})
    """Dollars of all trials so far, at most, without the labels (see `labelling.max_usd`); no limit, if not given."""
    lease_seconds: float = Field(60.0, gt=0, json_schema_extra={"unit": "seconds"})
    """Seconds without a sign of life after which a worker on another machine counts as dead; a dead one on this machine is seen at once.
"""

    @property
    def pruning(self) -> str:
        """The pruner, with the default resolved."""
        return self.pruner or ("both" if self.objective == "score" else "none")
