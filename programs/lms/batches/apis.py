"""The batch APIs of providers, in one form: many requests handed in at once, answered within a day at about half the price.

OpenAI's protocol (files, then a batch of `/chat/completions`) goes through LiteLLM, which speaks it to OpenAI, Azure, Mistral and xAI, and
to a server of one's own; Anthropic's and Gemini's go through DSPy's own client (`dspy.lm15`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeAlias

from dspy import lm15
from dspy._vendor.lm15.errors import error_class_for_code
from dspy.clients.engines.litellm_engine import litellm_errors
from dspy.clients.lm15_boundary import request_kwargs

from programs.lms.api_models import load_litellm
from programs.lms.servers import address_of
from programs.lms.token_counts import as_counted_together

Outcome: TypeAlias = "lm15.Response | Exception"
"""What became of one request."""

LITELLM = ("openai", "azure", "mistral", "xai")
LM15 = ("anthropic", "gemini")

_OWN_SERVER = ("hosted_vllm", "litellm_proxy", "custom_openai", "vllm")
_ENDPOINT = "/v1/chat/completions"
_LISTED = 100


class BatchState(NamedTuple):
    """How far a batch is: whether nothing more comes, and how many of its requests are answered."""

    ended: bool
    answered: int
    total: int


class BatchApi(Protocol):
    """One provider's batch API, at one address."""

    def submit(self, requests: Sequence[lm15.Request], label: str) -> str:
        """Hand in requests to one model; the id of the batch."""

    def find(self, label: str) -> str | None:
        """The id of a batch that was handed in under a label by a process that died before it could note the id."""

    def state(self, batch: str) -> BatchState:
        """How far a batch is."""

    def outcomes(self, batch: str, model: str, count: int) -> list[Outcome]:
        """What became of each request of a batch that has ended, in their order."""


def batch_api(model: str, options: Mapping[str, Any]) -> BatchApi:
    """The batch API behind a model string.

    Args:
        model: As LiteLLM writes it: `openai/gpt-4.1-mini`, `anthropic/claude-sonnet-4-5`; with an `api_base` any model of a server that
            speaks OpenAI's batch protocol.
        options: How it is reached: `api_base`, `api_key`, `timeout`, `api_version` and LiteLLM's others.

    Raises:
        ValueError: A provider whose batches are not known here.
    """
    provider, slash, name = model.partition("/")
    own_server = bool(address_of(model, options))
    if slash and provider in LM15:
        return ProviderBatches(provider, name, options)
    if slash and provider in LITELLM:
        return OpenAIBatches(provider, options)
    if own_server and (provider in _OWN_SERVER or not slash):
        return OpenAIBatches("openai", {"api_key": "none", **options, "api_base": address_of(model, options)})
    raise ValueError(
        f"batch=true has no way to {model!r}: batches are known of {', '.join((*LITELLM, *LM15))}, and of servers with an api_base that "
        "speak OpenAI's batch protocol (as openai/NAME or hosted_vllm/NAME). Leave batch out to ask one by one."
    )


def model_name(model: str) -> str:
    """The name by which a provider knows a model, without the provider."""
    provider, slash, name = model.partition("/")
    return name if slash and provider in (*LITELLM, *LM15, *_OWN_SERVER) else model


