"""A small OpenAI-compatible server for models in this process; for GPUs and many users take vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, Literal

from dspy import lm15
from pydantic import BaseModel, ConfigDict, Field

from programs.lms import http_errors
from programs.lms.engine import AsyncLocalEngine
from programs.lms.listening import address, listening
from programs.lms.model_strings import LOCAL_PREFIXES, is_local, pinned
from programs.lms.trained_prompts import plain_prompt, prompts_of_model

with contextlib.suppress(ImportError):
    # FastAPI looks annotations up in the module.
    from starlette.requests import Request

_ROLES = {"user": "user", "assistant": "assistant", "system": "developer", "developer": "developer"}
_DEFAULT_TOKENS = 256
_LOOKED_AFTER = 0.5
"""Seconds between two looks for clients that went away."""


_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "min_p": (0,),
    "min_tokens": (0,),
    "length_penalty": (1,),
    "typical_p": (1,),
    "mirostat": (0,),
    "ignore_eos": (False,),
    "echo": (False,),
    "prompt_logprobs": (0,),
    "n_probs": (0,),
    "best_of": (1,),
    "n": (1,),
    "modalities": (["text"],),
    "audio": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "grammar": ("",),
    "json_schema": ({},),
    "regex": (),
    "ebnf": (),
    "format": ("",),
}
"""What the engine cannot do -> the values, beside null, that ask for nothing."""


class ChatMessage(BaseModel):
    """One turn; content parts other than text are refused."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[Any] | None = None

    def text(self) -> str:
        """The turn's text; an assistant's may be null.

        Raises:
            ValueError: A part that is no text, or a turn that has none.
        """
        if self.tool_calls:
            raise ValueError("Tool calls are not supported; leave tool_calls out and send text.")
        if self.content is None and self.role != "assistant":
            raise ValueError(f"The content of a turn of role {self.role!r} is null; send text.")
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(_part_text(part) for part in self.content)


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The settings of `/v1/chat/completions` that are read; null is the default of each.

    Those in `_NEUTRAL` are refused where they ask for something. Others are ignored, as most servers do: they name the
    user or the provider's service and change no answer.
    """

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def unsupported(self) -> str | None:
        """The first setting that asks for what the engine cannot do."""
        given = self.model_extra or {}
        return next((name for name, neutral in _NEUTRAL.items() if given.get(name) is not None and given[name] not in neutral), None)


def _part_text(part: dict[str, Any]) -> str:
    if part.get("type") != "text":
        raise ValueError(f"Content of type {part.get('type')!r} is not supported; send text.")
    if not isinstance(part.get("text"), str):
        raise ValueError(f"A content part of type 'text' has the text {part.get('text')!r}; expected a string under 'text'.")
    return str(part["text"])


def create_app(models: Mapping[str, str]) -> Any:
    """The server as an ASGI application.

    Args:
        models: The name that clients use -> a model string as `programs.lms.lm` takes it.

    Raises:
        ImportError: The extra `serve` is not installed.
        ValueError: A model that does not run in this process.
    """
    try:
        from fastapi import FastAPI
        from fastapi.responses import JSONResponse, StreamingResponse
    except ImportError as error:
        raise ImportError("The server is an extra: pip install 'divide-or-conquer[serve]'.") from error
    pinned = {name: _pinned(model) for name, model in models.items()}
    entries = {name: _entry(name, model) for name, model in pinned.items()}
    engine = AsyncLocalEngine()
    app = FastAPI(title="divide-or-conquer")
    http_errors.install(app)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": list(entries.values())}

    @app.get("/v1/models/{name:path}", response_model=None)
    async def one_model(name: str) -> Any:
        return entries[name] if name in entries else JSONResponse(_unknown(name, pinned), 404)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Any:
        if body.model not in pinned:
            return JSONResponse(_unknown(body.model, pinned), 404)
        if name := body.unsupported():
            message = f"{name} is not supported by models in this process; leave it out or use another server."
            return JSONResponse(http_errors.body(message, "unsupported_parameter", name), 400)
        try:
            response = await _unless_gone(request, engine.complete(_request(pinned[body.model], body)))
        except ConnectionAbortedError:
            return JSONResponse(http_errors.body("The client is gone.", "client_closed_request"), 499)
        except (lm15.LM15Error, ValueError) as error:
            content, status = _failure(error)
            return JSONResponse(content, status)
        if body.stream:
            return StreamingResponse(_chunks(body, response), media_type="text/event-stream")
        return _completion(body, response)

    return app


async def _unless_gone(request: Request, work: Coroutine[Any, Any, lm15.Response]) -> lm15.Response:
    """What `work` gives; a client that goes away ends it, so that the next ones need not wait for answers that nobody reads.

    Raises:
        ConnectionAbortedError: The client went away.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOKED_AFTER))[0]:
            if await request.is_disconnected():
                raise ConnectionAbortedError
        return task.result()
    finally:
        task.cancel()


