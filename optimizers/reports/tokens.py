"""Whose tokens are whose: paid ones, of models behind an API, apart from local ones, of models in the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.conditions import is_cascade, parts_in, stages_in
from optimizers.evaluation.stages import stages_of
from optimizers.reports.blocks import count_text, is_number, number
from programs.parts import FIRST, SECOND, model_of, stage_in

# As in `programs.lms.ledger`, which would load DSPy.
LOCAL_PREFIXES = ("embedded/", "local/", "gguf/", "hf/")

PAID, LOCAL, UNKNOWN = "paid", "local", "unrecorded"

KINDS = (PAID, LOCAL, UNKNOWN)

MEANING = "Paid tokens are those of models behind an API, local ones those of models in the process."

TEACHER, OTHERS = "the teacher's model", "other models"

OWNERS = tuple(f"{kind}, {whose}" for kind in KINDS for whose in (TEACHER, OTHERS))
"""Paid before local, the teacher before others: those of the teacher are what a student is to save, wherever it runs."""


def kind_of(model: Any) -> str:
    """`paid`, `local`, or `unrecorded` where no file says which model it was."""
    if not model:
        return UNKNOWN
    return LOCAL if str(model).startswith(LOCAL_PREFIXES) else PAID


def owner_of(teacher: Any, model: Any) -> str:
    """Which of `OWNERS` the tokens of a model are."""
    return f"{kind_of(model)}, {TEACHER if model == teacher else OTHERS}"


def models_of(name: str, condition: Mapping[str, Any], teacher: Any = None) -> dict[str, Any]:
    """Model by stage of a condition or cell; of a run by an earlier version, which did not write them, by its name."""
    models = condition.get("models") or _models_by_name(name, teacher)
    return {stage: model_of(stage, models, teacher) for stage in stages_of(condition)}


def _models_by_name(name: str, teacher: Any) -> dict[str, Any]:
    """Students are local."""
    if is_cascade(name):
        parts = zip((FIRST, SECOND), parts_in(name), strict=False)
        return {stage_in(part, stage): model for part, own in parts for stage, model in _models_by_name(own, teacher).items()}
    decomposer, solver = stages_in(name) or ("teacher", name.partition("@")[2] or "solver")
    local = {role: f"{LOCAL_PREFIXES[0]}{role}" for role in (decomposer, solver) if role.startswith(("S_", "student0", "joint", "fewshot"))}
    return {"decompose": local.get(decomposer, teacher), "solve": local.get(solver, teacher)}


def kinds_text(models: Iterable[Any]) -> str:
    """The kinds of these models' tokens, as `paid and local`."""
    found = {kind_of(model) for model in models}
    return " and ".join(kind for kind in KINDS if kind in found) or UNKNOWN


def input_text(usage: Mapping[str, Any], scale: float = 1.0) -> str:
    """Input tokens; and those of them that a provider's prompt cache had or took, which have a price of their own, where there were any.

    Args:
        usage: As of `Usage.to_dict`, by any version.
        scale: What the counts are multiplied by.
    """
    counts = {name: usage[name] * scale for name in ("input_tokens", "cached_tokens", "written_tokens") if is_number(usage.get(name))}
    parts = {"from": counts.get("cached_tokens"), "into": counts.get("written_tokens")}
    told = ", ".join(f"{count_text(count)} {way} a prompt cache" for way, count in parts.items() if count)
    return count_text(counts.get("input_tokens")) + (f" ({told})" if told else "")


def amounts_text(amounts: Iterable[tuple[Any, float]]) -> str:
    """Sums by kind, as `1,200 paid + 300 local`, of pairs of model and tokens; kinds without a token are left out."""
    sums: dict[str, float] = {}
    for model, tokens in amounts:
        sums[kind_of(model)] = sums.get(kind_of(model), 0.0) + number(tokens)
    told = [f"{count_text(sums[kind])} {kind}" for kind in KINDS if sums.get(kind)]
    return " + ".join(told) or "0"
