"""The calls and trainings of a job, with their tokens, dollars and minutes, estimated before it does anything."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dspy

from optimizers.conditions import (
    CONTROLS,
    FEEDBACK,
    INTERACTIVE,
    PLAIN_STUDENT,
    TRAINED,
    Condition,
    expand_conditions,
    parse_condition,
    students_of,
)
from optimizers.experiments.cascades import check_cascades
from optimizers.experiments.roles import check_models, policy_name, roles_of
from optimizers.experiments.setup import check_limits, check_rows_to_come, check_samples
from optimizers.experiments.students import RECIPES
from optimizers.experiments.variants import Variant, is_measured, variants
from optimizers.finetune.bases import check_installed
from optimizers.finetune.seconds import API_SECONDS_A_CALL, computed_again
from optimizers.finetune.several_processes import check_gpus
from optimizers.labelling.traces import Traces, traces_of
from optimizers.screening.judge import JudgeDecomposition
from optimizers.screening.policy import check_options, planned_calls
from optimizers.settings.models import ModelConfig
from optimizers.settings.run import RunConfig, configured_for
from optimizers.settings.splits import configured_task, configured_traces, loaded, refuse_overlap, with_their_traces
from programs.adapter import LineAdapter
from programs.compiled.state import CompiledPrompts
from programs.lms.ledger import LOCAL_PREFIXES, Prices
from programs.lms.model_sizes import relative_size
from programs.lms.model_strings import usual_adapter_name
from programs.parts import FIRST, SECOND
from programs.signatures import Answer, Decompose, Solve
from programs.tasks.base import Task

_TOKENS_A_CHARACTER = 0.25

_CALL_TOKENS = 20

_OUTPUT_TOKENS = {"decompose": 40, "solve": 60, "answer": 10, "reason": 80, "judge": 40}
"""Of models trained to answer tersely."""

_TOLD_TOKENS = {"decompose": 60, "solve": 240, "answer": 20, "reason": 300, "judge": 60}
"""Of LLMs that are told what to do, as Qwen2.5-Coder-1.5B replies on GSM8K (docs/log.md, 2026-11-27)."""

_PROBED = 20

_QUESTION_CHARACTERS = 100


class Step(NamedTuple):
    """Expected calls of one stage to one model, with tokens, dollars (None: no price) and minutes."""

    name: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    minutes: float


def plan_steps(config: RunConfig) -> list[Step]:
    """The LM calls and trainings that a run from nothing would make, at most: what agrees between conditions is asked once.

    Tokens are estimated from the first questions (from typical lengths, where they would have to be downloaded) at four
    characters a token, minutes from the speeds under `cost` times the size of a local model (or from an API's `threads`): they
    tell hours from minutes, nothing finer.
    """
    planner = _Planner(config)
    check_limits(config)
    conditions = [parse_condition(name, config.experiment.solvers) for name in config.conditions()]
    check_cascades(config, conditions, config.data.dev)
    students = students_of(conditions)
    if students:
        check_rows_to_come(config, config.data.train + planner.traced.added)
    steps = [*planner.labelling(students), *planner.screening(students), *map(planner.training, students)]
    for condition in conditions:
        steps += planner.condition(condition)
    return steps


def grid_steps(config: RunConfig) -> list[Step]:
    """`plan_steps` for a whole experiment: a decomposer is asked once a question, whatever the number of solvers."""
    check_limits(config)
    experiment, steps = config.experiment, []
    train = experiment.train or [config.task.name]
    compared = [condition for variant in variants(config) for condition in _conditions(config, variant)]
    for name in train:
        own_config = configured_for(config, name)
        check_cascades(config, compared, own_config.data.dev)
        planner = _Planner(own_config, f"{name}, ", ("train", "dev"))
        made: set[Any] = set()
        for variant in variants(config):
            students = students_of(_conditions(config, variant))
            if variant.seeds is None or variant.seeds[2] in (0, *experiment.sampling_seeds[:1]):
                own = planner.of(variant)
                steps += _labelled(own, students, made) if students or not variant.name else []
                steps += [own.training(f"{student} {variant.students_name}".strip()) for student in students]
    for name in experiment.test or train:
        planner = _Planner(configured_for(config, name), f"{name}, ", ("test",))
        for variant in variants(config):
            if variant.everywhere or name in train:
                times = 1 if not variant.everywhere else len(train)
                measured = [condition for condition in _conditions(config, variant) if is_measured(config, condition, name)]
                steps += _tested(planner.of(variant), measured, variant, times)
    return steps


def _labelled(planner: _Planner, students: list[str], made: set[Any]) -> list[Step]:
    """Labelling and screening of a variant, as far as no earlier one made the same calls; those are kept in `made`."""
    config = planner.config
    samples = config.labelling.samples, config.labelling.temperature
    policy = (*samples, config.screening.policy)
    new = [key for key in (samples, policy) if key not in made]
    made.update(new)
    labelling = planner.labelling(students) if samples in new else []
    return [*labelling, *(planner.screening(students) if policy in new else [])]


def improve_steps(config: RunConfig) -> list[Step]:
    """`plan_steps` for the rounds of `improve`, at most: the student that they start from, all rounds, and the tests of two students.

    GRPO's samples are part of its training; of what it does only the solver's calls are planned.
    """
    settings, sizes = config.improve, config.improve.data
    student = settings.student + (FEEDBACK if settings.form == "feedback" else "")
    own = _Planner(config)
    questions, tests = sizes.train or config.data.train, sizes.test or config.data.test
    data = config.data.model_copy(update={"train": questions, "dev": sizes.dev, "test": tests})
    planner = _Planner(config.model_copy(update={"task": settings.task or config.task, "data": data}))
    tries = questions * settings.samples * settings.rounds
    if settings.method == "grpo":
        tries = settings.grpo.steps * settings.grpo.questions_per_step * settings.grpo.group_size * settings.rounds
    decomposed = [] if settings.method == "grpo" else [planner.calls("tries: decompose", "student0", "decompose", tries)]
    alone = [planner.calls("tries: solver alone", "solver", "answer", questions)] if settings.reward == "gain" else []
    asked = sizes.dev * (settings.rounds + 1) + 2 * (tests + (config.data.test if settings.task else 0))
    measured = [
        planner.calls(f"dev and test: {stage}", role, stage, asked) for stage, role in (("decompose", student), ("solve", "solver"))
    ]
    trainings = [planner.training(student)._replace(name=f"train round {number}") for number in range(1, settings.rounds + 1)]
    start = [*own.labelling([student]), own.training(student)]
    return [*start, *decomposed, planner.calls("tries: solve", "solver", "solve", tries), *alone, *trainings, *measured]


def _tested(planner: _Planner, conditions: list[Condition], variant: Variant, trainings: int) -> list[Step]:
    steps: dict[tuple[str, str], Step] = {}
    for condition in conditions:
        times = trainings if condition.students else 1
        for step in planner.condition(condition, times, variant.name):
            decomposes = step.name.endswith("decompose")
            shared = decomposes and not condition.parts
            steps.setdefault((condition.decomposer or "", "decompose") if shared else (condition.name, step.name), step)
    return list(steps.values())


def _conditions(config: RunConfig, variant: Variant) -> list[Condition]:
    names = config.experiment.conditions if variant.conditions is None else variant.conditions
    solvers = config.experiment.solvers
    return [parse_condition(name, solvers) for name in expand_conditions(names, solvers)]


def _roles(config: RunConfig) -> dict[str, ModelConfig]:
    return {**roles_of(config), "judge": config.screening.judge or config.teacher}


def _is_terse(model: ModelConfig) -> bool:
    return (model.adapter or usual_adapter_name(model.model)) == "line-terse"


def _reply_tokens(model: ModelConfig, stage: str) -> int:
    return (_OUTPUT_TOKENS if _is_terse(model) else _TOLD_TOKENS)[stage]


def _at_hand(task: Task, sizes: Mapping[str, int]) -> dict[str, list[dspy.Example]]:
    """A task's questions.

    Raises:
        ValueError: It has fewer than are wanted of a split.
    """
    splits = {split: loaded(task, split, count) for split, count in sizes.items() if count}
    refuse_overlap(splits)
    return splits


class _Traced:
    """How many questions have traces, as far as that is seen without a download.

    Attributes:
        added: Those of the traces alone, which are trained on.
        train: Those of train that have one.
        dev: Those of dev that have one.
        unanswered: Runs of these whose solver is asked.
        told: What is said of the traces; empty without any.
    """

    def __init__(self, traces: Traces | None, splits: dict[str, list[dspy.Example]], samples: int) -> None:
        self.train = self.dev = 0
        if traces is not None and splits:
            before = {split: len(splits.get(split, [])) for split in ("train", "dev")}
            found = with_their_traces(splits, traces)
            self.train, self.dev = (sum(map(bool, map(traces_of, found.get(split, [])[: before[split]]))) for split in before)
            self.added = len(found["train"]) - before["train"]
            runs = [one for split in before for example in found.get(split, []) for one in traces_of(example)[:samples]]
        else:
            runs = traces.found if traces else []
            self.added = len({(one.question, one.context) for one in runs})
        self.unanswered = sum(one.answer is None for one in runs)
        self.told = [traces.summary()] if traces else []


class _Planner:
    def __init__(self, config: RunConfig, prefix: str = "", splits: Sequence[str] = ("train", "dev", "test")) -> None:
        self.config, self.prefix = config, prefix
        check_models(config)
        check_samples(config)
        check_installed(config.training)
        check_gpus(config.training)
        if config.teacher.program:
            CompiledPrompts.read(config.teacher.program)
        check_options(config.screening.policy, config.screening.options)
        self.roles = _roles(config)
        self.prices = Prices(config.cost.local_usd_per_hour, config.cost.prices)
        task = configured_task(config.task, config.seed)
        self.sees_context = task.decomposer_sees_context is not False
        # A plan downloads nothing.
        self.at_hand = task.typical_characters is None or task.path is not None
        size = task.typical_characters or 0
        assumed = [dspy.Example(context="?" * max(0, size - _QUESTION_CHARACTERS), question="?" * min(size, _QUESTION_CHARACTERS))]
        found = _at_hand(task, {split: getattr(config.data, split) for split in splits}) if self.at_hand else {}
        self.examples = next(iter(found.values()))[:_PROBED] if found else assumed
        self.traced = _Traced(configured_traces(config.labelling), found, config.labelling.samples)

    def of(self, variant: Variant) -> _Planner:
        """The same questions with a variant's models and settings."""
        other = copy.copy(self)
        other.config = variant.apply(self.config)
        other.roles = _roles(other.config)
        return other

    def prompt_tokens(self, stage: str) -> int:
        signature = {"decompose": Decompose, "solve": Solve, "judge": JudgeDecomposition}.get(stage, Answer)
        lengths = [self._characters(signature, example, stage) for example in self.examples]
        return round(sum(lengths) / len(lengths) * _TOKENS_A_CHARACTER) + _CALL_TOKENS

    def _characters(self, signature: type[dspy.Signature], example: dspy.Example, stage: str) -> int:
        context = (example.get("context") or "") if stage != "decompose" or self.sees_context else ""
        inputs = {"context": context, "question": example.question, "max_subquestions": 3, "subquestions": [example.question] * 2}
        messages = LineAdapter().format(signature, [], inputs)
        return sum(len(message["content"]) for message in messages)

    def model(self, role: str) -> ModelConfig:
        return self.roles.get("student0" if role in (*TRAINED, "fewshot") else role.removesuffix(FEEDBACK), self.config.teacher)

    def calls(self, name: str, role: str, stage: str, count: int) -> Step:
        model = self.model(role)
        tokens_in, tokens_out = self.prompt_tokens(stage) * count, _reply_tokens(model, stage) * count
        local = model.model.startswith(LOCAL_PREFIXES)
        threads = self.config.labelling.threads if name.startswith(("label", "screen")) else self.config.evaluation.threads
        speed = self.config.cost.local_calls_per_second
        seconds = count * relative_size(model.model) / speed if local else _api_seconds(model, count, threads)
        usd = self.prices.usd(model.model, tokens_in, tokens_out, seconds, model.batch, calls=count)
        return Step(f"{self.prefix}{name}", model.model, count, tokens_in, tokens_out, usd, seconds / 60)

    def labelling(self, students: list[str]) -> list[Step]:
        data, traced, samples = self.config.data, self.traced, self.config.labelling.samples
        count = (data.train + (data.dev if students else 0)) * samples
        # No decomposer is asked about a question that has a trace, and the solver only for an answer that the trace has not.
        asked = count - (traced.train + (traced.dev if students else 0)) * samples
        further = ["reason"] if PLAIN_STUDENT in students else []
        if any(student.endswith(FEEDBACK) for student in students):
            further += ["reason", "decompose", "solve"]
        steps = [self.calls(f"label: {stage}", "teacher", stage, asked) for stage in ("decompose", "solve")]
        steps += [self.calls(f"label: {stage}", "teacher", stage, count) for stage in further]
        own = traced.unanswered
        return [*steps, *([self.calls("label: solve, of traces", "teacher", "solve", own)] if own else [])]

    def screening(self, students: list[str]) -> list[Step]:
        """Calls of the policies that see no reference answers; the dev questions are screened like the others."""
        config, screening = self.config, self.config.screening
        questions = config.data.train + config.data.dev + self.traced.added
        samples = questions * config.labelling.samples
        policies = dict.fromkeys([*(policy_name(RECIPES[student], screening) for student in students), *screening.measure])
        planned = [(name, call) for name in policies for call in planned_calls(name, screening, questions, samples)]
        return [self.calls(f"screen: {name}", *call) for name, call in planned]

    def training(self, student: str) -> Step:
        config, recipe = self.config, RECIPES[student.split()[0]]
        stages = ["reason" if stage.startswith("answer") else stage for stage in recipe.stages]
        a_row = sum(self.prompt_tokens(stage) + _reply_tokens(config.teacher, stage) for stage in stages)
        questions = config.data.train + self.traced.added
        rows = min(config.screening.max_rows or questions, questions * config.labelling.samples)
        tokens = a_row * rows * config.training.epochs_of(rows)
        seconds = (
            computed_again(self.config.training)
            * tokens
            * relative_size(self.roles["student0"].model)
            / config.cost.trained_tokens_per_second
        )
        usd = self.prices.usd("local/student", 0, 0, seconds)
        return Step(f"{self.prefix}train {student}", self.roles["student0"].model, 0, round(tokens), 0, usd, seconds / 60)

    def condition(self, condition: Condition, times: int = 1, variant: str = "") -> list[Step]:
        count = self.config.data.test * times
        name = f"test: {condition.name} {variant}".strip()
        if condition.parts:
            return self._cascade(condition, times, f"{self.prefix}{name}")
        if condition.form == INTERACTIVE:
            return [self.calls(name, condition.solver, "answer" if _is_terse(self.model(condition.solver)) else "reason", 4 * count)]
        if condition.decomposer is None:
            return [self.calls(name, condition.solver, "reason" if "-cot" in condition.form else "answer", count)]
        # The solver's first attempt is about as long as its last.
        solving = self.calls(f"{name}, solve", condition.solver, "solve", 2 * count if condition.with_feedback else count)
        if condition.decomposer in ("none", "reference", *CONTROLS):
            return [solving]
        return [self.calls(f"{name}, decompose", condition.decomposer, "decompose", count), solving]

    def _cascade(self, condition: Condition, times: int, name: str) -> list[Step]:
        """At most: all questions go on to the dear part, as those of dev do."""
        settings, data = self.config.evaluation, self.config.data
        asked = 1 + (data.dev / data.test if settings.cascade_threshold is None else 0)
        found = []
        for part, one, votes in zip((FIRST, SECOND), condition.parts, (settings.cascade_samples, 1), strict=True):
            for step in self.condition(one, times):
                stage = step.name.rpartition(", ")[2] if step.name.endswith((", decompose", ", solve")) else "answer"
                found.append(_scaled(step, votes * asked)._replace(name=f"{name}, {part} {stage}"))
        return found


def _scaled(step: Step, factor: float) -> Step:
    whole = {key: round(getattr(step, key) * factor) for key in ("calls", "input_tokens", "output_tokens")}
    usd = None if step.usd is None else step.usd * factor
    return step._replace(**whole, usd=usd, minutes=step.minutes * factor)


def told_of_traces(config: RunConfig) -> list[str]:
    """What is said of `labelling.traces`; nothing without any."""
    return _Planner(config).traced.told if config.labelling.traces else []


def _api_seconds(model: ModelConfig, count: int, threads: int) -> float:
    """Of a batch none, as nobody knows when it comes back."""
    if model.batch:
        return 0.0
    return max(count * API_SECONDS_A_CALL / threads, count * 60 / model.requests_per_minute if model.requests_per_minute else 0.0)
