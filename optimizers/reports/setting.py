"""What was run: task, models, code, machine and configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.reports.blocks import (
    Block,
    Code,
    Section,
    Table,
    count_text,
    duration_text,
    is_number,
    machine_text,
    missing_text,
    plain_value,
)
from optimizers.reports.read import RunFiles

_MEANINGS = {
    "line": " (instructions; the solver reasons, with the subquestions as a plan, before it answers)",
    "line-terse": " (no instructions, as it was trained: bare lines)",
    "chat": " (DSPy's ChatAdapter)",
    "json": " (DSPy's JSONAdapter)",
}


def setting(run: RunFiles) -> list[Section]:
    """What can be known of how the run came about; what was not recorded is said to be missing."""
    return [Section("What was run", [_facts(run), _configuration(run)])]


def _facts(run: RunFiles) -> Block:
    metrics = run.metrics
    facts = {"Task": metrics.get("task"), "Task options": metrics.get("task_options"), "Scorer": metrics.get("scoring")}
    models = run.part("models")
    facts |= {f"{role.capitalize()} model": models.get(role) for role in dict.fromkeys(["teacher", "student", "solver", *models])}
    facts["Prompt formats"] = _formats(run.part("formats"))
    facts |= {"Seed": metrics.get("seed"), "Code (commit)": metrics.get("commit"), "Command": metrics.get("command")}
    facts |= {
        "Versions": metrics.get("versions"),
        "Machine": machine_text(run.part("machine")),
        "Time": duration_text(metrics.get("seconds")),
    }
    facts["Overlap of training and test"] = _overlap(metrics.get("overlap"), metrics.get("near_overlap"))
    return Table(["", ""], [[name, plain_value(value)] for name, value in facts.items()], frozenset({0, 1}))


def _formats(formats: Mapping[str, Any]) -> str | None:
    """What each role is told, in words."""
    return "; ".join(f"{role}: {name}{_MEANINGS.get(name, '')}" for role, name in formats.items()) or None


def _configuration(run: RunFiles) -> Block:
    return Code("config.toml", run.config) if run.config else missing_text("config.toml is missing from the run folder.")


def _overlap(overlap: Any, near: Any = None) -> str | None:
    if not is_number(overlap):
        return None
    nearly = f"; nearly so: {count_text(near)} questions" if near else ""
    return ("none (checked)" if overlap == 0 else f"{count_text(overlap)} questions") + nearly
