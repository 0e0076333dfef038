"""Run a program on test questions, one flushed line a question, and sum the lines up."""

from __future__ import annotations

import contextvars
import hashlib
import json
import time
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.utils.exceptions import AdapterParseError

from optimizers.evaluation.passages import passage_key
from optimizers.evaluation.reply_counts import ReplyCounts
from optimizers.evaluation.statistics import mean_interval
from optimizers.jobs.jsonlines import Lines, RecordsOnFile, as_json, read_with_offsets
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
"""How often a question is asked whose reply has nothing in it: a server's hiccup is no wrong answer, a model that stays silent is one, and
one that refuses is so at once."""

_ENOUGH = 20
_OF_A_SERVER = frozenset(
    {"LMTransportError", "LMTimeoutError", "LMAuthError", "LMBillingError", "LMRateLimitError", "LMServerError", "LMProviderError",
     "LMInvalidRequestError", "LMUnsupportedModelError", "LMUnexpectedError"}
)  # fmt: skip
"""Errors that the next question will meet as well; one that is too long for its model is its own."""

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
        last: dict[Any, int] = {}
        known: dict[tuple[int, str | None], int] = {}

        def visit(line: dict[str, Any], offset: int) -> None:
            last[line["id"]] = offset
            if not is_to_retry(line):
                known[hash(_key(line)), line.get("program")] = offset

        shaped_by = program_hash(self.program)
        self._made_by = {example.id: _made_by(shaped_by, example) for example in self.examples}
        self._lines = Lines(self.out, visit)
        self.missing = [example for example in self.examples if not self._is_answered(example, known, last)]
        self._done = len(self.examples) - len(self.missing)
        self._report()

    def _is_answered(self, example: dspy.Example, known: Mapping[tuple[int, str | None], int], last: Mapping[Any, int]) -> bool:
        """Whether there is an answer on file, by offset; today's line of it becomes the last one of its question."""
        assert self._lines is not None
        key = hash(_key(_question(example)))
        # Lines of earlier versions do not say what made them.
        offset = known.get((key, self._made_by[example.id]), known.get((key, None)))
        line = None if offset is None else self._lines.read(offset)
        today = _rescored(self.task, example, line)
        # After an edit that was taken back, or a change of the task's rule; see `answers`.
        if today is not None and (today is not line or offset != last[line["id"]]):
            self._lines.append(today)
        return today is not None

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


class UnansweredError(RuntimeError):
    """Nothing was answered, as the server of a model is not there or refuses."""


