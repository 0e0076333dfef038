from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from programs.lms import adapter_name_for, backends, lm
from programs.lms.backends.base import GenerateRequest
from programs.lms.checkpoints import open_checkpoint, open_model
from programs.lms.model_strings import pinned, resolve, source
from programs.lms.trained_prompts import prompts_of_model


@pytest.fixture
def plain(tiny, tmp_path) -> Path:
    """A folder as `save_pretrained` leaves it, under a name that a model string cannot hold."""
    folder = tmp_path / "my model (v2)"
    shutil.copytree(tiny.folder, folder, ignore=shutil.ignore_patterns("manifest.json"))
    return folder


@pytest.fixture(scope="module")
def sharded(tiny, tmp_path_factory) -> Path:
    """A GPT-2 of random weights in several files, with the embedded model's tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("sharded") / "gpt2"
    config = GPT2Config(vocab_size=49152, n_positions=128, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(folder, max_shard_size="1MB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny.folder / name, folder / name)
    return folder


def test_a_folder_is_pinned_by_what_is_loaded_from_it(plain, home, monkeypatch):
    model = pinned(f"local/{plain}")
    assert model == f"local/my-model-v2@{open_checkpoint(plain).hash}" == pinned(model)
    for bystander in ("training_args.bin", "optimizer.pt", "checkpoint-5/optimizer.pt", "README.md", "consolidated.safetensors"):
        (plain / bystander).parent.mkdir(exist_ok=True)
        (plain / bystander).write_bytes(b"never loaded")
    monkeypatch.setattr("programs.lms.artifacts._registered", {})  # as in another process
    assert pinned(f"local/{plain}") == model
    assert source(model).folder == plain.resolve()
    assert adapter_name_for(lm(model)) == "line" and prompts_of_model(model) == {}


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_changed_folder_is_not_taken_for_the_pinned_one(plain, home, name):
    model = pinned(f"local/{plain}")
    (plain / name).write_text((plain / name).read_text() + "\n")
    with pytest.raises(ValueError, match=r"holds 'local/my-model-v2@\w{12}' by now, not"):
        source(model)


def test_the_path_does_not_name_the_content(plain, home, tmp_path):
    moved = shutil.move(plain, tmp_path / "elsewhere" / plain.name)
    assert open_checkpoint(moved).model_string == open_model(moved).model_string == pinned(f"local/{moved}")


def test_it_answers_as_the_artifact_of_the_same_files(plain, tiny, home):
    requests = [GenerateRequest(f"<|im_start|>user\n{'so ' * i}<|im_end|>\n", max_tokens=8) for i in range(4)]
    for backend in ("openvino", "transformers"):
        answers = [backends.choose_backend(model, backend, "cpu").generate(requests) for model in (open_checkpoint(plain), tiny)]
        assert [one.text for one in answers[0]] == [one.text for one in answers[1]]


def test_another_architecture_in_shards_runs_on_transformers(sharded, home, monkeypatch):
    monkeypatch.delenv("DIVIDE_OR_CONQUER_BACKEND", raising=False)
    model = resolve(f"local/{sharded}")
    assert len([name for name in model.manifest["files"] if name.endswith(".safetensors")]) > 1
    backend = backends.choose_backend(model, "auto", "cpu")
    assert backend.name == "transformers"
    assert backend.generate([GenerateRequest("Who?", max_tokens=3)])[0].output_tokens == 3


def _without(*names: str):
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def _with(name: str, content: str | bytes, *gone: str):
    def change(folder: Path) -> None:
        _without(*gone)(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def _cut(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1000)


_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
_SHARDS = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("config.json"), "neither manifest.json nor config.json"),
        (_with("checkpoint-20/config.json", "{}", "config.json"), r"its last checkpoint is local/.*checkpoint-20"),
        (_with("a.gguf", "", "config.json"), r"name its GGUF file, as gguf/.*a\.gguf"),
        (_with("adapter_config.json", "{}"), "PEFT adapter.*merge_and_unload"),
        (_without("model.safetensors"), r"has no model\.safetensors and no model\.safetensors\.index\.json: its weights are missing"),
        (_with("pytorch_model.bin", "x", "model.safetensors"), r"only pytorch_model\.bin, a pickle.*save_pretrained"),
        (_with("model.fp16.safetensors", "x", "model.safetensors"), r"model\.fp16\.safetensors is not the name"),
        (_with("model.safetensors.index.json", _SHARDS, "model.safetensors"), r"model-00001-of-00002\.safetensors is missing"),
        (_with("model.safetensors", _POINTER), "a pointer of Git LFS"),
        (_cut, "cut off or damaged"),
        (_without("tokenizer.json"), "has no tokenizer"),
        (_without("chat_template.jinja"), "has no chat template.*-Instruct"),
        (_with("config.json", "{"), r"config\.json is no JSON"),
        (_with("config.json", "[]"), r"config\.json holds list"),
        (_with("config.json", '{"model_type": "t5"}'), "model_type 't5', which is no causal language model"),
        (_with("config.json", '{"model_type": "own", "auto_map": {}}'), "'own'.*code that it brings along is not run"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_refused(plain, home, change, message):
    change(plain)
    with pytest.raises(ValueError, match=message):
        lm(f"local/{plain}")
