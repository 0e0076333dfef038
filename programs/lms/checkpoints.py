"""Plain Hugging Face folders as models: what is loaded from them, and the hash of it."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from programs.lms.artifacts import MANIFEST, Artifact, open_artifact
from programs.lms.file_hashes import file_hash
from programs.lms.meant_models import models_below

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json")
_SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
_SHOWN = 5
_COMMON = {"gemma2", "gpt2", "llama", "mistral", "phi3", "qwen2", "qwen3"}
"""Spared the seconds that the list of all takes to be imported."""


def open_model(folder: Path | str) -> Artifact:
    """The model in a folder: an artifact of this project if it has a manifest, else a plain checkpoint.

    Raises:
        ValueError: See `open_artifact` and `open_checkpoint`.
    """
    folder = Path(folder).expanduser()
    return open_artifact(folder) if (folder / MANIFEST).exists() else open_checkpoint(folder)


def open_checkpoint(folder: Path | str) -> Artifact:
    """A plain folder of `save_pretrained`, a Trainer or the hub, as an artifact whose manifest is made up from its files.

    Only what is loaded counts: pickles of an optimizer, checkpoints below the folder or other formats of the weights lie
    there unread, and are not part of the hash.

    Args:
        folder: config.json, safetensors (in shards or not), and a tokenizer with a chat template.

    Raises:
        ValueError: One of these is missing, damaged, or of a kind that cannot be loaded; says what to do.
    """
    folder = Path(folder).expanduser().resolve()
    try:
        files = _loaded_files(folder)
        _check_config(folder)
        hashes = {name: {"sha256": file_hash(folder / name), "bytes": (folder / name).stat().st_size} for name in files}
    except OSError as error:
        raise ValueError(f"{error.filename or folder} cannot be read ({error.strerror}); check the folder and its permissions.") from error
    return Artifact(folder, {"name": plain_name(folder.name), "namespace": "local", "files": hashes})


def plain_name(name: str) -> str:
    """A file's or folder's name as part of a model string: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "model"


def has_chat_template(folder: Path) -> bool:
    """Whether chats can be written for the tokenizer in `folder`."""
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    settings = folder / "tokenizer_config.json"
    return settings.exists() and bool(_json(settings).get("chat_template"))


def _loaded_files(folder: Path) -> list[str]:
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder} holds a PEFT adapter (adapter_config.json), not a whole model: merge it into its base first, with "
            "AutoPeftModelForCausalLM.from_pretrained(...).merge_and_unload().save_pretrained(<new folder>), and save the tokenizer there."
        )
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} is no model: it has neither {MANIFEST} nor config.json{_elsewhere(folder)}.")
    weights = _weights(folder)
    vocabularies = [name for name in _VOCABULARIES if (folder / name).exists()]
    if not vocabularies:
        raise ValueError(
            f"{folder} has no tokenizer (one of {', '.join(_VOCABULARIES)}): save it beside the model with "
            "AutoTokenizer.from_pretrained(<base model>).save_pretrained(<this folder>)."
        )
    if not has_chat_template(folder):
        raise ValueError(
            f"{folder} has no chat template, so that no chat can be written for it: choose a model that is made for chats (its -Instruct "
            "version), or put the template that it was trained with beside it as chat_template.jinja."
        )
    return [*(name for name in _SETTINGS if (folder / name).exists()), *vocabularies, *weights]


def _elsewhere(folder: Path) -> str:
    """Where the model may be that is not in `folder`."""
    checkpoints = sorted(folder.glob("checkpoint-*/config.json"), key=lambda path: path.stat().st_mtime)
    if checkpoints:
        return f"; its last checkpoint is local/{checkpoints[-1].parent}"
    files = sorted(folder.glob("*.gguf"))
    if files:
        return f"; name its GGUF file, as gguf/{files[0]}"
    below = models_below(folder)
    if below:
        return f"; models in it are {', '.join(below[:_SHOWN])}{', ...' if len(below) > _SHOWN else ''}"
    return "; download the model again, as a whole, or name the folder that it lies in"


def _weights(folder: Path) -> list[str]:
    """The files that transformers loads, in the order in which it looks for them."""
    if (folder / _WEIGHTS).exists():
        names = [_WEIGHTS]
    elif (folder / _INDEX).exists():
        names = [_INDEX, *sorted(set(_json(folder / _INDEX).get("weight_map", {}).values()))]
    else:
        raise ValueError(f"{folder} has no {_WEIGHTS} and no {_INDEX}{_other_format(folder)}.")
    for name in names:
        if not (folder / name).exists():
            raise ValueError(f"{folder / name} is missing, which {_INDEX} names: download the model again, as a whole.")
        if name.endswith(".safetensors"):
            status = (folder / name).stat()
            _check_safetensors(folder / name, status.st_size, status.st_mtime_ns)
    return names


def _other_format(folder: Path) -> str:
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if pickles:
        return (
            f", only {pickles[0].name}, a pickle, which can run code when loaded: if you trust it, convert it with "
            "AutoModelForCausalLM.from_pretrained(...).save_pretrained(<new folder>), which writes safetensors"
        )
    others = sorted(folder.glob("*.safetensors"))
    if others:
        return f"; {others[0].name} is not the name under which transformers looks for weights"
    return ": its weights are missing; download the model again, as a whole"


@functools.lru_cache(maxsize=256)
def _check_safetensors(path: Path, size: int, mtime: int) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        with path.open("rb") as raw:
            pointer = raw.read(7) == b"version"
        what = "a pointer of Git LFS, not the file itself (git lfs pull)" if pointer else f"cut off or damaged ({error})"
        raise ValueError(f"{path} is {what}: download it again, as a whole.") from None


def _check_config(folder: Path) -> None:
    config = _json(folder / "config.json")
    kind = config.get("model_type")
    if kind in _COMMON:
        return
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        own = ", and the code that it brings along is not run" if "auto_map" in config else ""
        raise ValueError(
            f"{folder / 'config.json'} is of model_type {kind!r}, which is no causal language model that transformers knows{own}; choose "
            "another model, or update transformers."
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): download it again.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, not an object: download it again.")
    return found
