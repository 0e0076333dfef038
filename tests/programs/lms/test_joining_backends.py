"""Backends whose requests join one running batch write what transformers writes in sub-batches."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

from optimizers import doctor
from programs.lms import backends, engine
from programs.lms.backends import continuous
from programs.lms.backends.base import GenerateRequest, Interrupted
from programs.lms.backends.continuous import ContinuousBackend
from programs.lms.backends.transformers import TransformersBackend
from programs.lms.catalog import lm
from programs.lms.chat import render
from programs.tasks import load_task


@pytest.fixture(scope="module", autouse=True)
def in_float32():
    """In bfloat16 a batch of another shape rounds otherwise, and a close choice turns out differently."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
        yield


@pytest.fixture(scope="module")
def plain(tiny):
    return TransformersBackend(tiny.folder, "cpu")


@pytest.fixture(scope="module")
def joining(tiny):
    backend = continuous.load(tiny, "cpu")
    yield backend
    backend.close()


def asked(backend, count: int, **options) -> list[GenerateRequest]:
    prompts = [render(backend.tokenizer, [{"role": "user", "content": "so " * i}]) for i in range(count)]
    return [GenerateRequest(prompt, **({"max_tokens": 6} | options)) for prompt in prompts]


def told(results) -> list[tuple]:
    return [(one.text, one.input_tokens, one.output_tokens, one.finish_reason, one.error) for one in results]


def test_texts_are_those_of_transformers(plain, joining):
    likeliest = asked(plain, 20)
    drawn = [replace(one, temperature=1.0, seed=i, top_k=50, top_p=0.9) for i, one in enumerate(likeliest[:4])]
    mixed = [*likeliest[:3], *drawn, *likeliest[3:]]
    assert told(joining.generate(mixed)) == told(plain.generate(mixed))
    text = plain.generate(likeliest[:1])[0].text
    stopped = [replace(likeliest[0], stop=(text[3:5], "never")), replace(likeliest[0], max_tokens=2)]
    results = joining.generate(stopped)
    assert told(results) == told(plain.generate(stopped))
    assert [result.finish_reason for result in results] == ["stop", "length"]


def test_requests_join_a_running_batch(plain, joining):
    late, seen = asked(plain, 4)[2:], []
    results = joining.generate(asked(plain, 2, max_tokens=30), lambda i, _: seen.append(i), lambda: [late.pop(0)] if late else [])
    # Those that came later are done first.
    assert seen[:2] == [2, 3]
    assert told(results[2:]) == told(plain.generate(asked(plain, 4)[2:]))


def test_one_that_cannot_be_asked_leaves_the_others(plain, joining):
    answers = iter([True, True])
    mine = asked(plain, 2)
    unwanted = replace(mine[0], max_tokens=100, wanted=lambda: next(answers, False))
    results = joining.generate([GenerateRequest("so " * 400), unwanted, *mine])
    assert results[0].too_long and "401 tokens" in results[0].error
    assert "nobody waits" in results[1].error
    assert told(results[2:]) == told(plain.generate(mine))


def test_more_than_the_cache_holds_waits(tiny, plain, monkeypatch):
    monkeypatch.setattr(continuous, "CACHED_TOKENS", 1)
    small = ContinuousBackend(tiny.folder, "cpu")
    assert small.context == plain.context == 256
    longest = GenerateRequest("so " * 250, max_tokens=50)
    mine = [longest, *asked(plain, 3), longest]
    assert told(small.generate(mine)) == told(plain.generate(mine))
    small.close()


def test_after_an_error_or_an_interrupt_the_next_batch_is_answered(tiny, plain, joining, monkeypatch):
    import torch

    monkeypatch.setattr(joining.plain.model, "forward", lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        joining.generate(asked(plain, 3))
    monkeypatch.undo()
    mine = asked(plain, 3)
    assert told(joining.generate(mine)) == told(plain.generate(mine))
    joining.interrupt()
    with pytest.raises(Interrupted):
        joining.generate(mine)
    joining._interrupted = False
    assert told(joining.generate(mine)) == told(plain.generate(mine))


def test_the_engine_takes_it_by_name_and_asks_halves_where_memory_is_short(tiny_model, monkeypatch):
    import torch

    real, sizes = ContinuousBackend._advance, []

    def advance(self, running):
        sizes.append(len(running))
        if len(running) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, running)

    monkeypatch.setattr(ContinuousBackend, "_advance", advance)
    local = lm(tiny_model, backend="transformers-continuous", device="cpu", max_tokens=4, cache=False)
    with engine._registry._turns.hold():
        # While another model has its turn all four come together.
        futures = [engine.LocalEngine("transformers-continuous", "cpu").submit(_request(local.model, word)) for word in "abcd"]
    assert [future.result().provider_data["backend"] for future in futures] == ["transformers-continuous"] * 4
    assert max(sizes) > 2


