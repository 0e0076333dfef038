"""`divide-or-conquer improve`: a student of a run goes on learning, from what its own decompositions lead the solver to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from optimizers.experiments.distillation import Distillation
from optimizers.experiments.roles import questions_at_once
from optimizers.improvement.attempts import with_decomposer
from optimizers.improvement.job import ImproveJob
from optimizers.improvement.learn_from_success import LearnFromSuccess
from optimizers.improvement.metrics import build
from optimizers.improvement.outline import improve_outline
from optimizers.improvement.results import Improvement
from optimizers.improvement.rounds import Learned
from optimizers.jobs.display import showing
from optimizers.jobs.jsonlines import write_json
from optimizers.jobs.progress import Shown, expect
from optimizers.jobs.work import do_stages
from optimizers.labelling.journal import LimitReached
from optimizers.reports.improvement import write_report
from optimizers.settings.load import for_job
from optimizers.settings.run import RunConfig
from optimizers.tracking.job import Tracking
from programs.lms.engine import unload_all
from programs.lms.ledger import Ledger
from programs.modules import TwoStage

_log = logging.getLogger("divide_or_conquer")


def improve(config: RunConfig | dict[str, Any], progress: Shown = None) -> Improvement:
    """Improve a run's student in rounds; the same call again continues.

    Args:
        config: A `RunConfig`, or its fields as nested dicts: `out` is the folder of the run, `improve` says how.
        progress: As of `run`.

    Returns:
        What stands in `improve.json`; where a limit ended the rounds, the best so far, marked `incomplete`.

    Raises:
        ValueError: A configuration that cannot work, said before any work.
        LabellingStoppedError: The run had no student yet, and a limit ended its labelling.
        TooFewRowsError: Likewise, with too few rows for one.
        TrainingError: A training failed.
    """
    config = for_job(config)
    tracking = Tracking(config, "improve", Path(config.improve.out or config.out))
    with showing(progress) as shown:
        job = ImproveJob(config, shown)
        expect(shown, lambda: improve_outline(job))
        do_stages(job.folder, Ledger(job.prices), {"improve": lambda: _work(job)}, tracking)
    return Improvement(job.folder)


def _work(job: ImproveJob) -> None:
    """Distil what is missing, do the rounds, test the best student against the first, and report."""
    distillation = Distillation(job.run, labels=job.run_folder, students=[job.name], notes=job.folder / "rounds", progress=job.progress)
    rows = distillation.ready(job.name).rows["decompose"]
    job.keep_out(rows)
    job.begin()
    optimizer = _optimizer(job, rows)
    learned: Learned = optimizer.compile(_student(job), trainset=job.splits["train"], valset=job.splits["dev"]).learned
    write_json(job.folder / "improve.json", build(job, learned, _tested(job, optimizer, learned), rows))
    write_report(job.folder)
    unload_all()
    _log.info("improve: done, %s", learned.ended)


def _student(job: ImproveJob) -> TwoStage:
    make = job.roles.feedback if job.settings.form == "feedback" else job.roles.two_stage
    return make(job.task, job.name, "solver")


def _optimizer(job: ImproveJob, rows: list[dict[str, Any]]) -> LearnFromSuccess:
    training, seed = job.config.training, job.config.seed
    return LearnFromSuccess(
        job.task,
        job.settings,
        folder=job.folder / "rounds",
        training=training.seeded(seed),
        base=job.config.student.in_process().model,
        rows=rows,
        task_config=job.task_config,
        solver=job.roles.configs["solver"],
        threads=questions_at_once(job.config),
        seed=seed,
        progress=job.progress,
        job_limits=lambda own: job.config.job_limits(own, job.folder),
    )


def _tested(job: ImproveJob, optimizer: LearnFromSuccess, learned: Learned) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """Test set -> round -> lines: of the first round, and of the best."""
    found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for name, (task, examples) in job.tests.items():
        found[name] = {}
        for one in {0: learned.rounds[0], learned.best.number: learned.best}.values():
            out = job.folder / "rounds" / str(one.number) / f"{name}.jsonl"
            program = with_decomposer(one.program, one.program.decompose.lm)
            program.max_subquestions, program.decomposer_sees_context = task.max_subquestions, task.decomposer_sees_context
            try:
                found[name][one.number] = optimizer.ask(program, examples, out, f"round {one.number}: {name}", task)
            except LimitReached as limit:
                learned.incomplete = learned.incomplete or str(limit)
    return found
