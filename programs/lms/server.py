"""A small OpenAI-compatible server for models in this process; for GPUs and many users take vLLM."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from dspy import lm15
from pydantic import BaseModel, ConfigDict, Field

from programs.lms.engine import AsyncLocalEngine
from programs.lms.model_strings import LOCAL_PREFIXES, is_local, pinned
from programs.lms.trained_prompts import plain_prompt, prompts_of_model

_ROLES = {"user": "user", "assistant": "assistant", "system": "developer", "developer": "developer"}
_DEFAULT_TOKENS = 256


class ChatMessage(BaseModel):
    """One turn; content parts other than text are refused."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]]

    def text(self) -> str:
        """The turn's text.

        Raises:
            ValueError: A part that is no text.
        """
        if isinstance(self.content, str):
            return self.content
        if other := [part.get("type") for part in self.content if part.get("type") != "text"]:
            raise ValueError(f"Content of type {other[0]!r} is not supported; send text.")
        return "".join(str(part["text"]) for part in self.content)


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The settings of `/v1/chat/completions` that are read; others are ignored, as most servers do."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    n: Literal[1] = 1
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()


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
    engine = AsyncLocalEngine()
    app = FastAPI(title="divide-or-conquer")

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        entries = [{"id": name, "object": "model", "owned_by": "divide-or-conquer", "root": model} for name, model in pinned.items()]
        return {"object": "list", "data": entries}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest) -> Any:
        if body.model not in pinned:
            return JSONResponse(_error(f"Unknown model {body.model!r}; this server has {sorted(pinned)}.", "model_not_found"), 404)
        try:
            response = await engine.complete(_request(pinned[body.model], body))
        except (lm15.LM15Error, ValueError) as error:
            content, status = _failure(error)
            return JSONResponse(content, status)
        if body.stream:
            return StreamingResponse(_chunks(body, response), media_type="text/event-stream")
        return _completion(body, response)

    return app


def serve(model: str, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve one model until interrupted.

    Args:
        model: A model string; clients may use it as it stands, or with its hash.
        host: Loopback unless told otherwise; the server knows no passwords.
        port: TCP port.

    Raises:
        ImportError: The extra `serve` is not installed.
        ValueError: A model that does not run in this process.
    """
    app = create_app({model: model, _pinned(model): model})
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("The server is an extra: pip install 'divide-or-conquer[serve]'.") from error
    uvicorn.run(app, host=host, port=port, log_level="warning")


def _pinned(model: str) -> str:
    if not is_local(model):
        raise ValueError(f"Cannot serve {model!r}: it does not run in this process; expected one of the prefixes {LOCAL_PREFIXES}.")
    return pinned(model)


def _request(model: str, body: ChatRequest) -> lm15.Request:
    turns = _as_trained(model, body.messages)
    system = turns.pop(0).text() if len(turns) > 1 and turns[0].role in ("system", "developer") else None
    config = lm15.Config(
        max_tokens=body.max_completion_tokens or body.max_tokens or _DEFAULT_TOKENS,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
    )
    messages = [lm15.Message(role=_ROLES[turn.role], parts=(lm15.TextPart(turn.text()),)) for turn in turns]
    return lm15.Request(model=model, messages=tuple(messages), system=system, config=config)


def _as_trained(model: str, turns: list[ChatMessage]) -> list[ChatMessage]:
    """A bare question in the form that the model was trained on; any other chat as it is."""
    bare = len(turns) == 1 and turns[0].role == "user"
    prompt = plain_prompt(prompts_of_model(model)) if bare else None
    return [ChatMessage.model_validate(turn) for turn in prompt.chat(turns[0].text())] if prompt else list(turns)


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _failure(error: Exception) -> tuple[dict[str, Any], int]:
    if isinstance(error, lm15.ContextLengthError):
        return _error(str(error), "context_length_exceeded"), 400
    if isinstance(error, lm15.ServerError):
        return _error(str(error), "server_error"), 500
    return _error(str(error), "invalid_value"), 400


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
    if body.stream_options.include_usage:
        yield _event(head | {"choices": [], "usage": _usage(response)})
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _text(response: lm15.Response) -> str:
    return "".join(part.text for part in response.message.parts if isinstance(part, lm15.TextPart))
