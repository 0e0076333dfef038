"""What a question costs under a condition, when a trained student has paid for itself, and which conditions are worth it.

The paper's Table 1 counts the price of output tokens alone, without input tokens, time, or what labelling and training
took. Here all of these are counted, and the paper's figure stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from optimizers.evaluation.stages import answered_in, stages_of
from programs.lms.ledger import LOCAL_PREFIXES, Prices, Usage

MEASURES = ("input_tokens", "output_tokens", "seconds", "usd")

Cost = Mapping[str, float | None]


def cost_per_question(cell: Mapping[str, Any], models: Mapping[str, str], prices: Prices | None = None) -> dict[str, Any]:
    """What one question costs on average, by stage and in total.

    Args:
        cell: A condition of `metrics.json`: `n` questions, `failures` of these by kind, and by stage a `Usage.to_dict()`.
        models: Model string of each stage.
        prices: For dollars that the run did not know, and for `output_only_usd`; LiteLLM's table by default.

    Returns:
        {"stages": {stage: cost}, "total": cost}. A cost has input_tokens, output_tokens, seconds (inside the calls, as
        if asked one after the other), usd, and output_only_usd, which is the paper's way of counting: output tokens
        alone at their price. The cost of a stage also has its `model`. The average is over the questions that were
        answered (`answered_in`). None means "not known": so is all of it where none was answered, so are dollars without
        a price (a local model has a price a token only by `Prices.overrides`), and all figures of a stage that a cache
        answered in part, since its tokens depend on what ran before. A total is not known if one of its parts is not.

    Raises:
        ValueError: The condition has no question, or a stage has no model.
    """
    if not cell.get("n"):
        raise ValueError(f"A condition needs at least 1 question to have a cost, got n={cell.get('n')!r}; evaluate it first.")
    usages, prices = stages_of(cell), prices or Prices()
    missing = [stage for stage in usages if stage not in models]
    if missing:
        raise ValueError(f"No model is given for stage {missing[0]!r}; `models` has {sorted(models)} and needs {list(usages)}.")
    stages = {stage: _stage_cost(usage, answered_in(cell), models[stage], prices) for stage, usage in usages.items()}
    total = {measure: _sum(cost[measure] for cost in stages.values()) for measure in (*MEASURES, "output_only_usd")}
    return {"stages": stages, "total": total}


def _stage_cost(usage: Mapping[str, Any], n: float, model: str, prices: Prices) -> dict[str, Any]:
    costs = dict(_known(usage))
    tokens_in, tokens_out, seconds = costs["input_tokens"], costs["output_tokens"], costs["seconds"]
    if costs["usd"] is None and tokens_in is not None and tokens_out is not None and seconds is not None:
        parts = Usage.from_dict(dict(usage)).parts
        costs["usd"] = prices.usd(model, round(tokens_in), round(tokens_out), seconds, parts=parts, calls=usage.get("calls") or 1)
    rate = _output_rate(model, prices)
    costs["output_only_usd"] = None if rate is None or tokens_out is None else tokens_out * rate / 1e6
    return {"model": model, **{measure: None if value is None or not n else value / n for measure, value in costs.items()}}


def _known(usage: Mapping[str, Any]) -> dict[str, float | None]:
    return {measure: None if usage.get("cache_hits") else usage.get(measure) for measure in MEASURES}


def _output_rate(model: str, prices: Prices) -> float | None:
    """Dollars per million output tokens; asks LiteLLM's table for API models alone, as it takes long to load."""
    if model.startswith(LOCAL_PREFIXES) and model not in prices.overrides:
        return None
    rates = prices.rates(model)
    return None if rates is None else rates.output


