"""The main job: label, screen, distil, evaluate, compare, report. Every stage reads files and does what is missing."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from optimizers.experiments.metrics import build_metrics
from optimizers.experiments.outline import run_outline
from optimizers.experiments.results import Run
from optimizers.experiments.run_folder import refuse_nothing_done
from optimizers.experiments.run_job import MainJob
from optimizers.jobs.display import showing
from optimizers.jobs.jsonlines import write_json
from optimizers.jobs.progress import Shown, expect
from optimizers.jobs.work import do_stages
from optimizers.reports.run_report import write_report
from optimizers.settings.load import for_job
from optimizers.settings.run import RunConfig
from optimizers.tracking.job import Tracking
from programs.lms.ledger import Ledger

STAGES = ("label", "screen", "distill", "evaluate", "report")


def run(config: RunConfig | dict[str, Any], progress: Shown = None, stages: tuple[str, ...] = STAGES, redo: Collection[str] = ()) -> Run:
    """Do the main job, or some of its stages, in the run folder `config.out`; the same call again continues.

    Args:
        config: A `RunConfig`, or its fields as nested dicts.
        progress: By default how far it is, with the time left, is shown on standard error or in the notebook; see
            `optimizers.jobs.display`. False shows nothing; a function is called in its place with (stage, done, total, note).
        stages: Of `STAGES`; each needs what the ones before it wrote.
        redo: Students to train again, or `distill` for all of them: what they left is moved to the folder `aside` first.

    Raises:
        ValueError: A configuration that cannot work, or a report on a folder without a run, said before any work.
        TooFewRowsError: Too few rows after screening for one of the students. It is raised at the end: the other students are
            trained, and all conditions without it are asked and reported, if these stages are among those to do.
        TrainingError: Training failed.
    """
    config = for_job(config)
    if tuple(stages) == ("report",):
        refuse_nothing_done(config)
    tracking = Tracking(config, "run", Path(config.out))
    with showing(progress) as shown:
        job = MainJob(config, shown, stages)
        job.redo(redo)
        expect(shown, lambda: run_outline(job, stages))
        work = {"label": job.label, "screen": job.screen, "distill": job.distill, "evaluate": job.evaluate, "report": lambda: report(job)}
        do_stages(job.folder, Ledger(job.prices), {stage: work[stage] for stage in stages}, tracking)
        job.refuse_skipped(job.folder / "report.html" if {"evaluate", "report"} <= {*stages} else None)
    return Run(job.folder)


def report(job: MainJob) -> None:
    """Sum a run up: `metrics.json`, `report.md`, `report.html`, `figures/`."""
    write_json(job.folder / "metrics.json", build_metrics(job))
    write_report(job.folder)
