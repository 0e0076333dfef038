"""Who plays which role: the LMs of a configuration, and the programs that the conditions name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import dspy

from optimizers.conditions import DECOMPOSING_ROLES, FEEDBACK, INTERACTIVE, STUDENTS, TRAINED, Condition
from optimizers.experiments.students import StudentRecipe
from optimizers.screening.votes import Scorer, same_answer
from optimizers.settings.models import ModelConfig
from optimizers.settings.run import RunConfig
from optimizers.settings.screening import ScreeningConfig
from programs.baselines.interactive import Interactive
from programs.baselines.registry import CONTROLS
from programs.cascade import Cascade
from programs.compiled.state import CompiledPrompts
from programs.feedback import FeedbackTwoStage, feedback_two_stage
from programs.lms.api_models import API_MAX_TOKENS
from programs.lms.artifacts import MANIFEST, Artifact, open_artifact, register
from programs.lms.batches.engine import at_once
from programs.lms.catalog import check_model, missing_key
from programs.lms.catalog import lm as make_lm
from programs.lms.ledger import Prices
from programs.lms.merged import base_folder, merged_into
from programs.lms.model_strings import adapter_name_for
from programs.lms.ray_pool import lm_on_nodes
from programs.modules import SingleStage, TwoStage, two_stage, with_answer_format
from programs.signatures import Decompose
from programs.tasks.base import Task

Wrap = Callable[[dspy.LM], dspy.LM]
"""What is put around an LM, such as a journal."""


def slug(student: str) -> str:
    """A student's name as that of a folder and a model: `S_E-T(direct)` is `S_E-T-direct`."""
    return student.replace("(", "-").replace(")", "")


