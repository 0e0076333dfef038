"""Collect the teacher's traces: no call is paid for twice, and labelling is as fast as the teacher answers.

Two append-only files in a folder. `traces.jsonl` has a line for every LM call, written the moment it returns, so that a
job killed at any point repeats no call. `samples.jsonl` has a line for every finished run of the teacher on an example,
so that a finished job that is started again only reads a file. Both are read back by offset, not held in memory.

The parts, each of which needs only those before it: `optimizers.jobs.jsonlines` (the files), `journal` (calls, and limits
on them), `journaled_lm` (LMs on a journal), `samples` (runs on file), `teacher` (one run), and here `collect`, the job.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import dspy
from dspy.clients import costs

from optimizers.jobs.jsonlines import Lines
from optimizers.jobs.stopping import ASKING, telling_to_wait
from optimizers.labelling.given import Answers, is_enough, wanted
from optimizers.labelling.journal import Budget, Journal, LimitReached, Limits
from optimizers.labelling.samples import CUT_OFF, FINAL, SAMPLES, UNPARSEABLE, Collected, example_key, failure, inputs_hash, shortened
from optimizers.labelling.teacher import Teacher
from optimizers.labelling.traces import mark_of, traces_of
from optimizers.labelling.values import Types
from programs.lms.batches.engine import at_once, in_batches
from programs.lms.ledger import Usage, current_ledger
from programs.lms.rate_limits import NotSent, stoppable

Progress = Callable[[int, int, int, float | None], None]
"""Called with (done, total, failed, seconds left or None while unknown)."""

TRACES = "traces.jsonl"

_TICK_SECONDS = 0.2

_SWITCH_SECONDS = 0.0005

_SAID = 400

_FAILURES = "too many failures"


def collect(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    *,
    folder: str | Path,
    lm: dspy.LM | None = None,
    samples: int = 1,
    temperature: float | Mapping[str, float] | None = None,
    threads: int = 8,
    limits: Limits | None = None,
    progress: Progress | None = None,
    answers: Answers = "take",
    runs: Mapping[str, int] | None = None,
) -> Collected:
    """Run the teacher on every example, `samples` times; the same call again continues where it was stopped or killed.

    A run that fails costs that run alone, with the reason on file; failed calls are made again next time, unreadable
    replies are not. `program` itself is left as it is: a copy of it works, on journaled LMs.

    Args:
        program: The teacher; its predictors use their own LMs, or else `lm`.
        examples: With their inputs set (`with_inputs`); one without `id` gets a hash of its inputs as its id.
        folder: For `traces.jsonl` and `samples.jsonl`; one job at a time.
        lm: For predictors without an LM of their own; by default DSPy's configured one.
        samples: Runs of the teacher on each example. More than one needs a temperature above 0.
        temperature: A temperature for all LMs, or one for each predictor by name; None leaves each LM its own.
        threads: Runs at a time; at least `programs.lms.batches.engine.AT_ONCE` where an LM answers in batches.
        limits: When to stop with what there is; by default `Limits()`, which watches failures only.
        progress: Called a few times a second in the calling thread; also at the end.
        answers: What is done about the answer to a question that has a trace (see `optimizers.labelling.traces`), whose decomposition is
            taken as it is, without a call: `take` takes the trace's and asks where it has none, `referenced` does so where
            the question has a reference answer alone, `ask` asks, `skip` answers nothing.
        runs: Ids of examples that are run less often than `samples`, with how often.

    Returns:
        All that is on file for these examples, this program and these LMs.

    Raises:
        ValueError: Duplicate ids, examples without inputs, no LM or no key for it, samples that would all be the same, a
            limit in dollars on a model without a price, a garbled file.
        RuntimeError: Another job is working in the folder.
        OSError: The files cannot be written.
        KeyboardInterrupt: Passed on, once the runs under way are finished and written.
    """
    if samples < 1 or threads < 1:
        raise ValueError(f"samples={samples} and threads={threads} must be at least 1.")
    ids = check_examples(examples)
    folder, limits, types = Path(folder), limits or Limits(), Types()
    with Journal(folder / TRACES) as journal:
        budget = Budget(limits, journal)
        teachers = [Teacher(program, lm, journal, number, temperature, budget, types, answers) for number in range(samples)]
        check_keys(teachers[0].asked)
        _check_sampling(teachers, samples)
        _check_prices(teachers, limits)
        job = _Job(teachers, examples, ids, folder, budget, progress, types, answers, runs or {})
        try:
            with _quick_switches(), _cheap_price_lookups():
                return job.run(at_once(threads, in_batches(teachers[0].asked)))
        finally:
            job.close()


@contextlib.contextmanager
def _quick_switches() -> Iterator[None]:
    """Let threads take turns ten times as often.

    HTTP pools give up the interpreter while they hold their lock, and get it back a switch interval later: at the usual
    5 ms, 32 threads queue up behind one lock, and labelling runs at 60 % of what it does with 0.5 ms.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