def _request(model: str, text: str):
    from dspy import lm15

    return lm15.Request(model=model, messages=(lm15.Message.user(text),), config=lm15.Config(max_tokens=4))


@pytest.mark.parametrize("fault", [RuntimeError("no kernel image"), ImportError("libcudart"), ValueError("no such architecture")])
def test_on_cuda_the_fastest_that_loads_is_taken(tiny, monkeypatch, caplog, fault):
    """A CUDA device and a vLLM are only said to be there: what is looked at is the order."""

    def broken(model, device):
        raise fault

    def loads(name):
        return {"vllm": broken, "transformers-continuous": lambda *_: "continuous"}[name]

    monkeypatch.delenv("DIVIDE_OR_CONQUER_BACKEND", raising=False)
    monkeypatch.setattr(backends, "device_and_dtype", lambda device: ("cuda", "bfloat16"))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True if name == "vllm" else found(name))
    monkeypatch.setattr(backends.BACKENDS, "get", loads)
    assert backends.preferred("cuda") == ["vllm", "transformers-continuous", "transformers"]
    with caplog.at_level("INFO"):
        assert backends.choose_backend(tiny) == "continuous"
    assert len(caplog.records) == 1 and "vllm" in caplog.text and str(fault) in caplog.text


def test_doctor_names_the_backends_that_are_tried(monkeypatch):
    def told() -> str:
        return next(finding.found for finding in doctor._devices() if finding.part == "backend")

    monkeypatch.delenv("DIVIDE_OR_CONQUER_BACKEND", raising=False)
    assert told().startswith("auto: ") and told().endswith("transformers")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_BACKEND", "vllm")
    assert told() == "vllm"


@pytest.mark.skipif(bool(importlib.util.find_spec("vllm")), reason="vLLM is installed")
def test_a_missing_vllm_says_how_to_get_it(tiny):
    with pytest.raises(ImportError, match=r"divide-or-conquer\[vllm\]"):
        backends.choose_backend(tiny, "vllm", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformers-continuous", "vllm"])
def test_twenty_prompts_of_a_trained_model(base, name, monkeypatch):
    if name == "vllm":
        pytest.importorskip("vllm")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    plain, fast = TransformersBackend(base.folder, "cpu"), backends.choose_backend(base, name, "cpu")
    prompts = [
        render(plain.tokenizer, [{"role": "user", "content": example.question}]) for example in load_task("multihop").load("test", 20)
    ]
    mine = [GenerateRequest(prompt, max_tokens=10) for prompt in prompts]
    expected = plain.generate(mine)
    assert told(fast.generate(mine)) == told(expected)
    late = mine[4:8]
    assert told(fast.generate(mine[:4], more=lambda: [late.pop(0)] if late else [])) == told(expected[:8])
    drawn = [replace(one, temperature=1.0, seed=i, top_k=50) for i, one in enumerate(mine[:4])]
    assert told(fast.generate(drawn)) == [told(fast.generate([one]))[0] for one in drawn]
    stopped = replace(mine[0], stop=(expected[0].text[5:8],))
    answers = iter([True, True])
    unwanted = replace(mine[1], max_tokens=100, wanted=lambda: next(answers, False))
    results = fast.generate([GenerateRequest("so " * 9000), stopped, unwanted])
    assert results[0].too_long and "nobody waits" in results[2].error
    assert told(results[1:2]) == told(plain.generate([stopped]))
    fast.close()


@pytest.mark.slow
def test_a_vllm_that_was_killed_is_started_again(base):
    pytest.importorskip("vllm")
    from psutil import Process, wait_procs
    from vllm.v1.engine.exceptions import EngineDeadError

    fast = backends.choose_backend(base, "vllm", "cpu")
    mine = asked(fast, 2)
    expected = told(fast.generate(mine))

    def kill() -> list[GenerateRequest]:
        for child in Process().children(recursive=True):
            if "EngineCore" in child.name():
                child.kill()
        return []

    with pytest.raises(EngineDeadError):
        fast.generate([replace(mine[0], max_tokens=500)], more=kill)
    assert told(fast.generate(mine)) == expected
    processes = [child for child in Process().children(recursive=True) if "VLLM" in child.name()]
    fast.close()
    assert processes and not wait_procs(processes, timeout=30)[1]
