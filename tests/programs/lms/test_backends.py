from __future__ import annotations

import pytest

from programs.lms import backends, devices
from programs.lms.backends.base import GenerateRequest, cut_at_stop
from programs.lms.backends.transformers import Sampler, TransformersBackend
from programs.lms.chat import render
from programs.lms.gguf import gguf_of
from programs.tasks import load_task


@pytest.fixture(scope="module")
def backend(tiny):
    return TransformersBackend(tiny.folder, "cpu")


def requests(backend, count: int, **options) -> list[GenerateRequest]:
    prompts = [render(backend.tokenizer, [{"role": "user", "content": "so " * i}]) for i in range(count)]
    return [GenerateRequest(prompt, **({"max_tokens": 6} | options)) for prompt in prompts]


def test_it_writes_what_generate_writes(backend):
    import torch

    for request, result in zip(requests(backend, 4), backend.generate(requests(backend, 4)), strict=True):
        ids = backend.tokenizer(request.prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            written = backend.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6)[0, ids.shape[1] :]
        assert result.text == backend.tokenizer.decode(written, skip_special_tokens=True)


def test_results_come_one_by_one_and_more_may_join(backend):
    late = [requests(backend, 3)[2]]
    seen: list[int] = []
    results = backend.generate(requests(backend, 2), lambda index, result: seen.append(index), lambda: [late.pop()] if late else [])
    assert sorted(seen) == [0, 1, 2]
    assert results[2].text == backend.generate(requests(backend, 3)[2:])[0].text


def test_sub_batches_and_memory_errors_change_nothing(backend, monkeypatch):
    whole = [result.text for result in backend.generate(requests(backend, 6))]
    real = TransformersBackend._decode

    def decode(self, rows):
        if len(rows) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        real(self, rows)

    monkeypatch.setattr(TransformersBackend, "_decode", decode)
    assert [result.text for result in backend.generate(requests(backend, 6))] == whole


def test_max_tokens_hold_for_each_row(backend):
    mixed = [*requests(backend, 2, max_tokens=2), *requests(backend, 2, max_tokens=7)]
    assert [result.output_tokens for result in backend.generate(mixed)] == [2, 2, 7, 7]


def test_the_sampler_follows_the_probabilities():
    import torch

    scores = torch.tensor([0.5, 0.3, 0.2]).log()
    drawn = Sampler(GenerateRequest("", temperature=1.0, seed=0))
    counts = [0, 0, 0]
    for _ in range(2000):
        counts[drawn(scores)] += 1
    assert [count / 2000 for count in counts] == pytest.approx([0.5, 0.3, 0.2], abs=0.04)
    nucleus = Sampler(GenerateRequest("", temperature=1.0, top_p=0.6))
    assert {nucleus(scores) for _ in range(50)} == {0, 1}
    assert {Sampler(GenerateRequest("", temperature=2.0, top_k=1, seed=i))(scores) for i in range(20)} == {0}


def test_stop_texts_are_cut_off():
    assert cut_at_stop("one\ntwo###", ("###", "\n")) == ("one", True)
    assert cut_at_stop("one", ("\n",)) == ("one", False)


@pytest.mark.parametrize(("backend", "device"), [("llamafile", "auto"), ("auto", "tpu")])
def test_unknown_names_are_refused(tiny, backend, device):
    with pytest.raises(ValueError, match="expected one of"):
        backends.choose_backend(tiny, backend, device)


def test_float32_can_be_asked_for_where_bfloat16_is_usual(tiny, monkeypatch):
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    assert devices.device_and_dtype("cpu") == ("cpu", "bfloat16")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    assert TransformersBackend(tiny.folder, "cpu").dtype == "float32"
    assert devices.device_and_dtype("cpu") == ("cpu", "float32")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float16")
    with pytest.raises(ValueError, match="expected 'auto' or 'float32'"):
        TransformersBackend(tiny.folder, "cpu")


def test_in_float32_no_answer_depends_on_its_batch(tiny, monkeypatch):
    from programs.lms.backends import transformers

    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    backend = TransformersBackend(tiny.folder, "cpu")
    texts = []
    for size in (1, 3, 8, 32):
        monkeypatch.setattr(transformers, "MAX_ROWS", size)
        texts.append([result.text for result in backend.generate(requests(backend, 32, max_tokens=12))])
    assert texts == texts[:1] * 4


def test_the_cache_grows_with_the_model_and_stays_below_the_memory(monkeypatch):
    from transformers import Qwen2Config

    from programs.lms.backends.openvino import cache_gb

    large = Qwen2Config(hidden_size=1536, num_attention_heads=12, num_key_value_heads=2, num_hidden_layers=28)
    small = Qwen2Config(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2)
    monkeypatch.setattr("os.sysconf", lambda name: 2**34 if name == "SC_PHYS_PAGES" else 1)
    # 2 * 28 layers * 2 heads * 128 numbers * 4 bytes * 2**15 tokens = 1.75 GiB
    assert [cache_gb(large, 4), cache_gb(large, 2), cache_gb(small, 4)] == [2, 1, 1]
    monkeypatch.setattr("os.sysconf", lambda name: 2**33 if name == "SC_PHYS_PAGES" else 1)
    assert cache_gb(large, 4) == 1


