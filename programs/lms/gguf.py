"""A model artifact as GGUF: what the CPU backend reads, and what llama.cpp and Ollama users want."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from programs.lms import artifacts, embedded
from programs.lms.artifacts import Artifact
from programs.lms.chat import render
from programs.lms.trained_prompts import PLACE, TrainedPrompt, plain_prompt, prompts_of

_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
_SIZES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "vocab_size": "vocab_size",
}
_F16 = 1


def gguf_of(artifact: Artifact) -> Path:
    """The GGUF of an artifact, written at first use into the folder of all GGUFs, so that the artifact itself stays as it is.

    Raises:
        ValueError: See `write_gguf`.
        OSError: No space there, or no permission.
    """
    target = artifacts.home() / "gguf" / f"{artifact.hash}.gguf"
    if not target.exists():
        with artifacts.folder_lock(target):
            if not target.exists():
                for left in target.parent.glob(_partial(target, "*").name):  # of a process that was killed
                    left.unlink(missing_ok=True)
                write_gguf(artifact.folder, target)
    return target


def _partial(target: Path, process: int | str) -> Path:
    return target.with_name(f".{target.name}.{process}.partial")


def export(artifact: Artifact, target: Path) -> list[Path]:
    """Write a model for llama.cpp and Ollama, so that both take a bare question where the model was trained on one.

    llama.cpp reads how from the GGUF's chat template; Ollama from the Modelfile beside it
    (`ollama create NAME -f NAME.Modelfile`), as it does not run templates in Jinja.

    Args:
        artifact: The model.
        target: The GGUF file to write.

    Returns:
        The files written: the GGUF, and `<target>.Modelfile` where the model takes a bare question.

    Raises:
        ValueError: One of the files exists, or see `write_gguf`.
    """
    target = Path(target)
    modelfile = target.with_suffix(".Modelfile")
    if there := next((path for path in (target, modelfile) if path.exists()), None):
        raise ValueError(f"{there} exists already; choose another name.")
    prompt = plain_prompt(prompts_of(artifact))
    if prompt is None:
        return [write_gguf(artifact.folder, target)]
    template = bare_template((artifact.folder / "chat_template.jinja").read_text(), prompt)
    write_gguf(artifact.folder, target, template)
    modelfile.write_text(_modelfile(artifact.folder, target.name, prompt))
    return [target, modelfile]


def bare_template(template: str, prompt: TrainedPrompt) -> str:
    """A chat template that puts a lone user turn into the form of `prompt`, and leaves other chats alone."""
    turns = ", ".join(f"{{'role': {json.dumps(m['role'])}, 'content': {_with_question(m['content'])}}}" for m in prompt.messages)
    lone = "messages | length == 1 and messages[0]['role'] == 'user'"
    return f"{{%- if {lone} -%}}{{%- set messages = [{turns}] -%}}{{%- endif -%}}{template}"


def _with_question(content: str) -> str:
    parts = [json.dumps(part, ensure_ascii=False) for part in content.split(PLACE)]
    return " + messages[0]['content'] + ".join(parts)


def _modelfile(folder: Path, gguf_name: str, prompt: TrainedPrompt) -> str:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = render(tokenizer, prompt.chat("{{ .Prompt }}"))
    end = f'PARAMETER stop "{tokenizer.eos_token}"\n'
    return f'FROM ./{gguf_name}\nTEMPLATE """{text}{{{{ .Response }}}}"""\nPARAMETER temperature 0\n{end}'


def write_gguf(model_folder: Path, target: Path, template: str | None = None) -> Path:
    """Write the merged model in `model_folder` as a GGUF in 16-bit floats.

    Args:
        model_folder: config.json, tokenizer.json and safetensors of a Llama-shaped model.
        target: The file to write; appears whole or not at all.
        template: Chat template; by default the model's.

    Raises:
        ValueError: Another architecture, or a tokenizer that is not the embedded model's.
    """
    model_folder, target = Path(model_folder), Path(target)
    config = json.loads((model_folder / "config.json").read_text())
    _check_shape(model_folder, config)
    base = embedded.base_gguf()
    metadata = _metadata(base)
    _check_tokenizer(model_folder, metadata)
    written = model_folder / "chat_template.jinja"
    if template is None and written.exists():
        template = written.read_text()
    if template is not None:
        metadata["tokenizer.chat_template"] = (template, *metadata["tokenizer.chat_template"][1:])
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target, os.getpid())
    try:
        _write(partial, model_folder, config, metadata)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _check_shape(folder: Path, config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    faults = {
        f"architecture {config.get('architectures')}": config.get("architectures") != ["LlamaForCausalLM"],
        f"activation {config.get('hidden_act')!r}": config.get("hidden_act", "silu") != "silu",
        f"rope scaling {rope}": rope.get("rope_type", "default") != "default",
        "biases": config.get("attention_bias", False) or config.get("mlp_bias", False),
    }
    fault = next((what for what, wrong in faults.items() if wrong), None)
    if fault:
        raise ValueError(f"{folder} cannot be written as GGUF: {fault}; only plain Llama models can. Use the transformers backend.")


def _metadata(base: Path) -> dict[str, tuple[Any, Any, Any]]:
    """Key -> (value, type, type of items) of a GGUF's header."""
    from gguf import GGUFReader

    fields = GGUFReader(base).fields
    return {key: (field.contents(), field.types[0], field.types[-1]) for key, field in fields.items() if not key.startswith("GGUF.")}


