"""Run a program on test questions, one flushed line a question, and sum the lines up."""

from __future__ import annotations

import contextvars
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.utils.exceptions import AdapterParseError

from optimizers.evaluation.reply_counts import reply_counts
from optimizers.evaluation.statistics import mean_interval
from optimizers.jobs.jsonlines import Lines, as_json, read_lines
from optimizers.jobs.stopping import ASKING, telling_to_wait
from programs.adapter import adapter_name
from programs.decomposition import CUT_OFF, STATES
from programs.lms.api_models import said_by
from programs.lms.engine import unload
from programs.lms.ledger import Ledger, Usage, current_ledger, metered, recording
from programs.module_settings import public_settings
from programs.parts import FIRST, SECOND, WAY
from programs.tasks.base import Task, score_of

Progress = Callable[[int, int, str], None]

_TRIES = 3
"""How often a question is asked whose reply has nothing in it: a server's hiccup is no wrong answer, a model that stays silent is one."""

_SHAPING = ("seed", "max_subquestions", "decomposer_sees_context", "nearest")


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

    A line is an answer to a question only where it has the same id, question, context and reference, and the program
    asked as it does now (`program_hash`): a data file may change between two calls. What else stands in the file stays.

    Args:
        program: Takes `question` and `context`; `answer` of its prediction is scored.
        task: Scores the answers.
        examples: Questions, each with an `id`.
        out: JSONL file, a line a question: subquestions, sub-answers, answer, score, measures, state, unparsed, cut_off,
            error, usage by stage. The last line of an id is the one that counts; see `answers`.
        threads: Questions at a time.
        progress: Called with (done, total, note).

    Returns:
        A dict a question. A solver's reply without the answer format is scored as it is by the task's rule, and marked
        `unparsed`; where a program cannot go on without reading a reply, the line scores 0 and bears `error`. A call that
        failed has score None and is asked again next time; one that a server answered by nothing is asked again at once,
        three times in all.
    """
    ask_all([Asking(program, task, examples, out, progress)], threads)
    return answers(out, examples)


@dataclass(eq=False)
class Asking:
    """A program's questions, of which those are asked that its file has no answer to yet; see `evaluate`.

    Attributes:
        program: As of `evaluate`, like `task`, `examples`, `out` and `progress`.
        frees: Models in this process whose memory is given back when all is answered, unless others that are under way ask them.
        missing: Questions without an answer on file, once it is open.
    """

    program: dspy.Module
    task: Task
    examples: Sequence[dspy.Example]
    out: Path
    progress: Progress | None = None
    frees: Collection[str] = ()
    missing: list[dspy.Example] = field(default_factory=list, init=False)
    _made_by: dict[Any, str] = field(default_factory=dict, init=False)
    _lines: Lines | None = field(default=None, init=False)
    _done: int = field(default=0, init=False)

    def open(self) -> None:
        """Read the file, which belongs to this process until `close`, and write today's scores of the answers in it."""
        last: dict[Any, dict[str, Any]] = {}
        known: dict[tuple[Key, str | None], dict[str, Any]] = {}

        def visit(line: dict[str, Any], offset: int) -> None:
            last[line["id"]] = line
            if not _is_to_retry(line):
                known[_key(line), line.get("program")] = line

        shaped_by = program_hash(self.program)
        self._made_by = {example.id: _made_by(shaped_by, example) for example in self.examples}
        self._lines = lines = Lines(self.out, visit)
        found = {e.id: _rescored(self.task, e, _known(known, e, self._made_by[e.id])) for e in self.examples}
        self.missing = [example for example in self.examples if found[example.id] is None]
        # After an edit that was taken back, or a change of the task's rule; see `answers`.
        for line in [line for line in found.values() if line is not None and last[line["id"]] is not line]:
            lines.append(line)
        self._done = len(self.examples) - len(self.missing)
        self._report()

    @property
    def is_done(self) -> bool:
        """Whether all questions are answered."""
        return self._done >= len(self.examples)

    def take(self, line: dict[str, Any]) -> None:
        """Write the answer to one of the missing questions."""
        assert self._lines is not None, "opened before anything is asked"
        self._lines.append({**line, "program": self._made_by[line["id"]]})
        self._done += 1
        self._report()

    def close(self) -> None:
        """Give the file back; more than once is no harm."""
        if self._lines is not None:
            self._lines.close()

    def _report(self) -> None:
        if self.progress:
            self.progress(self._done, len(self.examples), "")


