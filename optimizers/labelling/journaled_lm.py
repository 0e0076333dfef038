"""LMs that answer from a journal, and ask the real LM for what is not in it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy import lm15
from dspy._vendor.lm15.serde import request_to_dict, response_from_dict, response_to_dict
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.utils.callback import BaseCallback

from optimizers.labelling.journal import CACHE_FIELDS, Budget, Journal, LimitReached, digest
from programs.finish import LENGTH, STOP, finish_of, is_declined
from programs.lms.api_models import PatientLM, aask, ask
from programs.lms.batches.engine import BATCH
from programs.lms.ledger import LOCAL_PREFIXES, completed_tokens, current_call, current_ledger
from programs.lms.rate_limits import NotSent, Waited, waits
from programs.lms.token_counts import TokenParts, counts_of, tier_of
from programs.lms.whole_answers import AsyncWholeAnswers, WholeAnswers
from programs.turns import without_thoughts


@dataclass
class _Run:
    """One run of the teacher on one example: whose calls these are."""

    example_id: str
    sample: int
    claimed: set[str] = field(default_factory=set)


@dataclass
class _Asked:
    """One call of a journaled LM: DSPy's rollout id, and how many candidates (`n`) were made so far."""

    rollout_id: Any = None
    candidates: int = 0


_RUN = "divide_or_conquer_run"
"""A setting of DSPy, which `dspy.Parallel` hands on to its threads."""

_asked: contextvars.ContextVar[_Asked | None] = contextvars.ContextVar("divide_or_conquer_asked", default=None)


@contextlib.contextmanager
def calls_of(example_id: str, sample: int) -> Iterator[None]:
    """Journal the enclosed calls as those of one run of the teacher on one example."""
    with dspy.context(**{_RUN: _Run(example_id, sample)}):
        yield


def _current_run() -> _Run | None:
    return dspy.settings.get(_RUN)


class _Asking(BaseCallback):
    """Tells the engine what DSPy keeps from a Request: the rollout id, and that `n` candidates are one call."""

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        rollout_id = (inputs.get("kwargs") or {}).get("rollout_id", instance.kwargs.get("rollout_id"))
        _asked.set(_Asked(rollout_id))


class _Captor:
    """A usage tracker for one call; stays None when DSPy's cache answered."""

    usage: dict[str, Any] | None = None

    def add_usage(self, model: str, usage: dict[str, Any]) -> None:
        self.usage = dict(usage)


@dataclass
class _Ticket:
    """A call to look up or to make."""

    request: lm15.Request
    record: dict[str, Any]
    options: dict[str, Any]


