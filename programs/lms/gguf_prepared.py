"""What backends and trainings need of a GGUF file, made once under the models' home: its settings, weights, and types."""

from __future__ import annotations

import functools
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from programs.lms.artifacts import home
from programs.lms.gguf_copy import F16, Q8_0, copy_gguf
from programs.lms.gguf_header import Header, Tensor, is_whole, read_header
from programs.lms.gguf_models import COMMON, GGUFModel
from programs.lms.made_once import made_once

READ_BY_OPENVINO = frozenset({"F32", "F16", "Q4_0", "Q8_0", "Q6_K"})
"""Types that it reads as they are; of Q4_1 and Q4_K it rounds the offset of each block to a whole step of the scale."""
_AS_Q8_0 = frozenset({"Q4_1", "Q4_K", "Q5_0"})
_DROPPED_SETTINGS = ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version", "is_local", "local_files_only")
_VOCABULARY = frozenset({"tokens", "token_type", "scores", "merges"})
logger = logging.getLogger(__name__)


def settings_folder(model: GGUFModel) -> Path:
    """A folder with the file's tokenizer, chat template and config, without weights; made once.

    Raises:
        ValueError: transformers cannot convert them, or no space.
    """
    return made_once(home() / "gguf-settings" / model.hash, lambda target: _write_settings(model, target))


def weights_folder(model: GGUFModel) -> Path:
    """A folder as of `save_pretrained`, with the file's weights in bfloat16; made once, which takes minutes.

    Raises:
        ValueError: transformers cannot read the file, or no space.
    """
    needed = model.parameters * 2 + model.path.stat().st_size
    return made_once(dequantized_at(model), lambda target: _write_weights(model, target), bytes_needed=needed)


def dequantized_at(model: GGUFModel) -> Path:
    """Where `weights_folder` is, or will be."""
    return home() / "dequantized" / model.hash


def readable_gguf(model: GGUFModel) -> Path:
    """The file itself if openvino-genai reads it, else one with the same weights in types that it reads; made once.

    Q5_0 becomes Q8_0 without any loss, as both are 32 whole numbers and a scale; Q4_1 and Q4_K are rounded to it; others become F16.

    Raises:
        ValueError: Another architecture, or no space.
    """
    if model.architecture not in COMMON:
        raise ValueError(
            f"openvino reads GGUF files of {sorted(COMMON)}, and {model.path} is {model.architecture}; use backend 'transformers'."
        )
    if model.kinds <= READ_BY_OPENVINO:
        return model.path

    def write(target: Path) -> None:
        logger.info(
            "Writing %s for openvino, which does not read %s exactly, once", model.model_string, sorted(model.kinds - READ_BY_OPENVINO)
        )
        copy_gguf(read_header(model.path), target, kind_of=_kind_for_openvino)

    target = home() / "gguf-readable" / f"{model.hash}.gguf"
    # openvino would end the process on one that a full disk or a copy cut off.
    return made_once(target, write, bytes_needed=model.path.stat().st_size * 2, stands=is_whole)


def save_dequantized(source: Path, target: Path) -> None:
    """Write a GGUF file as a folder of safetensors in bfloat16, with its tokenizer.

    Args:
        source: A file that transformers reads.
        target: The folder.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    header = read_header(source)
    # Beside the target, as the weights may not fit into the machine's folder for temporary files.
    with _without_vocabulary(header, target.parent, with_data=True) as place, _without_bar():
        quantized = AutoModelForCausalLM.from_pretrained(**place, **_dequantized(), dtype=torch.bfloat16)
    config = quantized.config
    for name in _DROPPED_SETTINGS:
        config.__dict__.pop(name, None)
    # save_pretrained refuses a model that was read from GGUF; one without weights of its own takes them over.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(quantized.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(target)
    _save_tokenizer(header, target)
    drop_settings(target)


def drop_settings(folder: Path) -> None:
    """Take out what differs between machines, so that the same weights have the same hash everywhere."""
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        if path.exists():
            values = {key: value for key, value in json.loads(path.read_text()).items() if key not in _DROPPED_SETTINGS}
            path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


def _kind_for_openvino(tensor: Tensor) -> int:
    if tensor.kind_name in READ_BY_OPENVINO:
        return tensor.kind
    return Q8_0 if tensor.kind_name in _AS_Q8_0 else F16


def _write_settings(model: GGUFModel, target: Path) -> None:
    from transformers import AutoConfig

    logger.info("Converting the tokenizer of %s, once", model.model_string)
    header = read_header(model.path)
    with _convertible(model):
        _save_tokenizer(header, target)
        with _without_vocabulary(header, target.parent, with_data=False) as place:
            AutoConfig.from_pretrained(**place).save_pretrained(target)
    drop_settings(target)
    _write_ends(model, target)


def _write_weights(model: GGUFModel, target: Path) -> None:
    logger.info("Dequantizing %s to bfloat16 (%.1f GB), once; takes some minutes", model.model_string, model.parameters * 2 / 1e9)
    with _convertible(model):
        save_dequantized(model.path, target)
    _write_ends(model, target)
    logger.info("Dequantized %s", model.model_string)


def _save_tokenizer(header: Header, target: Path) -> None:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    with tempfile.TemporaryDirectory() as folder:
        # In a folder of its own, as transformers reads what lies beside the file too.
        (Path(folder) / "model.gguf").symlink_to(header.path)
        place = {"pretrained_model_name_or_path": folder, "gguf_file": "model.gguf"}
        # Told the class, transformers need not read the config to find it, which takes half a minute for 150,000 tokens.
        if header.architecture == "llama":
            tokenizer = PreTrainedTokenizerFast.from_pretrained(**place)
        else:
            kind = {"tokenizer_type": header.architecture} if header.architecture in COMMON else {}
            tokenizer = AutoTokenizer.from_pretrained(**place, **kind)
        tokenizer.save_pretrained(target)


@contextmanager
def _without_vocabulary(header: Header, folder: Path, with_data: bool) -> Iterator[dict[str, Any]]:
    """What `from_pretrained` takes for a copy of a file without its vocabulary, over whose tokens the reader takes half a minute.

    The number of tokens, which the config is made from, stands in its place. Other architectures than the common ones have
    settings that it would not replace: of those the copy is a whole one.
    """
    common = header.architecture in COMMON
    with tempfile.TemporaryDirectory(dir=folder) as place:
        copy_gguf(
            header,
            Path(place) / "model.gguf",
            left_out={f"tokenizer.ggml.{name}" for name in _VOCABULARY} | {f"{header.architecture}.vocab_size"} if common else (),
            added={f"{header.architecture}.vocab_size": len(header.values["tokenizer.ggml.tokens"])} if common else {},
            with_data=with_data,
        )
        yield {"pretrained_model_name_or_path": place, "gguf_file": "model.gguf"}


@contextmanager
def _without_bar() -> Iterator[None]:
    """Keep the reader's bar off the screen, which is the job's; transformers' own switch does not reach it."""
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = getattr(reader, "tqdm", None)
    if bar is not None:
        reader.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        if bar is not None:
            reader.tqdm = bar


def _dequantized() -> dict[str, Any]:
    """Tell the versions of transformers that keep some architectures' weights packed to unpack them."""
    import transformers

    kind = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": kind(dequantize=True)} if kind else {}


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
