"""`compile_prompts`: DSPy's prompt optimizers on the teacher's two stages, within a budget, resumable, with every candidate shown.

Every LM call goes through a journal, so that a killed compilation repeats no call: it runs again from the start, with the same
seed, and what was asked before is answered from the file. A limit ends it by `LimitReached`, which no `except Exception` of an
optimizer stops; what the candidates scored is known from the program itself, so that the best one so far is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from optimizers.jobs.display import showing
from optimizers.jobs.progress import Shown
from optimizers.jobs.work import do_stages
from optimizers.labelling.journal import Journal
from optimizers.prompts.candidates import Compiled, Watch
from optimizers.prompts.compilation import Compilation
from optimizers.prompts.quiet_dspy import quiet_dspy
from optimizers.prompts.search import CompilationRun
from optimizers.settings.load import for_job
from optimizers.settings.run import RunConfig
from optimizers.tracking.job import Tracking


def compile_prompts(config: RunConfig | dict[str, Any], progress: Shown = None) -> Compiled:
    """Optimise the prompts of the teacher's stages as `[compile]` says; the same call again continues a killed one.

    Args:
        config: A `RunConfig`, or its fields as nested dicts.
        progress: As of `run`.

    Returns:
        The best program so far, with `incomplete` where a limit was reached or the optimizer failed.

    Raises:
        ValueError: A configuration that cannot work, said before any call.
        RuntimeError: Too many calls of the uncompiled program failed; or another job is working in the folder.
        KeyboardInterrupt: As it came, after the best so far was saved.
    """
    config = for_job(config)
    tracking = Tracking(config, "compile", Path(config.out))
    found: list[Compiled] = []
    with showing(progress) as shown:
        job = Compilation(config, shown)
        job.open_folder()
        with quiet_dspy(job.folder / "log.txt"):
            do_stages(job.folder, job.ledger, {"compile": lambda: found.append(_compiled(job))}, tracking)
    return found[0]


def _compiled(job: Compilation) -> Compiled:
    # GEPA reflects on replies that could not be read, which DSPy's trace leaves out.
    unread = job.config.compile.optimizer == "GEPA"
    with Journal(job.folder / "traces.jsonl") as journal:
        watch = Watch(job.task, job.splits, job.stages, job.ledger, job.folder / "evaluations.jsonl", _reporter(job), unread=unread)
        run = CompilationRun(job, watch, journal)
        try:
            return run.outcome()
        finally:
            run.stop()
            watch.close()


def _reporter(job: Compilation) -> Callable[[int], None]:
    total = job.questions()
    return lambda answered: job.progress(f"compile {job.config.compile.optimizer}", answered, max(total, answered), "")
