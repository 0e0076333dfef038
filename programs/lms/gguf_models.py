"""GGUF files as models: which can be read, their content hash, and what is made of them once under the models' home."""

from __future__ import annotations

import functools
import json
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs.lms.artifacts import home
from programs.lms.checkpoints import plain_name
from programs.lms.file_hashes import file_hash
from programs.lms.gguf_header import Header, read_header
from programs.lms.made_once import made_once

COMMON = {"llama", "qwen2", "qwen3"}
"""Architectures that every backend reads."""
DROPPED_SETTINGS = ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version", "is_local", "local_files_only")
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_NOT_CAUSAL = {"t5", "t5encoder", "umt5"}
_OWN_TOKENIZER = {"qwen2", "qwen3"}
"""Told its class, transformers need not read the config to find it, which takes half a minute for 150,000 tokens."""
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
_END_TEXTS = {
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<|end_of_turn|>",
    "<|eot|>",
    "<turn|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
}
"""Tokens that end a turn, wherever a vocabulary has them as control tokens; many files name another one alone."""
_CONTROL = 3
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GGUFModel:
    """A GGUF file.

    Attributes:
        path: The file.
        sha256: Of the whole file, in hex digits.
        architecture: As llama.cpp names it.
        kinds: Names of the types that its tensors have, such as `Q4_K`.
        ends: Ids of the tokens that end a reply.
        parameters: Number of weights.
    """

    path: Path
    sha256: str
    architecture: str
    kinds: frozenset[str]
    ends: tuple[int, ...]
    parameters: int

    @property
    def hash(self) -> str:
        """The first 12 digits of the file's sha256."""
        return self.sha256[:12]

    @property
    def model_string(self) -> str:
        """The model string with the hash, by which DSPy's cache knows the model."""
        return f"gguf/{plain_name(re.sub(r'[.]gguf$', '', self.path.name, flags=re.IGNORECASE))}@{self.hash}"


