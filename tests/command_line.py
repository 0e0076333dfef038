"""The command line as a process of its own, for tests of whole jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request


def command(*words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "optimizers.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
        # A shell's background job ignores SIGINT, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finish(process):
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


def wait_for(url, process):
    for _ in range(600):
        assert process.poll() is None, process.communicate()[0]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not come up")