@contextlib.contextmanager
def _cheap_price_lookups() -> Iterator[None]:
    """Remember what DSPy finds in its price table.

    For a model that is not listed (any self-hosted one) DSPy walks the whole table twice after every call: 2 of the
    6 ms of processor time that a call costs. The estimate is for DSPy's history, which is off here.
    """
    usual = costs.model_info
    costs.model_info = functools.lru_cache(maxsize=256)(usual)
    try:
        yield
    finally:
        costs.model_info = usual


def check_examples(examples: Sequence[dspy.Example]) -> list[str]:
    """The ids of some examples.

    Raises:
        ValueError: One has no inputs, or two have the same id.
    """
    for place, example in enumerate(examples):
        if not getattr(example, "_input_keys", None):
            raise ValueError(f"Example {place} has no inputs; say which fields are inputs: example.with_inputs('context', 'question').")
    ids = [example_key(example) for example in examples]
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        first, second = [place for place, name in enumerate(ids) if name == twice][:2]
        if not examples[second].get("id"):
            asked = f"{examples[second].inputs().toDict()!r:.200}"
            raise ValueError(f"Examples {first} and {second} are the same, {asked}; leave one of them out, or give each an id of its own.")
        raise ValueError(f"Two examples have the id {twice!r}, {first} and {second}; give each its own, or leave out one of them.")
    return ids


def check_keys(lms: Iterable[dspy.LM]) -> None:
    """Refuse an LM of which DSPy says at the first call that it has no key: by then others may have been paid.

    Raises:
        ValueError: The variable that is missing.
    """
    for used in lms:
        # An engine of one's own asks for whatever it needs.
        stock = getattr(used, "_engine_spec", None) == "auto" and type(used) is dspy.LM
        if stock and used.model.startswith("openai/") and not (used.kwargs.get("api_key") or os.environ.get("OPENAI_API_KEY")):
            address = used.kwargs.get("api_base") or used.kwargs.get("base_url")
            own = " (a server of your own that wants no key takes any word, or is asked as hosted_vllm/NAME)" if address else ""
            raise ValueError(f"{used.model!r} needs a key: set OPENAI_API_KEY, or give api_key= to the LM{own}.")


def _check_sampling(teachers: Sequence[Teacher], samples: int) -> None:
    temperatures = [used.kwargs.get("temperature") for used in teachers[0].lms]
    if samples > 1 and not any(temperatures):
        raise ValueError(
            f"samples={samples} at temperature {sorted(set(map(str, temperatures)))} would be the same text {samples} times; "
            "pass temperature=0.7 (or {'decompose': 0.7}), or samples=1."
        )


def _check_prices(teachers: Sequence[Teacher], limits: Limits) -> None:
    for used in teachers[0].lms:
        if limits.usd is not None:
            current_ledger().prices.check(f"A limit of {limits.usd:g} dollars", used.model)


