"""Run programs on test questions, one flushed line a question."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy

from optimizers.evaluation.answering import OF_THE_SCORER, answer_one
from optimizers.evaluation.answers import answers, is_to_retry, key_of, question_of
from optimizers.evaluation.program_hash import made_by, program_hash
from optimizers.jobs.jsonlines import Lines
from optimizers.jobs.scorer_costs import score_metered
from optimizers.jobs.stopping import ASKING, telling_to_wait
from programs.lms.engine import unload
from programs.tasks.base import Task

Progress = Callable[[int, int, str], None]

_ENOUGH = 20
_OF_A_SERVER = frozenset(
    {"LMTransportError", "LMTimeoutError", "LMAuthError", "LMBillingError", "LMRateLimitError", "LMServerError", "LMProviderError",
     "LMInvalidRequestError", "LMUnsupportedModelError", "LMUnexpectedError"}
)  # fmt: skip
"""Errors that the next question will meet as well; one that is too long for its model is its own."""


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

    Raises:
        ScaleError: The task's scorer has another scale than 0 to 1.
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
                known[hash(key_of(line)), line.get("program")] = offset

        shaped_by = program_hash(self.program)
        self._made_by = {example.id: made_by(shaped_by, example) for example in self.examples}
        self._lines = Lines(self.out, visit)
        self.missing = [example for example in self.examples if not self._is_answered(example, known, last)]
        self._done = len(self.examples) - len(self.missing)
        self._report()

    def _is_answered(self, example: dspy.Example, known: Mapping[tuple[int, str | None], int], last: Mapping[Any, int]) -> bool:
        """Whether there is an answer on file, by offset; today's line of it becomes the last one of its question."""
        assert self._lines is not None
        key = hash(key_of(question_of(example)))
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
    """Nothing was answered, as the server of a model is not there or refuses, or the scorer fails on all that was."""


@dataclass
class _Outage:
    """Looks for a server or a scorer that fails always: whoever pays or waits would see it at the end otherwise, as missing scores."""

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
            failed = line["score"] is None and str(line["error"]).split(":")[0] in (*_OF_A_SERVER, OF_THE_SCORER)
            self._answered |= not failed
            self._failed, self._said = self._failed + failed, str(line["error"])
        if self._failed >= _ENOUGH:
            self.check()

    def check(self) -> None:
        """Raise where all failed."""
        if self.stops and self._failed and not self._answered:
            raise UnansweredError(
                f"None of the {self._failed} questions that were asked has an answer with a score: {self._said.rstrip('. ')}. Once this is "
                "mended, the same command asks what is missing; what was answered before is kept."
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
    asked = [(under_way.pop(future), future) for future in finished]
    lines = [(asking, future.result()) for asking, future in asked if not future.exception()]
    for asking, line in lines:
        asking.take(line)
    for _, future in asked:
        # What else has come is written first.
        future.result()
    outage.see(line for _, line in lines)
    _close_done(opened)


def _close_done(opened: list[Asking]) -> None:
    for asking in [asking for asking in opened if asking.is_done]:
        opened.remove(asking)
        asking.close()
        for model in {*asking.frees} - {model for other in opened for model in other.frees}:
            unload(model)


def _rescored(task: Task, example: dspy.Example, line: dict[str, Any] | None) -> dict[str, Any] | None:
    """A reused line with today's score of its saved answer; the line itself where nothing changed, or a model that judges is away; None if
    the scorer raises."""
    if line is None or line["error"] is not None:
        return line
    try:
        score = score_metered(task, example, dspy.Prediction(**line))
    except Exception as error:
        # A judge that is away says nothing of the answer. Else it is asked again, from the calls on file, so that its line says what the
        # scorer raised.
        return line if type(error).__name__ in _OF_A_SERVER else None
    value = None if score.is_unscored else score.value
    today = {"score": value, "detail": score.detail, "measures": dict(score.measures)}
    return line if all(line.get(name) == found for name, found in today.items()) else {**line, **today}
