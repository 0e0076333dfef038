"""A limit of requests a minute: real HTTP on this machine, in threads, tasks and processes."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from loopback import chat, is_decomposition, serving, too_many

from optimizers.evaluation.evaluate import evaluate
from optimizers.experiments.plan import plan_steps
from optimizers.experiments.plan_view import plan
from optimizers.labelling.collect import collect
from optimizers.labelling.journal import Journal
from optimizers.labelling.journaled_lm import journaled
from optimizers.settings.load import load_config
from programs import SingleStage, TwoStage
from programs.adapter import LineAdapter
from programs.lms import rate_limits
from programs.lms.api_models import PatientLM
from programs.lms.artifacts import home
from programs.lms.catalog import lm
from programs.lms.request_pace import RequestPace
from programs.tasks.registry import load_task

PER_MINUTE = 600
GAP = 60 / PER_MINUTE


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DIVIDE_OR_CONQUER_HOME", str(tmp_path / "home"))


def asked(address: str, **options):
    options = {"requests_per_minute": PER_MINUTE, **options}
    return lm("openai/m", api_base=address, api_key="k", num_retries=0, **options)


def timed(times: list[float]):
    def rule(body):
        times.append(time.time())
        return chat("Rome")

    return rule


def gaps(times: list[float]) -> list[float]:
    ordered = sorted(times)
    return [later - earlier for earlier, later in itertools.pairwise(ordered)]


def test_calls_of_threads_and_copies_wait_for_their_turn():
    times: list[float] = []
    with serving(timed(times)) as (address, _), ThreadPoolExecutor(8) as pool:
        one = asked(address)
        list(pool.map(lambda n: (one if n % 2 else one.copy(max_tokens=50))(f"q{n}"), range(8)))
    assert len(times) == 8 and max(times) - min(times) > 6.5 * GAP


def test_calls_of_tasks_wait_for_their_turn():
    times: list[float] = []

    async def ask(one):
        await asyncio.gather(*(one.acall(f"q{n}") for n in range(6)))

    with serving(timed(times)) as (address, _):
        asyncio.run(ask(asked(address)))
    assert len(times) == 6 and max(times) - min(times) > 4.5 * GAP


CHILD = "from programs.lms.request_pace import RequestPace; p = RequestPace('openai/m', 'here', 600); [p.wait() for _ in range(5)]"


def test_processes_share_the_limit(tmp_path):
    program = f"import time; {CHILD}; print(time.time())"
    started = time.time()
    first = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    pace = RequestPace("openai/m", "here", PER_MINUTE)
    taken = []
    while any(one.poll() is None for one in first):
        pace.wait()
        taken.append(time.time())
    assert [one.returncode for one in first] == [0, 0]
    # Of all turns since the start, this process had those that the others did not take.
    assert len(taken) + 10 <= (time.time() - started) / GAP + 2


def test_the_wait_is_no_part_of_what_a_call_takes(tmp_path):
    with serving(lambda body: chat("Rome")) as (address, _), Journal(tmp_path / "calls.jsonl") as journal:
        one = journaled(asked(address, requests_per_minute=60), journal)
        started = time.monotonic()
        for n in range(3):
            one(f"q{n}")
        assert time.monotonic() - started > 1.9 and journal.paid.seconds < 1.0


def test_other_models_and_local_ones_do_not_wait():
    first, other = RequestPace("openai/m", "", 0.01), RequestPace("openai/n", "", 0.01)
    started = time.monotonic()
    first.wait()
    other.wait()
    assert time.monotonic() - started < 5
    with pytest.raises(ValueError, match="requests_per_minute=5 is of API models, and 'embedded/teacher' runs in this process"):
        lm("embedded/teacher", requests_per_minute=5)
    with pytest.raises(ValueError, match="requests_per_minute=5 is of API models"):
        load_config(None, {"teacher.requests_per_minute": "5"})


def test_a_clock_that_was_set_back_holds_no_call():
    pace = RequestPace("openai/m", "", PER_MINUTE)
    pace.wait()
    file = next((home() / "requests").glob("*.txt"))
    for content in (str(time.time() + 1e6), "garbage", ""):
        file.write_text(content)
        started = time.monotonic()
        pace.wait()
        assert time.monotonic() - started < 5 * GAP + 1


def test_whoever_waits_for_a_turn_can_be_stopped(tmp_path):
    pace = RequestPace("openai/m", "", 0.1)
    pace.wait()
    stopped, left = threading.Event(), []

    def wait(stoppable: bool) -> None:
        try:
            if stoppable:
                with rate_limits.stoppable(stopped):
                    pace.wait()
            else:
                pace.wait()
        except rate_limits.NotSent:
            left.append(stoppable)

    threads = [threading.Thread(target=wait, args=(kind,)) for kind in (True, False)]
    [thread.start() for thread in threads]
    stopped.set()
    threads[0].join(10)
    assert left == [True]
    rate_limits.leave_turns()
    threads[1].join(10)
    assert left == [True, False]


def test_a_job_that_stops_writes_nothing_of_calls_that_were_not_sent(tmp_path):
    program = TwoStage(adapters={"decompose": LineAdapter(), "solve": LineAdapter()})
    examples = [dspy.Example(id=f"e{n}", context="", question=f"q{n}?").with_inputs("context", "question") for n in range(6)]
    with serving(lambda body: chat("Who?\nWhere?") if is_decomposition(body) else chat("Answer: Rome")) as (address, bodies):
        program.set_lm(asked(address, requests_per_minute=2))
        timer = threading.Timer(2.0, rate_limits.leave_turns)
        timer.start()
        found = collect(program, examples, folder=tmp_path, threads=4)
    assert found.stopped == "interrupted" and len(bodies) == 1 and not found.failed
    assert len((tmp_path / "traces.jsonl").read_text().splitlines()) == 1


def test_an_evaluation_that_is_interrupted_waits_for_no_turn(tmp_path):
    program = SingleStage()
    made = [dspy.Example(id=f"e{n}", context="", question=f"q{n}?", answer="Rome").with_inputs("context", "question") for n in range(6)]
    times: list[float] = []

    def rule(body):
        times.append(time.time())
        return chat("Rome")

    def interrupt(done, *_):
        # As Ctrl-C does while the others wait; a signal could reach a worker of the tests elsewhere, and end it.
        if done:
            raise KeyboardInterrupt

    with serving(rule) as (address, bodies):
        program.set_lm(asked(address, requests_per_minute=1))
        with pytest.raises(KeyboardInterrupt):
            evaluate(program, load_task("multihop"), made, out=tmp_path / "answers.jsonl", threads=3, progress=interrupt)
    assert time.time() - times[0] < 30
    assert len(bodies) == 1
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) <= 1


def test_a_server_that_says_when_to_ask_again_is_asked_then(monkeypatch):
    monkeypatch.setattr(rate_limits, "FIRST_SECONDS", 0.05)
    times: list[float] = []

    def rule(body):
        times.append(time.time())
        return too_many(Retry_After="1") if len(times) == 1 else chat("Rome")

    with serving(rule) as (address, _):
        assert asked(address)("q") == ["Rome"]
    assert len(times) == 2 and gaps(times)[0] > 0.9


@pytest.mark.parametrize("limit", [0, -5, float("nan"), float("inf"), "60", True])
def test_a_limit_that_is_none_is_refused_at_once(limit):
    for made in (lm, PatientLM):
        with pytest.raises(ValueError, match="must be a number above 0"):
            made("hosted_vllm/any", requests_per_minute=limit)
    with pytest.raises(ValueError, match="must be a number above 0"):
        RequestPace("hosted_vllm/any", "", limit)


def test_a_plan_knows_the_limit():
    options = {"teacher.model": "openai/m", "teacher.api_base": "http://127.0.0.1:1/v1", "task.name": "multihop"}
    limited = load_config(None, {**options, "teacher.requests_per_minute": "6"})
    before, after = ([step for step in plan_steps(config) if "label" in step.name] for config in (load_config(None, options), limited))
    assert after and [step.minutes for step in after] == [step.calls / 6 for step in before]
    assert "openai/m 6" in str(plan(limited))


FIRST = """
import sys
from concurrent.futures import ThreadPoolExecutor
from programs.lms.api_models import PatientLM
one = PatientLM(sys.argv[1], api_base=sys.argv[2], api_key="k", num_retries=0, cache=False, requests_per_minute=12)
with ThreadPoolExecutor(3) as pool:
    list(pool.map(one, "abc"))