def open_gguf(path: Path | str) -> GGUFModel:
    """The model in a GGUF file, of which the header alone is read, and once the whole for its hash.

    Raises:
        ValueError: No GGUF, or one that is no whole chat model, or that nothing here can read; says what to do.
    """
    path = Path(path).expanduser().resolve()
    try:
        status = path.stat()
        return _opened(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error


def settings_folder(model: GGUFModel) -> Path:
    """A folder with the file's tokenizer, chat template and config, without weights; made once, as it takes a minute.

    Raises:
        ValueError: transformers cannot convert them, or no space.
    """
    return made_once(home() / "gguf-settings" / model.hash, lambda target: _write_settings(model, target))


def weights_folder(model: GGUFModel) -> Path:
    """A folder as of `save_pretrained`, with the file's weights in bfloat16; made once.

    Raises:
        ValueError: transformers cannot read the file, or no space.
    """
    return made_once(dequantized_at(model), lambda target: _write_weights(model, target), bytes_needed=model.parameters * 2)


def dequantized_at(model: GGUFModel) -> Path:
    """Where `weights_folder` is, or will be."""
    return home() / "dequantized" / model.hash


def save_dequantized(source: Path, target: Path) -> None:
    """Write a GGUF file as a folder of safetensors in bfloat16, with its tokenizer.

    Args:
        source: A file that transformers reads.
        target: The folder.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    with _alone(source) as place:
        quantized = AutoModelForCausalLM.from_pretrained(**place, **_dequantized(), dtype=torch.bfloat16)
        config = quantized.config
        for name in DROPPED_SETTINGS:
            config.__dict__.pop(name, None)
        # save_pretrained refuses a model that was read from GGUF; one without weights of its own takes them over.
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.load_state_dict(quantized.state_dict(), assign=True)
        model.tie_weights()
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(**place).save_pretrained(target)
    drop_settings(target)


def _dequantized() -> dict[str, Any]:
    """Tell the versions of transformers that keep some architectures' weights packed to unpack them."""
    import transformers

    kind = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": kind(dequantize=True)} if kind else {}


def drop_settings(folder: Path) -> None:
    """Take out what differs between machines, so that the same weights have the same hash everywhere."""
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        if path.exists():
            values = {key: value for key, value in json.loads(path.read_text()).items() if key not in DROPPED_SETTINGS}
            path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


@functools.lru_cache(maxsize=64)
def _opened(path: Path, size: int, mtime: int) -> GGUFModel:
    _check_part(path)
    header = read_header(path)
    _check_kind(header)
    _check_tokenizer(header)
    kinds = frozenset(tensor.kind_name for tensor in header.tensors)
    return GGUFModel(path, file_hash(path), header.architecture, kinds, _ends(header), header.parameters)


def _check_part(path: Path) -> None:
    if part := _PART.search(path.name):
        first = path.with_name(path.name[: part.start()] + f"-00001-of-{part[2]}.gguf")
        whole = path.with_name(path.name[: part.start()] + ".gguf")
        raise ValueError(
            f"{path} is part {int(part[1])} of {int(part[2])} of a model: put them together first, with llama.cpp's "
            f"llama-gguf-split --merge {first} {whole}, and name that file."
        )


def _check_kind(header: Header) -> None:
    path, kind, architecture = header.path, header.values.get("general.type", "model"), header.architecture
    if int(header.values.get("split.count", 0)) > 1:
        raise ValueError(
            f"{path} is one of {header.values['split.count']} parts of a model: put them together with llama-gguf-split --merge."
        )
    if kind == "mmproj" or architecture == "clip":
        raise ValueError(f"{path} is the part of a vision model that reads pictures (mmproj): name the file of its language model.")
    if kind == "adapter":
        raise ValueError(f"{path} is a LoRA adapter: merge it into its model first, with llama.cpp's llama-export-lora.")
    if kind != "model":
        raise ValueError(f"{path} holds {kind!r} (general.type), not a model; choose another file.")
    if architecture not in COMMON and architecture not in (known := _readable()):
        raise ValueError(f"{path} has the architecture {architecture!r}, which nothing here can read; expected one of {sorted(known)}.")
    if unknown := next((tensor for tensor in header.tensors if tensor.size is None), None):
        raise ValueError(f"{path} holds {unknown.name} in {unknown.kind_name}, which nothing here can read; choose another quantization.")
    if not header.tensors:
        raise ValueError(f"{path} holds no weights, a vocabulary alone; choose the file of the model.")


def _readable() -> set[str]:
    from transformers.integrations.gguf import GGUF_ARCHS
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    return ({*GGUF_SUPPORTED_ARCHITECTURES, *GGUF_ARCHS} - _NOT_CAUSAL - {"general"}) | COMMON


def _check_tokenizer(header: Header) -> None:
    path, values = header.path, header.values
    if "tokenizer.ggml.model" not in values or not values.get("tokenizer.ggml.tokens"):
        raise ValueError(
            f"{path} has no tokenizer; convert the model again with its tokenizer files, by llama.cpp's convert_hf_to_gguf.py."
        )
    if not values.get("tokenizer.chat_template"):
        raise ValueError(
            f"{path} has no chat template, so that no chat can be written for it: choose a model that is made for chats (its -Instruct "
            "version), or add the template with llama.cpp's gguf_new_metadata.py --chat-template."
        )


def _ends(header: Header) -> tuple[int, ...]:
    values = header.values
    named = {values[key] for name in _ENDS if (key := f"tokenizer.ggml.{name}") in values}
    kinds = values.get("tokenizer.ggml.token_type") or []
    by_text = {
        place
        for place, token in enumerate(values["tokenizer.ggml.tokens"])
        if token in _END_TEXTS and kinds[place : place + 1] == [_CONTROL]
    }
    return tuple(sorted(named | by_text))


@contextmanager
def _alone(path: Path) -> Iterator[dict[str, Any]]:
    """What transformers' `from_pretrained` takes for a file: from a folder of its own, as it reads what lies beside the file too."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.gguf").symlink_to(path)
        yield {"pretrained_model_name_or_path": folder, "gguf_file": "model.gguf"}


def _write_settings(model: GGUFModel, target: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    logger.info("Converting the tokenizer of %s, once; a large vocabulary takes a minute", model.model_string)
    with _alone(model.path) as place, _convertible(model):
        kind = {"tokenizer_type": model.architecture} if model.architecture in _OWN_TOKENIZER else {}
        AutoTokenizer.from_pretrained(**place, **kind).save_pretrained(target)
        AutoConfig.from_pretrained(**place).save_pretrained(target)
    drop_settings(target)
    _write_ends(model, target)


def _write_weights(model: GGUFModel, target: Path) -> None:
    logger.info("Dequantizing %s to bfloat16 (%.1f GB), once; takes some minutes", model.model_string, model.parameters * 2 / 1e9)
    with _convertible(model):
        save_dequantized(model.path, target)
    _write_ends(model, target)
    logger.info("Dequantized %s", model.model_string)


@contextmanager
def _convertible(model: GGUFModel) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"transformers cannot read {model.path} ({type(error).__name__}: {error}); choose another file.") from error


def _write_ends(model: GGUFModel, folder: Path) -> None:
    path = folder / "generation_config.json"
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(values | {"eos_token_id": list(model.ends)}, indent=1, sort_keys=True) + "\n")
