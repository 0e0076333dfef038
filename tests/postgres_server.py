"""A PostgreSQL server of one's own, in a folder and on a free port."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return next((path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)


class Postgres:
    """The server: `start` and `stop` it; `url` is that of an empty database as SQLAlchemy takes it."""

    def __init__(self, folder: Path, port: int) -> None:
        self._bin = programs()
        self._folder, self._port = folder, port
        self.url = f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        # PostgreSQL refuses to run as root.
        self._user: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
        self._run("initdb", "-D", str(folder / "data"), "-U", "tester", "--auth", "trust", "--no-sync")

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """As if it had crashed: clients under way lose their connections."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-m", "immediate", "stop")

    def _run(self, name: str, *words: str) -> None:
        # A server that is started keeps its output open, so that nobody may wait for its end.
        with (self._folder / f"{name}.txt").open("w+") as log:
            done = subprocess.run([str(self._bin / name), *words], stdout=log, stderr=log, cwd=self._folder, **self._user)
            log.seek(0)
            assert done.returncode == 0, log.read()


@contextlib.contextmanager
def serving_postgres() -> Iterator[Postgres]:
    """A server that runs, in a folder that every user may enter."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.chmod(0o777)
    try:
        server = Postgres(folder, port)
        server.start()
        yield server
        with contextlib.suppress(AssertionError):
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
