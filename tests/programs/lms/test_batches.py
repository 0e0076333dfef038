"""LMs that ask through a provider's batch API, on a server that speaks OpenAI's batch protocol."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dspy
import pytest
from loopback import chat, serving, too_many
from loopback_batches import serving_batches

from optimizers.labelling.journal import Journal
from optimizers.labelling.journaled_lm import journaled
from programs.lms import lm
from programs.lms.batches import desk, engine
from programs.lms.batches.spool import Spool, request_key
from programs.lms.ledger import Ledger, Prices, metered, recording


@pytest.fixture(autouse=True)
def quick(home, monkeypatch):
    monkeypatch.setattr(desk, "GATHER_SECONDS", 0.3)
    monkeypatch.setattr(desk, "FIRST_POLL", 0.05)
    monkeypatch.setattr(desk, "_TICK", 0.02)


def echo(body):
    return chat(body["messages"][-1]["content"].upper())


@pytest.fixture
def server():
    with serving_batches(echo) as found:
        yield found


def model(server, **options):
    return lm("hosted_vllm/m", api_base=server.address, batch=True, num_retries=0, **options)


def ask(asked, prompts):
    with ThreadPoolExecutor(len(prompts)) as pool:
        return [texts[0] for texts in pool.map(asked, prompts)]


def again():
    """As another process would find it: what is on file, and nothing else."""
    for one in engine._desks.values():
        for lock in one._spool._locks.values():
            lock.release()
    engine._desks.clear()


def test_requests_of_all_threads_are_one_batch(server):
    prompts = [f"question {number}" for number in range(20)]
    assert ask(model(server), prompts) == [prompt.upper() for prompt in prompts]
    assert len(server.batches) == 1
    assert len(server.bodies) == 20


def test_a_request_is_what_is_asked_at_once(server):
    def bodies(asked, found):
        asked("why?", temperature=0.5, stop=["x"])
        return found

    with serving(echo) as (address, direct):
        bodies(lm("openai/m", api_base=address, api_key="k", max_tokens=9, seed=3), direct)
    options = {"api_base": server.address, "api_key": "k", "batch": True, "max_tokens": 9, "seed": 3}
    bodies(lm("openai/m", **options), server.bodies)
    names = {name for body in (*direct, *server.bodies) for name in body} - {"stream", "max_tokens", "max_completion_tokens"}
    assert [{name: body.get(name) for name in names} for body in server.bodies] == [
        {name: body.get(name) for name in names} for body in direct
    ]
    assert server.bodies[0]["max_tokens"] == 9
    assert server.keys == {"Bearer k"}


def test_options_that_only_the_server_knows_are_handed_in(server, tmp_path):
    with Journal(tmp_path / "calls.jsonl") as journal:
        journaled(model(server, min_p=0.1, extra_body={"top_k": 5}), journal)("why?")
    assert server.bodies[0]["min_p"] == 0.1
    assert server.bodies[0]["top_k"] == 5
    assert "extra_body" not in server.bodies[0]


def test_models_do_not_share_a_batch(server):
    first, second = model(server), lm("hosted_vllm/other", api_base=server.address, batch=True)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda asked: asked("x")[0], [first, second])) == ["X", "X"]
    assert sorted(body["model"] for body in server.bodies) == ["m", "other"]
    assert len(server.batches) == 2


async def test_asynchronous_calls_are_gathered_too(server):
    import asyncio

    asked = model(server)
    assert [texts[0] for texts in await asyncio.gather(*(asked.acall(text) for text in "abc"))] == ["A", "B", "C"]
    assert len(server.batches) == 1


def test_a_batch_costs_half(server):
    ledger = Ledger(Prices(overrides={"hosted_vllm/m": (10.0, 20.0)}))
    with recording(ledger), metered("solve"):
        model(server)("why?")
    assert ledger.by_stage()["solve"].usd == pytest.approx((7 * 10 + 3 * 20) / 1e6 / 2)


def test_prices_of_batches_are_those_of_the_table():
    listed = Prices()
    for name in ("openai/gpt-4.1-mini", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"):
        once, batch = listed.rates(name), listed.rates(name, batch=True)
        assert batch[:2] == pytest.approx([rate / 2 for rate in once[:2]]) and batch.cached <= batch.input


def test_an_error_of_one_request_is_its_own(server):
    server.rule = lambda body: (
        (400, {}, {"error": {"message": "too long", "type": "invalid_request_error"}}) if "bad" in str(body) else echo(body)
    )
    asked = model(server)

    def outcome(text):
        try:
            return asked(text)[0]
        except dspy.LMError as error:
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(3) as pool:
        good, bad, other = pool.map(outcome, ["good", "bad", "other"])
    assert (good, other) == ("GOOD", "OTHER")
    assert "too long" in bad


def test_a_request_that_came_too_often_is_handed_in_again(server, monkeypatch):
    monkeypatch.setattr("programs.lms.rate_limits.FIRST_SECONDS", 0.1)
    server.rule = lambda body: too_many() if len(server.bodies) == 1 else echo(body)
    assert model(server)("why?") == ["WHY?"]
    assert len(server.batches) == 2


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_a_batch_without_answers_says_so_and_can_be_asked_again(server, status):
    server.status = status
    server.rule = lambda body: (500, {}, {})
    lines, server.lines = server.lines, lambda file: []
    with pytest.raises(dspy.LMError, match=f"is {status}"):
        model(server)("why?")
    server.status, server.rule, server.lines = "completed", echo, lines
    assert model(server)("why?") == ["WHY?"]


def test_the_words_of_a_failed_batch_are_passed_on(server):
    server.status = "failed"
    with pytest.raises(dspy.LMError, match="Enqueued token limit reached"):
        model(server)("why?")


def test_a_server_without_batches_is_told_at_once():
    with serving(echo) as (address, _), pytest.raises(dspy.LMError):
        lm("hosted_vllm/m", api_base=address, batch=True, num_retries=0)("why?")


def test_answers_that_were_waited_for_are_taken_up_by_another_process(server):
    server.polls = 10**9
    asked = model(server)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(asked, text) for text in "abc"]
        while not server.batches:
            pass
        threading.Timer(0.3, engine.leave_batches).start()
        assert all(isinstance(future.exception(), desk.LeftInBatch) for future in futures)
    server.polls = 0
    again()
    assert ask(model(server), ["b", "c", "d"]) == ["B", "C", "D"]
    assert len(server.batches) == 2
    assert sorted(body["messages"][-1]["content"] for body in server.bodies) == ["a", "b", "c", "d"]


def test_who_goes_and_comes_back_finds_the_batch(server):
    server.polls = 10**9
    asked = model(server)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(asked, "a")
        while not server.batches:
            pass
        threading.Timer(0.3, engine.leave_batches).start()
        assert isinstance(future.exception(), desk.LeftInBatch)
    server.polls = 0
    assert asked("a") == ["A"]
    assert len(server.batches) == 1


def test_samples_of_one_request_stay_apart(server):
    """Each of two equal requests has an answer of its own, also for a process that takes them up."""
    replies = iter(["one", "two"])
    server.rule = lambda body: chat(next(replies))
    asked = model(server, temperature=0.7)
    assert sorted(ask(asked, ["a", "a"])) == ["one", "two"]
    again()
    assert sorted(ask(model(server, temperature=0.7), ["a", "a"])) == ["one", "two"]


def test_answers_are_given_again_for_a_day(server, monkeypatch):
    model(server)("a")
    again()
    assert model(server)("a") == ["A"]
    assert len(server.batches) == 1
    monkeypatch.setattr("programs.lms.batches.spool.KEPT_SECONDS", 0.0)
    again()
    assert model(server)("a") == ["A"]
    assert len(server.batches) == 2


def test_a_batch_whose_taking_was_not_heard_of_is_found(server):
    server.forgets = True
    assert model(server)("a") == ["A"]
    assert len(server.batches) == 1


def test_a_process_that_died_before_it_knew_the_batch_is_followed_up(server, home):
    asked = model(server)
    assert asked("a") == ["A"]
    (folder,) = (home / "batches").iterdir()
    (path,) = folder.glob("*.json")
    noted = json.loads(path.read_text())
    (folder / f"{noted['label']}.jsonl").unlink()
    path.write_text(json.dumps({**noted, "batch": None, "ended": None, "given": None}))
    again()
    assert model(server)("a") == ["A"]
    assert len(server.batches) == 1


def test_a_batch_that_was_never_taken_is_handed_in(server, home):
    asked = model(server)
    asked("a")
    (folder,) = (home / "batches").iterdir()
    again()
    spool = Spool(folder)
    spool.open()
    (batch,) = spool.batches
    spool.drop(batch)
    spool.begin("hosted_vllm/m", batch.keys)
    for lock in spool._locks.values():
        lock.release()
    assert lm("hosted_vllm/m", api_base=server.address, batch=True, num_retries=1)("a") == ["A"]
    assert len(server.batches) == 2


def test_a_damaged_note_is_passed_over(server, home):
    model(server)("a")
    (folder,) = (home / "batches").iterdir()
    for path in folder.glob("*.json"):
        path.write_text("{")
    again()
    assert model(server)("a") == ["A"]


def test_a_batch_of_another_process_is_left_to_it(server, home):
    model(server)("a")
    (folder,) = (home / "batches").iterdir()
    other = Spool(folder)
    other.open()
    assert other.batches == []


def test_a_lost_server_is_waited_for(server, monkeypatch):
    server.polls = 3
    looks = iter([True, False])
    found = type(server).look

    def flaky(name):
        if next(looks, False):
            raise ConnectionResetError
        return found(server, name)

    server.look = flaky
    assert model(server)("a") == ["A"]


@pytest.fixture
def anthropic():
    """A server that speaks Anthropic's batch protocol."""
    batches = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            name = f"msgbatch_{len(batches)}"
            batches[name] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["requests"]
            self._send(self._told(name, "in_progress"))

        def do_GET(self):
            name = self.path.split("/")[4]
            if self.path.endswith("/results"):
                self._send("\n".join(json.dumps(self._result(one)) for one in reversed(batches[name])))
            else:
                self._send(self._told(name, "ended"))

        def _told(self, name, status):
            counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
            address = f"http://127.0.0.1:{server.server_port}/v1/messages/batches/{name}/results"
            told = {"id": name, "type": "message_batch", "processing_status": status, "request_counts": counts, "results_url": address}
            return json.dumps({**told, "created_at": "2026-11-30T00:00:00Z"})

        def _result(self, one):
            text = one["params"]["messages"][-1]["content"]
            text = text if isinstance(text, str) else text[0]["text"]
            if text == "bad":
                error = {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}
                return {"custom_id": one["custom_id"], "result": {"type": "errored", "error": error}}
            if text == "late":
                return {"custom_id": one["custom_id"], "result": {"type": "expired"}}
            message = {"id": "m", "type": "message", "role": "assistant", "model": one["params"]["model"], "stop_reason": "end_turn"}
            message |= {"content": [{"type": "text", "text": text.upper()}], "usage": {"input_tokens": 3, "output_tokens": 1}}
            return {"custom_id": one["custom_id"], "result": {"type": "succeeded", "message": message}}

        def _send(self, text):
            data = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", batches
    server.shutdown()
    server.server_close()


def test_anthropics_batches(anthropic):
    address, batches = anthropic
    asked = lm("anthropic/claude-sonnet-4-5", api_base=address, api_key="k", batch=True, num_retries=0)

    def outcome(text):
        try:
            return asked(text)[0]
        except dspy.LMError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        good, bad, late, other = pool.map(outcome, ["good", "bad", "late", "other"])
    assert (good, other) == ("GOOD", "OTHER")
    assert "too long" in bad and "is expired" in late
    assert len(batches) == 1
    assert {one["params"]["model"] for one in batches["msgbatch_0"]} == {"claude-sonnet-4-5"}


def test_only_what_batches_are_known_of():
    with pytest.raises(ValueError, match="batches are known of openai"):
        lm("ollama/m", batch=True)
    with pytest.raises(ValueError, match="runs in this process"):
        lm("embedded/base", batch=True)


def test_an_lm_that_is_saved_has_no_key(server):
    state = lm("openai/m", api_base=server.address, api_key="secret", batch=True).dump_state()
    assert "secret" not in json.dumps(state)
    assert request_key(dspy.lm15.request_from_openai_chat({"model": "m", "messages": [{"role": "user", "content": "a"}]}))