class _Job:
    """One `collect`: hands out runs to threads, writes what they return, watches when to stop."""

    def __init__(
        self,
        teachers: Sequence[Teacher],
        examples: Sequence[dspy.Example],
        ids: Sequence[str],
        folder: Path,
        budget: Budget,
        progress: Progress | None,
        types: Types,
        answers: Answers,
        runs: Mapping[str, int],
    ) -> None:
        self._types, self._answers = types, answers
        self._teachers, self._examples, self._ids, self._budget, self._progress = teachers, examples, ids, budget, progress
        self._offsets = array("q", [-1]) * (len(ids) * len(teachers))
        # A question with traces has as many runs as it has traces, as no teacher is asked about it.
        self._runs = [min(_runs(example, teachers), runs.get(name, len(teachers))) for name, example in zip(ids, examples, strict=True)]
        self._total, self._traced = sum(self._runs), 0
        self._places = {example_id: place for place, example_id in enumerate(ids)}
        self._hashes = [inputs_hash(example) for example in examples]
        self._retry: dict[int, dict[str, Any]] = {}
        self._usage: dict[tuple[str, str], Usage] = {}
        self._formats: dict[str, set[str]] = {}
        self._failed: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._done = 0
        self._stopped: str | None = None
        self._lock = threading.Lock()
        self._lines = Lines(folder / SAMPLES, self._visit)
        self._folder = folder
        self._resumed = self._done
        self._queue = self._pending()

    def close(self) -> None:
        self._lines.close()

    def _visit(self, record: dict[str, Any], offset: int) -> None:
        example = self._places.get(record["example"])
        number = record["sample"]
        if example is None or number >= self._runs[example]:
            return
        if (record["program"], record["inputs"]) != (self._teachers[number].fingerprint, self._hashes[example]):
            return
        if not self._is_of_its_trace(record, self._examples[example], self._teachers[number]):
            return
        if not self._types.knows_all([record["calls"], record["prediction"]]):
            # Made again from the calls on file, in a process that has the classes.
            return
        place = example * len(self._teachers) + number
        self._offsets[place] = offset
        if record["error"] not in FINAL:
            self._retry[place] = record
        else:
            self._retry.pop(place, None)
            self._count(record)

    def _is_of_its_trace(self, record: Mapping[str, Any], example: dspy.Example, teacher: Teacher) -> bool:
        trace = teacher.trace_of(example)
        if trace is None:
            return "traced" not in record
        return record.get("traced") == mark_of(trace) and is_enough(record.get("answers"), wanted(self._answers, example))

    def _count(self, record: Mapping[str, Any]) -> None:
        self._done += 1
        self._traced += "traced" in record
        reason = failure(record["error"], record["prediction"])
        if reason:
            self._failed[reason] += 1
            self._first.setdefault(reason, f"example {record['example']!r}: {_said(record)}")
        for predictor, names in record.get("formats", {}).items():
            self._formats.setdefault(predictor, set()).update(names)
        for stage, models in record["usage"].items():
            for model, usage in models.items():
                self._usage[stage, model] = self._usage.get((stage, model), Usage()) + Usage.from_dict(usage)

    def _pending(self) -> Iterator[tuple[int, int]]:
        """Runs that are missing, by sample number first: a job that is stopped has seen as many examples as it could."""
        for number in range(len(self._teachers)):
            for example in range(len(self._ids)):
                if number >= self._runs[example]:
                    continue
                place = example * len(self._teachers) + number
                if self._offsets[place] < 0 or place in self._retry:
                    yield example, number

    def run(self, threads: int) -> Collected:
        started = time.monotonic()
        missing = self._total - self._done
        with ThreadPoolExecutor(max(1, min(threads, missing)), thread_name_prefix=ASKING) as pool, telling_to_wait():
            try:
                workers = [pool.submit(contextvars.copy_context().run, self._work) for _ in range(min(threads, missing))]
                while wait(workers, timeout=_TICK_SECONDS).not_done:
                    self._report(started)
            except BaseException:
                # The pool's exit waits for the runs under way, which write what they find.
                self._stop("interrupted")
                raise
        for worker in workers:
            worker.result()
        # Failures of an earlier run that were not made again: counted before the last report, which then agrees with the result.
        for record in self._retry.values():
            self._count(record)
        self._report(started)
        return self._collected()

    def _work(self) -> None:
        try:
            with stoppable(self._budget.stopped):
                while (task := self._next()) is not None:
                    self._record(*task)
        except LimitReached as limit:
            self._stop(str(limit))
        except NotSent:
            self._stop("interrupted")
        except BaseException as error:
            self._stop(f"error:{type(error).__name__}")
            raise

    def _next(self) -> tuple[int, int] | None:
        with self._lock:
            return None if self._stopped else next(self._queue, None)

    def _record(self, example: int, number: int) -> None:
        record = self._teachers[number](self._examples[example], self._ids[example], self._hashes[example])
        offset = self._lines.append(record)
        place = example * len(self._teachers) + number
        with self._lock:
            self._offsets[place] = offset
            self._retry.pop(place, None)
            self._count(record)
            self._watch_failures()

    def _watch_failures(self) -> None:
        if self._too_many_failed():
            self._stopped = self._stopped or _FAILURES

    def _too_many_failed(self) -> bool:
        failures, limits = self._failed.total(), self._budget.limits
        return failures >= limits.min_failures and failures > limits.failure_share * self._done and limits.failure_share < 1

    def _why_stopped(self) -> str | None:
        """Why the job ended; the failures are counted at the end, as other runs were under way when there were too many."""
        if self._stopped != _FAILURES:
            return self._stopped
        reasons = "; ".join(f"{count} {reason}, the first at {self._first[reason]}" for reason, count in self._failed.most_common())
        longer = (
            "; a longer limit for replies that are cut off is max_tokens of the teacher (teacher.max_tokens)"
            if self._failed[CUT_OFF]
            else ""
        )
        return f"{self._failed.total()} of {self._done} runs failed ({reasons}){longer}"

    def _stop(self, reason: str) -> None:
        with self._lock:
            self._stopped = self._stopped or reason
        self._budget.stopped.set()

    def _report(self, started: float) -> None:
        if self._progress is None:
            return
        with self._lock:
            done, failed = self._done, self._failed.total()
        fresh = done - self._resumed
        left = (time.monotonic() - started) / fresh * (self._total - done) if fresh else None
        self._progress(done, self._total, failed, left)

    def _collected(self) -> Collected:
        collected = Collected(self._folder, self._ids, len(self._teachers), self._offsets, self._types)
        collected.stopped, collected.done, collected.traced = self._why_stopped(), self._done, self._traced
        collected.failed, collected.first_failures, collected.formats = self._failed, self._first, self._formats
        for (stage, _), usage in self._usage.items():
            collected.usage[stage] = collected.usage.get(stage, Usage()) + usage
        return collected


def _runs(example: dspy.Example, teachers: Sequence[Teacher]) -> int:
    """How many runs an example has."""
    traces = traces_of(example) if teachers[0].takes_traces else []
    return min(len(traces), len(teachers)) or len(teachers)


def _said(record: Mapping[str, Any]) -> str:
    """What the failed run of a line says, shortened: its error, or the reply that the program went on with."""
    prediction = record["prediction"]
    if record["error"]:
        return shortened(record.get("message") or record["error"], _SAID)
    lines = prediction.get("lines") if prediction.get("state") == UNPARSEABLE else None
    return f"the reply {shortened(chr(10).join(lines) if lines is not None else str(prediction.get('answer')))!r} cannot be read"
