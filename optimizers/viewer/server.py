"""`Viewer`: a folder of runs served to a browser on this machine."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import webbrowser
from pathlib import Path
from typing import Any

from optimizers.viewer.app import MISSING_EXTRA, create_app
from programs.lms.listening import address, listening

PORT = 8010
"""Of the viewer, if it is free."""


class Viewer:
    """Serves a folder of runs: a list, comparisons, and every question with its prompts and answers. It writes nothing.

        Viewer("runs").serve()              # until interrupted
        print(Viewer("runs").start())       # in a notebook: the address; `stop()` ends it

    Args:
        folder: A folder with runs in it or below it, or one run.
        host: Loopback unless told otherwise: whoever reaches it reads the runs, as it knows no passwords.
        port: TCP port; 0 takes a free one. By default 8010, or a free one where that is taken.

    Raises:
        ValueError: No such folder.
        ImportError: The extra `serve` is not installed.
    """

    def __init__(self, folder: Path | str = "runs", *, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            what = "is no folder" if self.folder.exists() else "does not exist"
            raise ValueError(f"{self.folder} {what}: name the folder that your runs are in, such as the one that holds your --out folders.")
        try:
            import uvicorn
        except ImportError as error:
            raise ImportError(MISSING_EXTRA) from error
        self._host, self._port = host, port
        app = create_app(self.folder, host)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        self._listener: Any = None
        self._thread: threading.Thread | None = None

    def serve(self, open_browser: bool = False) -> None:
        """Serve until interrupted; prints the address.

        Args:
            open_browser: Show the list of runs in the browser of this machine.

        Raises:
            ValueError: An address that cannot be had.
        """
        with self._listen() as listener:
            url = address(self._host, listener)
            print(f"Viewing {self.folder} at {url} (Ctrl-C ends it)", flush=True)
            if open_browser:
                # The socket listens already, so that the browser need not wait for the server.
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
            with contextlib.suppress(KeyboardInterrupt):
                self._server.run(sockets=[listener])

    def start(self) -> str:
        """Serve in the background; returns the address.

        Raises:
            ValueError: An address that cannot be had.
            RuntimeError: It was started before; make another `Viewer`.
        """
        if self._thread is not None:
            raise RuntimeError("This viewer was started already; make another one: Viewer(folder).")
        self._listener = self._listen()
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        return address(self._host, self._listener)

    def stop(self) -> None:
        """End what `start` began."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        if self._listener is not None:
            self._listener.close()

    def _listen(self) -> Any:
        if self._port is not None:
            return listening(self._host, self._port)
        try:
            return listening(self._host, PORT)
        except ValueError:
            return listening(self._host, 0)


def has_browser() -> bool:
    """Whether this machine can show a page: a browser in the terminal would take it over."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