class Roles:
    """The LM of every role, and the program of every condition.

    Args:
        config: Names the teacher, the base of the students, and the solvers.
        student_folder: Where the artifacts of the students are.
        demos: Gives the demos of the few-shot decomposer.
        keys: Whether the keys of API models have to be there; a plan needs none.

    Raises:
        ValueError: A model that does not exist, or a key that is missing.
    """

    def __init__(self, config: RunConfig, student_folder: Path, demos: Callable[[], list[dspy.Example]] = list, keys: bool = True) -> None:
        self.config = config
        self.configs = roles_of(config)
        self._student_folder, self._demos = student_folder, demos
        self._models: dict[str, dspy.LM] = {}
        self.teacher_program = CompiledPrompts.read(config.teacher.program) if config.teacher.program else None
        self._keys = keys
        if keys:
            check_keys(self.configs)
        for role in self.configs:
            self.model(role)
        self.judge()

    def folder_of(self, student: str) -> Path:
        """The folder of a student's artifact."""
        return self._student_folder / slug(student)

    def artifact_of(self, student: str) -> Artifact:
        """A student's artifact, checked.

        Raises:
            ValueError: There is none, or it is damaged; says how to make it again.
        """
        folder = self.folder_of(student)
        try:
            artifact = open_artifact(folder)
            if not isinstance(artifact.manifest.get("metrics"), dict):
                raise ValueError(f"{folder} holds a model, but no student that was trained here.")
        except ValueError as error:
            if not folder.exists():
                raise
            raise ValueError(
                f"Student {student} is damaged: {error} To train it again from the labels on file, which asks nobody anything, run the "
                f"same command with --redo {student}, or --redo distill for all students; what stands there is moved aside."
            ) from error
        return artifact

    def model(self, role: str) -> dspy.LM:
        """The LM of `teacher`, `solver`, `student0`, a further solver, or a student such as `S_D-R`."""
        role = "student0" if role == "fewshot" else role
        if role not in self._models:
            self._models[role] = self._load(role)
        return self._models[role]

    def judge(self) -> dspy.LM:
        """The LM of the screening policy `judge`; the teacher's, unless the configuration names another."""
        model = self.config.screening.judge
        if model is None:
            return self.model("teacher")
        if self._keys:
            check_keys({"screening.judge": model})
        try:
            return self._made(model.model, model)
        except ValueError as error:
            raise ValueError(of_setting(self.config, "screening.judge", error)) from error

    def check_prices(self, limit: str) -> None:
        """Refuse a limit in dollars that the calls of a student or its solver would never reach, as they have no price.

        Raises:
            ValueError: Names the model.
        """
        prices = Prices(self.config.cost.local_usd_per_hour, self.config.cost.prices)
        for role in ("student0", "solver"):
            prices.check(limit, self.configs[role].model, f"{role} ")

    def _load(self, role: str) -> dspy.LM:
        if role in TRAINED:
            artifact = self.artifact_of(role)
            register(artifact)
            return self._made(artifact.model_string, self.config.student)
        model = self.configs[role]
        try:
            return self._made(model.model, model)
        except ValueError as error:
            if role == "student0":
                self._check_bases(model.model, error)
            raise ValueError(of_setting(self.config, role, error)) from error

    def _check_bases(self, base: str, error: ValueError) -> None:
        """Say of students that were saved alone which base is gone, as their manifests know it by its hash; or where it is by now."""
        for manifest in sorted(self._student_folder.glob(f"*/{MANIFEST}")):
            artifact = open_artifact(manifest.parent)
            if needed := merged_into(artifact):
                place = base_folder(artifact)
                if needed.startswith(f"local/{Path(base).name}@"):
                    raise ValueError(f"{error} {artifact.model_string} was trained on {needed}, which is in {place} by now: move it back.")

    def _made(self, model: str, settings: ModelConfig) -> dspy.LM:
        # A plan needs no cluster, and a batch is waited for by one process.
        if self.config.ray and self._keys and not settings.batch:
            return lm_on_nodes(model, self.config.ray, **settings.lm_options())
        return make_lm(model, **settings.lm_options())

    def solving(self, role: str) -> dspy.LM:
        """The LM of a role that answers questions: a student may write as much as the LLM whose place it takes.

        Its own limit is chosen for subquestions as a rule, and solutions are longer: cut off, it would be no fair solver.
        """
        lm = self.model(role)
        if role not in ("student0", *TRAINED):
            return lm
        own, most = lm.kwargs.get("max_tokens"), self.model("solver").kwargs.get("max_tokens") or API_MAX_TOKENS
        return lm if own is None or most <= own else lm.copy(max_tokens=most)

    def format(self, role: str) -> str | None:
        """The prompt format that the configuration sets for a role; students have theirs in the artifact."""
        role = "student0" if role == "fewshot" else role
        return self.configs[role].adapter if role in self.configs else None

    def format_name(self, role: str) -> str:
        """The prompt format that a role is asked in: the configuration's, or else the one that its model was trained on."""
        return self.format(role) or adapter_name_for(self.model(role))

    def two_stage(self, task: Task, decomposer: str, solver: str, wrap: Wrap = lambda lm: lm) -> TwoStage:
        """A plain `TwoStage` with a role's LM and prompt format in each stage."""
        formats = {"decompose": self.format(decomposer), "solve": self.format(solver)}
        adapters = {stage: name for stage, name in formats.items() if name}
        program = two_stage(task, wrap(self.model(decomposer)), wrap(self.solving(solver)), adapters)
        if self.teacher_program:
            roles = {"decompose": decomposer, "solve": solver}
            self.teacher_program.put_into(program, [stage for stage, role in roles.items() if self._is_teacher(role)])
        return with_answer_format(program, task)

    def _is_teacher(self, role: str) -> bool:
        return role == "teacher" or (role == "solver" and self.config.solver is None)

    def feedback(self, task: Task, decomposer: str, solver: str, wrap: Wrap = lambda lm: lm) -> FeedbackTwoStage:
        """As `two_stage`, with a decomposer that sees the solver's first attempt."""
        formats = {"attempt": self.format(solver), "decompose": self.format(decomposer), "solve": self.format(solver)}
        adapters: dict[str, dspy.Adapter | str] = {stage: name for stage, name in formats.items() if name}
        return feedback_two_stage(task, wrap(self.model(decomposer)), wrap(self.solving(solver)), adapters)

    def single_stage(self, form: str, role: str, wrap: Wrap = lambda lm: lm) -> SingleStage:
        """A `SingleStage` of one of the forms `single-stage`, `single-stage-cot`, `single-stage-short`."""
        fixed = self.format(role)
        adapters: dict[str, dspy.Adapter | str] | None = {"answer": fixed} if fixed else None
        program = SingleStage(chain_of_thought=form.endswith("-cot"), short=form.endswith("-short"), adapters=adapters)
        program.set_lm(wrap(self.solving(role)))
        return program

    def program(self, condition: Condition, task: Task, examples: Sequence[dspy.Example], wrap: Wrap = lambda lm: lm) -> dspy.Module:
        """The program of a condition for the test questions of a task; a cascade's with the threshold of the configuration, or 1."""
        if condition.parts:
            return self.cascade(condition, task, examples, wrap)
        if condition.form == INTERACTIVE:
            fixed = self.format(condition.solver)
            adapters: dict[str, dspy.Adapter | str] | None = {"follow_up": fixed, "answer": fixed} if fixed else None
            # A model that was trained here answers as it learned; any other would be handicapped beside forms that reason.
            reasons = self.format_name(condition.solver) != "line-terse"
            asking = Interactive(chain_of_thought=reasons, max_turns=task.max_subquestions or 4, adapters=adapters)
            asking.set_lm(wrap(self.solving(condition.solver)))
            return with_answer_format(asking, task)
        if condition.decomposer is None:
            return with_answer_format(self.single_stage(condition.form, condition.solver, wrap), task)
        if condition.with_feedback:
            named = condition.decomposer
            return self.feedback(task, named if named in TRAINED else named.removesuffix(FEEDBACK), condition.solver, wrap)
        source = condition.decomposer if condition.decomposer in {*self.configs, *STUDENTS, "fewshot"} else "teacher"
        program = self.two_stage(task, source, condition.solver, wrap)
        program.decompose = self._decomposer(condition.decomposer, program.decompose, examples)
        return program

    def cascade(
        self, condition: Condition, task: Task, examples: Sequence[dspy.Example], wrap: Wrap = lambda lm: lm, kind: type[Cascade] = Cascade
    ) -> Cascade:
        """The program of a cascade; answers agree where the task's own rule takes them for the same."""
        first, second = (self.program(part, task, examples, wrap) for part in condition.parts)
        settings = self.config.evaluation
        return kind(
            first,
            second,
            samples=settings.cascade_samples,
            threshold=1.0 if settings.cascade_threshold is None else settings.cascade_threshold,
            agree=functools.partial(_agree, task.score),
            temperature=settings.cascade_temperature,
            seed=self.config.seed,
        )

    def _decomposer(self, name: str, plain: dspy.Module, examples: Sequence[dspy.Example]) -> dspy.Module:
        """The module of the decompose stage; `plain` asks the role's LM."""
        if name == "fewshot":
            plain.demos = self._demos()
        if name in DECOMPOSING_ROLES or name not in CONTROLS:
            return plain
        made = CONTROLS.get(name)(plain, examples, self.config.seed)
        if not isinstance(made, dspy.Module):
            raise ValueError(f"The decomposer {name!r} was built as {made!r}; `build` must give a dspy.Module.")
        return made