class JournalEngine(WholeAnswers):
    """DSPy engine that answers from a journal, and asks `inner` for what is not in it.

    Attributes:
        further: Options of the inner LM that only its server or LiteLLM knows; they go with every request.
    """

    def __init__(
        self,
        inner: dspy.LM,
        journal: Journal,
        stage: str | None,
        sample: int,
        budget: Budget | None,
        further: dict[str, Any] | None = None,
    ) -> None:
        self._inner, self._journal, self._stage, self._sample, self._budget = inner, journal, stage, sample, budget
        self.further = further or {}

    def complete(self, request: lm15.Request) -> lm15.Response:
        """The recorded response, or that of the inner LM, which is recorded now."""
        ticket = self._ticket(request)
        found = self._journal.begin(ticket.record["key"])
        if found is None:
            return self._made(ticket)
        return _answer(found.result() if isinstance(found, Future) else found)

    async def acomplete(self, request: lm15.Request) -> lm15.Response:
        """`complete` without blocking the event loop."""
        ticket = self._ticket(request)
        found = self._journal.begin(ticket.record["key"])
        if found is None:
            return await self._amade(ticket)
        return _answer(await asyncio.wrap_future(found) if isinstance(found, Future) else found)

    def _ticket(self, request: lm15.Request) -> _Ticket:
        run, asked, call = _current_run(), _asked.get() or _Asked(), current_call()
        greedy = request.config.temperature == 0
        sample, rollout = (0, None) if greedy else (self._sample, asked.rollout_id)
        candidate, asked.candidates = (0 if greedy else asked.candidates), asked.candidates + 1
        request = _with_further(request, self.further)
        request = _reseeded(request, sample + candidate + _shift(request.model, rollout))
        whole = request_to_dict(request)
        prompt = digest({name: whole.get(name) for name in ("system", "messages", "tools")})
        unique = [request.model, prompt, whole.get("config"), sample, rollout, candidate]
        varied = (sample, rollout, candidate) != (0, None, 0)
        record = {
            "key": digest(unique),
            "example": run.example_id if run else None,
            "sample": run.sample if run else self._sample,
            "stage": self._stage or (call.stage if call else None),
            "model": request.model,
            "prompt": prompt[:16],
        }
        return _Ticket(request, record, {"rollout_id": f"{sample}/{rollout}/{candidate}"} if varied else {})

    def _made(self, ticket: _Ticket) -> lm15.Response:
        with self._making(ticket) as (captor, started, waited):
            response = ask(self._inner, request=ticket.request, **ticket.options)
            if _is_kept_silence(response, captor):
                response = ask(self._inner, request=ticket.request, cache=False, **ticket.options)
        return self._kept(ticket, response, captor, started + waited.seconds)

    async def _amade(self, ticket: _Ticket) -> lm15.Response:
        with self._making(ticket) as (captor, started, waited):
            response = await aask(self._inner, request=ticket.request, **ticket.options)
            if _is_kept_silence(response, captor):
                response = await aask(self._inner, request=ticket.request, cache=False, **ticket.options)
        return self._kept(ticket, response, captor, started + waited.seconds)

    @contextlib.contextmanager
    def _making(self, ticket: _Ticket) -> Iterator[tuple[_Captor, float, Waited]]:
        """Around the call of the inner LM: it is within the budget, its tokens, start and waits are told, and on file if it fails."""
        self._admit(ticket)
        captor, started = _Captor(), time.monotonic()
        # What surrounds the journaled LM has seen this call already: seen twice, it would be counted twice.
        quiet = dspy.context(usage_tracker=captor, callbacks=[], disable_history=True, send_stream=None)
        try:
            with quiet, waits() as waited:
                yield captor, started, waited
        except NotSent as left:
            self._end(ticket.record, left, write=False)
            raise
        except BaseException as error:
            self._failed(ticket, error, started)
            raise

    def _admit(self, ticket: _Ticket) -> None:
        try:
            if self._budget:
                self._budget.take()
        except LimitReached as error:
            self._journal.end(ticket.record, error, write=False)
            raise

    def _failed(self, ticket: _Ticket, error: BaseException, started: float) -> None:
        message = f"{type(error).__name__}: {error}"[:500]
        self._end({**ticket.record, "error": message, **_clock(started)}, error)

    def _kept(self, ticket: _Ticket, response: lm15.Response, captor: _Captor, started: float) -> lm15.Response:
        try:
            record = self._record(ticket, response, captor, started)
        except BaseException as error:  # Else whoever waits for this call would wait for ever.
            self._failed(ticket, error, started)
            raise
        self._end(record)
        return _answer(record)

    def _record(self, ticket: _Ticket, response: lm15.Response, captor: _Captor, started: float) -> dict[str, Any]:
        """The journal's line of a call that was answered."""
        record = {**ticket.record, **_response_fields(response, captor.usage, self._limit(ticket.request)), **_clock(started)}
        # A local model tells its share of the batch's time; the wait in its queue is nobody's cost.
        record["seconds"] = (response.provider_data or {}).get("seconds", record["seconds"])
        if not record.get("cached"):
            record |= _counted(ticket.request, response, record)
        if not record.get("cached") and (response.provider_data or {}).get(BATCH):
            record[BATCH] = True
        record["usd"] = None if record.get("cached") else _usd(record, counts_of(captor.usage or {}, response)[2], tier_of(response))
        return record

    def _limit(self, request: lm15.Request) -> int | None:
        return request.config.max_tokens or (self._inner.limit({"request": request}) if isinstance(self._inner, PatientLM) else None)

    def _end(self, record: dict[str, Any], error: BaseException | None = None, write: bool = True) -> None:
        try:
            self._journal.end(record, error, write)
        finally:
            if self._budget:
                self._budget.give_back()


