"""What a study will do, said before it does anything: `--dry-run`."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from optimizers.reports.plans import ShownGroup, minutes_text
from optimizers.settings.run import RunConfig
from optimizers.studies.minutes import study_minutes
from optimizers.studies.study import StudyJob


def study_plan(config: RunConfig) -> ShownGroup:
    """Expected minutes, number of trials, and the dimensions in a table.

    Raises:
        ValueError: What `study` would refuse.
    """
    job = StudyJob(config, keys=False)
    table = Table("dimension", "values", "first trial", box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for dimension in job.space.dimensions:
        table.add_row(*map(Text, (dimension.key, str(dimension), str(job.space.defaults[dimension.key]))))
    settings, minutes = config.study, study_minutes(config, job.space)
    total = (
        f"In all {minutes_text(minutes['all'])} without pruning: labels {minutes_text(minutes['labels'])}, each trial "
        f"{minutes_text(minutes['a trial'])}."
    )
    words = (
        f"{settings.trials} trials of {config.data.train} training and {config.data.dev} dev questions by {settings.sampler}, "
        f"seed {settings.seed}; objective {settings.objective}, pruner {settings.pruning}, {settings.workers} workers."
    )
    return ShownGroup(Text(total, style="bold"), Text(words), table)