@dataclass
class _Outage:
    """Looks for a server that answers nothing: whoever pays or waits would see it at the end otherwise, as missing scores."""

    stops: bool
    _failed: int = 0
    _answered: bool = False
    _said: str = ""

    def see(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take note of answers.

        Raises:
            UnansweredError: So many failed, and none was answered.
        """
        for line in lines:
            failed = line["score"] is None and str(line["error"]).split(":")[0] in _OF_A_SERVER
            self._answered |= not failed
            self._failed, self._said = self._failed + failed, str(line["error"])
        if self._failed >= _ENOUGH:
            self.check()

    def check(self) -> None:
        """Raise where all failed."""
        if self.stops and self._failed and not self._answered:
            raise UnansweredError(
                f"None of the {self._failed} questions that were asked was answered: {self._said.rstrip('.')}. Once this is mended, the "
                "same command asks what is missing; what was answered before is kept."
            )


def ask_all(askings: Iterable[Asking], threads: int, *, stops: bool = False) -> None:
    """Ask the questions of several programs in their order, by threads that they share.

    One program's slowest answers are waited for while the next one's questions are asked: a local model that answers a few is hardly
    faster than with many.

    Args:
        askings: Each is taken when those before it have no question left to hand out.
        threads: Questions at a time.
        stops: Whether to end where a server answers none of the first 20 questions, or of all.

    Raises:
        UnansweredError: See `stops`.
    """
    outage = _Outage(stops)
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
                        _take(under_way, opened, outage)
                    under_way[pool.submit(contextvars.copy_context().run, answer_one, asking.program, asking.task, example)] = asking
                _close_done(opened)
            while under_way:
                _take(under_way, opened, outage)
            outage.check()
    finally:
        for asking in opened:
            asking.close()
        pool.shutdown(wait=True, cancel_futures=True)


def _take(under_way: dict[Future[dict[str, Any]], Asking], opened: list[Asking], outage: _Outage) -> None:
    """Write the answers that have come, or else wait for the next one."""
    finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
    lines = [(under_way.pop(future), future.result()) for future in finished]
    for asking, line in lines:
        asking.take(line)
    outage.see(line for _, line in lines)
    _close_done(opened)


def _close_done(opened: list[Asking]) -> None:
    for asking in [asking for asking in opened if asking.is_done]:
        opened.remove(asking)
        asking.close()
        for model in {*asking.frees} - {model for other in opened for model in other.frees}:
            unload(model)


class AnswersOnFile(RecordsOnFile):
    """The last answers to some questions in a file of `evaluate`, one in memory as long as one goes over them.

    Args:
        path: The file.
        offsets: Where they start.
        failed: Offset of an answer -> stage -> calls that failed in the tries before it.
    """

    def __init__(self, path: Path, offsets: array[int], failed: Mapping[int, Mapping[str, int]]) -> None:
        super().__init__(path, offsets)
        self._failed = failed

    def _read(self, offsets: Sequence[int]) -> Iterator[dict[str, Any]]:
        for offset, line in zip(offsets, super()._read(offsets), strict=True):
            failed = self._failed.get(offset)
            yield line if failed is None else {**line, "usage": _with_failed(line["usage"], failed)}


def answers(path: Path, examples: Sequence[dspy.Example]) -> list[dict[str, Any]]:
    """The answers to some questions in a file of `evaluate`, one a question, in the order of `examples`; missing ones are left out.

    Raises:
        ValueError: A line is none of `evaluate`'s; names the file.
    """
    return list(answers_on_file(path, examples))


def answers_on_file(path: Path, examples: Sequence[dspy.Example]) -> AnswersOnFile:
    """As `answers`, each read when it is asked for."""
    last = _LastLines(path)
    return last.answers(example.id for example in examples if last.keys.get(example.id) == hash(_key(_question(example))))


def last_answers(path: Path, ids: Iterable[Any] | None = None) -> AnswersOnFile:
    """The last line of each id: a question that failed and was asked again counts once.

    What came to an answer in a failed try was answered from file in the next one, and stands in its `usage`; the calls
    that failed are added to it.

    Args:
        path: A file of `evaluate`; none has no answers.
        ids: Those that are wanted, in their order; by default all, in that of the file.

    Raises:
        ValueError: A line is none of `evaluate`'s.
    """
    last = _LastLines(path)
    return last.answers(last.keys if ids is None else (one for one in ids if one in last.keys))


class _LastLines:
    """The last line of each id in a file: what it answers, where it stands, and what failed before it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.keys: dict[Any, int] = {}
        self._offsets: dict[Any, int] = {}
        self._retried: dict[Any, dict[str, int]] = {}
        self._failed: dict[int, dict[str, int]] = {}
        for offset, line in read_with_offsets(path):
            if not {"id", "score", "error"} <= set(line):
                raise ValueError(
                    f"{path} has a line that is no answer: {json.dumps(line)[:100]}. Move the file away, and run the same command again."
                )
            self._take(offset, line)

    def _take(self, offset: int, line: dict[str, Any]) -> None:
        name, key = line["id"], hash(_key(line))
        retried = self._retried.pop(name, {})
        before = retried if self.keys.get(name) == key else {}
        if before:
            self._failed[offset] = before
        self.keys[name], self._offsets[name] = key, offset
        if is_to_retry(line):
            own = {stage: used.get("failed") or 0 for stage, used in line["usage"].items()}
            self._retried[name] = {stage: count for stage in {**own, **before} if (count := own.get(stage, 0) + before.get(stage, 0))}

    def answers(self, ids: Iterable[Any]) -> AnswersOnFile:
        """The answers to some questions that there are."""
        return AnswersOnFile(self._path, array("q", (self._offsets[name] for name in ids)), self._failed)


def _with_failed(usage: dict[str, Any], failed: Mapping[str, int]) -> dict[str, Any]:
    """Usage by stage, with the failed calls of the tries before."""
    more = {stage: Usage(calls=count, failed=count) for stage, count in failed.items()}
    return {**usage, **{stage: (Usage.from_dict(usage.get(stage, {})) + used).to_dict() for stage, used in more.items()}}


def is_to_retry(line: Mapping[str, Any]) -> bool:
    """Whether a line is that of a question whose call failed, which is asked again."""
    return line["score"] is None and line["error"] is not None


Key = tuple[Any, Any, Any, str]


def _key(line: Mapping[str, Any]) -> Key:
    """What a line answers: id, question, context and reference."""
    return line["id"], line.get("question"), line.get("context") or "", as_json(line.get("gold"), sort_keys=True, default=str)


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


def summarise(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A condition's entry of `metrics.json`: score with interval, states, failures, and what each stage cost.

    Args:
        lines: Of a condition; gone over once, so that they need not be in memory.

    Returns:
        `passages` among others, on how many the scored questions stand, where some share one.
    """
    scores, measures, replies, passages = array("d"), _Measures(), ReplyCounts(), array("Q")
    states, failures, usage = Counter[str](), Counter[str](), dict[str, Usage]()
    routes = _Routes()
    for line in lines:
        replies.add(line)
        routes.add(line)
        if line["score"] is not None:
            passages.append(passage_key(line.get("context"), len(scores)))
            scores.append(line["score"])
            measures.add(line.get("measures") or {})
        # A program with one stage has no decomposition to count.
        if line["state"] and "decompose" in line["usage"]:
            states[line["state"]] += 1
        if line["error"]:
            failures[line["error"].split(":")[0]] += 1
        for stage, used in line["usage"].items():
            usage[stage] = usage.get(stage, Usage()) + Usage.from_dict(used)
    interval, different = mean_interval(scores, passages=passages), len(set(passages))
    return {
        "n": replies.n,
        "scored": len(scores),
        **({"passages": different} if different < len(scores) else {}),
        "score": interval.estimate,
        "ci95": [interval.low, interval.high],
        "measures": measures.to_dict(passages),
        "unparsed": replies.unparsed,
        "counts": replies.to_dict(),
        "states": {state: states.get(state, 0) for state in STATES} if states else {},
        "failed": failures.total(),
        "failures": dict(failures),
        **routes.to_dict(),
        **{stage: used.to_dict() for stage, used in usage.items()},
    }


def scores_of(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Score by question id, of the scored ones."""
    return {line["id"]: line["score"] for line in lines if line["score"] is not None}


class _Routes:
    """Of a cascade, how many questions went which way, and why to the dear part; nothing of other programs."""

    def __init__(self) -> None:
        self._ways: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._failed = 0

    def add(self, line: Mapping[str, Any]) -> None:
        if not line.get("route"):
            return
        self._ways[line["route"]] += 1
        if line["escalated"]:
            self._reasons[line["escalated"]] += 1
        self._failed += bool(line["errors"])

    def to_dict(self) -> dict[str, Any]:
        if not self._ways:
            return {}
        found = {"first": self._ways[FIRST], "second": self._ways[SECOND]}
        return {"routes": {**found, "reasons": dict(self._reasons), "with_failed_votes": self._failed}}


class _Measures:
    """Mean and interval of the further measures of a task, over the scored lines; 0 where a line lacks one that others have."""

    def __init__(self) -> None:
        self._n = 0
        self._found: dict[str, array[float]] = {}

    def add(self, measures: Mapping[str, float]) -> None:
        for name in measures:
            if name not in self._found:
                self._found[name] = array("d", [0.0]) * self._n
        for name, values in self._found.items():
            values.append(measures.get(name, 0.0))
        self._n += 1

    def to_dict(self, passages: Sequence[int]) -> dict[str, Any]:
        intervals = {name: mean_interval(values, passages=passages) for name, values in self._found.items()}
        return {name: {"score": one.estimate, "ci95": [one.low, one.high]} for name, one in intervals.items()}
