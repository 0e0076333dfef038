from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from programs.lms import adapter_name_for, backends, embedded, engine, lm
from programs.lms.backends.base import GenerateRequest
from programs.lms.chat import render
from programs.lms.gguf import write_gguf
from programs.lms.gguf_copy import copy_gguf, q8_0_of_q5_0
from programs.lms.gguf_header import Header, read_header
from programs.lms.gguf_models import open_gguf
from programs.lms.gguf_prepared import readable_gguf, settings_folder, weights_folder
from programs.lms.model_strings import pinned, source

_ENDS = [0, 2]
"""`<|endoftext|>` and `<|im_end|>` of the embedded model's vocabulary."""


WHY = tuple(f"Why {'so ' * i}?" for i in range(6))


@pytest.fixture(scope="module")
def small(tiny, tmp_path_factory) -> Path:
    """A whole model of a few thousand weights in 16-bit floats."""
    return write_gguf(tiny.folder, tmp_path_factory.mktemp("gguf") / "A small (one).gguf")


def written(path: Path, architecture: str = "llama", tensors: int = 1, **values) -> Path:
    """A GGUF file with a vocabulary of two tokens; a value of None leaves its key out."""
    import gguf

    known = {
        "general.type": "model",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "<|im_end|>"],
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": "{{ messages[0].content }}",
    }
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (known | {name.replace("__", "."): value for name, value in values.items()}).items():
        add = {str: writer.add_string, int: writer.add_uint32, list: writer.add_array}
        if value is not None:
            add[type(value)](key, value)
    for number in range(tensors):
        writer.add_tensor(f"blk.{number}.attn_q.weight", np.zeros((32, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def quantized(original: Path, target: Path, kind: str) -> Path:
    """A GGUF file with its matrices in another type."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    header = read_header(original)
    number = int(GGMLQuantizationType[kind])
    copy_gguf(header, target, kind_of=lambda tensor: number if len(tensor.shape) > 1 else tensor.kind, with_data=False)
    before = values_of(header)
    with target.open("r+b") as file:
        copied = read_header(target)
        for tensor in copied.tensors:
            file.seek(copied.data_start + tensor.offset)
            values = before[tensor.name].reshape(-1, 32)
            file.write(quantize(values, GGMLQuantizationType(tensor.kind)).tobytes())
    return target


def values_of(header: Header) -> dict[str, np.ndarray]:
    """Every tensor in 32-bit floats, flat."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    data = header.path.read_bytes()
    found = {}
    for tensor in header.tensors:
        start = header.data_start + tensor.offset
        raw = np.frombuffer(data[start : start + tensor.size], np.uint8)
        found[tensor.name] = dequantize(raw, GGMLQuantizationType(tensor.kind)).astype(np.float32).reshape(-1)
    return found


def texts(model, backend: str, asked: Sequence[str] = WHY) -> list[str]:
    loaded = backends.choose_backend(model, backend, "cpu")
    prompts = [render(loaded.tokenizer, [{"role": "user", "content": text}]) for text in asked]
    found = [result.text for result in loaded.generate([GenerateRequest(prompt, max_tokens=12) for prompt in prompts])]
    loaded.close()
    return found


def test_a_file_is_pinned_by_its_content(small, home, monkeypatch):
    monkeypatch.chdir(small.parent)
    model = pinned(f"gguf/{small.name}")
    assert model == f"gguf/A-small-one@{open_gguf(small).sha256[:12]}" == pinned(f"gguf/{small}") == pinned(model)
    monkeypatch.setattr("programs.lms.artifacts._registered", {})  # as in another process
    assert source(model).path == small.resolve()
    assert adapter_name_for(lm(model)) == "line"


def test_a_changed_file_is_not_taken_for_the_pinned_one(small, home, tmp_path):
    path = shutil.copy(small, tmp_path / "small.gguf")
    model = pinned(f"gguf/{path}")
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\1\2\3\4")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match=r"holds 'gguf/small@\w{12}' by now, not"):
        source(model)
    path.unlink()
    with pytest.raises(ValueError, match=r"its file is gone .* as programs\.lms\.lm\('gguf/<file>'\)"):
        source(model)


def test_a_large_files_hash_is_remembered(home, tmp_path, monkeypatch):
    from programs.lms import file_hashes

    monkeypatch.setattr(file_hashes, "_REMEMBERED_FROM", 1)
    path = written(tmp_path / "x.gguf")
    first = file_hashes.file_hash(path)
    monkeypatch.setattr(file_hashes, "_known", {})
    monkeypatch.setattr(file_hashes, "sha256", lambda path: "read again")
    assert file_hashes.file_hash(path) == first
    os.utime(path, ns=(1, 1))
    assert file_hashes.file_hash(path) == "read again"


def _cut(path: Path, share: float) -> Path:
    os.truncate(written(path), int(path.stat().st_size * share))
    return path


def _bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: _bytes(p / "x.gguf", b"<!DOCTYPE html><html>not found</html>"), "is no GGUF file: it begins with b'<!DO'"),
        (lambda p: _bytes(p / "x.gguf", b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
        (lambda p: _bytes(p / "x.gguf", b""), "it has 0 bytes"),
        (lambda p: _bytes(p / "x.gguf", b"GGUF" + b"\1\0\0\0" + bytes(99)), "is GGUF version 1"),
        (lambda p: _bytes(p / "x.gguf", b"GGUF" + b"\0\0\0\3" + bytes(99)), "big-endian"),
        (lambda p: _bytes(p / "x.gguf", b"GGUF" + b"\3\0\0\0" + b"\xff" * 40), "cut off or damaged"),
        (lambda p: _cut(p / "x.gguf", 0.9), r"blk\.0\.attn_q\.weight ends at byte"),
        (lambda p: _cut(p / "x.gguf", 0.02), "its header cannot be read"),
        (lambda p: written(p / "x-00002-of-00003.gguf"), r"part 2 of 3 .*llama-gguf-split --merge .*/x-00001-of-00003\.gguf"),
        (lambda p: written(p / "x.gguf", split__count=3), "one of 3 parts"),
        (lambda p: written(p / "x.gguf", "clip", general__type="mmproj"), "reads pictures"),
        (lambda p: written(p / "x.gguf", general__type="adapter"), "LoRA adapter"),
        (lambda p: written(p / "x.gguf", general__type="imatrix"), "'imatrix'"),
        (lambda p: written(p / "x.gguf", "warpdrive"), r"architecture 'warpdrive', .*'gemma3'.*'llama'.*'qwen2'"),
        (lambda p: written(p / "x.gguf", "t5"), "architecture 't5'"),
        (lambda p: written(p / "x.gguf", tokenizer__ggml__model=None), "has no tokenizer"),
        (lambda p: written(p / "x.gguf", tokenizer__ggml__tokens=None), "has no tokenizer"),
        (lambda p: written(p / "x.gguf", tokenizer__chat_template=None), "has no chat template.*-Instruct"),
        (lambda p: written(p / "x.gguf", tensors=0), "a vocabulary alone"),
    ],
)  # fmt: skip
def test_what_is_no_whole_chat_model_is_refused(tmp_path, home, make, message):
    with pytest.raises(ValueError, match=message):
        pinned(f"gguf/{make(tmp_path)}")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gguf/", "Unknown model 'gguf/'"),
        ("gguf/nowhere.gguf", "'nowhere.gguf' is no file; expected .*gguf/<file>"),
        ("gguf/models", r"'models' is no file \(models has a\.gguf\)"),
        ("gguf/models/b.gguf", r"is no file \(models has a\.gguf\)"),
        ("gguf/b@0123456789ab", r"no such model is registered here.*lm\('gguf/<file>'\)"),
    ],
)
def test_names_of_nothing_are_refused(tmp_path, home, monkeypatch, model, message):
    (tmp_path / "models").mkdir()
    written(tmp_path / "models" / "a.gguf")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        lm(model)


