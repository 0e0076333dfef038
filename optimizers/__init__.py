"""What improves a program: label with a teacher, screen, distil, evaluate, compare.

from optimizers import load_config, run

run(load_config("embedded", {"out": "runs/embedded"}))
"""

import os
from typing import TYPE_CHECKING

import programs

# By their folders, as an editable installation finds what the other package lacks, so that no import would fail.
if not any(os.path.samefile(os.path.dirname(folder), os.path.dirname(__path__[0])) for folder in programs.__path__):
    hidden = "The package `programs` of divide-or-conquer is hidden by another one"
    raise ImportError(f"{hidden}, {list(programs.__path__)}: rename that folder, or start Python in another one.")

from programs.lazy import loader

if TYPE_CHECKING:
    from optimizers.conditions import ALL_CONDITIONS
    from optimizers.distill import BootstrapDistill
    from optimizers.experiments.experiment import run_experiment
    from optimizers.experiments.results import Run
    from optimizers.experiments.run import run
    from optimizers.finetune.augment import AugmentSpec
    from optimizers.finetune.provider import TRLProvider
    from optimizers.finetune.spec import TrainingSpec
    from optimizers.improvement.improve import improve
    from optimizers.improvement.learn_from_success import LearnFromSuccess
    from optimizers.improvement.results import Improvement
    from optimizers.labelling.journal import Limits
    from optimizers.planning import plan
    from optimizers.prompts.candidates import Compiled
    from optimizers.prompts.compile import compile_prompts
    from optimizers.settings.compile import CompileConfig
    from optimizers.settings.evaluation import CostConfig, EvaluationConfig
    from optimizers.settings.experiment import ExperimentConfig
    from optimizers.settings.improve import ImproveConfig
    from optimizers.settings.labelling import LabellingConfig
    from optimizers.settings.load import load_config
    from optimizers.settings.models import ModelConfig, TeacherConfig
    from optimizers.settings.run import RunConfig
    from optimizers.settings.screening import ScreeningConfig
    from optimizers.settings.study import StudyConfig
    from optimizers.settings.task import DataConfig, TaskConfig
    from optimizers.settings.tracking import TrackingConfig
    from optimizers.sharing.dataset_cards import dataset_card
    from optimizers.sharing.export import dataset_of, export_dataset, read_dataset
    from optimizers.sharing.inspect_logs import export_logs
    from optimizers.sharing.model_cards import model_card
    from optimizers.sharing.push import push_run
    from optimizers.studies.results import StudyResult
    from optimizers.studies.study import study
    from optimizers.viewer.server import Viewer
    from programs.version import __version__ as __version__

__all__ = [
    "ALL_CONDITIONS",
    "AugmentSpec",
    "BootstrapDistill",
    "CompileConfig",
    "Compiled",
    "CostConfig",
    "DataConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "ImproveConfig",
    "Improvement",
    "LabellingConfig",
    "LearnFromSuccess",
    "Limits",
    "ModelConfig",
    "Run",
    "RunConfig",
    "ScreeningConfig",
    "StudyConfig",
    "StudyResult",
    "TRLProvider",
    "TaskConfig",
    "TeacherConfig",
    "TrackingConfig",
    "TrainingSpec",
    "Viewer",
    "compile_prompts",
    "dataset_card",
    "dataset_of",
    "export_dataset",
    "export_logs",
    "improve",
    "load_config",
    "model_card",
    "plan",
    "push_run",
    "read_dataset",
    "run",
    "run_experiment",
    "study",
]

_HOMES = {
    "__version__": "programs.version",
    "ALL_CONDITIONS": "optimizers.conditions",
    "AugmentSpec": "optimizers.finetune.augment",
    "BootstrapDistill": "optimizers.distill",
    "CompileConfig": "optimizers.settings.compile",
    "Compiled": "optimizers.prompts.candidates",
    "CostConfig": "optimizers.settings.evaluation",
    "DataConfig": "optimizers.settings.task",
    "EvaluationConfig": "optimizers.settings.evaluation",
    "ExperimentConfig": "optimizers.settings.experiment",
    "ImproveConfig": "optimizers.settings.improve",
    "Improvement": "optimizers.improvement.results",
    "LabellingConfig": "optimizers.settings.labelling",
    "LearnFromSuccess": "optimizers.improvement.learn_from_success",
    "Limits": "optimizers.labelling.journal",
    "ModelConfig": "optimizers.settings.models",
    "Run": "optimizers.experiments.results",
    "RunConfig": "optimizers.settings.run",
    "ScreeningConfig": "optimizers.settings.screening",
    "StudyConfig": "optimizers.settings.study",
    "StudyResult": "optimizers.studies.results",
    "TRLProvider": "optimizers.finetune.provider",
    "TaskConfig": "optimizers.settings.task",
    "TeacherConfig": "optimizers.settings.models",
    "TrackingConfig": "optimizers.settings.tracking",
    "TrainingSpec": "optimizers.finetune.spec",
    "Viewer": "optimizers.viewer.server",
    "compile_prompts": "optimizers.prompts.compile",
    "dataset_card": "optimizers.sharing.dataset_cards",
    "dataset_of": "optimizers.sharing.export",
    "export_dataset": "optimizers.sharing.export",
    "export_logs": "optimizers.sharing.inspect_logs",
    "improve": "optimizers.improvement.improve",
    "load_config": "optimizers.settings.load",
    "model_card": "optimizers.sharing.model_cards",
    "plan": "optimizers.planning",
    "push_run": "optimizers.sharing.push",
    "read_dataset": "optimizers.sharing.export",
    "run": "optimizers.experiments.run",
    "run_experiment": "optimizers.experiments.experiment",
    "study": "optimizers.studies.study",
}

__getattr__ = loader(__name__, _HOMES)
