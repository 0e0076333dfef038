"""A process that ends while a model is loaded or answers ends as it would without the model."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENDS = {"exit": "sys.exit(3)", "raise": "raise RuntimeError('mine')", "interrupt": "signal.raise_signal(signal.SIGINT)"}
CODES = {"exit": (3,), "raise": (1,), "interrupt": (-2, 1)}
"""Python ends with 1 where it was interrupted and a library makes classes after that, as tabulate does, which torch imports at the end."""
PROGRAM = """
import signal, sys, time
from dspy import lm15
from programs.lms import engine
signal.signal(signal.SIGINT, signal.default_int_handler)
model, backend, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
for i in range(4):
    message = lm15.Message.user(f"Tell me a long story about {i}")
    engine.LocalEngine(backend).submit(lm15.Request(model=model, messages=(message,), config=lm15.Config(max_tokens=2000)))
while seconds == 0 and not any(worker._backend for worker in engine._registry._workers.values()):
    time.sleep(0.05)
time.sleep(seconds or 0.5)
"""


def ended(model: str, backend: str, seconds: float, how: str) -> subprocess.CompletedProcess[str]:
    """A process that ends `seconds` after it began to load the model, or, at 0, while the model writes."""
    command = [sys.executable, "-c", PROGRAM + ENDS[how], model, backend, str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
def test_an_end_during_a_generation_is_an_end(base, how):
    done = ended(base.model_string, "transformers", 0, how)
    assert done.returncode in CODES[how] and ("KeyboardInterrupt" in done.stderr) == (how == "interrupt"), done.stderr
    assert "could not be loaded" not in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("seconds", [0, 0.2, 1, 2, 4])
@pytest.mark.parametrize("backend", ["transformers", "openvino"])
def test_an_end_at_any_time_is_an_end(base, backend, seconds, how):
    if backend == "openvino":
        pytest.importorskip("openvino_genai")
    done = ended(base.model_string, backend, seconds, how)
    # Python ends with 1 where it is interrupted amid the imports of a library.
    assert done.returncode in (*CODES[how], 1), done.stderr
    assert "could not be loaded" not in done.stderr
