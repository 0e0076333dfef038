from __future__ import annotations

import asyncio
import gc
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time

import dspy
import pytest
from command_line import command

from programs.lms import http_errors, lm, server
from programs.lms.backends.transformers import TransformersBackend

fastapi = pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")


@pytest.fixture
def address(tiny_model):
    """The address of a server on loopback that has the tiny model as `tiny`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(
        uvicorn.Config(
            server.create_app({"tiny": tiny_model, "local/runs/tiny": tiny_model}), host="127.0.0.1", port=port, log_level="warning"
        )
    )
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


def test_a_client_that_goes_away_leaves_no_work_behind(address, monkeypatch):
    """A stopped job that is started again would else wait for the replies to the first one."""
    import httpx

    written, real = [], TransformersBackend._write_tokens

    def slowly(self, rows, logits):
        written.append(len(rows))
        time.sleep(0.02)
        return real(self, rows, logits)

    asked = {"model": "tiny", "max_tokens": 220, "messages": [{"role": "user", "content": "hello"}]}
    httpx.post(f"{address}/chat/completions", json={**asked, "max_tokens": 1}, timeout=60)  # the model is loaded
    monkeypatch.setattr(TransformersBackend, "_write_tokens", slowly)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/chat/completions", json=asked, timeout=0.5)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = len(written)
        time.sleep(0.3)
        if len(written) == before:
            break
    assert 0 < len(written) < 150


def test_mistakes_get_the_right_status(address):
    import httpx

    def post(**body) -> httpx.Response:
        return httpx.post(
            f"{address}/chat/completions", json={"model": "tiny", "messages": [{"role": "user", "content": "hi"}]} | body, timeout=300
        )

    assert httpx.get(f"{address}/models").json()["data"][0]["id"] == "tiny"
    assert post(model="other").status_code == 404
    assert post(n=0).status_code == post(n=129).status_code == 400
    too_long = post(messages=[{"role": "user", "content": "word " * 400}])
    assert too_long.status_code == 400
    assert too_long.json()["error"]["code"] == "context_length_exceeded"


def ask(address: str, **body):
    import httpx

    content = json.dumps({"model": "tiny", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]} | body)
    return httpx.post(f"{address}/chat/completions", content=content, headers={"content-type": "application/json"}, timeout=300)


NULLS = ("n", "temperature", "top_p", "top_k", "seed", "stop", "stream", "stream_options", "max_completion_tokens", "tools", "logprobs")
TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": []}, {"role": "user", "content": "so"}]


@pytest.mark.parametrize(
    "body",
    [
        dict.fromkeys(NULLS),
        {"messages": TURNS},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]}]},
        {"tools": [], "tool_choice": "auto", "functions": [], "logprobs": False, "top_logprobs": 0, "n": 1},
        {"frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}, "response_format": {"type": "text"}},
        {
            "top_p": 0,
            "temperature": 1.0,
            "stop": [],
            "user": "me",
            "store": False,
            "metadata": {},
            "stream_options": {"include_usage": None},
        },
        {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "stop": ""},
    ],
)
def test_what_openai_takes_is_taken(address, body):
    answer = ask(address, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] > 0
    assert answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 1000}, "n", "less than or equal to 128"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_completion_tokens": -5}, "max_completion_tokens", "greater than or equal to 1"),
        ({"stop": 5}, "stop", "string"),
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
        ({"logprobs": True}, "logprobs", "not supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "not supported"),
        ({"presence_penalty": -1}, "presence_penalty", "not supported"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
        ({"grammar": 'root ::= "yes"'}, "grammar", "not supported"),
        ({"json_schema": {"type": "object"}}, "json_schema", "not supported"),
        ({"min_tokens": 5}, "min_tokens", "not supported"),
        ({"stop_token_ids": [2]}, "stop_token_ids", "not supported"),
        ({"prompt_logprobs": 1}, "prompt_logprobs", "not supported"),
        ({"temperature": "hot"}, "temperature", "number"),
        ({"temperature": float("nan")}, "temperature", ""),
        ({"top_p": 2}, "top_p", "less than or equal"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "'user'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content", "string"),
        ({"messages": [{"role": "user", "content": None}]}, None, "send text"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, None, "'text'"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]}, None, "'text'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, None, "'image_url'"),
        ({"messages": [{"role": "user", "content": "half \ud83d"}]}, None, "surrogate"),
        ({"messages": [{"role": "user", "content": None, "tool_calls": [{"id": 1}]}]}, None, "Tool calls"),
        ({"messages": None}, "messages", "list"),
    ],
)
def test_what_cannot_be_done_is_refused_in_openais_form(address, body, param, message):
    answer = ask(address, **body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert message in error["message"]


def test_other_errors_have_the_form_too(address, monkeypatch):
    import httpx

    def post(content) -> httpx.Response:
        return httpx.post(f"{address}/chat/completions", content=content, headers={"content-type": "application/json"}, timeout=60)

    def chunks():
        for _ in range(40):
            yield b" " * 2**16

    broken = {
        post(b'{"model": '): 400,
        post(b"[" * 100_000): 400,
        post(b" " * (http_errors.MAX_BODY + 1)): 413,
        post(chunks()): 413,
        httpx.get(f"{address}/nowhere"): 404,
        httpx.get(f"{address}/chat/completions"): 405,
        httpx.get(f"{address}/models/other"): 404,
        ask(address, model="other"): 404,
    }
    for answer, status in broken.items():
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    async def fail(*args):
        raise RuntimeError("scripted fault")

    monkeypatch.setattr(server.AsyncLocalEngine, "complete", fail)
    assert ask(address).status_code == 500
    assert ask(address).json()["error"]["code"] == "server_error"


def test_the_openai_client_can_use_it(address, tiny_model):
    import openai

    client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
    models = list(client.models.list())
    assert [model.id for model in models] == ["tiny", "local/runs/tiny"]
    assert client.models.retrieve("local/runs/tiny").created > 0
    told = {"max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}
    answer = client.chat.completions.create(model="local/runs/tiny", **told)
    assert answer.choices[0].message.content == lm(tiny_model, max_tokens=8)("hello")[0]
    streamed = list(client.chat.completions.create(model="tiny", stream=True, stream_options={"include_usage": True}, **told))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices) == answer.choices[0].message.content
    assert streamed[-1].usage == answer.usage
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", logprobs=True, **told)
    assert (caught.value.param, caught.value.code) == ("logprobs", "unsupported_parameter")
    with pytest.raises(openai.NotFoundError, match="this server has"):
        client.models.retrieve("other")


def test_several_answers_are_drawn_each_for_itself(address):
    import openai

    client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
    told = {"model": "tiny", "max_completion_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}
    drawn = client.chat.completions.create(n=3, temperature=2.0, seed=7, **told)
    texts = [choice.message.content for choice in drawn.choices]
    assert [choice.index for choice in drawn.choices] == [0, 1, 2] and len(set(texts)) > 1
    one = client.chat.completions.create(temperature=2.0, seed=7, **told)
    assert one.choices[0].message.content == texts[0]
    assert drawn.usage.prompt_tokens == one.usage.prompt_tokens and drawn.usage.completion_tokens == 24
    streamed = list(client.chat.completions.create(n=3, temperature=2.0, seed=7, stream=True, **told))
    by_index = ["".join(c.delta.content or "" for chunk in streamed for c in chunk.choices if c.index == index) for index in range(3)]
    assert by_index == texts
    likeliest = client.chat.completions.create(n=2, temperature=0, **told)
    assert likeliest.choices[0].message.content == likeliest.choices[1].message.content


def test_a_stop_text_and_the_other_names_of_the_limit_are_kept(address):
    whole = ask(address, max_tokens=12).json()["choices"][0]["message"]["content"]
    short, shorter = (ask(address, max_tokens=12, **{name: 2}).json()["usage"] for name in ("max_completion_tokens", "max_new_tokens"))
    stop = whole[len(whole) // 2 :][:3]
    stopped = ask(address, max_tokens=12, stop=[stop, "never"]).json()["choices"][0]
    assert short["completion_tokens"] == shorter["completion_tokens"] == 2
    assert (stopped["message"]["content"], stopped["finish_reason"]) == (whole.partition(stop)[0], "stop")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/completions", "as the content of a message to POST /v1/chat/completions"),
        ("/completions", "as the content of a message to POST /v1/chat/completions"),
        ("/v1/responses", "There are GET /v1/models and POST /v1/chat/completions."),
        ("/chat/completions", "the base URL of a client ends in /v1"),
    ],
)
def test_other_interfaces_are_answered_with_the_one_there_is(address, path, hint):
    import httpx

    answer = httpx.post(address.removesuffix("/v1") + path, json={"model": "tiny", "prompt": "hi"}, timeout=60)
    assert answer.status_code == 404
    assert hint in answer.json()["error"]["message"]


def test_a_client_of_vllm_can_use_it(address, tiny_model):
    options = {"top_k": 5, "min_p": 0.0, "repetition_penalty": 1.0}
    remote = dspy.LM("hosted_vllm/tiny", api_base=address, max_tokens=8, cache=False, temperature=0.0, extra_body=options)
    assert remote("hello") == lm(tiny_model, max_tokens=8)("hello")


@pytest.mark.parametrize(("host", "reached"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")])
def test_serve_says_where_and_what_and_how_to_ask(tiny_model, monkeypatch, capsys, host, reached):
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    server.serve(tiny_model, host, port=0)
    said = capsys.readouterr().out
    address = re.match(rf"Serving {tiny_model} at (http://{re.escape(reached)}:[1-9]\d*/v1) as model 'tiny'\. ", said)[1]
    words = shlex.split(said.splitlines()[1])
    assert words[:2] == ["curl", f"{address}/chat/completions"] and json.loads(words[-1])["model"] == "tiny"
    with pytest.raises(ValueError, match="port from 0 to 65535"):
        server.serve(tiny_model, port=99999)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_the_line_that_serve_prints_can_be_pasted(tiny, tiny_model, tmp_path):
    """A process as users have it, a name that a shell would take apart, and what the server's log says at its end: nothing."""
    folder = tmp_path / "it's a student"
    shutil.copytree(tiny.folder, folder)
    process = command("serve", f"local/{folder}", "--port", "0", DIVIDE_OR_CONQUER_BACKEND="transformers")
    try:
        first, line = process.stdout.readline(), process.stdout.readline()
        answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)
        assert "it's a student" in first and json.loads(answer.stdout)["choices"][0]["message"]["content"], answer
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == ""
    finally:
        process.kill()


