"""One question to a program: its line, with what it cost also where it failed."""

from __future__ import annotations

import time
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from optimizers.evaluation.answers import question_of
from optimizers.jobs.scorer_costs import SCORER, score_metered
from programs.decomposition import CUT_OFF
from programs.lms.api_models import said_by
from programs.lms.ledger import Ledger, current_ledger, metered, recording
from programs.parts import FIRST, SECOND, WAY
from programs.tasks.base import ScaleError, Score, Task

OF_THE_SCORER = "score"
"""How the `error` of a line begins whose answer came, and could not be scored."""
_TRIES = 3
"""How often a question is asked whose reply has nothing in it: a server's hiccup is no wrong answer, a model that stays silent is one, and
one that refuses is so at once."""


def answer_one(program: dspy.Module, task: Task, example: dspy.Example) -> dict[str, Any]:
    """One question's line; with what it cost also where a stage failed.

    Raises:
        ScaleError: The task's scorer has another scale than 0 to 1.
    """
    outer = current_ledger()
    ledger = Ledger(outer.prices)
    with recording(ledger, adopts=False):
        (line, silent), tries = _asked(program, task, example), 1
        while silent and tries < _TRIES:
            (line, silent), tries = _asked(program, task, example), tries + 1
    for (stage, model), usage in ledger.entries().items():
        outer.add(stage, model, usage)
    if line["error"] or tries > 1:
        line["usage"] = {stage: usage.to_dict() for stage, usage in ledger.by_stage().items() if stage != SCORER}
    return line


def _asked(program: dspy.Module, task: Task, example: dspy.Example) -> tuple[dict[str, Any], bool]:
    """A question's line, and whether it could not be read as the server gave a reply with nothing in it."""
    started = time.monotonic()
    try:
        # Around the program's own stages, which write what their calls cost.
        with dspy.context(trace=[]), metered("program") as meter:
            prediction = program(question=example.question, context=example.get("context") or "")
    except AdapterParseError as error:
        return _failed(example, f"unparseable: {str(error.lm_response)[:500]!r}", 0.0, started), meter.empty
    except Exception as error:
        return _failed(example, f"{type(error).__name__}: {said_by(error)}"[:500], None, started), False
    silent = meter.empty and bool(prediction.get("unparsed") or _state(prediction) == "unparseable")
    return _judged(task, example, prediction, started), silent


def _judged(task: Task, example: dspy.Example, prediction: dspy.Prediction, started: float) -> dict[str, Any]:
    error = None
    try:
        score = score_metered(task, example, prediction)
    except ScaleError as wrong:
        raise ScaleError(f"Question {example.id!r}: {wrong}") from wrong
    except Exception as failure:
        error = f"{OF_THE_SCORER}: {type(failure).__name__}: {' '.join(str(failure).split())}"[:500]
        score = Score.unscored("")
    return {
        **question_of(example),
        "subquestions": prediction.get("subquestions"),
        "decomposition": "\n".join(prediction.get("lines") or []),
        "state": _state(prediction),
        "sub_answers": prediction.get("sub_answers"),
        "reasoning": prediction.get("reasoning"),
        "answer": prediction.get("answer"),
        "score": None if score.is_unscored else score.value,
        "detail": score.detail,
        "measures": dict(score.measures),
        "unparsed": bool(prediction.get("unparsed")),
        "cut_off": bool(prediction.get("cut_off")),
        "error": error,
        **_way(prediction),
        "usage": prediction.get("usage") or {},
        "seconds": round(time.monotonic() - started, 4),
    }


def _way(prediction: dspy.Prediction) -> dict[str, Any]:
    """Which way a cascade went, and why; nothing of other programs."""
    return {name: prediction.get(name) for name in WAY} if prediction.get("route") in (FIRST, SECOND) else {}


def _state(prediction: dspy.Prediction) -> str:
    """The decomposition's state; of a program without one, that of its last reply."""
    if prediction.get("cut_off") or prediction.get("unparsed"):
        return prediction.get("state") or (CUT_OFF if prediction.get("cut_off") else "unparseable")
    return prediction.get("state") or "ok"


def _failed(example: dspy.Example, error: str, score: float | None, started: float) -> dict[str, Any]:
    empty = dict.fromkeys(("subquestions", "decomposition", "state", "sub_answers", "reasoning", "answer"))
    seconds = round(time.monotonic() - started, 4)
    judged: dict[str, Any] = {"score": score, "detail": "", "measures": {}, "unparsed": False, "cut_off": False}
    return {**question_of(example), **empty, **judged, "error": error, "usage": {}, "seconds": seconds}