class AsyncJournalEngine(AsyncWholeAnswers):
    """A `JournalEngine` for asynchronous calls."""

    def __init__(self, engine: JournalEngine) -> None:
        self._engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """As `JournalEngine.complete`."""
        return await self._engine.acomplete(request)


def journaled(lm: dspy.LM, journal: Journal, *, stage: str | None = None, sample: int = 0, limits: Budget | None = None) -> dspy.LM:
    """An LM like `lm` that asks `lm` only for what `journal` does not have.

    Same model string, sampling options and provider. A call that is in the journal counts in the enclosing `metered`
    stage with its recorded tokens, seconds and dollars, as if it were made now; a call that was made for another
    example counts as a cache hit. Identical calls under way are made once. With temperature 0 all samples are the same
    call.

    Args:
        lm: The LM to ask. Its retries, cache, timeout and connection stay its own.
        journal: Where calls are kept.
        stage: Name of the stage in the journal's lines; by default that of the enclosing `metered`.
        sample: Number of the sample, from 0; above 0, DSPy's cache is bypassed and a fixed seed is moved.
        limits: A budget to ask before every call that is not in the journal.

    Raises:
        ValueError: `lm` has an option that JSON cannot hold, which a journal cannot key.
    """
    options = {name: value for name, value in lm.kwargs.items() if name not in CLIENT_KEYS}
    further = _further(lm.model, options)
    options = {name: value for name, value in options.items() if name not in further}
    # Asked for what DSPy's own client does not know, an LM is asked by LiteLLM, as it would be without a journal.
    inner = lm.copy(engine="litellm") if further and getattr(lm, "engine", None) == "auto" else lm
    engine = JournalEngine(inner, journal, stage, sample, limits, further)
    wrapped = dspy.LM(
        lm.model,
        model_type=lm.model_type,
        cache=False,
        num_retries=0,
        callbacks=[_Asking()],
        provider=getattr(lm, "provider", None),
        engine=engine,
        async_engine=AsyncJournalEngine(engine),
    )
    # Past the constructor, which renames the options of reasoning models and would do so a second time.
    wrapped.kwargs = options
    for name in ("finetuning_model", "launch_kwargs", "train_kwargs", "use_developer_role"):
        if hasattr(lm, name):
            setattr(wrapped, name, getattr(lm, name))
    return wrapped


def all_options(lm: dspy.LM) -> dict[str, Any]:
    """The options of an LM that shape its texts; of a journaled one also those that its journal adds to the requests."""
    engine = getattr(lm, "engine", None)  # a plain BaseLM has none
    return {**lm.kwargs, **(engine.further if isinstance(engine, JournalEngine) else {})}


def _further(model: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that DSPy's requests have no field for: `extra_body`, `min_p`, `num_ctx`, `thinking`, ..."""
    plain = {name: value for name, value in options.items() if value is not None and name not in ("n", "rollout_id", "prompt_cache")}
    further = {name: value for name, value in plain.items() if not _has_a_field(model, name, value)}
    for name, value in further.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The option {name}={value!r} of {model} cannot be journaled ({error}): a call is told apart by its options as JSON; give "
                "numbers, texts, true, false, null, and lists and dicts of these, or leave it out."
            ) from error
    return further


def _has_a_field(model: str, name: str, value: Any) -> bool:
    try:
        lm15.request_from_openai_chat({"model": model, "messages": [{"role": "user", "content": "?"}], name: value})
    except Exception:
        return False
    return True


def _with_further(request: lm15.Request, further: dict[str, Any]) -> lm15.Request:
    if not further:
        return request
    extensions = {**(request.config.extensions or {}), **further}
    return dataclasses.replace(request, config=dataclasses.replace(request.config, extensions=extensions))


def _reseeded(request: lm15.Request, number: int) -> lm15.Request:
    seed = request.config.seed
    # A local model draws by its seed alone, so that without one all its samples would be the same text.
    if number == 0 or (seed is None and not request.model.startswith(LOCAL_PREFIXES)):
        return request
    return dataclasses.replace(request, config=dataclasses.replace(request.config, seed=(seed or 0) + number))


def _shift(model: str, rollout: Any) -> int:
    """How far DSPy's rollout id moves the seed of a local model, which never sees the id itself."""
    return int(digest(rollout)[:6], 16) if rollout and model.startswith(LOCAL_PREFIXES) else 0


