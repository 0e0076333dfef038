"""What both cards of a run say: whose the questions are, who the teacher is, what may be done with it, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from optimizers.reports.blocks import Block, Code, Text, count_text, number, plain_value
from optimizers.sharing.origins import ModelOrigin, model_origin
from optimizers.sharing.public import public_command, public_settings, public_value
from optimizers.sharing.shared_run import SharedRun
from programs.tasks.base import Origin
from programs.tasks.mixture import Mixture

TAG = "divide-or-conquer"
"""By which a repository is known as one of ours."""
PAPER = "https://arxiv.org/abs/2402.15000"
_TERMS = "The terms of some LLMs forbid training other models on their replies, or limit it: those of the teacher's maker apply here too."

_TERMS_OF_TRACES = "Where an LLM made them, those of its maker apply."


def origins_of(run: SharedRun, name: str) -> list[Origin]:
    """Whose the questions of a task are, of a mixture those of every part."""
    task = run.task(name)
    parts = [f"{part}/" for part in task.parts] if isinstance(task, Mixture) else [""]
    return list(dict.fromkeys(run.origin_of(task, part) for part in parts))


def teacher_of(run: SharedRun) -> ModelOrigin:
    """The teacher of a run."""
    return model_origin(str(run.files.part("models").get("teacher") or "not recorded"))


class Labels(NamedTuple):
    """Where the decompositions that were learned from come from.

    Attributes:
        traced: From traces of elsewhere.
        asked: Written by the teacher for this.
        calls: Of the teacher, for decompositions or for answers to those of traces.
    """

    traced: int
    asked: int
    calls: int

    def words(self) -> str:
        """The counts in words."""
        calls = "" if self.asked or not self.calls else f"; its {count_text(self.calls)} calls are answers to them"
        return f"{count_text(self.traced)} from traces of elsewhere, {count_text(self.asked)} from the teacher{calls}"


def labels_of(run: SharedRun) -> Labels | None:
    """The counts of a run with traces; None of others, whose decompositions are all the teacher's."""
    labelling = run.files.part("labelling")
    traced, samples, calls = (number(labelling.get(name)) for name in ("traced", "samples", "calls"))
    return Labels(round(traced), round(samples - traced), round(calls)) if traced else None


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
    license: str, flag: str, what: str, questions: Sequence[Origin], teacher: ModelOrigin, base: ModelOrigin | None = None,
    labels: Labels | None = None,
) -> list[str]:  # fmt: skip
    """What is known of what the thing may be used under, and what is not."""
    give = f'To give one, push again with {flag}, or fill in "license:" at the top of this card.'
    own = f"This {what}: {license}, given by who shares it." if license else f"This {what}: not given yet. {give}"
    known = [f"The base {base.shown}: {base.license or 'not known here; see its own page'}."] if base else []
    unknown = "not known here; ask who made them"
    whose = [f"The questions ({one.source or 'a file of who made the run'}): {one.license or unknown}." for one in questions]
    learned = f"The teacher {teacher.shown}: {teacher.license or 'not known here; see its terms'}. {_TERMS}"
    traces = (
        f"The traces, from which {count_text(labels.traced)} of {count_text(labels.traced + labels.asked)} decompositions come: not known "
        f"here, and not the teacher's; who shares this has to know under which terms they may be used. {_TERMS_OF_TRACES}"
        if labels
        else ""
    )
    asked = [learned] if labels is None or labels.asked or labels.calls else []
    return [own, *known, *whose, *([traces] if traces else []), *asked]


def command(run: SharedRun) -> Block:
    """What was typed, as far as it is anybody's business."""
    typed = run.metrics.get("command")
    return Code("The command", public_command(str(typed)), "sh") if typed else Text("The run was made from Python.", "missing")


def settings(run: SharedRun) -> list[Block]:
    """The whole configuration, likewise."""
    return [Code("All settings; addresses, keys and folders are left out", public_settings(run.files.config), "toml")]
