"""GGUF files as models: which can be read, and the hash of their content."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from programs.lms.checkpoints import plain_name
from programs.lms.file_hashes import file_hash
from programs.lms.gguf_header import Header, read_header

COMMON = {"llama", "qwen2", "qwen3"}
"""Architectures that every backend reads."""
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_NOT_CAUSAL = {"t5", "t5encoder", "umt5"}
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
