"""What every call of every LM costs: tokens, seconds, dollars, by stage and by model.

DSPy's own `track_usage` reads 0 under threads and knows no dollars, so a stage meters its calls itself: inside
`metered("decompose")` each call of any `dspy.LM` is seen by a callback (calls, seconds) and a usage tracker (tokens).
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from programs.finish import LENGTH, finish_of, is_declined
from programs.lms.api_models import estimated_tokens
from programs.lms.prices import LOCAL_PREFIXES as LOCAL_PREFIXES
from programs.lms.prices import Prices as Prices
from programs.lms.token_counts import NO_PARTS, TokenParts, counts_of, hour_of, tier_of, together

_HISTORY = 512
"""How far back a call is looked for in the history of its LM: more than there are threads that put theirs in between."""


_SELDOM = ("estimated", "finishes", "cached_tokens", "written_tokens")


@dataclass
class Usage:
    """Totals of some calls.

    Attributes:
        calls: LM calls, cached ones included.
        cache_hits: Calls that DSPy's cache answered: no tokens, no dollars.
        failed: Calls that raised.
        input_tokens, output_tokens: As the provider (or the local tokenizer) counted them.
        seconds: Wall-clock time inside the calls, summed over threads.
        usd: Dollars; None as soon as one call has no known price.
        estimated: Calls whose server did not count tokens, so that they are counted here by a tokenizer that need not be the model's.
        finishes: Why replies ended, as `programs.finish.finish_of` tells it -> how many calls; failed ones have none.
        cached_tokens: Those of the input tokens that the provider found in its prompt cache.
        written_tokens: Those of the input tokens that it put there.
    """

    calls: int = 0
    cache_hits: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    usd: float | None = 0.0
    estimated: int = 0
    finishes: dict[str, int] = field(default_factory=dict)
    cached_tokens: int = 0
    written_tokens: int = 0

    @property
    def parts(self) -> TokenParts:
        """Those of the tokens that have prices of their own, as far as totals tell."""
        return TokenParts(self.cached_tokens, self.written_tokens)

    def __add__(self, other: Usage) -> Usage:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Usage(
            self.calls + other.calls,
            self.cache_hits + other.cache_hits,
            self.failed + other.failed,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
            usd,
            self.estimated + other.estimated,
            dict(Counter(self.finishes) + Counter(other.finishes)),
            self.cached_tokens + other.cached_tokens,
            self.written_tokens + other.written_tokens,
        )

    def to_dict(self) -> dict[str, Any]:
        """The totals by name, for JSON; `estimated`, `finishes` and the tokens of prompt caches only where there are some."""
        return {name: value for name, value in vars(self).items() if name not in _SELDOM or value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Usage:
        """The inverse of `to_dict`; unknown names are passed over."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


def summed(bills: Iterable[Mapping[str, Usage]]) -> dict[str, Usage]:
    """What several bills by stage come to together, by stage."""
    totals: dict[str, Usage] = {}
    for bill in bills:
        for stage, usage in bill.items():
            totals[stage] = totals.get(stage, Usage()) + usage
    return totals


class Ledger:
    """Thread-safe totals by (stage, model)."""

    def __init__(self, prices: Prices | None = None) -> None:
        self.prices = prices or Prices()
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], Usage] = {}

    def add(self, stage: str, model: str, usage: Usage) -> None:
        """Count `usage` under a stage and a model."""
        with self._lock:
            self._entries[stage, model] = self._entries.get((stage, model), Usage()) + usage

    def take(self, stage: str) -> dict[str, Usage]:
        """Totals of a stage by model, which the ledger has no longer."""
        with self._lock:
            return {model: self._entries.pop((name, model)) for name, model in [*self._entries] if name == stage}

    def by_stage(self) -> dict[str, Usage]:
        """Totals of each stage, over models."""
        return summed({stage: usage} for (stage, _), usage in self.entries().items())

    def entries(self) -> dict[tuple[str, str], Usage]:
        """Totals by (stage, model)."""
        with self._lock:
            return dict(self._entries)


_LEDGER = "divide_or_conquer_ledger"
"""A setting of DSPy, which `dspy.Parallel` and `dspy.Evaluate` hand on to their threads; other context variables they do not."""

_default = Ledger()
_active: list[_Recording] = []
_active_lock = threading.Lock()
_log = logging.getLogger("divide_or_conquer")


@dataclass(eq=False)
class _Recording:
    """A `recording` under way, and the one around it."""

    ledger: Ledger
    outer: _Recording | None
    warned: bool = False