@pytest.mark.slow
def test_openvino_writes_what_transformers_writes(base, monkeypatch):
    pytest.importorskip("openvino_genai")
    fast, reference = backends.choose_backend(base, "openvino"), backends.choose_backend(base, "transformers", "cpu")
    examples = load_task("multihop").load("test", 8)
    prompts = [render(reference.tokenizer, [{"role": "user", "content": example.question}]) for example in examples]
    asked = [GenerateRequest(prompt, max_tokens=12) for prompt in prompts]
    ours, theirs = fast.generate(asked), reference.generate(asked)
    assert sum(a.text == b.text for a, b in zip(ours, theirs, strict=True)) >= 7
    assert [a.input_tokens for a in ours] == [b.input_tokens for b in theirs]
    late = list(asked[4:])
    joined = fast.generate(asked[:4], more=lambda: [late.pop(0)] if late else [])
    assert [a.text for a in joined] == [a.text for a in ours]
    sampled = [GenerateRequest(prompt, max_tokens=12, temperature=1.0, seed=i) for i, prompt in enumerate(prompts[:4])]
    # bfloat16 rounds by the shape of the batch, which a close choice among samples shows.
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: False)
    exact = backends.choose_backend(base, "openvino")
    assert [a.text for a in exact.generate(sampled)] == [exact.generate([one])[0].text for one in sampled]


def test_weights_in_8_bits_are_a_file_of_their_own_and_near_the_others(tiny, home):
    pytest.importorskip("openvino_genai")
    from gguf import GGUFReader, dequantize

    fast = backends.choose_backend(tiny, "openvino-int8", "cpu")
    assert fast.name == "openvino-int8"
    assert [one.output_tokens for one in fast.generate(requests(fast, 2, max_tokens=8))] == [8, 8]
    kept, whole = gguf_of(tiny, "q8_0"), gguf_of(tiny)
    assert kept.stat().st_size < 0.7 * whole.stat().st_size
    for ours, exact in zip(GGUFReader(kept).tensors, GGUFReader(whole).tensors, strict=True):
        a, b = dequantize(ours.data, ours.tensor_type), dequantize(exact.data, exact.tensor_type)
        assert ours.tensor_type.name == ("Q8_0" if min(exact.shape) > 1 and len(exact.shape) == 2 else "F32")
        assert abs(a - b).max() <= 1.01 * abs(b).max() / 127


@pytest.mark.long
def test_weights_in_8_bits_write_what_16_bits_write(base):
    pytest.importorskip("openvino_genai")
    texts = []
    for name in ("openvino", "openvino-int8"):
        backend = backends.choose_backend(base, name, "cpu")
        chats = [[{"role": "user", "content": one.question}] for one in load_task("multihop").load("test", 8)]
        asked = [GenerateRequest(render(backend.tokenizer, chat), max_tokens=8) for chat in chats]
        texts.append([one.text for one in backend.generate(asked)])
    assert sum(a == b for a, b in zip(*texts, strict=True)) >= 6


@pytest.mark.parametrize(
    "fault", [ImportError("libtbb.so.12: cannot open"), AttributeError("no SchedulerConfig"), TypeError("2 arguments")]
)
def test_an_openvino_that_cannot_be_used_leaves_the_model_to_transformers(tiny, home, monkeypatch, caplog, fault):
    from programs.lms.backends.openvino import OpenVinoBackend

    def broken(*args):
        raise fault

    monkeypatch.delenv("DIVIDE_OR_CONQUER_BACKEND", raising=False)
    monkeypatch.setattr(OpenVinoBackend, "__init__", broken)
    assert backends.choose_backend(tiny, device="cpu").name == "transformers"
    assert f"openvino cannot load the model ({fault})" in caplog.text
    with pytest.raises(type(fault), match=str(fault)):
        backends.choose_backend(tiny, "openvino", "cpu")


def test_a_damaged_copy_for_openvino_is_written_again(tiny, home, monkeypatch):
    pytest.importorskip("openvino_genai")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    asked = requests(backends.choose_backend(tiny, "transformers", "cpu"), 2, max_tokens=8)
    path = gguf_of(tiny)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no GGUF"):
        path.write_bytes(damaged)
        fast = backends.choose_backend(tiny, "openvino", "cpu")
        assert [result.output_tokens for result in fast.generate(asked)] == [8, 8]
        assert path.read_bytes() == whole
