"""Ctrl-C in a user's own program: what waits for a turn, or until a server takes calls again, ends at the first one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from loopback import chat, serving, too_many

from programs.lms.interrupts import main_was_interrupted

PROGRAM = """
import signal, sys
# Shells let what they start in the background ignore it, and so its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
from concurrent.futures import ThreadPoolExecutor
import dspy
from programs.lms.catalog import lm
address, how, limit = sys.argv[1:]
one = lm(f"openai/{how}", api_base=address, api_key="k", num_retries=0, requests_per_minute=float(limit))
class Ask(dspy.Module):
    def forward(self, question):
        return dspy.Prediction(answer=one(question)[0])
examples = [dspy.Example(question=f"q{n}").with_inputs("question") for n in range(8)]
if how == "parallel":
    dspy.Parallel(num_threads=4, disable_progress_bar=True)([(Ask(), example) for example in examples])
elif how == "evaluate":
    dspy.Evaluate(devset=examples, metric=lambda *_: 1.0, num_threads=4)(Ask())
elif how == "pool":
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, [example.question for example in examples]))
elif how == "left":
    pool = ThreadPoolExecutor(4)
    for example in examples[:3]:
        pool.submit(one, example.question)
"""


def started(address: str, how: str, limit: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, address, how, str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_one_ctrl_c_ends_the_waits_of_a_program(home):
    """Four programs at once, as most of the time goes into their start."""
    with serving(lambda body: chat("Rome")) as (free, paced), serving(lambda body: too_many()) as (full, refused):
        # Each under an address of its own, that none has another's turn.
        waiting = [started(f"{free}/{how}", how, 0.5) for how in ("parallel", "evaluate", "pool")]
        waiting.append(started(full, "parallel", 6000))
        ends = started(f"{free}/left", "left", 60)
        # An interrupt amid imports is another matter.
        until(lambda: {"parallel", "evaluate", "pool"} <= {body["model"] for body in paced} and len(refused) >= 4)
        time.sleep(2)
        for process in waiting:
            process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        outputs = [process.communicate(timeout=60)[0] for process in waiting]
        assert time.monotonic() - sent < 30
        assert [process.returncode for process in waiting] == [-signal.SIGINT] * 4, outputs
        assert all("KeyboardInterrupt" in output for output in outputs)
        assert len(refused) == 4
        # What a program leaves to its pool at an end that nobody asked for is done.
        assert ends.wait(60) == 0
        assert len(paced) == 3 + 3


def test_nobody_else_is_taken_for_interrupted():
    with ThreadPoolExecutor(1) as pool:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            # Whoever cleans up after Ctrl-C asks as usual, here or in other threads.
            assert not main_was_interrupted()
            assert not pool.submit(main_was_interrupted).result(10)


def test_a_main_thread_that_waits_for_its_threads_after_ctrl_c_is():
    found: list[bool] = []

    def look() -> None:
        end = time.monotonic() + 10
        while not main_was_interrupted() and time.monotonic() < end:
            time.sleep(0.01)
        found.append(main_was_interrupted())

    def interrupted() -> None:
        with ThreadPoolExecutor(2) as pool:
            pool.submit(look)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert found == [True] and threading.current_thread() is threading.main_thread()
