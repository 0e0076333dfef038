"""About how many seconds each stage of an improvement will take, for the time left of the whole job."""

from __future__ import annotations

from collections import defaultdict

from optimizers.experiments.outline import shared
from optimizers.experiments.plan import improve_steps
from optimizers.experiments.roles import slug
from optimizers.improvement.job import ImproveJob


def improve_outline(job: ImproveJob) -> dict[str, float]:
    """The stages under the names that the progress gives them.

    Args:
        job: The rounds.

    Raises:
        ValueError: What a plan refuses; see `improve_steps`.
    """
    settings, seconds = job.settings, _by_kind(job)
    numbers = range(1, settings.rounds + 1)
    labels = {f"label {split}": float(len(job.run.splits.get(split) or ())) for split in ("train", "dev")}
    start = shared({**labels, f"train {slug(job.name)}": 1.0}, seconds)
    dev, tests = len(job.splits["dev"]), 2 * sum(len(examples) for _, examples in job.tests.values())
    asked = seconds["asked"] / (dev * (settings.rounds + 1) + tests)
    rounds = {"round 0: dev": dev * asked}
    for number in numbers:
        rounds |= {f"round {number}: try": seconds["tries"] / settings.rounds, f"round {number}: train": seconds["round"] / settings.rounds}
        rounds[f"round {number}: dev"] = dev * asked
    return {**start, **rounds, "round 0: test": tests * asked}


def _by_kind(job: ImproveJob) -> dict[str, float]:
    kinds = {"label": "label", "train round": "round", "train": "train", "tries": "tries"}
    found: dict[str, float] = defaultdict(float)
    for step in improve_steps(job.config):
        found[next((kind for start, kind in kinds.items() if step.name.startswith(start)), "asked")] += 60 * step.minutes
    return found
