"""What a run will do and cost, said before it does anything: `--dry-run`."""

from __future__ import annotations

from typing import Any, NamedTuple

import dspy
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from optimizers.config import ModelConfig, RunConfig
from optimizers.statistics import questions_needed
from programs.adapter import LineAdapter
from programs.conditions import STUDENTS, parse_condition
from programs.lms.ledger import LOCAL_PREFIXES, Prices
from programs.signatures import Answer, Decompose, Solve
from programs.tasks.base import load_task

_TOKENS_A_CHARACTER = 0.25
_CALL_TOKENS = 20
_OUTPUT_TOKENS = {"decompose": 40, "solve": 60, "answer": 10, "reason": 80}
_LOCAL_CALLS_PER_SECOND = 4.0
_API_SECONDS_A_CALL = 2.0
_TRAINED_TOKENS_PER_SECOND = 150.0
_PROBED = 20
_SUMMED = ("calls", "input_tokens", "output_tokens", "minutes")


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

    Tokens are estimated from the first questions at four characters a token, minutes from rules of thumb for two
    cores (or for an API's `threads`): they tell hours from minutes, nothing finer.
    """
    planner = _Planner(config)
    steps = [planner.calls("label: decompose", config.teacher, "decompose", config.data.train * config.labelling.samples)]
    steps.append(planner.calls("label: solve", config.teacher, "solve", config.data.train * config.labelling.samples))
    conditions = [parse_condition(name) for name in config.conditions()]
    for student in [name for name in STUDENTS if name in {c.decomposer for c in conditions}]:
        steps.append(planner.training(student))
    for condition in conditions:
        steps += planner.condition(condition.name, condition.decomposer, condition.solver)
    return steps


class _Planner:
    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.student = config.student.in_process()
        self.prices = Prices(config.cost.local_usd_per_hour)
        task = load_task(config.task.name, **config.task.options())
        self.examples = task.load("train", min(_PROBED, config.data.train))
        self.sees_context = task.decomposer_sees_context

    def prompt_tokens(self, stage: str) -> int:
        signature = {"decompose": Decompose, "solve": Solve}.get(stage, Answer)
        lengths = [self._characters(signature, example, stage) for example in self.examples]
        return round(sum(lengths) / len(lengths) * _TOKENS_A_CHARACTER) + _CALL_TOKENS

    def _characters(self, signature: type[dspy.Signature], example: dspy.Example, stage: str) -> int:
        context = (example.get("context") or "") if stage != "decompose" or self.sees_context else ""
        inputs = {"context": context, "question": example.question, "max_subquestions": 3, "subquestions": [example.question] * 2}
        messages = LineAdapter().format(signature, [], inputs)
        return sum(len(message["content"]) for message in messages)

    def calls(self, name: str, model: ModelConfig, stage: str, count: int) -> Step:
        tokens_in, tokens_out = self.prompt_tokens(stage) * count, _OUTPUT_TOKENS[stage] * count
        local = model.model.startswith(LOCAL_PREFIXES)
        threads = self.config.labelling.threads if name.startswith("label") else self.config.evaluation.threads
        seconds = count / _LOCAL_CALLS_PER_SECOND if local else count * _API_SECONDS_A_CALL / threads
        return Step(
            name, model.model, count, tokens_in, tokens_out, self.prices.usd(model.model, tokens_in, tokens_out, seconds), seconds / 60
        )

    def training(self, student: str) -> Step:
        config = self.config
        tokens = (self.prompt_tokens("decompose") + _OUTPUT_TOKENS["decompose"]) * config.data.train * config.training.epochs
        seconds = tokens / _TRAINED_TOKENS_PER_SECOND
        usd = self.prices.usd("local/student", 0, 0, seconds)
        return Step(f"train {student}", self.student.model, 0, round(tokens), 0, usd, seconds / 60)

    def condition(self, name: str, decomposer: str | None, solver: str) -> list[Step]:
        config, count = self.config, self.config.data.test
        solving = {"student0": self.student, "solver": config.solver or config.teacher}.get(solver, config.teacher)
        if decomposer is None:
            return [self.calls(f"test: {name}", solving, "reason" if name.endswith("-cot") else "answer", count)]
        decomposing = config.teacher if decomposer == "teacher" else self.student
        return [
            self.calls(f"test: {name}, decompose", decomposing, "decompose", count),
            self.calls(f"test: {name}, solve", solving, "solve", count),
        ]


def plan(config: RunConfig) -> Group:
    """`plan_steps` as a table, with the configuration and what the number of test questions can show."""
    table = Table(
        Column("step", overflow="fold"), Column("model", overflow="fold"), "calls", "input tokens", "output tokens", "dollars", "minutes"
    )
    steps = plan_steps(config)
    for step in steps:
        table.add_row(*map(_cell, step))
    table.add_row("[bold]all[/]", "", *map(_cell, _totals(steps)))
    needed = {delta: questions_needed(delta, 2 * delta) for delta in (0.02, 0.05, 0.10)}
    power = ", ".join(f"{delta:.0%}: {count}" for delta, count in needed.items())
    note = f"{config.data.test} test questions. Needed to see a difference at 80 % power, if twice as many answers change: {power}."
    return Group(Text(config.to_toml()), table, Text(note))


def _totals(steps: list[Step]) -> list[Any]:
    known = [step.usd for step in steps if step.usd is not None]
    usd = sum(known) if known else None
    calls, tokens_in, tokens_out, minutes = (sum(getattr(step, name) for step in steps) for name in _SUMMED)
    return [calls, tokens_in, tokens_out, usd, minutes]


def _cell(value: Any) -> str:
    if value is None:
        return "no price"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