def test_the_turns_end_where_the_file_says_and_where_its_vocabulary_shows(home, tmp_path):
    tokens = {"tokenizer__ggml__tokens": ["a", "<|eot_id|>", "<|end_of_text|>", "<|im_end|>"], "tokenizer__ggml__token_type": [1, 3, 3, 1]}
    model = open_gguf(written(tmp_path / "x.gguf", **tokens, tokenizer__ggml__eos_token_id=2, tokenizer__ggml__eot_token_id=0))
    assert model.ends == (0, 1, 2)  # the last one is a word like any other there


def test_five_bits_become_eight_without_loss():
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    values = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    raw = quantize(values, GGMLQuantizationType.Q5_0)
    same = dequantize(q8_0_of_q5_0(raw.reshape(-1)), GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(same, dequantize(raw, GGMLQuantizationType.Q5_0))


@pytest.mark.parametrize(("kind", "exact"), [("Q8_0", True), ("Q5_0", True), ("Q5_1", False)])
def test_openvino_gets_the_weights_of_every_type(small, home, tmp_path, kind, exact):
    model = open_gguf(quantized(small, tmp_path / "x.gguf", kind))
    readable = readable_gguf(model)
    assert (readable == model.path) == (kind == "Q8_0")
    before, after = values_of(read_header(model.path)), values_of(read_header(readable))
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-6)


