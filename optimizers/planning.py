"""What a job will do, said before it does anything: `--dry-run`."""

from __future__ import annotations

from typing import Any, Literal, get_args

from optimizers.reports.plans import ShownPlan
from optimizers.settings.load import for_job
from optimizers.settings.run import RunConfig

Job = Literal["run", "experiment", "compile", "study", "improve"]


def plan(config: RunConfig | dict[str, Any], job: Job = "run", settings: bool = False) -> ShownPlan:
    """Calls, tokens, dollars and minutes of a job at most, step by step; no call is made, and no key is needed.

    Args:
        config: What is planned: a `RunConfig`, or its fields as nested dicts.
        job: What it is planned for: `run`, `experiment`, `compile`, `study` or `improve`.
        settings: Whether the configuration stands below, as TOML; of `run`, `experiment` and `improve`.

    Returns:
        What a notebook shows as a table, and `print` as text.

    Raises:
        ValueError: No such job; or what the job would refuse that can be seen without a download or a key: a model, a task, a number of
            questions.
    """
    config = for_job(config)
    if job == "compile":
        from optimizers.prompts.compilation import Compilation
        from optimizers.prompts.plan import compile_plan

        return compile_plan(Compilation(config))
    if job == "study":
        from optimizers.studies.plan import study_plan

        return study_plan(config)
    from optimizers.experiments.plan import improve_steps
    from optimizers.experiments.plan_view import plan as plan_of_steps

    if job not in get_args(Job):
        raise ValueError(f"job={job!r} is no job that can be planned; expected one of {list(get_args(Job))}.")
    return plan_of_steps(config, grid=job == "experiment", steps=improve_steps(config) if job == "improve" else None, settings=settings)
