"""What every call of every LM costs: tokens, seconds, dollars, by stage and by model.

DSPy's own `track_usage` reads 0 under threads and knows no dollars, so a stage meters its calls itself: inside
`metered("decompose")` each call of any `dspy.LM` is seen by a callback (calls, seconds) and a usage tracker (tokens).
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from programs.lms.api_models import load_litellm

LOCAL_PREFIXES = ("local/", "embedded/", "hf/")


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
    """

    calls: int = 0
    cache_hits: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    usd: float | None = 0.0

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
        )

    def to_dict(self) -> dict[str, Any]:
        """The totals by name, for JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Usage:
        """The inverse of `to_dict`; unknown names are passed over."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


class Prices:
    """Dollars for a call: LiteLLM's price table for API models, seconds at an hourly price for local ones.

    Args:
        local_usd_per_hour: What an hour of this machine costs; None leaves local calls without a price.
        overrides: Model string -> (dollars per million input tokens, per million output tokens).
    """

    def __init__(self, local_usd_per_hour: float | None = None, overrides: dict[str, tuple[float, float]] | None = None) -> None:
        self.local_usd_per_hour = local_usd_per_hour
        self.overrides = overrides or {}
        self._rates: dict[str, tuple[float, float] | None] = {}

    def usd(self, model: str, input_tokens: int, output_tokens: int, seconds: float) -> float | None:
        """Dollars, or None where no price is known."""
        if model.startswith(LOCAL_PREFIXES):
            return None if self.local_usd_per_hour is None else seconds / 3600 * self.local_usd_per_hour
        rates = self.rates(model)
        return None if rates is None else (input_tokens * rates[0] + output_tokens * rates[1]) / 1e6

    def rates(self, model: str) -> tuple[float, float] | None:
        """Dollars per million input and output tokens of an API model; None if LiteLLM's table does not list it."""
        if model in self.overrides:
            return self.overrides[model]
        if model not in self._rates:
            self._rates[model] = _litellm_rates(model)
        return self._rates[model]

    def check(self, limit: str, model: str, role: str = "") -> None:
        """Refuse a limit in dollars on calls that have no price, as it would never be reached.

        Args:
            limit: What sets the limit, in words for the message.
            model: Model string of the calls to be limited.
            role: What the model is for, put before its name.

        Raises:
            ValueError: No price is known.
        """
        if self.usd(model, 1, 1, 1.0) is None:
            raise ValueError(
                f"{limit} needs a price for {role}{model}: set cost.local_usd_per_hour for models of this machine (0 if its time is "
                "free), or limit calls, tokens or minutes in place of dollars."
            )


def _litellm_rates(model: str) -> tuple[float, float] | None:
    litellm = load_litellm()
    try:
        info = litellm.get_model_info(model)
    except Exception:
        return None
    rates = info.get("input_cost_per_token"), info.get("output_cost_per_token")
    return None if None in rates else (rates[0] * 1e6, rates[1] * 1e6)


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

    def by_stage(self) -> dict[str, Usage]:
        """Totals of each stage, over models."""
        totals: dict[str, Usage] = {}
        for (stage, _), usage in self.entries().items():
            totals[stage] = totals.get(stage, Usage()) + usage
        return totals

    def entries(self) -> dict[tuple[str, str], Usage]:
        """Totals by (stage, model)."""
        with self._lock:
            return dict(self._entries)


_current: contextvars.ContextVar[Ledger | None] = contextvars.ContextVar("divide_or_conquer_ledger", default=None)
_default = Ledger()


def current_ledger() -> Ledger:
    """The ledger of the enclosing `recording`; the process-wide one outside of any."""
    return _current.get() or _default


@contextlib.contextmanager
def recording(ledger: Ledger) -> Iterator[Ledger]:
    """Send what the enclosed calls cost to `ledger`."""
    token = _current.set(ledger)
    try:
        yield ledger
    finally:
        _current.reset(token)


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
        seconds: To count in place of the measured time; None counts the measured time.
        usd: To count in place of the price by the ledger's table; None counts that price.
        cached: Whether to count the call as a cache hit: no tokens, no dollars.
    """

    call_id: str
    model: str
    started: float
    stage: str
    meter: Any
    previous: CallNote | None = None
    tokens: list[int] | None = None
    seconds: float | None = None
    usd: float | None = None
    cached: bool = False


_call: contextvars.ContextVar[CallNote | None] = contextvars.ContextVar("divide_or_conquer_call", default=None)


def current_call() -> CallNote | None:
    """The LM call that this thread or task is in; None outside of any `metered` stage."""
    return _call.get()


class _Meter(BaseCallback):
    """Sees the calls of one stage of one question; usage arrives between a call's start and its end."""

    def __init__(self, stage: str, outer: Any) -> None:
        self.total = Usage()
        self._stage = stage
        self._outer = outer
        self._ledger = current_ledger()
        self._started: dict[str, CallNote] = {}
        self._lock = threading.Lock()

    def add_usage(self, model: str, usage: dict[str, Any]) -> None:
        if self._outer is not None:
            self._outer.add_usage(model, usage)
        note = _call.get()
        # The meters around this one share the note, and would add the same tokens again.
        if note is not None and note.meter is self:
            tokens = note.tokens or [0, 0]
            tokens[0] += usage.get("prompt_tokens") or usage.get("input_tokens") or 0
            tokens[1] += usage.get("completion_tokens") or usage.get("output_tokens") or 0
            note.tokens = tokens

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        note = _call.get()
        if note is None or note.call_id != call_id:
            note = CallNote(call_id, instance.model, time.monotonic(), self._stage, self, previous=note)
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
        usage = self._usage(note, failed=exception is not None)
        with self._lock:
            self.total += usage
        if note.meter is self:
            self._ledger.add(self._stage, note.model, usage)

    def _usage(self, note: CallNote, failed: bool) -> Usage:
        seconds = time.monotonic() - note.started if note.seconds is None else note.seconds
        if note.tokens is None or note.cached:
            return Usage(1, int(not failed), int(failed), 0, 0, seconds, 0.0)
        tokens_in, tokens_out = note.tokens
        usd = self._ledger.prices.usd(note.model, tokens_in, tokens_out, seconds) if note.usd is None else note.usd
        return Usage(1, 0, int(failed), tokens_in, tokens_out, seconds, usd)


@contextlib.contextmanager
def metered(stage: str) -> Iterator[_Meter]:
    """Meter the LM calls made inside, under `stage`; `.total` of what it yields holds their sum.

    Where stages are nested, each adds the call to its sum, and the innermost alone writes it into the ledger.
    """
    meter = _Meter(stage, dspy.settings.usage_tracker)
    with dspy.context(usage_tracker=meter, callbacks=[*dspy.settings.callbacks, meter]):
        yield meter