assert "litellm" in sys.modules
"""


@pytest.mark.slow
def test_the_first_calls_of_a_process_are_apart_though_a_client_is_loaded():
    """LiteLLM's import takes seconds, in which all threads would have taken their turns."""
    times: list[float] = []
    with serving(timed(times)) as (address, _):
        subprocess.run([sys.executable, "-c", FIRST, "together_ai/m", address], check=True, timeout=200)
    # Of two gaps of 5 seconds: what LiteLLM still does in its first call takes one or two.
    assert len(times) == 3 and times[-1] - times[0] > 6


@pytest.mark.parametrize(("model", "loads"), [("openai/m", False), ("together_ai/m", True)])
def test_a_client_is_loaded_before_a_turn_is_taken(monkeypatch, model, loads):
    done: list[str] = []
    monkeypatch.setattr("programs.lms.api_models.load_litellm", lambda: done.append("loaded"))
    monkeypatch.setattr(RequestPace, "wait", lambda self: done.append("turn"))
    with serving(lambda body: chat("Rome")) as (address, _):
        one = PatientLM(model, api_base=address, api_key="k", num_retries=0, cache=False, requests_per_minute=PER_MINUTE)
        assert one("q") == ["Rome"]
    assert done == (["loaded", "turn"] if loads else ["turn"])
