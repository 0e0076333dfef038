"""What a round of learning is, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy

from optimizers.evaluation.passages import passages_of
from optimizers.evaluation.statistics import Interval, mean_interval
from optimizers.labelling.journal import Journal
from programs.lms.catalog import lm as make_lm
from programs.lms.ledger import Usage, summed
from programs.modules import TwoStage


@dataclass
class Round:
    """One round; number 0 is the student as it came.

    Attributes:
        number: From 0.
        model: Model string of its student.
        program: The program with that student.
        dev: Lines of `evaluate` on the dev questions.
        complete: Whether all dev questions were asked.
        tried: What was tried before the training: see `tried.json`; empty for round 0.
        training: Metrics of its artifact; empty for round 0.
        usage: Stage -> what the tries and the dev questions cost.
    """

    number: int
    model: str
    program: TwoStage
    dev: list[dict[str, Any]]
    complete: bool = True
    tried: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)

    @property
    def score(self) -> Interval:
        """Mean score of the dev questions."""
        return mean_interval([line["score"] for line in self.dev], passages=[*passages_of(self.dev).values()])


@dataclass
class Learned:
    """What the rounds came to, attached to the compiled program as `.learned`.

    Attributes:
        rounds: Those that are done, from 0.
        ended: Why there is no further one.
        incomplete: Why the rounds ended before their time (a limit, failing calls); None if they did not.
    """

    rounds: list[Round] = field(default_factory=list)
    ended: str = ""
    incomplete: str | None = None

    @property
    def best(self) -> Round:
        """The round with the highest dev score, the earliest of equals."""
        return max(self.rounds, key=lambda one: (one.score.estimate if one.complete else -1.0, -one.number))


def paid_in(path: Path) -> Usage:
    """What all calls of a journal cost."""
    with Journal(path) as journal:
        return journal.paid


def like(model: dspy.LM, name: str) -> dspy.LM:
    """The model of a name with another LM's options."""
    return make_lm(name, **{key: value for key, value in model.kwargs.items() if value is not None})


def usage_of(lines: Sequence[dict[str, Any]]) -> dict[str, Usage]:
    """What lines of `evaluate` cost by stage."""
    return summed({stage: Usage.from_dict(cost) for stage, cost in line["usage"].items()} for line in lines)