def ask_all(askings: Iterable[Asking], threads: int) -> None:
    """Ask the questions of several programs in their order, by threads that they share.

    One program's slowest answers are waited for while the next one's questions are asked: a local model that answers a few is hardly
    faster than with many.

    Args:
        askings: Each is taken when those before it have no question left to hand out.
        threads: Questions at a time.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=ASKING)
    under_way: dict[Future[dict[str, Any]], Asking] = {}
    opened: list[Asking] = []
    try:
        with telling_to_wait():
            for asking in askings:
                opened.append(asking)
                asking.open()
                for example in asking.missing:
                    # Never more than a few times `threads` questions in the air.
                    while len(under_way) >= 2 * threads:
                        _take(under_way, opened)
                    under_way[pool.submit(contextvars.copy_context().run, answer_one, asking.program, asking.task, example)] = asking
                _close_done(opened)
            while under_way:
                _take(under_way, opened)
    finally:
        for asking in opened:
            asking.close()
        pool.shutdown(wait=True, cancel_futures=True)


def _take(under_way: dict[Future[dict[str, Any]], Asking], opened: list[Asking]) -> None:
    """Write the answers that have come, or else wait for the next one."""
    finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
    for future in finished:
        under_way.pop(future).take(future.result())
    _close_done(opened)


def _close_done(opened: list[Asking]) -> None:
    for asking in [asking for asking in opened if asking.is_done]:
        opened.remove(asking)
        asking.close()
        for model in {*asking.frees} - {model for other in opened for model in other.frees}:
            unload(model)


def answers(path: Path, examples: Sequence[dspy.Example]) -> list[dict[str, Any]]:
    """The answers to some questions in a file of `evaluate`, one a question, in the order of `examples`; missing ones are left out.

    Raises:
        ValueError: A line is none of `evaluate`'s; names the file.
    """
    found = {line["id"]: line for line in latest(read_lines(path), path)}
    return [found[example.id] for example in examples if example.id in found and _key(found[example.id]) == _key(_question(example))]


def latest(lines: Iterable[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The last line of each id: a question that failed and was asked again counts once.

    What came to an answer in a failed try was answered from file in the next one, and stands in its `usage`; the calls
    that failed are added to it.

    Args:
        lines: Of a file of `evaluate`.
        path: The file, for the message.

    Raises:
        ValueError: A line is none of `evaluate`'s.
    """
    found: dict[Any, dict[str, Any]] = {}
    for line in lines:
        if not {"id", "score", "error"} <= set(line):
            raise ValueError(
                f"{path} has a line that is no answer: {json.dumps(line)[:100]}. Move the file away, and run the same command again."
            )
        before = found.get(line["id"])
        again = before is not None and _is_to_retry(before) and _key(before) == _key(line)
        found[line["id"]] = {**line, "usage": _with_failed(line["usage"], before["usage"])} if before and again else line
    return list(found.values())


