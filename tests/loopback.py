"""A real HTTP server on this machine that speaks OpenAI's chat protocol by a script: for what servers do wrong."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], dict[str, Any]]
"""Status, headers, body."""


def chat(text: str | None, *, finish: str = "stop", usage: Any = "counted", **message: Any) -> Reply:
    """A reply of a chat model; `usage=None` sends null, `usage="left out"` none at all."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    if usage == "counted":
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    if usage == "left out":
        del body["usage"]
    return 200, {}, body


def too_many(**headers: str) -> Reply:
    """429, with or without `Retry-After`."""
    return 429, {name.replace("_", "-"): value for name, value in headers.items()}, {"error": {"message": "too many", "type": "rate"}}


@contextlib.contextmanager
def serving(rule: Callable[[dict[str, Any]], Reply]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server that answers by `rule` on the body, and the bodies that it was sent."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            status, headers, reply = rule(body)
            data = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", bodies
    finally:
        server.shutdown()
        server.server_close()


def is_decomposition(body: dict[str, Any]) -> bool:
    """Whether the decompose stage asks."""
    return "Max subquestions" in body["messages"][-1]["content"]
