"""What a compilation will ask, said before it does anything: `compile --dry-run`."""

from __future__ import annotations

from typing import NamedTuple

from optimizers.finetune.seconds import API_SECONDS_A_CALL
from optimizers.prompts.candidates import DEV, TRAIN, VALIDATION
from optimizers.prompts.compilation import Compilation
from optimizers.reports.plans import PlanView, minutes_text
from programs.lms.model_sizes import relative_size
from programs.lms.model_strings import is_local


class CallStep(NamedTuple):
    """Calls of one step to one model, at most, with the minutes that they take."""

    name: str
    model: str
    calls: int
    minutes: float


def compile_steps(job: Compilation) -> list[CallStep]:
    """The calls that a compilation from nothing makes, at most: prompts that come up twice are asked once.

    Minutes follow from `cost.local_calls_per_second` and the size of a local model, or from 2 s a call over the threads of an API.
    """
    train, validation, dev = (len(job.splits[split]) for split in (TRAIN, VALIDATION, DEV))
    sizes = (job.settings, train, validation, len(job.stages))
    name, teacher = job.config.compile.optimizer, job.lms["teacher"].model
    found = [
        ("uncompiled program on validation and dev", teacher, 2 * (validation + dev)),
        (f"{name}: questions", teacher, 2 * job.optimizer.questions(*sizes)),
        (f"{name}: prompts", job.lms["compile.prompt_model"].model, job.optimizer.prompts(*sizes)),
        ("result on validation and dev", teacher, 2 * (validation + dev)),
    ]
    return [CallStep(step, model, calls, _minutes(job, model, calls)) for step, model, calls in found if calls]


def _minutes(job: Compilation, model: str, calls: int) -> float:
    local, threads = job.config.cost.local_calls_per_second, job.config.compile.threads
    return calls * relative_size(model) / local / 60 if is_local(model) else calls * API_SECONDS_A_CALL / threads / 60


def compile_plan(job: Compilation) -> PlanView:
    """`compile_steps` with their sum and the optimizer's settings."""
    steps = compile_steps(job)
    limit = job.config.compile.max_calls
    ends = f" It ends at {limit:,} calls with the best so far." if limit else ""
    total = f"In all at most {sum(step.calls for step in steps):,} calls, {minutes_text(sum(step.minutes for step in steps))}.{ends}"
    settings = ", ".join(f"{name} = {value!r}" for name, value in sorted(job.settings.items()))
    further = ", ".join(name for name in sorted(job.optimizer.parameters()) if name not in job.settings) or "none"
    notes = ["", f"{job.config.compile.optimizer} on {' and '.join(job.stages)}, with {settings}.", f"Further settings: {further}."]
    rows = [(step.name, step.model, (f"{step.calls:,}", f"{step.minutes:,.1f}")) for step in steps]
    return PlanView(total, ("calls at most", "minutes"), rows, notes)
