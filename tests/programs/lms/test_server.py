from __future__ import annotations

import socket
import threading
import time

import dspy
import pytest

from programs.lms import lm, server

fastapi = pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")


@pytest.fixture
def address(tiny_model):
    """The address of a server on loopback that has the tiny model as `tiny`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(server.create_app({"tiny": tiny_model}), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}/v1"
    running.should_exit = True
    thread.join()


def test_litellm_gets_what_the_engine_gives(address, tiny_model):
    import litellm

    direct = lm(tiny_model, max_tokens=8)("hello")[0]
    ask = {"model": "openai/tiny", "api_base": address, "api_key": "none", "max_tokens": 8}
    ask["messages"] = [{"role": "user", "content": "hello"}]
    answer = litellm.completion(**ask)
    assert answer.choices[0].message.content == direct
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    chunks = list(litellm.completion(**ask, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == direct
    sampled = [litellm.completion(**ask, temperature=1.0, seed=3).choices[0].message.content for _ in range(2)]
    assert sampled[0] == sampled[1]


def test_dspy_can_use_it(address, tiny_model):
    remote = dspy.LM("openai/tiny", api_base=address, api_key="none", temperature=0.0, max_tokens=8, cache=False)
    assert remote("hello") == lm(tiny_model, max_tokens=8)("hello")


def test_mistakes_get_the_right_status(address):
    import httpx

    def post(**body) -> httpx.Response:
        return httpx.post(
            f"{address}/chat/completions", json={"model": "tiny", "messages": [{"role": "user", "content": "hi"}]} | body, timeout=300
        )

    assert httpx.get(f"{address}/models").json()["data"][0]["id"] == "tiny"
    assert post(model="other").status_code == 404
    assert post(n=2).status_code == 422
    too_long = post(messages=[{"role": "user", "content": "word " * 400}])
    assert too_long.status_code == 400
    assert too_long.json()["error"]["code"] == "context_length_exceeded"


def test_only_models_of_this_process_are_served():
    with pytest.raises(ValueError, match="does not run in this process"):
        server.create_app({"gpt": "openai/gpt-4o"})
