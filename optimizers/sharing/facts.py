"""What both cards of a run say: whose the questions are, who the teacher is, what may be done with it, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optimizers.reports.blocks import Block, Code, Text, plain_value
from optimizers.sharing.origins import ModelOrigin, model_origin
from optimizers.sharing.public import public_command, public_settings, public_value
from optimizers.sharing.shared_run import SharedRun
from programs.tasks.base import Origin
from programs.tasks.mixture import Mixture

TAG = "divide-or-conquer"
"""By which a repository is known as one of ours."""
PAPER = "https://arxiv.org/abs/2402.15000"
_TERMS = "The terms of some LLMs forbid training other models on their replies, or limit it: those of the teacher's maker apply here too."


def origins_of(run: SharedRun, name: str) -> list[Origin]:
    """Whose the questions of a task are, of a mixture those of every part."""
    task = run.task(name)
    parts = [f"{part}/" for part in task.parts] if isinstance(task, Mixture) else [""]
    return list(dict.fromkeys(run.origin_of(task, part) for part in parts))


def teacher_of(run: SharedRun) -> ModelOrigin:
    """The teacher of a run."""
    return model_origin(str(run.files.part("models").get("teacher") or "not recorded"))


def card_text(data: Any, body: str) -> str:
    """Metadata and text of a card as one."""
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def named(model: ModelOrigin) -> str:
    """A model in words."""
    hub = f", {model.hub} on the hub" if model.hub and model.hub not in model.shown else ""
    return f"{model.shown}{hub}{f' ({model.note})' if model.note else ''}"


def task_words(run: SharedRun, name: str) -> str:
    """A task of a run in words."""
    record = run.tasks().get(name) or {}
    options = public_value("options", record.get("options") or {})
    source = ", ".join(one.source for one in origins_of(run, name) if one.source)
    return f"task {record.get('task', name)}{f' ({source})' if source else ''}, options: {plain_value(options)}"


def licence(
    license: str, flag: str, what: str, questions: Sequence[Origin], teacher: ModelOrigin, base: ModelOrigin | None = None
) -> list[str]:
    """What is known of what the thing may be used under, and what is not."""
    give = f'To give one, push again with {flag}, or fill in "license:" at the top of this card.'
    own = f"This {what}: {license}, given by who shares it." if license else f"This {what}: not given yet. {give}"
    known = [f"The base {base.shown}: {base.license or 'not known here; see its own page'}."] if base else []
    unknown = "not known here; ask who made them"
    whose = [f"The questions ({one.source or 'a file of who made the run'}): {one.license or unknown}." for one in questions]
    learned = f"The teacher {teacher.shown}: {teacher.license or 'not known here; see its terms'}. {_TERMS}"
    return [own, *known, *whose, learned]


def command(run: SharedRun) -> Block:
    """What was typed, as far as it is anybody's business."""
    typed = run.metrics.get("command")
    return Code("The command", public_command(str(typed)), "sh") if typed else Text("The run was made from Python.", "missing")


def settings(run: SharedRun) -> list[Block]:
    """The whole configuration, likewise."""
    return [Code("All settings; addresses, keys and folders are left out", public_settings(run.files.config), "toml")]
