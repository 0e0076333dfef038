"""A small OpenAI-compatible server for models in this process; for GPUs and many users take vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import time
import uuid
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dspy import lm15

from programs.lms import http_errors
from programs.lms.chat_requests import ChatMessage, ChatRequest
from programs.lms.engine import AsyncLocalEngine
from programs.lms.listening import address, listening
from programs.lms.model_strings import LOCAL_PREFIXES, is_local, pinned
from programs.lms.trained_prompts import is_plain, plain_prompt, prompts_of_model

with contextlib.suppress(ImportError):
    # FastAPI looks annotations up in the module.
    from starlette.requests import Request

T = TypeVar("T")
_ROLES = {"user": "user", "assistant": "assistant", "system": "developer", "developer": "developer"}
_DEFAULT_TOKENS = 256
_QUESTION = "Who is the father of the teacher of Eva Finch?"
_LOOKED_AFTER = 0.5
"""Seconds between two looks for clients that went away."""


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
            asked = _request(pinned[body.model], body)
            responses = await _unless_gone(request, asyncio.gather(*map(engine.complete, _each(asked, body.n or 1))))
        except ConnectionAbortedError:
            return JSONResponse(http_errors.body("The client is gone.", "client_closed_request"), 499)
        except (lm15.LM15Error, ValueError) as error:
            content, status = _failure(error)
            return JSONResponse(content, status)
        if body.stream:
            return StreamingResponse(_chunks(body, responses), media_type="text/event-stream")
        return _completion(body, responses)

    return app


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
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
        # Of an end that nobody looks at, asyncio writes a traceback to the terminal.
        await asyncio.gather(task, return_exceptions=True)


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
        print(_welcome(model, f"{address(host, listener)}/v1", next(iter(names))), flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _welcome(model: str, base: str, name: str) -> str:
    """Where the model is, and a question to it that can be pasted into a shell."""
    plain = plain_prompt(prompts_of_model(model))
    form = "A question alone is put into the form that the model was trained on." if plain else "Chats are put as they are."
    asked = {"model": name, "messages": [{"role": "user", "content": _QUESTION}]}
    curl = ["curl", f"{base}/chat/completions", "-H", "Content-Type: application/json", "-d", json.dumps(asked)]
    return f"Serving {model} at {base} as model {name!r}. {form} Ctrl-C ends it. To ask it, in another terminal:\n  {shlex.join(curl)}"


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
        max_tokens=body.limit or _DEFAULT_TOKENS,
        temperature=body.temperature or 0.0,
        top_p=body.top_p,
        top_k=body.top_k if body.top_k and body.top_k > 0 else None,
        seed=body.seed,
        stop=tuple(filter(None, [body.stop] if isinstance(body.stop, str) else body.stop or ())),
    )
    messages = [lm15.Message(role=_ROLES[turn.role], parts=(lm15.TextPart(turn.text()),)) for turn in turns]
    return lm15.Request(model=model, messages=tuple(messages), system=system, config=config)


def _each(request: lm15.Request, n: int) -> list[lm15.Request]:
    """The request for each of `n` answers; with a seed each has its own, the first the one that was given."""
    seed = request.config.seed
    if seed is None or n == 1:
        return [request] * n
    return [replace(request, config=replace(request.config, seed=seed + i)) for i in range(n)]


def _as_trained(model: str, turns: list[ChatMessage]) -> list[ChatMessage]:
    """A plain question in the form that the model was trained on; any other chat as it is."""
    prompt = plain_prompt(prompts_of_model(model)) if is_plain([turn.role for turn in turns]) else None
    return [ChatMessage.model_validate(turn) for turn in prompt.chat(turns[-1].text())] if prompt else list(turns)


def _failure(error: Exception) -> tuple[dict[str, Any], int]:
    if isinstance(error, lm15.ContextLengthError):
        return http_errors.body(str(error), "context_length_exceeded", "messages"), 400
    if isinstance(error, lm15.ServerError):
        return http_errors.body(str(error), "server_error"), 500
    return http_errors.body(str(error), "invalid_value"), 400


def _usage(responses: Sequence[lm15.Response]) -> dict[str, int]:
    """Tokens: of the prompt once, of all answers."""
    inputs, outputs = responses[0].usage.input_tokens or 0, sum(response.usage.output_tokens or 0 for response in responses)
    return {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}


def _head(body: ChatRequest, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": body.model}


def _completion(body: ChatRequest, responses: Sequence[lm15.Response]) -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": _text(response)}, "finish_reason": response.finish_reason}
        for index, response in enumerate(responses)
    ]
    return _head(body, "chat.completion") | {"choices": choices, "usage": _usage(responses)}


def _chunks(body: ChatRequest, responses: Sequence[lm15.Response]) -> Iterator[str]:
    """Server-sent events; the text comes in one, as the engine answers when it is whole."""
    head = _head(body, "chat.completion.chunk")
    for index, response in enumerate(responses):
        for delta, finish in (({"role": "assistant", "content": _text(response)}, None), ({}, response.finish_reason)):
            yield _event(head | {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]})
    if body.stream_options and body.stream_options.include_usage:
        yield _event(head | {"choices": [], "usage": _usage(responses)})
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _text(response: lm15.Response) -> str:
    return "".join(part.text for part in response.message.parts if isinstance(part, lm15.TextPart))