def serve(model: str, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve one model until interrupted.

    Args:
        model: A model string; clients may use it as it stands, with its hash, or by its last part alone.
        host: Loopback unless told otherwise; the server knows no passwords.
        port: TCP port; 0 takes a free one.

    Raises:
        ImportError: The extra `serve` is not installed.
        ValueError: A model that does not run in this process, or an address that cannot be had.
    """
    names = _names(model)
    app = create_app(names)
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("The server is an extra: pip install 'divide-or-conquer[serve]'.") from error
    with listening(host, port) as listener:
        print(f"Serving {model} at {address(host, listener)}/v1 as model {next(iter(names))!r}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _names(model: str) -> dict[str, str]:
    """What clients may call a model -> the model string; first the short name of what was asked for, which may itself be one of another."""
    exact = _pinned(model)
    own, full = (name.partition("@")[0].rstrip("/").rpartition("/")[2] for name in (model, exact))
    return dict.fromkeys((own, full, model, exact), model)


def _entry(name: str, model: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(time.time()), "owned_by": "divide-or-conquer", "root": model}


def _unknown(name: str, known: Mapping[str, str]) -> dict[str, Any]:
    return http_errors.body(f"Unknown model {name!r}; this server has {sorted(known)}.", "model_not_found", "model")


def _pinned(model: str) -> str:
    if not is_local(model):
        raise ValueError(f"Cannot serve {model!r}: it does not run in this process; expected one of the prefixes {LOCAL_PREFIXES}.")
    return pinned(model)


def _request(model: str, body: ChatRequest) -> lm15.Request:
    turns = _as_trained(model, body.messages)
    system = turns.pop(0).text() if len(turns) > 1 and turns[0].role in ("system", "developer") else None
    config = lm15.Config(
        max_tokens=body.max_completion_tokens or body.max_tokens or _DEFAULT_TOKENS,
        temperature=body.temperature or 0.0,
        top_p=body.top_p,
        top_k=body.top_k if body.top_k and body.top_k > 0 else None,
        seed=body.seed,
        stop=tuple(filter(None, [body.stop] if isinstance(body.stop, str) else body.stop or ())),
    )
    messages = [lm15.Message(role=_ROLES[turn.role], parts=(lm15.TextPart(turn.text()),)) for turn in turns]
    return lm15.Request(model=model, messages=tuple(messages), system=system, config=config)


def _as_trained(model: str, turns: list[ChatMessage]) -> list[ChatMessage]:
    """A bare question in the form that the model was trained on; any other chat as it is."""
    bare = len(turns) == 1 and turns[0].role == "user"
    prompt = plain_prompt(prompts_of_model(model)) if bare else None
    return [ChatMessage.model_validate(turn) for turn in prompt.chat(turns[0].text())] if prompt else list(turns)


def _failure(error: Exception) -> tuple[dict[str, Any], int]:
    if isinstance(error, lm15.ContextLengthError):
        return http_errors.body(str(error), "context_length_exceeded", "messages"), 400
    if isinstance(error, lm15.ServerError):
        return http_errors.body(str(error), "server_error"), 500
    return http_errors.body(str(error), "invalid_value"), 400


def _usage(response: lm15.Response) -> dict[str, int]:
    inputs, outputs = response.usage.input_tokens or 0, response.usage.output_tokens or 0
    return {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}


def _head(body: ChatRequest, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": body.model}


def _completion(body: ChatRequest, response: lm15.Response) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": _text(response)}, "finish_reason": response.finish_reason}
    return _head(body, "chat.completion") | {"choices": [choice], "usage": _usage(response)}


def _chunks(body: ChatRequest, response: lm15.Response) -> Iterator[str]:
    """Server-sent events; the text comes in one, as the engine answers when it is whole."""
    head = _head(body, "chat.completion.chunk")
    for delta, finish in (({"role": "assistant", "content": _text(response)}, None), ({}, response.finish_reason)):
        yield _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    if body.stream_options and body.stream_options.include_usage:
        yield _event(head | {"choices": [], "usage": _usage(response)})
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _text(response: lm15.Response) -> str:
    return "".join(part.text for part in response.message.parts if isinstance(part, lm15.TextPart))