def current_ledger() -> Ledger:
    """The ledger of the enclosing `recording`; the process-wide one outside of any.

    A thread of a plain pool knows nothing of who started it. It counts for the innermost recording under way where these
    lie within each other; where there are several side by side it counts for none of them, and the log says so.
    """
    found: _Recording | None = dspy.settings.get(_LEDGER)
    if found is not None:
        return found.ledger
    with _active_lock:
        if not _active or threading.current_thread() is threading.main_thread():
            return _default
        innermost = max(_active, key=lambda one: len(_around(one)))
        if len(_around(innermost)) == len(_active):
            return innermost.ledger
        warn, innermost.warned = not innermost.warned, True
    if warn:
        _log.warning(
            "A call in a thread of its own cannot be told to belong to one of %d recordings under way, and counts for none: start such "
            "threads by contextvars.copy_context().run, or use dspy.Parallel.",
            len(_active),
        )
    return _default


def _around(recording: _Recording) -> list[_Recording]:
    """A recording, and those around it that are still under way."""
    chain: list[_Recording] = []
    one: _Recording | None = recording
    while one is not None:
        chain.append(one)
        one = one.outer
    return [one for one in chain if one in _active]


@contextlib.contextmanager
def recording(ledger: Ledger, *, adopts: bool = True) -> Iterator[Ledger]:
    """Send what the enclosed calls cost to `ledger`, also those of `dspy.Parallel`, `dspy.Evaluate`, tasks and thread pools.

    Args:
        ledger: Gets the cost.
        adopts: Whether it counts threads too that know nothing of who started them; see `current_ledger`.
    """
    mine = _Recording(ledger, dspy.settings.get(_LEDGER))
    with _active_lock:
        _active.extend([mine] if adopts else [])
    try:
        with dspy.context(**{_LEDGER: mine}):
            yield ledger
    finally:
        with _active_lock:
            _active[:] = [one for one in _active if one is not mine]


@dataclass(eq=False)
class CallNote:
    """One LM call under way, as its innermost meter sees it.

    An engine that answers from a record, or that waited for somebody else's call, corrects here what would be measured
    wrongly: `current_call().seconds = recorded`.

    Attributes:
        call_id: DSPy's id of the call.
        model: The LM's model string.
        started: `time.monotonic()` at its start.
        stage: Name of the innermost stage around the call.
        meter: That stage's meter, the only one that writes the call into the ledger.
        previous: The call around this one (an LM that asks another LM); None at the top.
        tokens: [input, output]; None until usage was reported, as it never is for an answer from DSPy's cache.
        parts: Those of the tokens that have prices of their own.
        seconds: To count in place of the measured time; None counts the measured time.
        usd: To count in place of the price by the ledger's table; None counts that price.
        cached: Whether to count the call as a cache hit: no tokens, no dollars.
        batch: Whether it was answered in a batch, at the price of those.
        estimated: Whether the tokens are an estimate.
        finish: Why the reply ended; None leaves it to DSPy's history of the LM.
        empty: Whether a server's reply had nothing in it, and was no refusal; None leaves it to what DSPy makes of the reply.
    """

    call_id: str
    model: str
    started: float
    stage: str
    meter: Any
    previous: CallNote | None = None
    tokens: list[int] | None = None
    parts: TokenParts = NO_PARTS
    seconds: float | None = None
    usd: float | None = None
    cached: bool = False
    batch: bool = False
    estimated: bool = False
    finish: str | None = None
    empty: bool | None = None
    lm: Any = None
    prompt: Any = None


_call: contextvars.ContextVar[CallNote | None] = contextvars.ContextVar("divide_or_conquer_call", default=None)


def current_call() -> CallNote | None:
    """The LM call that this thread or task is in; None outside of any `metered` stage."""
    return _call.get()


