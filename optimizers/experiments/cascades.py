"""The threshold of a cascade, chosen on dev questions: what every threshold would have scored and cost there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from optimizers.conditions import CASCADE_FOLDER, Condition
from optimizers.evaluation.answers import answers
from optimizers.evaluation.evaluate import Asking
from optimizers.evaluation.passages import passage_key
from optimizers.evaluation.statistics import mean_interval
from optimizers.experiments.answers import check_students, students_in_memory
from optimizers.experiments.roles import Roles, Wrap
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.jobs.scorer_costs import score_metered
from optimizers.settings.evaluation import EvaluationConfig
from optimizers.settings.run import RunConfig
from programs.cascade import Cascade
from programs.lms.ledger import Usage
from programs.parts import FIRST, SECOND, part_of
from programs.tasks.base import Task

DEV, GIVEN = "dev", "given"

# What floating point takes from 0.8 less 0.1.
_ROUNDING = 1e-9


class AskingBoth(Cascade):
    """Asks the dear part whatever the votes say, so that of each question both answers are known."""

    def escalates(self, agreement: float) -> bool:
        """Always."""
        return True


def check_cascades(config: RunConfig, conditions: Iterable[Condition], dev: int) -> None:
    """Refuse cascades for which there is nothing to choose a threshold by.

    Args:
        config: The job's.
        conditions: All of them.
        dev: Number of dev questions.

    Raises:
        ValueError: No dev question and no threshold.
    """
    names = [condition.name for condition in conditions if condition.parts]
    if names and not dev and config.evaluation.cascade_threshold is None:
        raise ValueError(
            f"The threshold of {names[0]!r} is chosen on dev questions, and there are none: add some (--data.dev 50), or give a threshold "
            "of your own (--evaluation.cascade_threshold 0.6). It is never chosen on test questions."
        )


def path_of(predictions: Path, name: str) -> Path:
    """The file of a cascade's dev answers.

    Args:
        predictions: Of all answers.
        name: Of the condition, behind the folders of its cell in an experiment.
    """
    return predictions / CASCADE_FOLDER / f"{name}.jsonl"


def asking_both(
    condition: Condition,
    roles: Roles,
    task: Task,
    dev: Sequence[dspy.Example],
    predictions: Path,
    wrap: Wrap,
    progress: Callable[..., None],
    name: str = "",
) -> Asking:
    """The dev questions of a cascade, put to both of its parts.

    Args:
        condition: The cascade.
        roles: Its models.
        task: Of the questions.
        dev: The questions.
        predictions: As of `path_of`, like `name`, which is that of the condition by default.
        wrap: Put around every LM.
        progress: Called with (stage, done, total, note).
        name: See `predictions`.
    """
    out = path_of(predictions, name or condition.name)
    check_students(condition, roles, out, predictions)
    program = roles.cascade(condition, task, dev, wrap, AskingBoth)
    shown = functools.partial(progress, f"evaluate {name or condition.name} (dev)")
    return Asking(program, task, dev, out, shown, students_in_memory(condition, roles))


def choose(
    condition: Condition, settings: EvaluationConfig, task: Task, dev: Sequence[dspy.Example], predictions: Path, name: str = ""
) -> dict[str, Any]:
    """Choose a cascade's threshold by its dev answers, or note the one that was given; written beside the answers.

    The lowest threshold is taken whose score is at most `cascade_tolerance` below the best one. That best score is the best of
    several on the same questions, and so too good by a little; the test questions have no part in it.

    Args:
        condition: The cascade.
        settings: The section `evaluation`.
        task: Of the questions.
        dev: The questions; not looked at where a threshold was given.
        predictions: As of `path_of`, like `name`.
        name: See `predictions`.

    Returns:
        `condition`, `threshold`, `chosen_on` (`dev` or `given`), `questions`, `samples`, `temperature`, `tolerance`, `parts` (dev
        score of each alone), `curve` (a point a threshold: `threshold`, `score`, `ci95`, `escalated`, `per_question`), and `usage`,
        what the choice cost.

    Raises:
        ValueError: No dev question has a score.
    """
    path = path_of(predictions, name or condition.name)
    found: dict[str, Any] = {
        "condition": condition.name,
        "threshold": settings.cascade_threshold,
        "chosen_on": GIVEN,
        "samples": settings.cascade_samples,
        "temperature": settings.cascade_temperature,
    }
    if settings.cascade_threshold is None:
        lines = answers(path, dev)
        scored = _scored(task, dev, lines)
        if not scored:
            raise ValueError(f"None of the {len(dev)} dev questions of {condition.name!r} has a score in {path}; look at its errors.")
        found |= _chosen(scored, settings) | {"usage": _total(line["usage"] for line in lines).to_dict()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path.with_suffix(".json"), found)
    return found


def choice_on_file(predictions: Path, name: str) -> dict[str, Any]:
    """What `choose` wrote; empty before it did."""
    return read_json(path_of(predictions, name).with_suffix(".json"))


def _chosen(scored: Sequence[Mapping[str, Any]], settings: EvaluationConfig) -> dict[str, Any]:
    curve = [_point(scored, votes / settings.cascade_samples) for votes in range(1, settings.cascade_samples + 1)]
    enough = max(point["score"] for point in curve) - settings.cascade_tolerance - _ROUNDING
    return {
        "threshold": next(point["threshold"] for point in curve if point["score"] >= enough),
        "chosen_on": DEV,
        "questions": len(scored),
        "tolerance": settings.cascade_tolerance,
        "parts": {part: sum(line[part] for line in scored) / len(scored) for part in (FIRST, SECOND)},
        "curve": curve,
    }


def _scored(task: Task, dev: Sequence[dspy.Example], lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Agreement, the scores of both answers, and what both cost, of each question on which both have a score."""
    examples = {example.id: example for example in dev}
    found: list[dict[str, Any]] = []
    for line in lines:
        cheap = _cheap_score(task, examples[line["id"]], line)
        if cheap is not None and line["score"] is not None:
            agreement, passage = line.get("agreement") or 0.0, passage_key(line.get("context"), len(found))
            found.append({"agreement": agreement, FIRST: cheap, SECOND: line["score"], "usage": line["usage"], "passage": passage})
    return found


