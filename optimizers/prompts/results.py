"""What a compilation leaves in its folder: the program, and what became of every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from optimizers.jobs.jsonlines import write_json
from optimizers.jobs.scorer_costs import read_scorer_costs
from optimizers.prompts.candidates import DEV, TRAIN, VALIDATION, Candidate, Compiled
from optimizers.prompts.dspy_optimizers import optimizer_by_name
from optimizers.reports.compilation import write_report
from optimizers.settings.run import RunConfig
from programs.compiled.state import program_state, question_digest


def write_results(
    compiled: Compiled, config: RunConfig, settings: Mapping[str, Any], stages: Sequence[str], questions: Sequence[dspy.Example]
) -> None:
    """Write `program.json`, `compiled.json` and the report; `questions` are those that the optimizer saw or chose by."""
    about = {
        "optimizer": compiled.optimizer,
        "settings": dict(settings),
        "stages": list(stages),
        "seed": config.seed,
        "task": config.task.name,
        "teacher": compiled.program.decompose.lm.model,
        "incomplete": compiled.incomplete,
    }
    write_json(
        compiled.folder / "program.json", program_state(compiled.program, {**about, "questions": sorted(map(question_digest, questions))})
    )
    found = {"schema": 1, **about, **_figures(compiled), "scorer": read_scorer_costs(compiled.folder)}
    write_json(compiled.folder / "compiled.json", found)
    write_report(compiled.folder)


def _figures(compiled: Compiled) -> dict[str, Any]:
    base, dev = compiled.candidates[0], compiled.dev
    return {
        "best": compiled.best.key,
        "uncompiled": base.key,
        "found": compiled.found.key if compiled.found else None,
        "candidates": [_candidate(one, compiled) for one in compiled.candidates],
        "dev": {
            "uncompiled": _scored(base, DEV),
            "compiled": _scored(compiled.best, DEV),
            "comparison": dev and dev.to_dict(),
        },
        "paid": compiled.paid.to_dict(),
    }


def _candidate(candidate: Candidate, compiled: Compiled) -> dict[str, Any]:
    return {
        "key": candidate.key,
        "number": candidate.number,
        "prompts": candidate.stages,
        "only_wrote_demos": _only_wrote_demos(candidate, compiled),
        "validation": _scored(candidate, VALIDATION),
        "train": _scored(candidate, TRAIN),
        "failures": candidate.failures,
        "answered": len(candidate.usage),
        "usage": candidate.cost().to_dict(),
    }


def _scored(candidate: Candidate, split: str) -> dict[str, Any]:
    found = candidate.interval(split)
    scored = None if found.n == 0 else found.estimate
    return {"n": candidate.asked(split), "score": scored, "ci95": None if found.n == 0 else [found.low, found.high]}


def _only_wrote_demos(candidate: Candidate, compiled: Compiled) -> bool:
    """Whether it was never up for choice: the program that bootstraps demos has others for every question."""
    tried_on = optimizer_by_name(compiled.optimizer).tries_on_train
    return candidate is not compiled.best and not candidate.asked(VALIDATION) and not tried_on
