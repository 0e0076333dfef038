"""A folder's tokenizer as GGUF has it: byte-level BPE, with the name under which llama.cpp knows how it splits text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs.lms.gguf_weights import CannotWrite, Reader

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = "GPT-2's own"
_DIGITS = "single digits"
_SPLITS = {
    ((_GPT2,), False): "gpt-2",
    ((_DIGITS, _GPT2), False): "smollm",
    ((_WORDS % "",), False): "qwen2",
    ((_WORDS % "{1,3}",), False): "dbrx",
    ((_WORDS % "{1,3}",), True): "llama-bpe",
}
"""Where a tokenizer splits text before it merges, and whether it takes whole words first -> llama.cpp's name for both."""
_SMOLLM2 = "466c712f05bc8cf87141b44b67134225"
"""Fingerprint of the vocabulary of SmolLM2, whose digits the tokenizer that transformers makes of its GGUF does not split."""
_UNTOLD = "default"


@dataclass(frozen=True)
class Tokenizer:
    """What `write` writes.

    Attributes:
        tokens: One for each row of the embedding.
        types: GGUF's type of each.
        merges: Two tokens each, with a blank between them.
        pre: llama.cpp's name of how text is split.
        ids: Of the special tokens, under GGUF's names for them.
        adds: Whether the tokenizer itself puts the token before or behind a text, by the same names.
        template: The chat template.
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str
    ids: dict[str, int]
    adds: dict[str, bool]
    template: str | None

    @property
    def is_embedded(self) -> bool:
        """Whether it is that of the embedded models, SmolLM2's."""
        return _fingerprint(self.tokens, self.merges) == _SMOLLM2


def read_tokenizer(folder: Path, rows: int, reader: Reader) -> Tokenizer:
    """The tokenizer in `folder`, as transformers runs it.

    Args:
        folder: With `tokenizer.json`, or other files that transformers makes one of.
        rows: Of the embedding; unused ones become tokens `[PAD...]`, as llama.cpp writes them.
        reader: openvino needs the tokens for stop texts alone, and gets the ids of a prompt from transformers.

    Raises:
        CannotWrite: Not byte-level BPE, more tokens than rows, or for llama.cpp a way of splitting text that it has no name for.
    """
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(folder)
    if not getattr(loaded, "is_fast", False):
        raise CannotWrite(f"its tokenizer {type(loaded).__name__} is not byte-level BPE")
    parts = json.loads(loaded.backend_tokenizer.to_str())
    model = parts["model"]
    if model["type"] != "BPE" or "ByteLevel" not in [part["type"] for part in _flat(parts["decoder"], "decoders")]:
        raise CannotWrite(f"its tokenizer is {model['type']} and not byte-level BPE")
    tokens, types = _tokens(model, parts["added_tokens"], rows)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    pre = "smollm" if _fingerprint(tokens, merges) == _SMOLLM2 else _pre(parts)
    if reader == "llama.cpp" and (fault := _fault(parts, pre)):
        raise CannotWrite(fault)
    ids, adds = _special(loaded)
    return Tokenizer(tokens, types, merges, pre or _UNTOLD, ids, adds, default_template(loaded))


def default_template(tokenizer: Any) -> str | None:
    """The chat template that a transformers tokenizer uses where none is named."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def write_tokenizer(writer: Any, tokenizer: Tokenizer) -> None:
    """Write it into the header of a `gguf.GGUFWriter`."""
    writer.add_add_space_prefix(False)
    for name, added in tokenizer.adds.items():
        getattr(writer, f"add_add_{name}_token")(added)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(tokenizer.types)
    writer.add_token_merges(tokenizer.merges)
    for name, number in tokenizer.ids.items():
        getattr(writer, f"add_{name}_token_id")(number)
    if tokenizer.template is not None:
        writer.add_chat_template(tokenizer.template)


def _tokens(model: dict[str, Any], added: list[dict[str, Any]], rows: int) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    names = {number: token for token, number in model["vocab"].items()} | {token["id"]: token["content"] for token in added}
    if max(names) >= rows:
        raise CannotWrite(f"its tokenizer has the token {names[max(names)]!r} with the id {max(names)}, its embedding {rows} rows")
    tokens = [names.get(number, f"[PAD{number}]") for number in range(rows)]
    kinds = {number: TokenType.UNUSED for number, token in enumerate(tokens) if token == f"[PAD{number}]"}
    kinds |= {token["id"]: TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED for token in added}
    return tokens, [int(kinds.get(number, TokenType.NORMAL)) for number in range(rows)]


def _flat(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The steps of a part of a tokenizer, which is one of them or a sequence."""
    return [] if part is None else [step for inner in part[key] for step in _flat(inner, key)] if key in part else [part]


def _pre(parts: dict[str, Any]) -> str | None:
    steps = tuple(filter(None, (_step(step) for step in _flat(parts["pre_tokenizer"], "pretokenizers"))))
    return _SPLITS.get((steps, bool(parts["model"].get("ignore_merges"))))


def _step(step: dict[str, Any]) -> str | None:
    """What a step of a pre-tokenizer splits at; None where it does not split."""
    match step:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}:
            return None
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return _GPT2
        case {"type": "Digits", "individual_digits": True}:
            return _DIGITS
        case {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}:
            return str(regex)
    return f"{step}"


def _fault(parts: dict[str, Any], pre: str | None) -> str | None:
    """What llama.cpp would do otherwise than the tokenizer. It has no NFC, which the files of Qwen that others made lack too."""
    normalizers = [step["type"] for step in _flat(parts["normalizer"], "normalizers")]
    faults = {
        f"its tokenizer splits text in a way that has no name in llama.cpp ({parts['pre_tokenizer']})": pre is None,
        f"its tokenizer changes text first ({normalizers})": bool(set(normalizers) - {"NFC"}),
        **{
            f"its token {token['content']!r} takes the blanks beside it": token["lstrip"] or token["rstrip"] or token["single_word"]
            for token in parts["added_tokens"]
        },
    }
    return next((what for what, wrong in faults.items() if wrong), None)


def _special(tokenizer: Any) -> tuple[dict[str, int], dict[str, bool]]:
    names = ("bos", "eos", "unk", "pad")
    ids = {name: number for name in names if (number := getattr(tokenizer, f"{name}_token_id")) is not None}
    whole, plain = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    adds = {"bos": whole[0] != plain[0] and whole[0] == ids.get("bos")}
    if whole[-1] != plain[-1] and whole[-1] == ids.get("eos"):
        adds["eos"] = True
    return ids, adds


def _fingerprint(tokens: list[str], merges: list[str]) -> str:
    return hashlib.sha256(json.dumps([tokens, merges]).encode()).hexdigest()[:32]