def _cheap_score(task: Task, example: dspy.Example, line: Mapping[str, Any]) -> float | None:
    """The score of the answer with most votes; 0 where there is none, None where it cannot be judged."""
    answer = line.get("first_answer")
    if answer is None:
        return 0.0
    score = score_metered(task, example, dspy.Prediction(**{**line, "answer": answer}))
    return None if score.is_unscored else score.value


def _point(scored: Sequence[Mapping[str, Any]], threshold: float) -> dict[str, Any]:
    """What a threshold would have come to."""
    up = [line["agreement"] < threshold - _ROUNDING for line in scored]
    scores = [line[SECOND if goes else FIRST] for line, goes in zip(scored, up, strict=True)]
    interval = mean_interval(scores, passages=[line["passage"] for line in scored])
    paid = _total(
        {stage: used for stage, used in line["usage"].items() if goes or part_of(stage)[0] != SECOND}
        for line, goes in zip(scored, up, strict=True)
    )
    per_question = {key: None if paid.cache_hits else value for key, value in paid.to_dict().items() if key in _MEASURES}
    return {
        "threshold": threshold,
        "score": interval.estimate,
        "ci95": [interval.low, interval.high],
        "escalated": sum(up) / len(up),
        "per_question": {key: None if value is None else value / len(scored) for key, value in per_question.items()},
    }


_MEASURES = ("calls", "input_tokens", "output_tokens", "seconds", "usd")


def _total(bills: Iterable[Mapping[str, Any]]) -> Usage:
    return sum((Usage.from_dict(used) for bill in bills for used in bill.values()), Usage())
