"""What a scorer that asks an LM itself has cost in a job's folder, over all the calls of its command.

No other file knows of these calls: answers and their costs are a program's own, and each is scored anew whenever the folder is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy

from optimizers.jobs.jsonlines import read_json, write_json
from programs.lms.ledger import Ledger, Usage, metered
from programs.tasks.base import Score, Task, score_of

SCORER = "scorer"
"""The stage of the ledger for what a scorer asks: no condition's cost, as whoever uses a program scores nothing."""

SCORER_COSTS = "scorer_costs.json"


def score_metered(task: Task, example: dspy.Example, prediction: Any) -> Score:
    """As `programs.tasks.base.score_of`; what the scorer asks of an LM is metered as `SCORER`."""
    with metered(SCORER):
        return score_of(task, example, prediction)


def keep_scorer_costs(folder: Path, ledger: Ledger) -> None:
    """Move what `ledger` has of the scorer into the folder's file, which is there only where a scorer asked."""
    taken = ledger.take(SCORER)
    if not taken:
        return
    known = {model: Usage.from_dict(usage) for model, usage in read_scorer_costs(folder).items()}
    totals = {model: (known.get(model, Usage()) + taken.get(model, Usage())).to_dict() for model in {**known, **taken}}
    write_json(folder / SCORER_COSTS, totals)


def read_scorer_costs(folder: Path) -> dict[str, dict[str, Any]]:
    """Usage by model; empty where no scorer asked."""
    return read_json(folder / SCORER_COSTS)