def _check_tokenizer(folder: Path, metadata: dict[str, tuple[Any, Any, Any]]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = dict(tokenizer["model"]["vocab"]) | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"].get("merges", [])]
    if tokens != metadata["tokenizer.ggml.tokens"][0] or merges != metadata["tokenizer.ggml.merges"][0]:
        raise ValueError(f"{folder} cannot be written as GGUF: its tokenizer is not the embedded model's. Use the transformers backend.")


def _write(partial: Path, folder: Path, config: dict[str, Any], metadata: dict[str, tuple[Any, Any, Any]]) -> None:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(partial, "llama")
    try:
        _write_header(writer, folder, config, metadata)
        for name, tensor in _tensors(folder, config):
            dtype = np.dtype(np.float32 if tensor.ndim == 1 else np.float16)
            writer.add_tensor_info(name, list(tensor.shape), dtype, tensor.numel() * dtype.itemsize)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, tensor in _tensors(folder, config):
            writer.write_tensor_data(tensor.float().numpy().astype(np.float32 if tensor.ndim == 1 else np.float16))
    except BaseException:
        # On a full disk closing fails once more; the first failure says why.
        with suppress(Exception):
            writer.close()
        raise
    writer.close()


def _write_header(writer: Any, folder: Path, config: dict[str, Any], metadata: dict[str, tuple[Any, Any, Any]]) -> None:
    import gguf

    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    theta = (config.get("rope_parameters") or {}).get("rope_theta") or config.get("rope_theta", 10000.0)
    values: dict[str, Any] = {f"llama.{key}": config[name] for key, name in _SIZES.items()}
    values |= {"llama.attention.key_length": head, "llama.attention.value_length": head, "llama.rope.dimension_count": head}
    for key, value in values.items():
        writer.add_uint32(key, value)
    writer.add_float32("llama.rope.freq_base", theta)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    writer.add_uint32("general.file_type", _F16)
    writer.add_uint32("general.quantization_version", gguf.GGML_QUANT_VERSION)
    writer.add_string("general.name", folder.name)
    for key, (value, kind, item) in metadata.items():
        if key.startswith("tokenizer.") or key == "general.license":
            writer.add_key_value(key, value, kind, item if kind == gguf.GGUFValueType.ARRAY else None)


def _tensors(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The weights under GGUF's names, one at a time: a model need not fit into memory twice."""
    from safetensors import safe_open

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in sorted(file.keys()):
                if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                renamed = _rename(name)
                count = heads.get(renamed.split(".")[-2])
                tensor = file.get_tensor(name)
                yield renamed, _permute(tensor, count) if count else tensor


def _rename(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    _, _, number, rest = name.split(".", 3)
    return f"blk.{number}.{_LAYER[rest.removesuffix('.weight')]}.weight"


def _permute(weight: Any, heads: int) -> Any:
    """Rows in the order that GGUF's interleaved rotary embedding expects; transformers splits each head in halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
