"""What improves a program: label with a teacher, screen, distil, evaluate, compare.

from optimizers import load_config, run

run(load_config("embedded", {"out": "runs/embedded"}))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizers.config import RunConfig, load_config
    from optimizers.distill import BootstrapDistill
    from optimizers.finetune.provider import TRLProvider
    from optimizers.finetune.spec import TrainingSpec
    from optimizers.grid import run_experiment
    from optimizers.improvement import Improvement, improve
    from optimizers.main_job import run
    from optimizers.prompt_run import Compiled
    from optimizers.prompts import compile_prompts
    from optimizers.run_folder import Run
    from optimizers.studies import study
    from optimizers.study_report import StudyResult
    from optimizers.success import LearnFromSuccess
    from optimizers.traces import Limits

__all__ = [
    "BootstrapDistill",
    "Compiled",
    "Improvement",
    "LearnFromSuccess",
    "Limits",
    "Run",
    "RunConfig",
    "StudyResult",
    "TRLProvider",
    "TrainingSpec",
    "compile_prompts",
    "improve",
    "load_config",
    "run",
    "run_experiment",
    "study",
]

_HOMES = {
    "BootstrapDistill": "optimizers.distill",
    "Compiled": "optimizers.prompt_run",
    "Improvement": "optimizers.improvement",
    "LearnFromSuccess": "optimizers.success",
    "Limits": "optimizers.traces",
    "Run": "optimizers.run_folder",
    "RunConfig": "optimizers.config",
    "StudyResult": "optimizers.study_report",
    "TRLProvider": "optimizers.finetune.provider",
    "TrainingSpec": "optimizers.finetune.spec",
    "compile_prompts": "optimizers.prompts",
    "improve": "optimizers.improvement",
    "load_config": "optimizers.config",
    "run": "optimizers.main_job",
    "run_experiment": "optimizers.grid",
    "study": "optimizers.studies",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: the command line's `--help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'optimizers' has no attribute {name!r}; it has {__all__}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