def _agree(score: Scorer, one: dspy.Prediction, other: dspy.Prediction) -> bool:
    # Without the question: a scorer that wants more than two answers leaves it to the package's own rule.
    return same_answer(score, dspy.Example().with_inputs(), str(one.answer), str(other.answer))


def roles_of(config: RunConfig) -> dict[str, ModelConfig]:
    """The models of a configuration by role; further solvers under their names."""
    roles = {"teacher": config.teacher, "student0": config.student.in_process(), "solver": config.solver or config.teacher}
    return {**roles, **config.experiment.solvers}


def of_setting(config: RunConfig, role: str, error: ValueError) -> str:
    """What is wrong with the model of a role, behind the setting that names it, and its value where the error does not show it.

    Args:
        config: The configuration.
        role: Of `roles_of`, or the setting itself.
        error: On its model.
    """
    further = config.experiment
    # A variant's student stands in the place of the experiment's own.
    setting = next((f"experiment.students.{name}" for name, one in further.students.items() if one == config.student), "student")
    setting = setting if role == "student0" else f"experiment.solvers.{role}" if role in further.solvers else role
    given = {**roles_of(config), **_further_models(config), "student0": config.student}.get(role)
    shown = "" if given is None or repr(given.model) in str(error) else f" {given.model!r}"
    return f"{setting}{shown}: {error}"


def _further_models(config: RunConfig) -> dict[str, ModelConfig]:
    """Models that are no role of every job, by their settings."""
    named = {"screening.judge": config.screening.judge, "compile.prompt_model": config.compile.prompt_model}
    students = {f"experiment.students.{name}": model for name, model in config.experiment.students.items()}
    return {**students, **{setting: model for setting, model in named.items() if model}}


def check_models(config: RunConfig) -> None:
    """Refuse what names no model, as far as no download and no key is needed to see it.

    Raises:
        ValueError: Names the setting and its value.
    """
    further = _further_models(config)
    students = {name: model.in_process() for name, model in further.items() if name.startswith("experiment.students.")}
    for role, model in {**roles_of(config), **further, **students}.items():
        try:
            check_model(model.model)
        except ValueError as error:
            raise ValueError(of_setting(config, role, error)) from None


def questions_at_once(config: RunConfig) -> int:
    """How many test questions to ask at a time."""
    return at_once(config.evaluation.threads, any(model.batch for model in roles_of(config).values()))


def check_keys(roles: Mapping[str, ModelConfig]) -> None:
    """Refuse models whose key is missing.

    Raises:
        ValueError: An API model without its key in the environment.
    """
    for role, model in roles.items():
        key = None if model.api_base else missing_key(model.model)
        if key:
            raise ValueError(
                f"{role} {model.model!r} needs the environment variable {key}. Set it, or name a model that runs here, "
                f"such as 'embedded/teacher', 'gguf/<file>' or 'hf/<org>/<name>'."
            )


def decompose_demos(program: TwoStage, rows: Sequence[tuple[dspy.Example, list[str]]]) -> list[dspy.Example]:
    """Demos of the decompose stage from questions and their subquestions."""
    return [
        dspy.Example(**program.decompose_inputs(example.question, example.get("context") or ""), subquestions=subquestions).with_inputs(
            *Decompose.input_fields
        )
        for example, subquestions in rows
    ]


def policy_name(recipe: StudentRecipe, screening: ScreeningConfig) -> str:
    """What screens a student: `oracle` in its recipe means that it is screened, by whatever the configuration says."""
    return screening.policy if recipe.policy == "oracle" else recipe.policy
