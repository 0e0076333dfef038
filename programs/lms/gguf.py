"""A model as GGUF: what the CPU backend reads, and what llama.cpp and Ollama users want."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from programs.lms import artifacts
from programs.lms.artifacts import Artifact
from programs.lms.gguf_header import is_whole
from programs.lms.gguf_tokenizer import Tokenizer, default_template, read_tokenizer, write_tokenizer
from programs.lms.gguf_weights import CannotWrite, Reader, Weights, architecture, read_config, stored_as, tensors, write_sizes
from programs.lms.merged import whole_folder, whole_for_now
from programs.lms.modelfile import modelfile as write_modelfile
from programs.lms.trained_prompts import PLACE, TrainedPrompt, plain_prompt, prompts_of

MODELFILE, TEMPLATE = ".Modelfile", ".jinja"
"""The ends of the names of what lies beside an exported GGUF."""


class ModelFolder(Protocol):
    """A model folder whose content is known by a hash."""

    @property
    def folder(self) -> Path:
        """Where the files lie."""

    @property
    def hash(self) -> str:
        """Of everything that an answer depends on."""


def gguf_of(model: ModelFolder, weights: Weights = "f16") -> Path:
    """The GGUF of a model for openvino, written at first use into the folder of all GGUFs, so that the model's stays as it is.

    One that a full disk or a copy cut off is written again: openvino would end the process on it.

    Args:
        model: The folder, and what its content is known by.
        weights: How its matrices are kept, as in `write_gguf`.

    Raises:
        ValueError: See `write_gguf`.
        OSError: No space there, or no permission.
    """
    target = artifacts.home() / "gguf" / f"{model.hash}{'' if weights == 'f16' else f'-{weights}'}.gguf"
    if not is_whole(target):
        with artifacts.folder_lock(target):
            if not is_whole(target):
                for left in target.parent.glob(_partial(target, "*").name):  # of a process that was killed
                    left.unlink(missing_ok=True)
                with whole_for_now(model) if isinstance(model, Artifact) else nullcontext(model.folder) as folder:
                    write_gguf(folder, target, reader="openvino", weights=weights)
    return target


def _partial(target: Path, process: int | str) -> Path:
    return target.with_name(f".{target.name}.{process}.partial")


def export(artifact: Artifact, target: Path) -> list[Path]:
    """Write a model for llama.cpp, Ollama and vLLM, so that all take a plain question where the model was trained on one.

    llama.cpp reads how from the GGUF's chat template; Ollama from the Modelfile beside it, as it does not run templates in Jinja;
    vLLM, which serves the artifact's own folder, from a file with the chat template. `programs.lms.other_servers` has the commands.

    Args:
        artifact: The model.
        target: The GGUF file to write.

    Returns:
        The files written: the GGUF, `<target>.Modelfile` where the chat template can be said in Ollama's syntax, and
        `<target>.jinja` where the model takes a plain question.

    Raises:
        ValueError: One of the files exists, or see `write_gguf`.
    """
    target = Path(target)
    modelfile, template = (target.with_suffix(suffix) for suffix in (MODELFILE, TEMPLATE))
    if there := next((path for path in (target, modelfile, template) if path.exists()), None):
        raise ValueError(f"{there} exists already; choose another name.")
    prompt = plain_prompt(prompts_of(artifact))
    text = bare_template(_template(artifact.folder), prompt) if prompt else None
    written = [write_gguf(whole_folder(artifact), target, text)]
    with suppress(ValueError):
        modelfile.write_text(write_modelfile(artifact.folder, target.name, prompt), encoding="utf-8")
        written.append(modelfile)
    if text:
        template.write_text(text, encoding="utf-8")
        written.append(template)
    return written


def _template(folder: Path) -> str:
    from transformers import AutoTokenizer

    return default_template(AutoTokenizer.from_pretrained(folder)) or ""


def bare_template(template: str, prompt: TrainedPrompt) -> str:
    """A chat template that puts the last question of a plain chat into the form of `prompt`, and leaves other chats alone.

    Which ones are plain says `programs.lms.trained_prompts.is_plain`.
    """
    turns = ", ".join(f"{{'role': {json.dumps(m['role'])}, 'content': {_with_question(m['content'])}}}" for m in prompt.messages)
    plain = "messages[0]['role'] == 'user' and messages[-1]['role'] == 'user'"
    return f"{{%- if {plain} -%}}{{%- set messages = [{turns}] -%}}{{%- endif -%}}{template}"


def _with_question(content: str) -> str:
    parts = [json.dumps(part, ensure_ascii=False) for part in content.split(PLACE)]
    return " + messages[-1]['content'] + ".join(parts)


def write_gguf(
    model_folder: Path, target: Path, template: str | None = None, reader: Reader = "llama.cpp", weights: Weights = "f16"
) -> Path:
    """Write the model in `model_folder` as a GGUF.

    Args:
        model_folder: config.json, safetensors and a tokenizer of a plain Llama, Qwen2, Qwen2.5 or Qwen3.
        target: The file to write; appears whole or not at all.
        template: Chat template; by default the model's.
        reader: Who is to read it. For llama.cpp the tokenizer has to be one that it splits text for, and weights beyond
            16-bit floats are written in 32; openvino reads no such weights, and no scaled rotary embeddings.
        weights: `f16`, 16-bit floats, or `q8_0`: 8-bit integers, 32 of a row with one factor, in half the space.

    Raises:
        ValueError: A model that `reader` would not read, or read as another one: its architecture, weights or tokenizer.
        OSError: No space, no permission, or no model.
    """
    model_folder, target = Path(model_folder), Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target, os.getpid())
    try:
        _write(partial, model_folder, template, reader, weights)
        os.replace(partial, target)
    except CannotWrite as error:
        raise ValueError(f"{model_folder} cannot be written as GGUF: {error}. The transformers backend runs it.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _write(partial: Path, folder: Path, template: str | None, reader: Reader, weights: Weights) -> None:
    import gguf

    config = read_config(folder, reader)
    tokenizer = read_tokenizer(folder, config.vocab_size, reader)
    writer = gguf.GGUFWriter(partial, architecture(config))
    try:
        _write_header(writer, folder.name, config, tokenizer if template is None else replace(tokenizer, template=template), weights)
        _write_weights(writer, folder, config, reader, weights)
    except BaseException:
        # On a full disk closing fails once more; the first failure says why.
        with suppress(Exception):
            writer.close()
        raise
    writer.close()


def _write_header(writer: Any, name: str, config: Any, tokenizer: Tokenizer, weights: Weights) -> None:
    import gguf

    write_sizes(writer, config)
    # openvino looks for the factors of 8-bit weights only where this says so.
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if weights == "f16" else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_name(name)
    if tokenizer.is_embedded:
        writer.add_license("apache-2.0")
    write_tokenizer(writer, tokenizer)


def _write_weights(writer: Any, folder: Path, config: Any, reader: Reader, weights: Weights) -> None:
    import gguf
    import numpy as np

    types = {}
    for name, tensor in tensors(folder, config):
        types[name] = stored_as(name, tensor, reader, weights)
        of_a_block, bytes_of_it = gguf.GGML_QUANT_SIZES[types[name]]
        size = tensor.numel() // of_a_block * bytes_of_it
        writer.add_tensor_info(name, list(tensor.shape), np.dtype(np.float32), size, raw_dtype=types[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, tensor in tensors(folder, config):
        writer.write_tensor_data(gguf.quants.quantize(tensor.float().numpy(), types[name]))
