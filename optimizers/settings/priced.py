"""Whether the models of `cost.prices` are those of a job: a name that is written otherwise would count no call."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from optimizers.screening.policy import POLICIES
from optimizers.settings.section import texts
from programs.baselines.registry import CONTROLS
from programs.lms.model_strings import is_local
from programs.tasks.registry import TASKS

_log = logging.getLogger("divide_or_conquer")


def without_unused(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a job whose `cost.prices` are of models that are named in them.

    Args:
        settings: A `RunConfig` as nested dicts, or some of its sections; left as they are.
    """
    cost = settings.get("cost", {})
    unused = {name for name, _ in _unused(settings)} if cost.get("prices") else set()
    kept = {name: price for name, price in cost.get("prices", {}).items() if name not in unused}
    return {**settings, "cost": {**cost, "prices": kept}} if unused else settings


def check_prices(settings: Mapping[str, Any]) -> None:
    """Refuse a price of a model that the job never asks, as the bill of the one that was meant would be without it.

    What comes from another package may ask models that no setting names; where it is used, a warning is all.

    Args:
        settings: A `RunConfig` as nested dicts.

    Raises:
        ValueError: Names the model, and those of the job.
    """
    found = list(_unused(settings))
    if not found:
        return
    told = "\n".join(_sentence(name, near) for name, near in found) + f"\n{_models_told(settings)}"
    if not _uses_others(settings):
        raise ValueError(told)
    _log.warning("%s", told)


def has_own_scorer(settings: Mapping[str, Any]) -> bool:
    """Whether a task is scored by a function of the user's, which may ask any model, and no setting names it."""
    return any(where.rpartition(".")[2] == "scorer" and ":" in text for where, text in texts(settings))


def _unused(settings: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Names whose price counts nothing, as they stand nowhere else in the settings, each with the one that may have been meant."""
    prices = settings["cost"]["prices"]
    if has_own_scorer(settings):
        return
    # What settings a task or a policy of another package has is not known: whatever stands in them may be asked.
    asked = {text for _, text in texts(settings)} if prices else set()
    for name in prices:
        # One with its hash is of the tables that count a local model's output tokens as the paper does.
        if "@" not in name if is_local(name) else name not in asked:
            models = [model for model in _models(settings) if not is_local(model)]
            yield name, difflib.get_close_matches(name, models, n=1)


def _models(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Models that the settings name, with what each is for."""
    found: dict[str, list[str]] = {}
    for where, text in texts(settings):
        role = where.removesuffix(".model")
        searched = where.startswith("study.space.") and ("/" in text)
        if role != where or searched:
            found.setdefault(text, []).append("study.space" if searched else role)
    return found


def _sentence(name: str, near: list[str]) -> str:
    if is_local(name):
        return f"cost.prices has a price of {name!r}, which runs in this process: its time has one, cost.local_usd_per_hour."
    why = "prices are by the whole model string, without wildcards" if "*" in name else "no call would be counted by it"
    step = f"did you mean {near[0]!r}?" if near else "write it as the model is written, or leave the price out."
    return f"cost.prices has a price of {name!r}, and no model of this job is called so: {why}; {step}"


def _models_told(settings: Mapping[str, Any]) -> str:
    shown = [f"{model!r} ({', '.join(dict.fromkeys(roles))})" for model, roles in _models(settings).items() if not is_local(model)]
    there = f"The API models of this job are {', '.join(shown)}." if shown else "No model of this job is one behind an API."
    return f"{there} --cost.prices '' drops the prices of a file."


def _uses_others(settings: Mapping[str, Any]) -> bool:
    """Whether a task, a policy or a condition of another package is named."""
    words = {word for _, text in texts(settings) for word in text.split("+")}
    return any(name in words and not registry.is_own(name) for registry in (TASKS, POLICIES, CONTROLS) for name in registry.names())