def test_both_backends_write_the_same(tiny, home, tmp_path, monkeypatch):
    """On weights that decide clearly, and that a bfloat16 and a 16-bit float both hold; in float32, as each rounds in its own way."""
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    import torch
    from transformers import AutoModelForCausalLM

    wide = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    wide.load_state_dict({name: (15 * value if value.ndim == 2 else value).bfloat16().float() for name, value in wide.state_dict().items()})
    shutil.copytree(tiny.folder, tmp_path / "wide")
    wide.save_pretrained(tmp_path / "wide")
    model = open_gguf(write_gguf(tmp_path / "wide", tmp_path / "wide.gguf"))
    assert len(set(texts(model, "openvino"))) > 1
    assert texts(model, "openvino") == texts(model, "transformers")


def test_its_settings_are_those_of_the_model_that_it_was_written_from(small, home, tiny):
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    folder = settings_folder(open_gguf(small))
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2048 + 13?\n"}]
    read, known = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(tiny.folder)
    assert render(read, chat) == render(known, chat)
    assert read(render(read, chat))["input_ids"] == known(render(known, chat))["input_ids"]
    assert (read.eos_token, read.pad_token) == (known.eos_token, known.pad_token)
    assert GenerationConfig.from_pretrained(folder).eos_token_id == _ENDS
    config = AutoConfig.from_pretrained(folder)
    assert (config.vocab_size, config.max_position_embeddings) == (len(known), 256)


def test_its_weights_are_dequantized_once(small, home, tiny):
    import torch
    from transformers import AutoModelForCausalLM

    model = open_gguf(small)
    folder = weights_folder(model)
    assert folder == home / "dequantized" / model.hash
    before = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32).state_dict()
    after = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=2**-7, atol=1e-6)
    written_at = (folder / "model.safetensors").stat().st_mtime_ns
    assert weights_folder(model).joinpath("model.safetensors").stat().st_mtime_ns == written_at
    assert not list(folder.parent.glob(".*partial*"))


def test_without_space_nothing_is_left_behind(small, home, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ValueError, match=r"has 0\.0 GB free.*DIVIDE_OR_CONQUER_HOME"):
        weights_folder(open_gguf(small))
    assert not list((home / "dequantized").glob("*-*"))


@pytest.mark.long
def test_the_wheels_file_writes_what_the_embedded_base_writes(base, home, monkeypatch):
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    model = open_gguf(embedded.base_gguf())
    assert texts(model, "transformers") == texts(base, "transformers")
    # Given the file as it is, openvino would round the offsets of its blocks, and write other texts.
    asked = ["What is the capital of Italy?", "What is 2+2?", "Who wrote Hamlet?"]
    assert texts(model, "openvino", asked) == texts(base, "openvino", asked)


def test_it_answers_as_any_model(small, home, monkeypatch):
    monkeypatch.setenv("DIVIDE_OR_CONQUER_BACKEND", "openvino")
    try:
        answers = lm(f"gguf/{small}", max_tokens=5)("Who?")
        assert answers and isinstance(answers[0], str)
    finally:
        engine.unload_all()