def test_a_model_has_a_short_name(tiny, tiny_model):
    assert list(server._names(f"local/{tiny.folder}/")) == ["tiny", f"local/{tiny.folder}/", tiny_model]
    assert list(server._names(tiny_model)) == ["tiny", tiny_model]


def test_a_file_is_known_by_the_name_that_it_was_asked_for_and_by_its_own(monkeypatch):
    monkeypatch.setattr(server, "_pinned", lambda model: "gguf/qwen2.5-coder-1.5b-instruct-q4_k_m@cc324af070c2")
    assert list(server._names("gguf/qwen2.5-coder-1.5b"))[:2] == ["qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b-instruct-q4_k_m"]


def test_only_models_of_this_process_are_served():
    with pytest.raises(ValueError, match="does not run in this process"):
        server.create_app({"gpt": "openai/gpt-4o"})


async def test_a_client_that_goes_away_ends_its_answer_and_leaves_no_traceback(tiny_model, monkeypatch):
    ended, told, sent = [], [], []

    async def endless(self, request):
        try:
            await asyncio.sleep(600)
        finally:
            ended.append(request.model)

    async def send(message):
        sent.append(message)

    async def receive():
        return next(received, {"type": "http.disconnect"})

    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}).encode()
    received = iter([{"type": "http.request", "body": body, "more_body": False}])
    monkeypatch.setattr("programs.lms.server.AsyncLocalEngine.complete", endless)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    path, headers = "/v1/chat/completions", [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}
    await server.create_app({"tiny": tiny_model})(scope, receive, send)
    gc.collect()
    assert sent[0]["status"] == 499 and ended == [tiny_model] and not told
