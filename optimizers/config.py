"""The configuration of a run: pydantic models, filled from TOML and dotted overrides."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from optimizers.augment import AugmentSpec
from optimizers.finetune.spec import TrainingSpec
from optimizers.study_config import StudyConfig
from programs.conditions import DEFAULT_CONDITIONS, SOLVER_CONDITIONS, SOLVERS
from programs.lms.catalog import is_local
from programs.tasks.base import ABSTENTIONS, task_class
from programs.tasks.mixture import Mixture, parse_parts


def _split(value: Any) -> Any:
    """A list also from the text that a command line gives, its items joined by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _read_text(value: Any) -> Any:
    """A value as it is, or read from the text that a command line gives: 3, 0.5, true, none, or a word."""
    if not isinstance(value, str):
        return value
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


Names = Annotated[list[str], BeforeValidator(_split)]
AnswerFree = Literal["self_consistency", "agreement", "judge"]
Numbers = Annotated[list[int], BeforeValidator(_split)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TaskConfig(BaseModel):
    """Which questions. Further keys are the task's own options: `hops`, `schema`, `path`, ..."""

    model_config = ConfigDict(extra="allow")

    name: str = "multihop"
    """One of `divide-or-conquer tasks`."""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def options(self) -> dict[str, Any]:
        """What `load_task` takes beside the name."""
        return dict(self.model_extra or {})

    def with_parts_of(self, tasks: Mapping[str, TaskConfig]) -> TaskConfig:
        """The same task; of a mixture, parts that bear the name of one of `tasks` are that one, with its options."""
        parts = self.options().get("parts")
        if self.name != Mixture.name or not parts:
            return self
        found = parse_parts(parts)
        named = {name: tasks[part["name"]].model_dump() for name, part in found.items() if len(part) == 1 and part["name"] in tasks}
        return TaskConfig.model_validate({**self.model_dump(), "parts": found | named})


class ModelConfig(_Section):
    """An LM: a model string of this package (`embedded/...`, `local/...`, `hf/...`) or of LiteLLM (`openai/...`)."""

    model: str
    temperature: float | None = None
    """0 for models of this package, the provider's default for others."""
    max_tokens: int | None = Field(None, ge=1)
    api_base: str | None = None
    """Address of an OpenAI-compatible server; keys come from the environment alone."""
    timeout: float | None = Field(None, gt=0)
    """Seconds that an API call may take."""
    adapter: Literal["line", "line-terse", "chat"] | None = None
    """Prompt format; by default the one that a model of this package was trained on, and `line` for others."""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    def in_process(self) -> ModelConfig:
        """The same model as one of this process, for a student: a bare `org/name` is one of the Hugging Face hub."""
        return self if is_local(self.model) else self.model_copy(update={"model": f"hf/{self.model}"})

    def options(self) -> dict[str, Any]:
        """What `programs.lms.lm` takes beside the model string."""
        return self.model_dump(exclude={"model", "adapter"}, exclude_none=True)


class TeacherConfig(ModelConfig):
    """The teacher's LM, and the prompts that it works with."""

    program: str | None = None
    """A program that `compile` saved (`program.json`): its instructions and demos in the stages that were compiled."""

    def options(self) -> dict[str, Any]:
        """What `programs.lms.lm` takes beside the model string."""
        return {name: value for name, value in super().options().items() if name != "program"}


class DataConfig(_Section):
    """How many questions."""

    train: int = Field(200, ge=1)
    dev: int = Field(0, ge=0)
    """Questions whose loss picks the best checkpoint; 0 keeps the last."""
    test: int = Field(100, ge=1)


class LabellingConfig(_Section):
    """How the teacher is asked, and where it stops."""

    samples: int = Field(1, ge=1)
    """Decompositions a question; more than one needs a temperature."""
    temperature: float | None = Field(None, ge=0)
    threads: int = Field(16, ge=1)
    max_calls: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    max_usd: float | None = Field(None, gt=0)
    failure_share: float = Field(0.2, gt=0, le=1)
    """Share of failed questions at which labelling stops."""
    partial: bool = False
    """Go on with what there is when a limit or the failure share stopped labelling."""


class ScreeningConfig(_Section):
    """Which teacher decompositions become rows."""

    policy: Literal["none", "oracle", "self_consistency", "agreement", "judge"] = "oracle"
    """Of the students that are screened (S_D-R, S_E-R): by reference answers, or without; see docs/screening.md."""
    votes: int = Field(5, ge=1)
    """Samples that `self_consistency` takes of a solution, and `agreement` of a single-stage answer."""
    share: float = Field(0.6, gt=0, le=1)
    """Part of the votes that has to agree for `self_consistency`."""
    temperature: float = Field(0.7, gt=0)
    """Of the votes."""
    single_stage: Literal["single-stage", "single-stage-cot", "single-stage-short"] = "single-stage"
    """How `agreement` asks."""
    abstentions: Names = list(ABSTENTIONS)
    """Answers that say that there is none: never kept by `self_consistency` and `agreement`. Empty where they can be right."""
    judge: ModelConfig | None = None
    """The model that judges for `judge`; the teacher, if not given."""
    measure: Annotated[list[AnswerFree], BeforeValidator(_split)] = []
    """Further policies to hold against the reference answers, for their calls' price; no student is trained on them."""
    min_score: float = Field(1.0, ge=0, le=1)
    """Score of an answer that counts as right, for tasks with part marks."""
    keep: Literal["first", "all", "fewest"] = "first"
    """With several samples: the first right one, all distinct right ones, or the right one with the fewest subquestions."""
    min_rows: int = Field(20, ge=1)
    """Fewer rows than this are not trained on."""
    max_rows: int | None = Field(None, ge=1)
    """Train on that many of the kept rows; all by default."""
    row_seed: int = 0
    """Draws them."""


class EvaluationConfig(_Section):
    """What is compared."""

    conditions: Names = list(DEFAULT_CONDITIONS)
    threads: int = Field(16, ge=1)


class CostConfig(_Section):
    """What a local model's time costs."""

    local_usd_per_hour: float | None = Field(None, ge=0)
    """Dollars an hour of this machine; without it local calls have no price."""
    local_calls_per_second: float = Field(4.0, gt=0)
    """Of a local model, for plans: by default the embedded ones on two cores."""
    trained_tokens_per_second: float = Field(150.0, gt=0)
    """Of a training, for plans; likewise."""


class PreferenceConfig(_Section):
    """DPO; what is not here is as in `training`."""

    beta: float = Field(0.1, gt=0)
    """How dear it is to leave the student that a round starts from."""
    learning_rate: float = Field(5e-5, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(4, ge=1)
    """Pairs a step."""
    pairs_per_question: int = Field(2, ge=1)


class GroupRewardConfig(_Section):
    """GRPO; what is not here is as in `training`."""

    steps: int = Field(20, ge=1)
    """A round."""
    group_size: int = Field(4, ge=2)
    """Decompositions a question."""
    questions_per_step: int = Field(1, ge=1)
    temperature: float = Field(1.0, gt=0)
    learning_rate: float = Field(1e-5, gt=0)
    beta: float = Field(0.0, ge=0)
    """Weight of the divergence from the student that a round starts from."""


class ImproveDataConfig(_Section):
    """How many questions."""

    train: int | None = Field(None, ge=1)
    """To decompose in each round; by default as many as `data.train`."""
    dev: int = Field(50, ge=1)
    """Whose two-stage score decides which round is the best."""
    test: int | None = Field(None, ge=1)
    """By default as many as `data.test`."""


class ImproveConfig(_Section):
    """Rounds of learning from the solver's success: `divide-or-conquer improve`; `run` has no use for it."""

    method: Literal["expert", "dpo", "grpo"] = "expert"
    """Train on what was right, on pairs of right and wrong, or by rewards."""
    student: Literal["S_D-R", "S_D-T"] = "S_D-R"
    """Where round 0 stands; distilled first if it is missing."""
    form: Literal["plain", "feedback"] = "plain"
    """Whether the decomposer sees the solver's first attempt."""
    reward: Literal["score", "gain", "agreement"] = "score"
    """The solver's score with the decomposition; that less its single-stage score; or the majority's answer."""
    min_reward: float = 1.0
    """From which on a decomposition is right."""
    min_share: float = Field(0.5, gt=0, le=1)
    """Of the answers to one question that must be equal, for `agreement`."""
    alone: Literal["single-stage", "single-stage-cot"] = "single-stage"
    """How the solver answers by itself, for `gain`."""
    hide_question: bool = False
    """Whether the solver that tries the decompositions is told the subquestions alone, in place of the question too."""
    samples: int = Field(4, ge=2)
    """Decompositions a question and round."""
    temperature: float = Field(0.8, gt=0)
    prefer: Literal["frequent", "fewer"] = "frequent"
    """Of several right decompositions: the one that was written most often, or the one with the fewest subquestions."""
    rows_per_question: int = Field(1, ge=1)
    """Distinct right decompositions to learn at most, by `expert`."""
    teacher_rows: bool = True
    """Whether `expert` trains on the rows of round 0 too."""
    start: Literal["base", "student"] = "base"
    """Whether `expert` trains the base anew, or the student of the round before further."""
    min_rows: int = Field(20, ge=1)
    """New rows or pairs without which a round is not trained and the rounds end."""
    rounds: int = Field(3, ge=1)
    patience: int = Field(1, ge=1)
    """Rounds without a rise of the dev score after which it is over."""
    task: TaskConfig | None = None
    """Other questions than the run's: its training, dev and test questions take their place."""
    data: ImproveDataConfig = ImproveDataConfig()
    dpo: PreferenceConfig = PreferenceConfig()
    grpo: GroupRewardConfig = GroupRewardConfig()
    max_calls: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    max_usd: float | None = Field(None, gt=0)
    out: str | None = None
    """Another folder than the run's, for several ways from the same student."""


class CompileConfig(_Section):
    """How `divide-or-conquer compile` improves the teacher's prompts; `run` has no use for it."""

    optimizer: str = "BootstrapFewShotWithRandomSearch"
    """One of DSPy's, see `optimizers.prompt_optimizers.OPTIMIZERS`."""
    stages: Names = ["decompose", "solve"]
    """What is compiled: `decompose`, `solve`, or both; the other stage stays as it is."""
    train: int = Field(40, ge=1)
    """Questions of the train split to take demos from and to reflect on."""
    validation: int = Field(40, ge=1)
    """Further questions of the train split, by which candidates are compared."""
    dev: int = Field(100, ge=0)
    """Questions of the dev split, kept back for the last comparison; 0 leaves it out."""
    max_calls: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    max_usd: float | None = Field(None, gt=0)
    threads: int = Field(16, ge=1)
    prompt_model: ModelConfig | None = None
    """Writes instructions for COPRO, MIPROv2, GEPA and SIMBA; the teacher, if not given."""
    settings: dict[str, Annotated[Any, BeforeValidator(_read_text)]] = {}
    """The optimizer's own settings, by DSPy's names."""


ABLATIONS = ("rows", "limit", "screening", "method", "format", "few-shot")


class ExperimentConfig(_Section):
    """The grid of `divide-or-conquer experiment`; `run` has no use for it."""

    train: Names = []
    """Tasks to train students on, by their name in `tasks` or among `divide-or-conquer tasks`; by default the run's own."""
    test: Names = []
    """Tasks to test on; by default those trained on."""
    tasks: dict[str, TaskConfig] = {}
    """Tasks under names of your own: [experiment.tasks.books] name = "multihop", schema = "books"."""
    data: dict[str, dict[Literal["train", "dev", "test"], int]] = {}
    """Other numbers of questions for a task: [experiment.data.bamboogle] test = 125."""
    training: dict[str, Any] = {}
    """Settings of `training` that are others than the run's."""
    conditions: Names = ["all"]
    solvers: dict[str, ModelConfig] = {}
    """Further solvers under names of your own, for conditions such as S_D-R+gpt4."""
    students: dict[str, ModelConfig] = {}
    """Further models to distil into, under names of your own."""
    ablations: Names = []
    """Of `ABLATIONS`."""
    rows: Numbers = [25, 50, 100]
    """Numbers of training rows of the learning curve."""
    limits: Names = ["none", "4", "3", "2"]
    """Limits on subquestions (the paper's Table 10)."""
    training_seeds: Numbers = []
    """Further seeds of the training; with `data_seeds` they split the variance of a student's score."""
    data_seeds: Numbers = []
    """Further draws of the training rows, of `seed_rows` each."""
    sampling_seeds: Numbers = []
    """Seeds of the students' decoding at `sampling_temperature`; none decodes greedily, without variance."""
    sampling_temperature: float = Field(0.7, gt=0)
    seed_rows: int | None = Field(None, ge=2)
    """Rows of a draw; by default half of the smallest training task's questions."""
    variant_conditions: Names = ["S_D-R+teacher"]
    """What further students, seeds and ablations of the training are measured by."""
    near_duplicates: float = Field(0.5, gt=0, le=1)
    """Share of a test question's word 8-grams in one training question from which on it is kept out."""

    @field_validator("ablations")
    @classmethod
    def _known_ablations(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in ABLATIONS:
                raise ValueError(f"unknown ablation {name!r}; expected some of {list(ABLATIONS)}")
        return names

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, limits: list[str]) -> list[str]:
        for limit in limits:
            if limit != "none" and not (limit.isdecimal() and int(limit) > 0):
                raise ValueError(f"limit {limit!r} must be 'none' or a number from 1")
        return limits

    @field_validator("solvers")
    @classmethod
    def _free_names(cls, solvers: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        for name in solvers:
            if name in SOLVERS or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise ValueError(f"solver name {name!r} must be of letters, digits, '.', '-', '_', and none of {list(SOLVERS)}")
        return solvers

    def task(self, name: str, default: TaskConfig) -> TaskConfig:
        """The task of a name: of `tasks`, the run's own, or one of the package.

        Raises:
            ValueError: No such task.
        """
        if name in self.tasks:
            return self.tasks[name]
        if name == default.name:
            return default
        try:
            task_class(name)
        except ValueError as error:
            raise ValueError(f"{error} Names of your own go under [experiment.tasks.<name>]; there are {sorted(self.tasks)}.") from None
        return TaskConfig(name=name)


class RunConfig(_Section):
    """Everything that decides a run."""

    seed: int = 0
    out: str = "runs/default"
    task: TaskConfig = Field(default_factory=TaskConfig)
    teacher: TeacherConfig = TeacherConfig(model="embedded/teacher")
    student: ModelConfig = ModelConfig(model="embedded/base")
    solver: ModelConfig | None = None
    """Solves in the conditions that end in `+solver`; the teacher, if not given."""
    data: DataConfig = DataConfig()
    labelling: LabellingConfig = LabellingConfig()
    screening: ScreeningConfig = ScreeningConfig()
    augment: AugmentSpec = AugmentSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationConfig = EvaluationConfig()
    cost: CostConfig = CostConfig()
    experiment: ExperimentConfig = ExperimentConfig()
    study: StudyConfig = StudyConfig()
    improve: ImproveConfig = ImproveConfig()
    compile: CompileConfig = CompileConfig()

    @model_validator(mode="after")
    def _with_named_parts(self) -> RunConfig:
        tasks = self.experiment.tasks
        self.task = self.task.with_parts_of(tasks)
        self.experiment.tasks = {name: task.with_parts_of(tasks) for name, task in tasks.items()}
        return self

    def conditions(self) -> list[str]:
        """What is compared; with a solver of its own and no conditions given, the students work for that solver."""
        given = self.evaluation.conditions
        return list(SOLVER_CONDITIONS) if self.solver and given == list(DEFAULT_CONDITIONS) else given

    def to_toml(self, experiment: bool = False) -> str:
        """TOML that `load_config` reads back to the same run, with the section of the grid or without; none on other jobs."""
        left_out: dict[str, Any] = {"training": {"base"}, "study": True, "improve": True, "compile": True}
        if not experiment:
            left_out["experiment"] = True
        return tomli_w.dumps(self.model_dump(exclude_none=True, exclude=left_out))


def recipe_names() -> list[str]:
    """Recipes that come with the package, for `@ name`."""
    return sorted(p.name.removesuffix(".toml") for p in resources.files("optimizers.recipes").iterdir() if p.name.endswith(".toml"))


def read_recipe(name: str) -> dict[str, Any]:
    """Settings of a recipe of the package, or of a TOML file.

    Raises:
        ValueError: Neither a recipe nor a file, or no TOML.
    """
    path = Path(name)
    packaged = resources.files("optimizers.recipes") / f"{name}.toml"
    if not path.is_file() and name not in recipe_names():
        raise ValueError(f"No recipe and no file {name!r}; recipes: {recipe_names()}, or give the path of a TOML file.")
    try:
        return tomllib.loads(path.read_text() if path.is_file() else packaged.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is no valid TOML: {error}") from error


def load_config(recipe: str | None = None, overrides: dict[str, Any] | None = None) -> RunConfig:
    """A configuration from a recipe or file and dotted overrides, such as {"data.train": "300"}.

    Raises:
        ValueError: An unknown key (with the nearest valid ones) or a value of the wrong kind (with what was expected).
    """
    settings = read_recipe(recipe) if recipe else {}
    given = overrides or {}
    # Names of tasks first: another task than the recipe's takes none of its options, and all that are given beside it.
    for key in sorted(given, key=lambda key: key.removesuffix(".name") not in ("task", "improve.task")):
        _set(settings, key.split("."), given[key])
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ValueError(_explain(error)) from error


def _set(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value at a dotted path; a model given by its bare name keeps its other keys, and a task those of the same name."""
    *sections, last = path
    if not sections and last in {"teacher", "student", "solver"}:
        sections, last = [last], "model"
    if last == "task" and sections in ([], ["improve"]):
        sections, last = [*sections, "task"], "name"
    for section in sections:
        if isinstance(settings.get(section), str):
            settings[section] = {"name" if section == "task" else "model": settings[section]}
        settings = settings.setdefault(section, {})
    if (sections[-1:], last) == (["task"], "name") and settings.get("name", value) != value:
        settings.clear()
    settings[last] = value


def _explain(error: ValidationError) -> str:
    messages = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, setting_names(), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"expected one of {setting_names()}."
            messages.append(f"Unknown setting {where!r}; {hint}")
        else:
            messages.append(f"{where}={problem['input']!r}: {problem['msg']}")
    return "\n".join(messages)


def setting_names() -> list[str]:
    """All dotted keys of `RunConfig` that have a type of their own."""
    names = []
    for name, field in RunConfig.model_fields.items():
        inner = ModelConfig if name == "solver" else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += [f"{name}.{key}" for key in inner.model_fields if (name, key) != ("training", "base")]
        else:
            names.append(name)
    return names
