"""Run a program on test questions, one flushed line a question, and sum the lines up."""

from __future__ import annotations

import contextvars
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from optimizers.evaluation.statistics import mean_interval
from optimizers.jobs.jsonlines import append_line, read_lines
from programs.decomposition import STATES
from programs.lms.ledger import Ledger, Usage, current_ledger, recording
from programs.tasks.base import Task, score_of

Progress = Callable[[int, int, str], None]


def evaluate(
    program: dspy.Module,
    task: Task,
    examples: Sequence[dspy.Example],
    *,
    out: Path,
    threads: int = 16,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Ask `program` every question that `out` has no answer to yet, and return all lines in the order of `examples`.

    Args:
        program: Takes `question` and `context`; `answer` of its prediction is scored.
        task: Scores the answers.
        examples: Questions, each with an `id`.
        out: JSONL file, a line a question: subquestions, sub-answers, answer, score, measures, state, unparsed, error,
            usage by stage.
        threads: Questions at a time.
        progress: Called with (done, total, note).

    Returns:
        A dict a question. A solver's reply without the answer format is scored as it is by the task's rule, and marked
        `unparsed`; where a program cannot go on without reading a reply, the line scores 0 and bears `error`. A call that
        failed has score None and is asked again next time.
    """
    done = {line["id"]: line for line in read_lines(out, repair=True) if not _is_to_retry(line)}
    missing = [example for example in examples if example.id not in done]
    out.parent.mkdir(parents=True, exist_ok=True)
    if progress:
        progress(len(examples) - len(missing), len(examples), "")
    with out.open("a") as file:
        for count, line in enumerate(_answers(program, task, missing, threads), len(examples) - len(missing) + 1):
            append_line(file, line)
            done[line["id"]] = line
            if progress:
                progress(count, len(examples), "")
    return [done[example.id] for example in examples]


def _is_to_retry(line: dict[str, Any]) -> bool:
    return line["score"] is None and line["error"] is not None


def _answers(program: dspy.Module, task: Task, examples: Sequence[dspy.Example], threads: int) -> Iterator[dict[str, Any]]:
    """Lines as they finish; never more than a few times `threads` questions in the air."""
    pool = ThreadPoolExecutor(max_workers=threads)
    waiting: set[Future[dict[str, Any]]] = set()
    try:
        for example in examples:
            waiting.add(pool.submit(contextvars.copy_context().run, answer_one, program, task, example))
            if len(waiting) >= 2 * threads:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def answer_one(program: dspy.Module, task: Task, example: dspy.Example) -> dict[str, Any]:
    """One question's line; with what it cost also where a stage failed."""
    outer = current_ledger()
    ledger = Ledger(outer.prices)
    with recording(ledger):
        line = _asked(program, task, example)
    for (stage, model), usage in ledger.entries().items():
        outer.add(stage, model, usage)
    if line["error"]:
        line["usage"] = {stage: usage.to_dict() for stage, usage in ledger.by_stage().items()}
    return line


def _asked(program: dspy.Module, task: Task, example: dspy.Example) -> dict[str, Any]:
    started = time.monotonic()
    try:
        with dspy.context(trace=[]):
            prediction = program(question=example.question, context=example.get("context") or "")
    except AdapterParseError as error:
        return _failed(example, f"unparseable: {str(error.lm_response)[:500]!r}", 0.0, started)
    except Exception as error:
        return _failed(example, f"{type(error).__name__}: {error}"[:500], None, started)
    try:
        score = score_of(task, example, prediction)
    except Exception as error:
        return _failed(example, f"score: {type(error).__name__}: {error}"[:500], None, started)
    return {
        **_question(example),
        "subquestions": prediction.get("subquestions"),
        "decomposition": "\n".join(prediction.get("lines") or []),
        "state": prediction.get("state"),
        "sub_answers": prediction.get("sub_answers"),
        "reasoning": prediction.get("reasoning"),
        "answer": prediction.get("answer"),
        "score": None if score.is_unscored else score.value,
        "detail": score.detail,
        "measures": dict(score.measures),
        "unparsed": bool(prediction.get("unparsed")),
        "error": None,
        "usage": prediction.get("usage") or {},
        "seconds": round(time.monotonic() - started, 4),
    }


def _question(example: dspy.Example) -> dict[str, Any]:
    return {"id": example.id, "question": example.question, "context": example.get("context") or "", "gold": example.answer}


def _failed(example: dspy.Example, error: str, score: float | None, started: float) -> dict[str, Any]:
    empty = dict.fromkeys(("subquestions", "decomposition", "state", "sub_answers", "reasoning", "answer"))
    seconds = round(time.monotonic() - started, 4)
    judged: dict[str, Any] = {"score": score, "detail": "", "measures": {}, "unparsed": False}
    return {**_question(example), **empty, **judged, "error": error, "usage": {}, "seconds": seconds}


def summarise(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A condition's entry of `metrics.json`: score with interval, states, failures, and what each stage cost."""
    scores = [line["score"] for line in lines if line["score"] is not None]
    interval = mean_interval(scores)
    states = Counter(line["state"] for line in lines if line["state"])
    failures = Counter(line["error"].split(":")[0] for line in lines if line["error"])
    return {
        "n": len(lines),
        "scored": len(scores),
        "score": interval.estimate,
        "ci95": [interval.low, interval.high],
        "measures": _measures(lines),
        "unparsed": sum(bool(line.get("unparsed")) for line in lines),
        "states": {state: states.get(state, 0) for state in STATES} if states else {},
        "failed": sum(failures.values()),
        "failures": dict(failures),
        **{stage: usage.to_dict() for stage, usage in _usage_by_stage(lines).items()},
    }


def _measures(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and interval of the further measures of a task, over the scored lines."""
    found = [line.get("measures") or {} for line in lines if line["score"] is not None]
    names = dict.fromkeys(name for measures in found for name in measures)
    intervals = {name: mean_interval([measures.get(name, 0.0) for measures in found]) for name in names}
    return {name: {"score": one.estimate, "ci95": [one.low, one.high]} for name, one in intervals.items()}


def _usage_by_stage(lines: Sequence[dict[str, Any]]) -> dict[str, Usage]:
    totals: dict[str, Usage] = {}
    for line in lines:
        for stage, usage in line["usage"].items():
            totals[stage] = totals.get(stage, Usage()) + Usage.from_dict(usage)
    return totals
