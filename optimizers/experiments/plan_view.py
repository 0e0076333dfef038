"""What a run will do and cost, said before it does anything: `--dry-run`."""

from __future__ import annotations

from collections.abc import Sequence

from optimizers.evaluation.statistics import questions_needed
from optimizers.experiments.plan import Step, grid_steps, plan_steps, told_of_traces
from optimizers.experiments.roles import roles_of
from optimizers.finetune.seconds import API_SECONDS_A_CALL
from optimizers.reports.plans import PlanView, minutes_text, short_count
from optimizers.reports.tokens import PAID, kind_of
from optimizers.settings.priced import has_own_scorer
from optimizers.settings.run import RunConfig, configured_for

_SUMMED = ("calls", "input_tokens", "output_tokens", "minutes")


def plan(config: RunConfig, grid: bool = False, steps: list[Step] | None = None, settings: bool = False) -> PlanView:
    """`plan_steps`, `grid_steps` or other steps: their sum, a row each, and what the number of test questions can show.

    Args:
        config: What is planned.
        grid: Whether it is an experiment.
        steps: Other steps than those of a run or an experiment.
        settings: Whether the configuration stands below, as TOML.

    Raises:
        ValueError: What the job would refuse that can be seen without a download or a key: a model, a task, a number of questions.
    """
    steps = steps or (_grouped(grid_steps(config)) if grid else plan_steps(config))
    rows = [(step.name, step.model, _cells(step)) for step in steps]
    written = ["", config.to_toml(experiment=grid)] if settings else []
    notes = [
        "",
        *told_of_traces(config),
        *_served(steps),
        *_batched(config),
        *_paced(config),
        *_scored(config),
        _power(config, grid),
        *written,
    ]
    return PlanView(_total(steps), ("calls", "in", "out", "dollars", "minutes"), rows, notes)


def _cells(step: Step) -> list[str]:
    usd = "no price" if step.usd is None else f"{step.usd:,.2f}"
    return [f"{step.calls:,}", short_count(step.input_tokens), short_count(step.output_tokens), usd, f"{step.minutes:,.1f}"]


def _total(steps: Sequence[Step]) -> str:
    """The sum in a sentence; dollars say how many steps have none."""
    calls, tokens_in, tokens_out, minutes = (sum(getattr(step, name) for step in steps) for name in _SUMMED)
    known = [step.usd for step in steps if step.usd is not None]
    unknown = len(steps) - len(known)
    usd = f"{sum(known):,.2f} dollars{f' and {unknown} steps without a price' if unknown else ''}" if known else "no price known"
    tokens = f"{short_count(tokens_in)} input and {short_count(tokens_out)} output tokens"
    return f"In all at most {calls:,} calls, {tokens}, {usd}, {minutes_text(minutes)}. Equal calls are made once."


def _grouped(steps: list[Step]) -> list[Step]:
    """One row a task, kind of step and model: an experiment has hundreds of steps."""
    groups: dict[tuple[str, str], Step] = {}
    for step in steps:
        task, _, rest = step.name.partition(", ")
        kind = rest.partition(":")[0].split()[0]
        stage = rest.rpartition(", ")[2] if rest.endswith(("decompose", "solve")) and kind == "test" else ""
        key = (" ".join(filter(None, (f"{task}, {kind}", stage))), step.model)
        before = groups.get(key, Step(*key, 0, 0, 0, 0.0, 0.0))
        usd = None if None in (before.usd, step.usd) else (before.usd or 0.0) + (step.usd or 0.0)
        sums = [getattr(before, name) + getattr(step, name) for name in _SUMMED]
        groups[key] = Step(*key, sums[0], sums[1], sums[2], usd, sums[3])
    return list(groups.values())


def _power(config: RunConfig, grid: bool) -> str:
    needed = {delta: questions_needed(delta, 2 * delta) for delta in (0.02, 0.05, 0.10)}
    power = ", ".join(f"{count:,} for one of {100 * delta:.0f} points" for delta, count in needed.items())
    experiment = config.experiment
    tests = (experiment.test or experiment.train or [config.task.name]) if grid else [config.task.name]
    sizes = {name: configured_for(config, name).data.test if grid else config.data.test for name in tests}
    sized = ", ".join(f"{name}: {count}" for name, count in sizes.items())
    return (
        f"Test questions: {sized}. To show a difference between two conditions takes about {power} (four times in five, where three "
        "answers get better for each that gets worse); more where questions share passages."
    )


def _scored(config: RunConfig) -> list[str]:
    own = has_own_scorer(config.model_dump())
    return ["The scorer is a function of yours: what it asks of an LM is in none of these figures, and no limit counts it."] if own else []


def _paced(config: RunConfig) -> list[str]:
    paced = {model.model: model.requests_per_minute for model in roles_of(config).values() if not model.batch}
    told = ", ".join(f"{model} {limit:g}" for model, limit in paced.items() if limit)
    return [f"Requests a minute, for which calls wait and which the minutes know: {told}."] if told else []


def _batched(config: RunConfig) -> list[str]:
    names = dict.fromkeys(model.model for model in roles_of(config).values() if model.batch)
    if not names:
        return []
    told = "asked in batches, at their prices: each stage is a batch or more, answered within 24 hours, of which the minutes say nothing."
    return [f"{', '.join(names)}: {told}"]


def _served(steps: Sequence[Step]) -> list[str]:
    """What the minutes of models behind an API rest on, where there are any."""
    if not any(kind_of(step.model) == PAID for step in steps):
        return []
    return [
        f"Minutes of models behind an API are reckoned at {API_SECONDS_A_CALL:g} seconds a call, side by side in as many threads as are "
        "set; a server on a CPU may take a hundred times as long."
    ]
