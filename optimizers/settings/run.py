"""The configuration of a run: all sections together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import Field, ModelWrapValidatorHandler, model_validator

from optimizers.conditions import DEFAULT_CONDITIONS, SOLVER_CONDITIONS, with_parts
from optimizers.finetune.augment import AugmentSpec
from optimizers.finetune.spec import TrainingSpec
from optimizers.labelling.journal import Limits, paid_beside
from optimizers.settings.compile import CompileConfig
from optimizers.settings.evaluation import CostConfig, EvaluationConfig
from optimizers.settings.experiment import ExperimentConfig
from optimizers.settings.improve import ImproveConfig
from optimizers.settings.labelling import LabellingConfig
from optimizers.settings.models import ModelConfig, TeacherConfig
from optimizers.settings.priced import without_unused
from optimizers.settings.screening import ScreeningConfig
from optimizers.settings.section import Section
from optimizers.settings.study import StudyConfig
from optimizers.settings.task import DataConfig, TaskConfig
from optimizers.settings.tracking import TrackingConfig


class RunConfig(Section):
    """Everything that decides a run, an experiment, a study, a compilation or an improvement; `docs/settings.md` has every setting.

    Sections are objects of their classes, or dicts: `RunConfig(out="runs/mine", data=DataConfig(train=60), student={"max_tokens": 64})`.
    `load_config(recipe, RunConfig(...))` puts what was set over a recipe. It is checked when it is made.
    """

    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the questions, the training and everything else that is drawn at random."""
    out: str = "runs/default"
    """Folder of the run."""
    max_usd: float | None = Field(None, gt=0, allow_inf_nan=False, json_schema_extra={"unit": "US dollars"})
    """Dollars at most for all LM calls of the job, by the models' prices: labels, screening, test questions, `compile`, `improve` and
    `study`; exceeded by no more than the calls under way. A training's time is no call. The sections' own limits hold beside it. No
    limit, if not given."""
    max_tokens: int | None = Field(None, ge=1, json_schema_extra={"unit": "tokens"})
    """Input and output tokens of all LM calls of the job together, at most. No limit, if not given."""
    max_calls: int | None = Field(None, ge=1, json_schema_extra={"unit": "calls"})
    """LM calls of the job at most, failed ones included. No limit, if not given."""
    ray: str | None = None
    """Address of a Ray cluster (`auto`, `HOST:6379`), on whose nodes all models are asked: labels, screening and test questions. Files are
    written here, as without it. Each node has the package, and the same models under the same names. From this process, if not given."""
    task: TaskConfig = Field(default_factory=TaskConfig)
    """Which questions. Further keys are the options of the task itself: `--task.hops 4`, `--task.path questions.jsonl`."""
    teacher: TeacherConfig = TeacherConfig(model="embedded/teacher")
    """The model that labels, and that solves where no other solver is named."""
    student: ModelConfig = ModelConfig(model="embedded/base")
    """The model that is trained. Where it solves, it may write as much as the LLM whose place it takes, if that is more than its
    `max_tokens`."""
    solver: ModelConfig | None = None
    """The model that solves in the conditions that end in `+solver`; the teacher, if not given."""
    data: DataConfig = DataConfig()
    """How many questions."""
    labelling: LabellingConfig = LabellingConfig()
    """How the teacher is asked."""
    screening: ScreeningConfig = ScreeningConfig()
    """Which of the teacher's decompositions are learned from."""
    augment: AugmentSpec = AugmentSpec()
    """Further training rows that are made from the teacher's."""
    training: TrainingSpec = TrainingSpec()
    """How the students are trained."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Which conditions are compared."""
    cost: CostConfig = CostConfig()
    """What a local model's time costs."""
    experiment: ExperimentConfig = ExperimentConfig()
    """The grid of `divide-or-conquer experiment`."""
    study: StudyConfig = StudyConfig()
    """What `divide-or-conquer study` searches, and how."""
    improve: ImproveConfig = ImproveConfig()
    """The rounds of `divide-or-conquer improve`."""
    compile: CompileConfig = CompileConfig()
    """How `divide-or-conquer compile` improves the teacher's prompts."""
    tracking: TrackingConfig = TrackingConfig()
    """Where the job is shown beside its folder: MLflow, W&B, TensorBoard, trackio."""

    @model_validator(mode="wrap")
    @classmethod
    def _with_default_models(cls, given: Any, validated: ModelWrapValidatorHandler[Self]) -> Self:
        """Settings of the teacher or the student alone are those of the default model, which nobody has set then."""
        if not isinstance(given, dict):
            return validated(given)
        roles = [role for role in ("teacher", "student") if isinstance(given.get(role), dict)]
        config = validated({**given, **{role: {"model": cls.model_fields[role].default.model, **given[role]} for role in roles}})
        for role in roles:
            if "model" not in given[role]:
                getattr(config, role).model_fields_set.discard("model")
        return config

    @model_validator(mode="after")
    def _with_training_questions(self) -> RunConfig:
        if self.data.train == 0 and self.labelling.traces is None:
            raise ValueError("data.train=0 should be greater than or equal to 1, as no labelling.traces gives questions to train on.")
        return self

    @model_validator(mode="after")
    def _with_named_parts(self) -> RunConfig:
        tasks = self.experiment.tasks
        task = self.task.with_parts_of(tasks)
        # What is assigned counts as set, and what a caller set is put over a recipe.
        if task is not self.task:
            self.task = task
        if tasks:
            self.experiment.tasks = {name: task.with_parts_of(tasks) for name, task in tasks.items()}
        return self

    @model_validator(mode="after")
    def _with_students_of_this_process(self) -> RunConfig:
        for role, student in {
            "student": self.student,
            **{f"experiment.students.{k}": v for k, v in self.experiment.students.items()},
        }.items():
            if student.batch:
                raise ValueError(f"{role}.batch=true is of API models, and students run in this process; leave it out.")
        return self

    def conditions(self) -> list[str]:
        """What is compared, each once, a cascade behind its parts; with a solver and no conditions given, students work for that solver."""
        given = with_parts(self.evaluation.conditions)
        return list(SOLVER_CONDITIONS) if self.solver and given == list(DEFAULT_CONDITIONS) else given

    def job_limits(self, own: Path, *further: Path) -> Limits | None:
        """The limits of the whole job for the calls that are kept in the file `own`; None where it has none.

        Args:
            own: The file; what it holds is not counted here.
            further: Folders beside `out` with calls of the same job.
        """
        if self.max_calls is None and self.max_tokens is None and self.max_usd is None:
            return None
        return Limits(self.max_calls, self.max_tokens, self.max_usd, elsewhere=paid_beside([Path(self.out), *further], own))

    def to_toml(self, experiment: bool = False) -> str:
        """TOML that `load_config` reads back to the same run, with the section of the grid or without; none on other jobs.

        Prices of models that only sections left out name are left out too, as `check_prices` would not know them.
        """
        left_out: dict[str, Any] = {"training": {"base"}, "study": True, "improve": True, "compile": True}
        if not experiment:
            left_out["experiment"] = True
        return tomli_w.dumps(without_unused(self.model_dump(exclude_none=True, exclude=left_out)))


def configured_for(config: RunConfig, name: str) -> RunConfig:
    """The configuration of one task of an experiment: its options, numbers of questions, and training settings.

    Raises:
        ValueError: No such task, or a training setting that does not exist.
    """
    experiment = config.experiment
    data = DataConfig.model_validate({**config.data.model_dump(), **experiment.data.get(name, {})})
    training = TrainingSpec.model_validate({**config.training.model_dump(), **experiment.training})
    return config.model_copy(update={"task": experiment.task(name, config.task), "data": data, "training": training})
