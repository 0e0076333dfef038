"""Errors of the server in the form of OpenAI's, and a bound on what it reads."""

from __future__ import annotations

from typing import Any

MAX_BODY = 2**21
"""Bytes of a request at most: more than any context of today holds as text."""


def body(message: str, code: str, param: str | None = None) -> dict[str, Any]:
    """The JSON of an error.

    Args:
        message: A sentence for people; what cannot be sent as UTF-8 is escaped.
        code: A word for programs.
        param: The setting at fault.
    """
    kind = "server_error" if code == "server_error" else "invalid_request_error"
    safe = message.encode("utf-8", "backslashreplace").decode()
    return {"error": {"message": safe, "type": kind, "param": param, "code": code}}


def install(app: Any) -> None:
    """Let a FastAPI application answer every error in OpenAI's form, and refuse bodies over `MAX_BODY`."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    async def invalid(request: Any, error: Any) -> Any:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return JSONResponse(body(f"The body is no JSON: {first.get('ctx', {}).get('error', first['msg'])}", "invalid_json"), 400)
        param = ".".join(_place(first["loc"])) or None
        return JSONResponse(body(f"{param or 'The body'}: {first['msg']}", "invalid_value", param), 400)

    async def refused(request: Any, error: Any) -> Any:
        code = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}.get(error.status_code, "invalid_value")
        hint = _hint(request.url.path) if error.status_code == 404 else ""
        return JSONResponse(body(f"{error.detail}: {request.method} {request.url.path}{hint}", code), error.status_code, error.headers)

    async def failed(request: Any, error: Exception) -> Any:
        return JSONResponse(body(f"The server failed: {error!r}", "server_error"), 500)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, failed)
    app.add_middleware(BodyLimit)


def _hint(path: str) -> str:
    """What a client of another API, or of a wrong address, may have meant."""
    if path.rstrip("/").endswith("/completions") and "chat" not in path:
        return ". Models here are asked by chats: send the text as the content of a message to POST /v1/chat/completions."
    known = "GET /v1/models and POST /v1/chat/completions"
    return f". There are {known}{'' if path.startswith('/v1/') else '; the base URL of a client ends in /v1'}."


def _place(location: tuple[Any, ...]) -> list[str]:
    """`messages 0 content`, without what pydantic adds for the body and the branches of a union."""
    parts = [str(part) for part in location]
    return [part for part in parts if part not in ("body", "str") and "[" not in part]


class BodyLimit:
    """ASGI middleware that answers 413 before more than `MAX_BODY` bytes are read.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        messages: list[Any] = []
        read = 0
        if declared.isdigit() and int(declared) > MAX_BODY:
            return await _too_large(scope, receive, send)
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            read += len(messages[-1].get("body", b""))
            if read > MAX_BODY:
                return await _too_large(scope, receive, send)

        async def replayed() -> Any:
            return messages.pop(0) if messages else await receive()

        return await self.app(scope, replayed, send)


async def _too_large(scope: Any, receive: Any, send: Any) -> None:
    from starlette.responses import JSONResponse

    message = f"The request is larger than {MAX_BODY} bytes; shorten the messages."
    await JSONResponse(body(message, "request_too_large"), 413, {"connection": "close"})(scope, receive, send)