class _Meter(BaseCallback):
    """Sees the calls of one stage of one question; usage arrives between a call's start and its end.

    Attributes:
        total: What the calls cost.
        cut_off: Whether one of their replies ended at its limit of tokens.
        empty: Whether one of their replies had nothing in it, and was no refusal.
    """

    def __init__(self, stage: str, outer: Any) -> None:
        self.total = Usage()
        self.cut_off = self.empty = False
        self._stage = stage
        self._outer = outer
        self._ledger = current_ledger()
        self._started: dict[str, CallNote] = {}
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Meter:
        # DSPy gives each thread of `dspy.Parallel` a copy of the tracker, and would lose what is counted there.
        return self

    def add_usage(self, model: str, usage: dict[str, Any]) -> None:
        if self._outer is not None:
            self._outer.add_usage(model, usage)
        note = _call.get()
        # The meters around this one share the note, and would add the same tokens again.
        if note is not None and note.meter is self:
            tokens_in, tokens_out, parts = counts_of(usage)
            tokens = note.tokens or [0, 0]
            note.tokens = [tokens[0] + tokens_in, tokens[1] + tokens_out]
            note.parts = together(note.parts, parts)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        note = _call.get()
        if note is None or note.call_id != call_id:
            note = CallNote(call_id, instance.model, time.monotonic(), self._stage, self, previous=note, lm=instance, prompt=inputs)
            _call.set(note)
        # Callbacks run from the outermost stage inwards, so the last one to claim the call is the innermost.
        note.stage, note.meter = self._stage, self
        with self._lock:
            self._started[call_id] = note

    def on_lm_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        with self._lock:
            note = self._started.pop(call_id)
        if _call.get() is note:
            _call.set(note.previous)
        entry = _history_of(note, outputs) if exception is None else None
        usage = self._usage(note, outputs, exception is not None, (entry or {}).get("response"))
        if note.finish is None and entry is not None:
            note.finish = _finish(note, entry)
        if note.finish is not None and exception is None:
            usage = replace(usage, finishes={note.finish: 1})
        if note.empty is None and exception is None:
            silent = note.finish != LENGTH and not note.model.startswith(LOCAL_PREFIXES) and _is_blank(outputs)
            note.empty = silent and not is_declined((entry or {}).get("response"))
        with self._lock:
            self.total += usage
            self.cut_off |= note.finish == LENGTH
            self.empty |= bool(note.empty)
        if note.meter is self:
            self._ledger.add(self._stage, note.model, usage)

    def _usage(self, note: CallNote, outputs: Any, failed: bool, response: Any) -> Usage:
        seconds = time.monotonic() - note.started if note.seconds is None else note.seconds
        if note.tokens is None or note.cached:
            return Usage(1, int(not failed), int(failed), 0, 0, seconds, 0.0)
        if not failed and not note.estimated:
            counted = note.tokens
            note.tokens = list(completed_tokens(note.model, counted, note.prompt, outputs))
            note.estimated = note.tokens != counted
        usd = self._price(note, seconds, response) if note.usd is None else note.usd
        (tokens_in, tokens_out), (cached, written, *_) = note.tokens, note.parts
        return Usage(1, 0, int(failed), tokens_in, tokens_out, seconds, usd, int(note.estimated), {}, cached, written)

    def _price(self, note: CallNote, seconds: float, response: Any) -> float | None:
        tokens_in, tokens_out = note.tokens or (0, 0)
        parts = note.parts if note.parts.for_an_hour is not None else note.parts._replace(for_an_hour=hour_of({}, response))
        return self._ledger.prices.usd(note.model, tokens_in, tokens_out, seconds, note.batch, parts, tier=tier_of(response))


def _history_of(note: CallNote, outputs: Any) -> Mapping[str, Any] | None:
    """A call in DSPy's history of its LM, where the provider's answer stands; None where there is no history."""
    return next((one for one in reversed(note.lm.history[-_HISTORY:]) if one.get("outputs") is outputs), None)


def _finish(note: CallNote, entry: Mapping[str, Any]) -> str | None:
    """Why a reply ended, by its entry in the history."""
    given = {**note.lm.kwargs, **(entry.get("kwargs") or {})}
    return finish_of(
        entry["response"], note.tokens[1] if note.tokens else None, given.get("max_tokens") or given.get("max_completion_tokens")
    )


def _is_blank(outputs: Any) -> bool:
    """Whether replies, as DSPy hands them on, have nothing in them: no text, no thoughts, no tool calls."""
    values = (list(reply.values()) if isinstance(reply, Mapping) else [reply] for reply in outputs or [None])
    return not any(part.strip() if isinstance(part, str) else part for reply in values for part in reply)


def completed_tokens(model: str, counted: Sequence[int | None], prompt: Any, reply: Any) -> tuple[int, int]:
    """Input and output tokens of a call: as the server counted them, and estimated where it gave none, or none for a text.

    Args:
        model: Its model string. Models of this package always count.
        counted: Input and output tokens by the server; 0 or None where it told none.
        prompt: What was asked, in any form with its texts in it.
        reply: What came back, likewise.
    """
    known_in, known_out = (int(one or 0) for one in counted)
    if model.startswith(LOCAL_PREFIXES):
        return known_in, known_out
    return known_in or estimated_tokens(prompt), known_out or estimated_tokens(reply)


@contextlib.contextmanager
def metered(stage: str) -> Iterator[_Meter]:
    """Meter the LM calls made inside, under `stage`; `.total` of what it yields holds their sum.

    Where stages are nested, each adds the call to its sum, and the innermost alone writes it into the ledger.
    """
    meter = _Meter(stage, dspy.settings.usage_tracker)
    with dspy.context(usage_tracker=meter, callbacks=[*dspy.settings.callbacks, meter]):
        yield meter
