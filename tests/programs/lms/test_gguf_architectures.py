"""Models of every architecture as GGUF: read by openvino and by transformers, they are what they were."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
import small_models
from small_models import SHAPES, TEXTS, as_model, copy_with

from programs.lms import backends, chat
from programs.lms.backends.base import GenerateRequest
from programs.lms.backends.transformers import TransformersBackend
from programs.lms.gguf import export, gguf_of, write_gguf


@pytest.fixture(scope="module")
def folders(base, tmp_path_factory):
    """Shape -> its folder, made at first use."""
    made: dict[str, Path] = {}

    def folder(shape: str) -> Path:
        if shape not in made:
            made[shape] = small_models.save(shape, base.folder, tmp_path_factory.mktemp("models") / shape)
        return made[shape]

    return folder


def fields(path: Path) -> dict[str, object]:
    from gguf import GGUFReader

    return {key: field.contents() for key, field in GGUFReader(path).fields.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_openvino_writes_what_transformers_writes(folders, home, monkeypatch, shape):
    pytest.importorskip("openvino_genai")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    model = as_model(folders(shape))
    reference, fast = TransformersBackend(model.folder, "cpu"), backends.choose_backend(model, "openvino", "cpu")
    prompts = [chat.render(reference.tokenizer, [{"role": "user", "content": text}]) for text in [*TEXTS, *reversed(TEXTS)][:100]]
    asked = [GenerateRequest(prompt + "so " * (i // 50), max_tokens=8, stop=("zq",)) for i, prompt in enumerate(prompts)]
    ours, theirs = ([(r.text, r.output_tokens, r.finish_reason, r.error) for r in b.generate(asked)] for b in (fast, reference))
    assert len(asked) == 100 and len(set(theirs)) > 50
    assert ours == theirs


def merging(folder, copy):
    """The tokenizer of a folder without `ignore_merges`: `llama-bpe` says it to llama.cpp, and the reader of transformers leaves it out."""
    from transformers import AutoTokenizer

    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    written = json.loads((copy / "tokenizer.json").read_text())
    written["model"]["ignore_merges"] = False
    (copy / "tokenizer.json").write_text(json.dumps(written))
    return AutoTokenizer.from_pretrained(copy)


@pytest.mark.parametrize("shape", ["llama", "llama-untied", "qwen2", "qwen2-untied", "qwen3"])
def test_transformers_reads_the_same_weights_tokens_and_template(folders, tmp_path, shape):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = folders(shape)
    write_gguf(folder, tmp_path / "m.gguf")
    before, after = merging(folder, tmp_path / "merging"), AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    assert len(TEXTS) >= 50
    # Qwen's tokenizer composes letters and accents first (NFC), which no GGUF can say.
    # And the class that transformers reads Llama 3's into knows GPT-2's <|endoftext|>, whatever the vocabulary has.
    foreign = "<|endoftext|>" if "<|endoftext|>" not in before.get_vocab() else "\0"
    for text in (unicodedata.normalize("NFC", text) for text in TEXTS if foreign not in text):
        assert after(text)["input_ids"] == before(text)["input_ids"], text
    ask = [{"role": "user", "content": "So?"}]
    assert chat.render(after, ask) == chat.render(before, ask)
    assert (after.eos_token, after.bos_token, after.pad_token) == (before.eos_token, before.bos_token, before.pad_token)
    weights = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32).state_dict()
    assert weights.keys() == read.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(read[name], weight, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize(("shape", "pre"), [("llama", "smollm"), ("llama-untied", "llama-bpe"), ("qwen2", "qwen2"), ("qwen3", "qwen2")])
def test_the_file_names_the_splits_and_fills_up_the_rows(folders, tmp_path, shape, pre):
    folder = folders(shape)
    found = fields(write_gguf(folder, tmp_path / "m.gguf"))
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert (found["tokenizer.ggml.model"], found["tokenizer.ggml.pre"]) == ("gpt2", pre)
    tokens, types = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == rows
    if shape != "llama":
        assert tokens[-1] == f"[PAD{rows - 1}]" and types[-40:] == [5] * 40 and types[-41] != 5
    if "qwen" in shape:
        assert {token: types[tokens.index(token)] for token in ("<|im_end|>", "<tool_call>")} == {"<|im_end|>": 3, "<tool_call>": 4}
    assert bool(found["tokenizer.ggml.add_bos_token"]) == (pre == "llama-bpe")


@pytest.mark.slow
def test_what_comes_from_the_embedded_file_stays(base, tmp_path):
    from programs.lms.embedded import base_gguf

    before, after = fields(base_gguf()), fields(write_gguf(base.folder, tmp_path / "m.gguf"))
    assert {key: after.get(key) for key in before if key.startswith("tokenizer.")} == {
        key: value for key, value in before.items() if key.startswith("tokenizer.")
    }


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3_ROPE |= {"original_max_position_embeddings": 128}


def test_scaled_rotary_embeddings_of_llama_3_are_exported_and_kept_from_openvino(folders, home, tmp_path):
    import torch
    from gguf import GGUFReader
    from transformers import AutoConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    folder = copy_with(folders("llama-untied"), tmp_path / "scaled", rope_parameters=LLAMA3_ROPE)
    path = write_gguf(folder, tmp_path / "m.gguf")
    factors = next(tensor.data for tensor in GGUFReader(path).tensors if tensor.name == "rope_freqs.weight")
    plain = fields(path)["llama.rope.freq_base"] ** -(torch.arange(0, 32, 2) / 32)
    torch.testing.assert_close(
        plain / torch.tensor(factors), LlamaRotaryEmbedding(AutoConfig.from_pretrained(folder)).inv_freq, rtol=1e-5, atol=0
    )
    assert (factors.max(), factors.min()) == pytest.approx((32, 1))
    with pytest.raises(ValueError, match="rope scaling 'llama3'; openvino takes"):
        gguf_of(as_model(folder))


def test_weights_beyond_16_bits_are_exported_in_32_and_kept_from_openvino(folders, home, tmp_path):
    import torch
    from gguf import GGUFReader
    from safetensors.torch import load_file, save_file

    folder = copy_with(folders("qwen2"), tmp_path / "large")
    part = next(path for path in sorted(folder.glob("*.safetensors")) if "model.layers.0.mlp.up_proj.weight" in load_file(path))
    weights = load_file(part)
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = -98304.0
    save_file(weights, part, {"format": "pt"})
    found = {tensor.name: tensor for tensor in GGUFReader(write_gguf(folder, tmp_path / "m.gguf")).tensors}
    assert found["blk.0.ffn_up.weight"].data[0, 0] == torch.tensor(-98304.0)
    assert found["blk.0.ffn_up.weight"].tensor_type.name == "F32" and found["blk.1.ffn_up.weight"].tensor_type.name == "F16"
    with pytest.raises(ValueError, match="weights up to 9"):
        gguf_of(as_model(folder))


YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
REFUSED = {
    "rope scaling 'yarn'": ("qwen2", {"rope_parameters": YARN}),
    "sliding windows": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 16, "layer_types": None}),
    "activation 'gelu'": ("llama", {"hidden_act": "gelu"}),
    "biases": ("qwen3", {"attention_bias": True}),
    "architecture MistralForCausalLM": ("llama", {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}),
    "architecture None": ("llama", {"architectures": None}),
    "weights quantized by gptq": ("qwen2", {"quantization_config": {"quant_method": "gptq", "bits": 4}}),
    "weight lm_head.weight has the shape None": ("qwen2", {"tie_word_embeddings": False}),
    "weight model.embed_tokens.weight has the shape": ("qwen2", {"vocab_size": 5000}),
    "with the id": ("qwen2", {"vocab_size": 600}),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_model_that_would_be_read_as_another_is_refused(folders, home, tmp_path, fault):
    shape, values = REFUSED[fault]
    folder = copy_with(folders(shape), tmp_path / "other", **values)
    for write in (lambda: write_gguf(folder, tmp_path / "m.gguf"), lambda: gguf_of(as_model(folder))):
        with pytest.raises(ValueError, match="cannot be written as GGUF: .*" + fault):
            write()
    assert not [path for path in tmp_path.glob("**/*.gguf*") if path.suffix != ".lock"]


def test_a_part_that_is_missing_is_named_and_files_beside_the_model_are_left_alone(folders, tmp_path):
    folder = copy_with(folders("qwen2"), tmp_path / "parts")
    part = sorted(folder.glob("*.safetensors"))[0]
    (folder / "adapter_model.safetensors").write_bytes(b"of another kind")
    write_gguf(folder, tmp_path / "m.gguf")
    part.unlink()
    with pytest.raises(ValueError, match=f"{part.name} is missing"):
        write_gguf(folder, tmp_path / "n.gguf")


def test_splits_without_a_name_are_refused_for_llama_cpp_alone(folders, home, tmp_path):
    folder = copy_with(folders("llama-untied"), tmp_path / "other")
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("{1,3}", "{1,2}"))
    with pytest.raises(ValueError, match="splits text in a way that has no name"):
        write_gguf(folder, tmp_path / "m.gguf")
    assert fields(gguf_of(as_model(folder)))["tokenizer.ggml.pre"] == "default"


def test_a_tokenizer_that_is_no_byte_level_bpe_is_refused(folders, home, tmp_path):
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    folder = copy_with(folders("llama-untied"), tmp_path / "other")
    pieces = Tokenizer(models.Unigram([("<unk>", 0.0), ("\u2581a", -1.0)], unk_id=0))
    pieces.decoder = decoders.Metaspace()
    PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<unk>").save_pretrained(folder)
    for write in (lambda: write_gguf(folder, tmp_path / "m.gguf"), lambda: gguf_of(as_model(folder))):
        with pytest.raises(ValueError, match="its tokenizer is Unigram and not byte-level BPE"):
            write()


@pytest.mark.parametrize(("shape", "begin", "ends"), [
    ("qwen2", "<|im_start|>system\n", {"<|im_end|>"}),
    ("llama-untied", "<|start_header_id|>system", {"<|eot_id|>", "<|end_of_text|>"}),
])  # fmt: skip
def test_ollama_is_told_the_form_and_the_ends_of_each_template(folders, tmp_path, shape, begin, ends):
    from transformers import AutoTokenizer

    from programs.lms.trained_prompts import PLACE, TrainedPrompt

    folder = copy_with(folders(shape), tmp_path / "student")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": tokenizer.convert_tokens_to_ids(sorted(ends))}))
    prompt = TrainedPrompt("line", messages=[
        {"role": "system", "content": 'Write {{ "a": 1 }} or """b""".'}, {"role": "user", "content": f"Question: {PLACE}"},
    ])  # fmt: skip
    model = as_model(folder)
    model.manifest["prompts"] = {"decompose": prompt.to_dict()}
    target, written, *_ = export(model, tmp_path / "m.gguf")
    bare = chat.render(AutoTokenizer.from_pretrained(tmp_path, gguf_file=target.name), [{"role": "user", "content": "Who?"}])
    assert bare == chat.render(tokenizer, prompt.chat("Who?"))
    text = written.read_text()
    template = text.split('TEMPLATE """')[1].split('"""\nPARAMETER')[0]
    # What Go makes of it is looked at in `test_modelfile.py`.
    assert begin in template and '"""' not in template
    assert {line.split('"')[1] for line in text.splitlines() if line.startswith("PARAMETER stop")} == ends