def _clock(started: float) -> dict[str, float]:
    return {"seconds": round(time.monotonic() - started, 6), "time": round(time.time(), 3)}


def _response_fields(response: lm15.Response, usage: dict[str, Any] | None, max_tokens: int | None) -> dict[str, Any]:
    """A response as fields of a line: its text, or all of it where it has more than text."""
    parts = response.message.parts
    known = response.usage
    tokens_in, tokens_out, counted = counts_of(usage or {}, response)
    tokens = (known.input_tokens, known.output_tokens) if usage is None else (tokens_in, tokens_out)
    finish = finish_of(response, tokens[1], max_tokens)
    fields: dict[str, Any] = {"text": response.message.text, "finish": finish}
    fields |= {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    fields |= {name: count for name, count in zip(CACHE_FIELDS, counted[:2], strict=True) if count}
    if usage is None:
        fields["cached"] = True
    if finish != LENGTH and _is_empty(response):
        fields["empty"] = True
    if response.logprobs is not None or len(parts) != 1 or not isinstance(parts[0], lm15.TextPart):
        fields["response"] = response_to_dict(response)
    return fields


def _is_kept_silence(response: lm15.Response, captor: _Captor) -> bool:
    """Whether DSPy's cache gave an empty reply, which would come back from it however often it is asked."""
    return captor.usage is None and _is_empty(response)


def _is_empty(response: lm15.Response) -> bool:
    """Whether a server gave nothing, which it may not do again: a refusal or a local model would, and a limit has its own name."""
    if is_declined(response):
        return False
    local, texts = response.model.startswith(LOCAL_PREFIXES), (getattr(part, "text", part) for part in response.message.parts)
    return not local and not any(text.strip() if isinstance(text, str) else True for text in texts)


def _counted(request: lm15.Request, response: lm15.Response, record: dict[str, Any]) -> dict[str, Any]:
    """The tokens of a call, and whether they are an estimate."""
    counted = record["input_tokens"], record["output_tokens"]
    tokens = completed_tokens(request.model, counted, request, response)
    estimated = {"estimated": True} if tokens != (counted[0] or 0, counted[1] or 0) else {}
    return {"input_tokens": tokens[0], "output_tokens": tokens[1], **estimated}


def _usd(record: dict[str, Any], parts: TokenParts, tier: str | None) -> float | None:
    """Dollars for a call that was paid for; None without a price."""
    tokens = record["input_tokens"] or 0, record["output_tokens"] or 0
    return current_ledger().prices.usd(record["model"], *tokens, record["seconds"], BATCH in record, parts, tier=tier)


def _answer(record: dict[str, Any]) -> lm15.Response:
    """The response of a line, with its cost told to the meter of the stage that asks."""
    run, call = _current_run(), current_call()
    # The run that made a call bears its cost, whoever asks first after a restart: so totals do not hang on chance.
    free = run is not None and ((record["example"], record["sample"]) != (run.example_id, run.sample) or record["key"] in run.claimed)
    if run is not None:
        run.claimed.add(record["key"])
    if call is not None:
        call.seconds, call.usd = 0.0 if free else record["seconds"], record.get("usd")
        call.cached = free or bool(record.get("cached"))
        call.estimated, call.empty = bool(record.get("estimated")), bool(record.get("empty"))
        call.finish = record["finish"]
    cached, written = (record.get(name) for name in CACHE_FIELDS)
    usage = lm15.Usage(
        input_tokens=record["input_tokens"], output_tokens=record["output_tokens"], cache_read_tokens=cached, cache_write_tokens=written
    )
    finish = record["finish"] if record["finish"] in lm15.FINISH_REASONS else STOP
    if "response" in record:
        whole = response_from_dict(record["response"])
        parts = [lm15.TextPart(without_thoughts(part.text)) if isinstance(part, lm15.TextPart) else part for part in whole.message.parts]
        return dataclasses.replace(whole, message=dataclasses.replace(whole.message, parts=tuple(parts)), finish_reason=finish, usage=usage)
    message = lm15.Message.assistant([lm15.TextPart(without_thoughts(record["text"]))])
    return lm15.Response(id=None, model=record["model"], message=message, finish_reason=finish, usage=usage)