class OpenAIBatches:
    """OpenAI's batch protocol, by LiteLLM's functions.

    Args:
        provider: LiteLLM's name of it.
        options: How it is reached, as LiteLLM takes it.
    """

    def __init__(self, provider: str, options: Mapping[str, Any]) -> None:
        self._provider = provider
        # Made again by the client, a batch that was taken though its answer was lost would be paid for twice.
        self._reach = {"max_retries": 0, **options, "custom_llm_provider": provider}

    def submit(self, requests: Sequence[lm15.Request], label: str) -> str:
        """As of `BatchApi`."""
        litellm, model = load_litellm(), model_name(requests[0].model)
        lines = [json.dumps(self._line(place, request, model), ensure_ascii=False) for place, request in enumerate(requests)]
        with litellm_errors(model=requests[0].model):
            file = litellm.create_file(file=(f"{label}.jsonl", "\n".join(lines).encode()), purpose="batch", **self._reach)
            batch = litellm.create_batch(
                completion_window="24h", endpoint=_ENDPOINT, input_file_id=file.id, metadata={"label": label}, **self._reach
            )
        return str(batch.id)

    def _line(self, place: int, request: lm15.Request, model: str) -> dict[str, Any]:
        body = request_kwargs(request, "chat")
        body |= body.pop("extra_body", None) or {}
        if self._provider not in ("openai", "azure") or "api_base" in self._reach:
            # Only OpenAI itself renamed it, and others refuse what they do not know.
            body |= {"max_tokens": body.pop("max_completion_tokens")} if "max_completion_tokens" in body else {}
        return {"custom_id": str(place), "method": "POST", "url": _ENDPOINT, "body": {"model": model, **body}}

    def find(self, label: str) -> str | None:
        """As of `BatchApi`."""
        with litellm_errors():
            listed = load_litellm().list_batches(limit=_LISTED, **self._reach)
        found = getattr(listed, "data", None) or []
        return next((str(batch.id) for batch in found if (getattr(batch, "metadata", None) or {}).get("label") == label), None)

    def state(self, batch: str) -> BatchState:
        """As of `BatchApi`."""
        found = self._retrieved(batch)
        counts = found.request_counts
        answered = (counts.completed + counts.failed) if counts else 0
        return BatchState(found.status in ("completed", "failed", "expired", "cancelled"), answered, counts.total if counts else 0)

    def outcomes(self, batch: str, model: str, count: int) -> list[Outcome]:
        """As of `BatchApi`."""
        found = self._retrieved(batch)
        outcomes: list[Outcome] = [self._unanswered(found)] * count
        for file in (found.output_file_id, found.error_file_id):
            for line in self._lines(file) if file else ():
                place = str(line.get("custom_id"))
                if place.isdecimal() and int(place) < count:
                    outcomes[int(place)] = _read(line, model, self._provider)
        return outcomes

    def _retrieved(self, batch: str) -> Any:
        with litellm_errors():
            return load_litellm().retrieve_batch(batch_id=batch, **self._reach)

    def _lines(self, file: str) -> Iterator[dict[str, Any]]:
        with litellm_errors():
            content = load_litellm().file_content(file_id=file, **self._reach)
        for line in bytes(content.content).decode().splitlines():
            if line.strip():
                yield json.loads(line)

    @staticmethod
    def _unanswered(found: Any) -> Exception:
        told = "; ".join(str(error.message) for error in (getattr(found.errors, "data", None) or []) if error.message)
        return _no_answer(found.id, found.status, told)


def _read(line: Mapping[str, Any], model: str, provider: str) -> Outcome:
    """One line of an output or error file."""
    answer = line.get("response") or {}
    status, body = int(answer.get("status_code") or 0), answer.get("body") or {}
    try:
        if status == 200:
            return as_counted_together(lm15.response_from_openai_chat(body, model=model), provider)
        told = json.dumps(body if body.get("error") else {"error": line.get("error") or body})
        return lm15.OpenAIChatLM(api_key="conversion-only").normalize_error(status or 400, told)
    except Exception as error:
        return lm15.ProviderError(f"The batch's answer cannot be read ({type(error).__name__}: {error}): {json.dumps(line)[:200]}")


def _no_answer(batch: str, status: str, told: str = "") -> Exception:
    # Not to be retried at once, as that would be another day.
    return lm15.InvalidRequestError(f"Batch {batch} is {status} and has no answer to this request. {told}".strip())


class ProviderBatches:
    """The batch API of a provider that DSPy's own client knows.

    Args:
        provider: `anthropic` or `gemini`.
        name: The model's name there.
        options: `api_base` and `api_key`, where they are not the provider's own and that of the environment.
    """

    def __init__(self, provider: str, name: str, options: Mapping[str, Any]) -> None:
        address, key = address_of(f"{provider}/{name}", options), options.get("api_key")
        reach = lm15.RouterConfig(base_urls={provider: address} if address else {}, api_keys={provider: key} if key else {})
        self._provider = provider
        self._lm = lm15.LMRouter(reach).lm(f"{provider}:{name}")

    def submit(self, requests: Sequence[lm15.Request], label: str) -> str:
        """As of `BatchApi`."""
        return self._lm.batch([replace(request, model=model_name(request.model)) for request in requests], label=label).id

    def find(self, label: str) -> str | None:
        """As of `BatchApi`."""
        return next((batch.id for batch in self._lm.batches(_LISTED) if batch.label == label), None)

    def state(self, batch: str) -> BatchState:
        """As of `BatchApi`."""
        found = self._lm.batch_status(batch)
        return BatchState(found.done, 0, 0)

    def outcomes(self, batch: str, model: str, count: int) -> list[Outcome]:
        """As of `BatchApi`."""
        outcomes: list[Outcome] = [_no_answer(batch, "ended")] * count
        for entry in self._lm.batch_results(batch):
            if entry.index < count:
                found = entry.response and as_counted_together(entry.response, self._provider)
                outcomes[entry.index] = found or _entry_error(batch, entry)
        return outcomes


def _entry_error(batch: str, entry: lm15.BatchEntry) -> Exception:
    if entry.error is None:
        return _no_answer(batch, entry.outcome)
    return error_class_for_code(entry.error.code)(entry.error.message)