def _with_failed(usage: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Usage by stage, with the failed calls of the try before."""
    failed = {stage: Usage(calls=used["failed"], failed=used["failed"]) for stage, used in before.items() if used.get("failed")}
    return {**usage, **{stage: (Usage.from_dict(usage.get(stage, {})) + more).to_dict() for stage, more in failed.items()}}


def _is_to_retry(line: dict[str, Any]) -> bool:
    return line["score"] is None and line["error"] is not None


Key = tuple[Any, Any, Any, str]


def _key(line: Mapping[str, Any]) -> Key:
    """What a line answers: id, question, context and reference."""
    return line["id"], line.get("question"), line.get("context") or "", as_json(line.get("gold"), sort_keys=True, default=str)


def _known(known: Mapping[tuple[Key, str | None], dict[str, Any]], example: dspy.Example, made_by: str) -> dict[str, Any] | None:
    key = _key(_question(example))
    # Lines of earlier versions do not say what made them.
    return known.get((key, made_by)) or known.get((key, None))


def _rescored(task: Task, example: dspy.Example, line: dict[str, Any] | None) -> dict[str, Any] | None:
    """A reused line with today's score of its saved answer; the line itself where nothing changed, None if the scorer raises."""
    if line is None or line["error"] is not None:
        return line
    try:
        score = score_of(task, example, dspy.Prediction(**line))
    except Exception:
        # Asked again, from the calls on file, so that its line says what the scorer raised.
        return None
    value = None if score.is_unscored else score.value
    today = {"score": value, "detail": score.detail, "measures": dict(score.measures)}
    return line if all(line.get(name) == found for name, found in today.items()) else {**line, **today}


def _made_by(program: str, example: dspy.Example) -> str:
    """Hash of a program, and of the reference subquestions, which some decomposers show."""
    return _digest([program, example.get("subquestions")])


def program_hash(program: dspy.Module) -> str:
    """Hash of what shapes a program's prompts and texts: modules, instructions, demos, models and their sampling settings."""
    found: list[Any] = []
    for name, module in program.named_sub_modules():
        settings = [getattr(module, setting, None) for setting in _SHAPING]
        found.append([name, type(module).__name__, settings, _prompt_of(module) if isinstance(module, dspy.Predict) else None])
        # Only where there are any, so that answers on file from before stay known.
        found += [[name, further] for further in (_adapters_of(module), _further(module)) if further]
    return _digest(found)


def _further(module: dspy.Module) -> dict[str, Any]:
    return {key: value for key, value in public_settings(module).items() if key not in _SHAPING}


def _adapters_of(module: dspy.Module) -> dict[str, str]:
    """The formats that a program sets for its stages, by stage."""
    return {stage: adapter_name(adapter) for stage, adapter in getattr(module, "fixed_adapters", {}).items()}


def _prompt_of(predictor: dspy.Predict) -> list[Any]:
    lm = predictor.lm or dspy.settings.lm
    model = [lm.model, _options(lm)] if isinstance(lm, dspy.LM) else None
    return [model, predictor.signature.instructions, [dict(demo) for demo in predictor.demos]]


def _options(lm: dspy.LM) -> dict[str, Any]:
    """What shapes the texts of an LM; of a journaled one also those options that its engine adds to the requests."""
    engine = getattr(lm, "engine", None)  # a plain BaseLM has none
    return {**{key: value for key, value in lm.kwargs.items() if key not in CLIENT_KEYS}, **getattr(engine, "further", {})}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def answer_one(program: dspy.Module, task: Task, example: dspy.Example) -> dict[str, Any]:
    """One question's line; with what it cost also where a stage failed."""
    outer = current_ledger()
    ledger = Ledger(outer.prices)
    with recording(ledger, adopts=False):
        (line, silent), tries = _asked(program, task, example), 1
        while silent and tries < _TRIES:
            (line, silent), tries = _asked(program, task, example), tries + 1
    for (stage, model), usage in ledger.entries().items():
        outer.add(stage, model, usage)
    if line["error"] or tries > 1:
        line["usage"] = {stage: usage.to_dict() for stage, usage in ledger.by_stage().items()}
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
    try:
        score = score_of(task, example, prediction)
    except Exception as error:
        return _failed(example, f"score: {type(error).__name__}: {error}"[:500], None, started)
    return {
        **_question(example),
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
        "error": None,
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


def _question(example: dspy.Example) -> dict[str, Any]:
    return {"id": example.id, "question": example.question, "context": example.get("context") or "", "gold": example.answer}


def _failed(example: dspy.Example, error: str, score: float | None, started: float) -> dict[str, Any]:
    empty = dict.fromkeys(("subquestions", "decomposition", "state", "sub_answers", "reasoning", "answer"))
    seconds = round(time.monotonic() - started, 4)
    judged: dict[str, Any] = {"score": score, "detail": "", "measures": {}, "unparsed": False, "cut_off": False}
    return {**_question(example), **empty, **judged, "error": error, "usage": {}, "seconds": seconds}


def summarise(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A condition's entry of `metrics.json`: score with interval, states, failures, and what each stage cost."""
    scores = [line["score"] for line in lines if line["score"] is not None]
    interval = mean_interval(scores)
    # A program with one stage has no decomposition to count.
    states = Counter(line["state"] for line in lines if line["state"] and "decompose" in line["usage"])
    failures = Counter(line["error"].split(":")[0] for line in lines if line["error"])
    return {
        "n": len(lines),
        "scored": len(scores),
        "score": interval.estimate,
        "ci95": [interval.low, interval.high],
        "measures": _measures(lines),
        "unparsed": sum(bool(line.get("unparsed")) for line in lines),
        "counts": reply_counts(lines),
        "states": {state: states.get(state, 0) for state in STATES} if states else {},
        "failed": sum(failures.values()),
        "failures": dict(failures),
        **_routes(lines),
        **{stage: usage.to_dict() for stage, usage in _usage_by_stage(lines).items()},
    }


def _routes(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of a cascade, how many questions went which way, and why to the dear part; nothing of other programs."""
    told = [line for line in lines if line.get("route")]
    reasons = Counter(line["escalated"] for line in told if line["escalated"])
    found = {"first": sum(line["route"] == FIRST for line in told), "second": sum(line["route"] == SECOND for line in told)}
    failed = sum(bool(line["errors"]) for line in told)
    return {"routes": {**found, "reasons": dict(reasons), "with_failed_votes": failed}} if told else {}


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
