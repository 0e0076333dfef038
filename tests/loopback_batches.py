"""A real HTTP server on this machine that speaks OpenAI's batch protocol: files, batches, and their outputs."""

from __future__ import annotations

import contextlib
import email.policy
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loopback import Reply


@dataclass
class BatchServer:
    """What the server was sent, and how it behaves; the tests set the latter at any time.

    Attributes:
        address: Of the server.
        rule: Answers one request's body.
        polls: How often a batch is looked at before it ends.
        status: How batches end.
        forgets: Whether the answer to a batch's creation is lost on its way, as if the client had died.
        batches: Id -> the batch as the protocol shows it.
        files: Id -> content.
        bodies: Those of the requests that were answered.
        keys: The keys that came with the calls.
    """

    rule: Callable[[dict[str, Any]], Reply]
    address: str = ""
    polls: int = 1
    status: str = "completed"
    forgets: bool = False
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    looks: dict[str, int] = field(default_factory=dict)

    def add_file(self, content: bytes) -> dict[str, Any]:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "filename": "f",
            "purpose": "batch",
            "status": "processed",
        }

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"batch-{len(self.batches)}"
        lines = self.lines(asked["input_file_id"])
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "metadata": asked.get("metadata"),
            "created_at": 1,
            "status": "in_progress",
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }
        self.looks[name] = 0
        return self.batches[name]

    def lines(self, file: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[file].decode().splitlines() if line.strip()]

    def look(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        self.looks[name] += 1
        if batch["status"] == "in_progress" and self.looks[name] >= self.polls:
            self._end(batch)
        return batch

    def _end(self, batch: dict[str, Any]) -> None:
        batch["status"] = self.status
        if self.status == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}
            return
        good, bad = [], []
        # In an order of its own, as the protocol allows.
        for line in reversed(self.lines(batch["input_file_id"])):
            self.bodies.append(line["body"])
            status, _, body = self.rule(line["body"])
            answer = {"id": "r", "custom_id": line["custom_id"], "response": {"status_code": status, "request_id": "q", "body": body}}
            (good if status == 200 else bad).append(json.dumps({**answer, "error": None}))
        for name, answered in (("output_file_id", good), ("error_file_id", bad)):
            if answered:
                batch[name] = self.add_file("\n".join(answered).encode())["id"]
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}


@contextlib.contextmanager
def serving_batches(rule: Callable[[dict[str, Any]], Reply]) -> Iterator[BatchServer]:
    """A server whose batches are answered by `rule` on each request's body."""
    state = BatchServer(rule)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.keys.add(self.headers["Authorization"])
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/files":
                self._send(state.add_file(_uploaded(self.headers["Content-Type"], data)))
            elif self.path == "/v1/batches":
                batch = state.create(json.loads(data))
                self._send(batch) if not state.forgets else self._refuse(500)
            else:
                self._refuse(404)

        def do_GET(self) -> None:
            parts = self.path.partition("?")[0].split("/")
            if parts[2:] == ["batches"]:
                self._send({"object": "list", "data": list(state.batches.values()), "has_more": False})
            elif parts[2] == "batches" and parts[3] in state.batches:
                self._send(state.look(parts[3]))
            elif parts[2] == "files" and parts[-1] == "content" and parts[3] in state.files:
                self._send_bytes(state.files[parts[3]], "application/octet-stream")
            else:
                self._refuse(404)

        def _send(self, value: dict[str, Any]) -> None:
            self._send_bytes(json.dumps(value).encode(), "application/json")

        def _send_bytes(self, data: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _refuse(self, status: int) -> None:
            self._send_bytes(b'{"error": {"message": "no"}}', "application/json", status)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def _uploaded(kind: str, data: bytes) -> bytes:
    form = BytesParser(policy=email.policy.HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + data)
    return next(part.get_payload(decode=True) for part in form.iter_parts() if part.get_filename())
