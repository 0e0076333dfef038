"""A checkpoint's architecture and weights as GGUF has them, under the names of the gguf library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

Reader = Literal["llama.cpp", "openvino"]
"""Who is to read a file: openvino-genai takes fewer kinds of rotary embeddings and of numbers than llama.cpp."""
Weights = Literal["f16", "q8_0"]
"""How matrices are kept: 16-bit floats, or 8-bit integers with a factor for every 32 of a row (llama.cpp's Q8_0)."""
ARCHITECTURES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
"""Class in transformers -> name in GGUF, of all that openvino-genai reads (its `gguf_modeling.cpp`)."""
_ROPE: dict[Reader, tuple[str, ...]] = {"llama.cpp": ("default", "llama3"), "openvino": ("default",)}
_SIZES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "vocab_size": "vocab_size",
}
_LARGEST_F16 = 65504.0
_BLOCK = 32


class CannotWrite(ValueError):
    """What keeps a model from being written as GGUF."""


def read_config(folder: Path, reader: Reader) -> Any:
    """The config of the checkpoint in `folder`, with transformers' defaults filled in.

    Raises:
        CannotWrite: A model that `reader` would read as another one.
        ValueError, OSError: No config that transformers reads.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    if fault := next((what for what, wrong in _faults(config, reader).items() if wrong), None):
        raise CannotWrite(f"{fault}; {reader} takes plain models of {', '.join(ARCHITECTURES)}")
    return config


def _faults(config: Any, reader: Reader) -> dict[str, bool]:
    names = config.architectures or [None]
    rope = getattr(config, "rope_parameters", None) or {}
    quantized = (getattr(config, "quantization_config", None) or {}).get("quant_method")
    return {
        f"architecture {names[0]}": names[0] not in ARCHITECTURES,
        f"weights quantized by {quantized}": quantized is not None,
        f"activation {getattr(config, 'hidden_act', None)!r}": getattr(config, "hidden_act", None) != "silu",
        f"rope scaling {rope.get('rope_type')!r}": rope.get("rope_type", "default") not in _ROPE[reader],
        "a rotary embedding of a part of each head": rope.get("partial_rotary_factor", 1.0) != 1.0,
        "biases": bool(getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False)),
        "sliding windows": "sliding_attention" in (getattr(config, "layer_types", None) or ()),
    }


def architecture(config: Any) -> str:
    """GGUF's name of it."""
    return ARCHITECTURES[config.architectures[0]]


def write_sizes(writer: Any, config: Any) -> None:
    """Write what the reader builds the model from."""
    prefix, head = architecture(config), _head_size(config)
    values = {key: getattr(config, name) for key, name in _SIZES.items()}
    values |= {"attention.key_length": head, "attention.value_length": head, "rope.dimension_count": head}
    for key, value in values.items():
        writer.add_uint32(f"{prefix}.{key}", value)
    writer.add_float32(f"{prefix}.rope.freq_base", config.rope_parameters["rope_theta"])
    writer.add_float32(f"{prefix}.attention.layer_norm_rms_epsilon", config.rms_norm_eps)


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def tensors(folder: Path, config: Any) -> Iterator[tuple[str, Any]]:
    """The weights under GGUF's names, one at a time: a model need not fit into memory twice.

    Raises:
        CannotWrite: A weight is missing, is one too many or has another shape than the config says.
    """
    import gguf
    from safetensors import safe_open

    name_of_arch = architecture(config)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == name_of_arch)
    renamed = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    interleaved = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads} if name_of_arch == "llama" else {}
    files = _weights(folder, config)
    if config.rope_parameters.get("rope_type") == "llama3":
        yield "rope_freqs.weight", _rope_factors(config)
    for path, names in files.items():
        with safe_open(path, "pt") as file:
            for name in names:
                heads, tensor = interleaved.get(name.split(".")[-2]), file.get_tensor(name)
                yield renamed.get_name(name, (".weight", ".bias")), _interleave(tensor, heads) if heads else tensor


def _weights(folder: Path, config: Any) -> dict[Path, list[str]]:
    """File -> its weights that belong to the model, after a look at all of their shapes."""
    from safetensors import safe_open

    expected, files = _expected_shapes(config), {}
    found: dict[str, tuple[int, ...]] = {}
    for path in _files(folder):
        with safe_open(path, "pt") as file:
            files[path] = sorted(name for name in file.keys() if not _is_derived(name, config))  # noqa: SIM118 - no mapping
            found |= {name: tuple(file.get_slice(name).get_shape()) for name in files[path]}
    if different := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        name = different[0]
        raise CannotWrite(f"weight {name} has the shape {found.get(name)} and should have {expected.get(name)}")
    return files


def _files(folder: Path) -> list[Path]:
    """Those that transformers loads; other safetensors may lie beside them."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    parts = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else [single.name]
    if missing := [part for part in parts if not (folder / part).exists()]:
        raise CannotWrite(f"{missing[0]} is missing")
    return [folder / part for part in parts]


def _expected_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {name: tuple(weight.shape) for name, weight in model.state_dict().items() if not _is_derived(name, config)}


def _is_derived(name: str, config: Any) -> bool:
    """Whether a weight says nothing that the others and the config do not."""
    return name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and bool(config.tie_word_embeddings))


def _rope_factors(config: Any) -> Any:
    """What llama.cpp divides each rotary frequency by (Llama 3's scaling)."""
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    head = _head_size(config)
    plain = config.rope_parameters["rope_theta"] ** -(torch.arange(0, head, 2, dtype=torch.float32) / head)
    return plain / scaled


def _interleave(weight: Any, heads: int) -> Any:
    """Rows in the order that GGUF's interleaved rotary embedding of Llama expects; transformers splits each head in halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def stored_as(name: str, tensor: Any, reader: Reader, weights: Weights = "f16") -> Any:
    """The type of a weight in the file, of the gguf library: vectors in 32-bit floats, as is what 16-bit ones cannot hold.

    Raises:
        CannotWrite: Too large a weight for openvino, which takes no matrix in 32-bit or bfloat16 floats; or 8-bit integers asked for
            where a row has no whole number of blocks.
    """
    import torch
    from gguf import GGMLQuantizationType

    if tensor.ndim == 1:
        return GGMLQuantizationType.F32
    if weights == "q8_0":
        if tensor.shape[-1] % _BLOCK:
            raise CannotWrite(f"{name} has rows of {tensor.shape[-1]} numbers, where {weights} keeps {_BLOCK} at a time")
        return GGMLQuantizationType.Q8_0
    smallest, largest = (float(end) for end in torch.aminmax(tensor))
    if max(-smallest, largest) <= _LARGEST_F16:
        return GGMLQuantizationType.F16
    if reader == "openvino":
        raise CannotWrite(f"{name} has weights up to {max(-smallest, largest):.3g}, beyond 16-bit floats; {reader} takes no others")
    return GGMLQuantizationType.F32
