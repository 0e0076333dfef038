"""Sums the rounds up into `improve.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optimizers.evaluation.passages import passages_of
from optimizers.evaluation.statistics import paired_comparison
from optimizers.evaluation.summary import summarise
from optimizers.experiments.metrics import provenance
from optimizers.improvement.job import ImproveJob
from optimizers.improvement.rounds import Learned, Round
from optimizers.labelling.journal import paid_beside
from programs.lms.ledger import Usage


def build(
    job: ImproveJob, learned: Learned, tested: Mapping[str, Mapping[int, list[dict[str, Any]]]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """`improve.json`: every round, and the best one against round 0 on each test set; `rows` are those of the run's student."""
    best = learned.best.number
    # Of the journals, as a round that found nothing, or was stopped, is in no list of rounds.
    usage = paid_beside([job.folder / "rounds"], Path())
    found = {
        "schema": 1,
        "student": job.name,
        "settings": job.settings.model_dump(exclude_none=True),
        "task": job.task_config.model_dump(),
        "solver": job.roles.model("solver").model,
        **provenance(job.config, job.run_folder),
        "rounds": [_round(one, job.prices.local_usd_per_hour) for one in learned.rounds],
        "best": best,
        "ended": learned.ended,
        "tests": {name: _compared(rounds, best) for name, rounds in tested.items() if rounds},
        "usage": usage.to_dict(),
        **job.overlap(rows),
        "kept_out": job.kept_out,
    }
    return {**found, "incomplete": learned.incomplete} if learned.incomplete else found


def _round(one: Round, usd_per_hour: float | None) -> dict[str, Any]:
    total = sum(one.usage.values(), Usage())
    seconds = one.training.get("seconds", 0.0)
    training = None if usd_per_hour is None else seconds / 3600 * usd_per_hour
    return {
        "round": one.number,
        "model": one.model,
        **{key: value for key, value in one.tried.items() if key not in ("usage", "rows", "asked")},
        "rows": one.training.get("rows", 0),
        "new_rows": one.tried.get("rows", 0),
        "dev": one.score.estimate,
        "ci95": [one.score.low, one.score.high],
        "dev_questions": one.score.n,
        "complete": one.complete,
        "tokens": total.input_tokens + total.output_tokens,
        "seconds": total.seconds,
        "usd": total.usd,
        "training_seconds": seconds,
        "training_usd": training if seconds else 0.0,
        "training": one.training,
        "stages": {stage: cost.to_dict() for stage, cost in one.usage.items()},
    }


def _compared(rounds: Mapping[int, list[dict[str, Any]]], best: int) -> dict[str, Any]:
    """The best round against round 0 on the questions that both were asked."""
    scores = {number: {line["id"]: line["score"] for line in lines} for number, lines in rounds.items()}
    summary = {f"round {number}": summarise(lines) for number, lines in rounds.items()}
    if 0 not in scores or best not in scores:
        return summary
    found = paired_comparison(scores[best], scores[0], passages=passages_of(rounds[best]))
    return {**summary, "comparison": {"a": f"round {best}", "b": "round 0", **found.to_dict()}}