def _sum(values: Iterable[float | None]) -> float | None:
    """None if a part is unknown, or if there is none: a condition of which all questions failed is not free."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return math.fsum(known) if listed and len(known) == len(listed) else None


def amortised(labelling: Mapping[str, Any], students: int) -> dict[str, float | None]:
    """A student's share of the labelling: the teacher labels a training task once, for all students trained on it.

    Args:
        labelling: Usage of the labelling: `Usage.to_dict()`, or the `labelling` of `metrics.json`.
        students: How many students are trained on these labels; each bears an equal part.

    Returns:
        input_tokens, output_tokens, seconds, usd; None as in `cost_per_question`.

    Raises:
        ValueError: `students` is below 1.
    """
    if students < 1:
        raise ValueError(f"Labelling is shared by at least 1 student, got students={students}.")
    return {measure: None if value is None else value / students for measure, value in _known(labelling).items()}


def one_off_cost(
    labelling: Mapping[str, Any], training_seconds: float, *, students: int = 1, prices: Prices | None = None
) -> dict[str, float | None]:
    """What a student costs before its first question: its share of the labelling, and its training.

    Args:
        labelling: See `amortised`.
        training_seconds: Of this student's training on this machine.
        students: How many share the labelling.
        prices: Its `local_usd_per_hour` prices the training; without it dollars are not known.

    Returns:
        input_tokens and output_tokens (the teacher's), seconds and usd.

    Raises:
        ValueError: `students` is below 1.
    """
    usd = (prices or Prices()).usd("local/student", 0, 0, training_seconds)
    training = {"input_tokens": 0, "output_tokens": 0, "seconds": training_seconds, "usd": usd}
    share = amortised(labelling, students)
    return {measure: _sum((share[measure], training[measure])) for measure in MEASURES}


class Payback(NamedTuple):
    """When a one-off cost is paid back, in one measure.

    Attributes:
        questions: The first number of questions whose saving covers the one-off cost; None if never, or not known.
        one_off: The one-off cost.
        saved: What is saved on each question; negative where the student costs more.
        reason: Why `questions` is None.
    """

    questions: int | None
    one_off: float | None
    saved: float | None
    reason: str | None


class BreakEven(NamedTuple):
    """Paybacks in each measure.

    Attributes:
        usd: Dollars of the whole condition.
        seconds: Seconds inside the calls of the whole condition, against those of labelling and training.
        input_tokens: The teacher's only, since these are what is bought; known even where there is no price.
        output_tokens: The teacher's only, too.
    """

    usd: Payback
    seconds: Payback
    input_tokens: Payback
    output_tokens: Payback

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """{measure: {questions, one_off, saved, reason}}, for JSON."""
        return {measure: payback._asdict() for measure, payback in self._asdict().items()}


def break_even(student: Mapping[str, Any], teacher: Mapping[str, Any], one_off: Cost) -> BreakEven:
    """After how many questions a student has paid back its labelling and training.

    Args:
        student: `cost_per_question` of the condition with the student, such as `S_D-R+teacher`.
        teacher: `cost_per_question` of the condition that it replaces, such as `teacher+teacher`. The models of its
            stages are those whose tokens are counted in both.
        one_off: `one_off_cost`.

    Returns:
        For each measure the questions, or the reason why there is no such number.
    """
    models = {cost["model"] for cost in teacher["stages"].values()}
    return BreakEven(
        usd=_payback("usd", one_off, teacher["total"]["usd"], student["total"]["usd"]),
        seconds=_payback("seconds", one_off, teacher["total"]["seconds"], student["total"]["seconds"]),
        input_tokens=_payback("input_tokens", one_off, _tokens("input_tokens", teacher, models), _tokens("input_tokens", student, models)),
        output_tokens=_payback(
            "output_tokens", one_off, _tokens("output_tokens", teacher, models), _tokens("output_tokens", student, models)
        ),
    )


def _tokens(measure: str, costs: Mapping[str, Any], models: set[str]) -> float | None:
    """Tokens a question of `models`; 0 where the condition does without them, None where no stage was counted."""
    stages = costs["stages"].values()
    return _sum(cost[measure] if cost["model"] in models else 0.0 for cost in stages)


def _payback(measure: str, one_off: Cost, before: float | None, after: float | None) -> Payback:
    spent = one_off.get(measure)
    saved = _saved(before, after)
    if saved is None:
        return Payback(None, spent, None, f"{measure} of a question are not known in both conditions: {_next_step(measure)}")
    if saved <= 0:
        more = f"takes {-saved:.6g} more" if saved else "saves none"
        return Payback(None, spent, saved, f"there is no saving in {measure}: the student {more} a question")
    if spent is None:
        return Payback(None, None, saved, f"{measure} of labelling and training are not known: {_next_step(measure)}")
    # Rounding first: 1.1 / 0.1 is a little above 11.
    return Payback(math.ceil(round(spent / saved, 9)), spent, saved, None)


def _saved(before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    # What rounding leaves of two equal costs is no saving.
    return 0.0 if math.isclose(before, after, rel_tol=1e-9) else before - after


def _next_step(measure: str) -> str:
    if measure == "usd":
        return "price local models by cost.local_usd_per_hour, other models that LiteLLM does not list by Prices(overrides=...)"
    return "calls were answered by DSPy's cache, or none was counted; run again with an empty cache"


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points that no other one dominates, cheapest first.

    A point dominates another if it costs no more and scores no less, and one of the two is strict. Points that are equal
    in both stay together, in the order given.

    Args:
        points: (cost, score) by name: lower cost and higher score are better.

    Raises:
        ValueError: A cost or a score is not a finite number.
    """
    for name, point in points.items():
        if any(value is None or not math.isfinite(value) for value in point):
            raise ValueError(f"Cost and score of {name!r} must be finite numbers, got {tuple(point)}; leave it out if one is unknown.")
    front: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        cost, score = points[name]
        if not front or score > points[front[-1]][1] or (cost, score) == tuple(points[front[-1]]):
            front.append(name)
    return front
