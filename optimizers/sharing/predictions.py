"""The answers of a finished run's conditions to the test questions, with the figures that were made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimizers.evaluation.answers import last_answers
from optimizers.reports.cells import Cell
from optimizers.sharing.public import public_value
from optimizers.sharing.shared_run import SharedRun

ROLES = {"decompose": "decomposer", "solve": "solver", "answer": "solver"}
"""What the model of a stage is called; that of another one by the stage's own name."""

_AGAIN = "Give the run's command again, so that both are of the same answers."


@dataclass(frozen=True)
class Answered:
    """The answers of one condition; in an experiment of one cell.

    Attributes:
        test: Name of the task.
        train: Name of the task that its student was trained on; empty where there is none, and in a run.
        variant: Of the experiment; empty for the main one, and in a run.
        condition: Its name.
        name: What tells it from the run's others: the condition, in an experiment `<test>/<train>/<variant>/<condition>`.
        cell: What the answers came to: `n`, `scored`, `score` (0 to 1), `ci95`, `models` and what each stage cost, ...
        lines: The last line of `evaluate` of each test question, in their order.
    """

    test: str
    train: str
    variant: str
    condition: str
    name: str
    cell: Cell
    lines: Sequence[Mapping[str, Any]]

    @property
    def models(self) -> dict[str, str]:
        """Model string by stage."""
        found = self.cell.get("models")
        return {str(stage): str(model) for stage, model in found.items()} if isinstance(found, Mapping) else {}


def answered(run: SharedRun) -> Iterator[Answered]:
    """All conditions of a run, or cells of an experiment, in the order of its figures.

    Raises:
        ValueError: A file of answers is damaged, or holds other answers than the figures are of; says the next step.
    """
    for place, cell in _cells(run):
        parts = [part for part in place if part]
        path = run.folder.joinpath("predictions", *parts[:-1], f"{parts[-1]}.jsonl")
        ids = (run.files.part("tasks").get(place[0]) or {} if run.is_experiment else run.metrics).get("test_ids")
        lines = last_answers(path, ids or None)
        if not _is_of(cell, lines):
            raise ValueError(f"{path} holds other answers than the figures in {run.folder / 'metrics.json'} are of. {_AGAIN}")
        test = place[0] if run.is_experiment else str(run.metrics.get("task"))
        yield Answered(test, place[1], place[2], place[3], "/".join(parts), cell, lines)


def _cells(run: SharedRun) -> Iterator[tuple[tuple[str, str, str, str], Cell]]:
    """Figures, each with the folders and the name of its file: test, train, variant and condition."""
    if not run.is_experiment:
        yield from ((("", "", "", name), cell) for name, cell in run.files.conditions.items())
        return
    for cell in run.files.records("cells"):
        test, train, variant, condition = (str(cell.get(key) or "") for key in ("test", "train", "variant", "condition"))
        yield (test, train, variant, condition), cell


def _is_of(cell: Cell, lines: Sequence[Mapping[str, Any]]) -> bool:
    """Whether figures are those of these answers."""
    scores = [line["score"] for line in lines if line["score"] is not None]
    if (len(lines), len(scores)) != (cell.get("n"), cell.get("scored", len(scores))):
        return False
    told = cell.get("score")
    return not scores or (told is not None and math.isclose(sum(scores) / len(scores), told, abs_tol=1e-6))


def public_model(model: str) -> str:
    """A model string without the folders of this machine."""
    return str(public_value("model", model))


def kind_of(error: Any) -> str:
    """What kind of error it was; its message may name servers and accounts."""
    return str(error).partition(":")[0] if error else ""
