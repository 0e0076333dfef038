"""Requests of lm15 as models in this process take them, and what these give as lm15's answers and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dspy import lm15

from programs.lms.backends.base import GenerateResult


def refuse_unsupported(request: lm15.Request) -> None:
    """Refuse what no model in this process can do, before it is loaded.

    Raises:
        lm15.UnsupportedFeatureError: Names the setting.
    """
    config = request.config
    unsupported = {
        "tools": bool(request.tools),
        "response_format": config.response_format is not None,
        "logprobs": config.logprobs is not None,
        "frequency_penalty": bool(config.frequency_penalty),
        "presence_penalty": bool(config.presence_penalty),
    }
    for name, asked in unsupported.items():
        if asked:
            raise lm15.UnsupportedFeatureError(f"{request.model} runs in this process, without {name}; leave it out or use another model.")


def messages_of(request: lm15.Request) -> list[dict[str, str]]:
    """The chat of a request, as tokenizers take it."""
    system = request.system if isinstance(request.system, str) or not request.system else _text(request.system)
    messages = [{"role": "system", "content": str(system)}] if system else []
    for message in request.messages:
        role = "system" if message.role == "developer" else message.role
        messages.append({"role": role, "content": _text(message.parts)})
    return messages


def _text(parts: Sequence[Any]) -> str:
    for part in parts:
        if not isinstance(part, lm15.TextPart):
            raise lm15.UnsupportedFeatureError(f"A local model reads text, not {type(part).__name__}.")
    return "".join(part.text for part in parts)


def key_to_join(request: lm15.Request) -> Any:
    """What makes two requests the same one; none where each must be drawn on its own."""
    config = request.config
    if config.temperature and config.seed is None:
        return None
    settings = (config.max_tokens, config.temperature, config.top_p, config.top_k, config.stop, config.seed)
    return repr((request.system, request.messages, settings))


def rollout_of(request: lm15.Request) -> Any:
    """An id that tells samples of one request apart, given as `metadata={'rollout_id': …}`."""
    metadata = (request.config.extensions or {}).get("metadata")
    return metadata.get("rollout_id") if isinstance(metadata, dict) else None


def response_of(model: str, result: GenerateResult, backend: str) -> lm15.Response | BaseException:
    """What a caller is told of a backend's result: an answer, or an error to raise."""
    if result.error:
        return (lm15.ContextLengthError if result.too_long else lm15.ServerError)(f"{model}: {result.error}")
    return lm15.Response(
        id=None,
        model=model,
        message=lm15.Message.assistant([lm15.TextPart(result.text)]),
        finish_reason=result.finish_reason,
        usage=lm15.Usage(input_tokens=result.input_tokens, output_tokens=result.output_tokens),
        provider_data={"seconds": result.seconds, "backend": backend},
    )


def joined(response: lm15.Response) -> lm15.Response:
    """The answer for those who asked while it was under way: it cost no time of its own."""
    return replace(response, provider_data={**(response.provider_data or {}), "seconds": 0.0, "joined": True})


def check_text(*texts: str) -> None:
    """Refuse half characters, which no tokenizer takes.

    Raises:
        ValueError: Names the first.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"U+{ord(text[error.start]):04X}"
            raise ValueError(f"it holds {half}, half of a surrogate pair, which is no text; send whole characters") from None


def refused(model: str, error: Exception) -> BaseException:
    """What a request is told that cannot be turned into a prompt."""
    return error if isinstance(error, lm15.LM15Error) else lm15.InvalidRequestError(f"{model} cannot be asked this: {error}")


def as_lm15(error: BaseException) -> BaseException:
    """What a request is told whose model could not be loaded."""
    if isinstance(error, lm15.LM15Error):
        return error
    if isinstance(error, ValueError):
        return lm15.UnsupportedModelError(str(error))
    return lm15.ServerError(f"{type(error).__name__}: {error}")
