"""A hub on loopback with the endpoints that `huggingface_hub` calls to push and to download, and what it was sent."""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

TOKEN = "hf_" + "aLongSecretOfNobody" * 2
LARGE = ("*.safetensors", "*.parquet", "*.gguf", "*.arrow", "*.bin")
"""What goes by LFS, as in the .gitattributes of the hub's repositories."""
_API = re.compile(r"/api/(?P<kind>model|dataset)s/(?P<name>[^/]+/[^/]+)(?:/(?P<what>preupload|commit|revision|tree)/(?P<revision>[^/?]+))?")
_FILE = re.compile(r"(?:/(?P<kind>dataset)s)?/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_BATCH = re.compile(r"(?:/datasets)?/[^/]+/[^/]+\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    """What one holds at its last commit."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()

    @property
    def card(self) -> dict[str, Any]:
        found = re.match(rb"---\n(.*?)\n---\n", self.files.get("README.md", b""), re.DOTALL)
        return yaml.safe_load(found[1]) if found else {}


@dataclass
class FakeHub:
    """The state of the hub.

    Attributes:
        repositories: By (`model` or `dataset`, name).
        objects: What was uploaded by LFS, by its sha256.
        calls: Method and path of every request.
        refuse: Given these, may say with which status and message it is refused.
    """

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    refuse: Callable[[str, str], tuple[int, str] | None] = lambda method, path: None

    def called(self, part: str) -> list[tuple[str, str]]:
        return [call for call in self.calls if part in call[1]]


class _Refused(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if not self._chunked() else self._read_chunks()
        self.hub.calls.append((self.command, self.path))
        try:
            refused = self.hub.refuse(self.command, self.path)
            if refused:
                raise _Refused(*refused)
            if not self.path.startswith("/store/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise _Refused(401, "Invalid credentials")
            self._route(body)
        except _Refused as error:
            self._send(json.dumps({"error": error.args[1]}).encode(), error.args[0], **{"X-Error-Message": error.args[1]})

    def _chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding") == "chunked"

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _say(self, value: Any) -> None:
        self._send(json.dumps(value).encode())

    def _route(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            self._say({"type": "user", "name": "me", "orgs": [], "auth": {"accessToken": {"role": "write"}}})
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body))
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.startswith("/store/"):
            self._store(path.removeprefix("/store/"), body)
        elif _BATCH.fullmatch(path):
            self._batch(json.loads(body))
        elif found := _API.fullmatch(path):
            self._repository(found, body)
        elif found := _FILE.fullmatch(path):
            self._file(found)
        else:
            raise _Refused(404, f"no such endpoint: {path}")

    def _validate(self, asked: dict[str, Any]) -> None:
        card = Repository(True, {"README.md": asked["content"].encode()}).card
        assert asked["repoType"] in ("model", "dataset")
        if not card:
            raise _Refused(400, "no metadata")
        self._say({"errors": [], "warnings": []})

    def _create(self, asked: dict[str, Any]) -> None:
        if asked["organization"] != "me":
            raise _Refused(403, "You don't have the rights to create a model under that namespace")
        key = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
        if key in self.hub.repositories:
            self._send(json.dumps({"error": "You already created this repo", "url": f"{self.hub.url}/{key[1]}"}).encode(), 409)
            return
        self.hub.repositories[key] = Repository(asked["visibility"] == "private", {".gitattributes": b""})
        self._say({"url": f"{self.hub.url}/{'datasets/' if key[0] == 'dataset' else ''}{key[1]}"})

    def _repository(self, found: re.Match[str], body: bytes) -> None:
        repository = self.hub.repositories.get((found["kind"], found["name"]))
        if repository is None:
            self._send(b"{}", 404, **{"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif found["what"] == "preupload":
            self._say({"files": [_mode(repository, file) for file in json.loads(body)["files"]]})
        elif found["what"] == "commit":
            self._commit(repository, [json.loads(line) for line in body.splitlines()])
            self._say({"commitUrl": f"{self.hub.url}/{found['name']}/commit/{repository.sha}", "commitOid": repository.sha})
        elif found["what"] == "tree":
            self._say([{"type": "file", "path": path, "size": len(data), "oid": _oid(data)} for path, data in repository.files.items()])
        else:
            card, files = repository.card, [{"rfilename": path} for path in repository.files]
            known = {"id": found["name"], "sha": repository.sha, "private": repository.private, "siblings": files}
            self._say({**known, "tags": card.get("tags", []), "cardData": card, "downloads": 0, "likes": 0})

    def _commit(self, repository: Repository, lines: list[dict[str, Any]]) -> None:
        files = dict(repository.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise _Refused(400, f"no object {value['oid']}")
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                assert line["key"] == "deletedFile"
                del files[value["path"]]
        repository.files = files
        repository.commits.append(lines[0]["value"]["summary"])

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for one in asked["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/store/{one['oid']}", "header": {}}}
            objects.append({**one, **({} if one["oid"] in self.hub.objects else {"actions": upload})})
        self._say({"transfer": "basic", "objects": objects})

    def _store(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise _Refused(400, "another hash")
        self.hub.objects[oid] = body
        self._send(b"")

    def _file(self, found: re.Match[str]) -> None:
        repository = self.hub.repositories.get((found["kind"] or "model", found["name"]))
        if repository is None or found["path"] not in repository.files:
            self._send(b"", 404, **{"X-Error-Code": "EntryNotFound"})
            return
        data = repository.files[found["path"]]
        self._send(data, **{"ETag": f'"{_oid(data)}"', "X-Repo-Commit": repository.sha})


def _oid(data: bytes) -> str:
    """The name that git has for a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _mode(repository: Repository, file: dict[str, Any]) -> dict[str, Any]:
    large = any(fnmatch.fnmatch(file["path"], pattern) for pattern in LARGE)
    there = repository.files.get(file["path"])
    oid = None if there is None else hashlib.sha256(there).hexdigest() if large else _oid(there)
    return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}


@contextlib.contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub on which nobody has anything yet."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def in_place(monkeypatch: Any, folder: Path) -> Iterator[FakeHub]:
    """A hub of our own, as `HF_ENDPOINT` and the hub's other variables give it where they are set before Python starts.

    Args:
        monkeypatch: The test's.
        folder: For the cache.
    """
    import huggingface_hub.constants as constants

    with serving() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        monkeypatch.delenv("HF_OIDC_RESOURCE", raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served
