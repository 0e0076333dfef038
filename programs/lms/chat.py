"""The one place where messages become the text, and the tokens, that a local model reads, and where its turn ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def render(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """The prompt for `messages`, up to where the model's own turn begins.

    A template that refuses a system turn gets it folded into the first user turn.

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template.
        messages: `role` and `content` each; the last one is not the assistant's.
    """
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception:
        if messages[0]["role"] != "system":
            raise
    system, first, *rest = messages
    folded = {"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}
    return tokenizer.apply_chat_template([folded, *rest], tokenize=False, add_generation_prompt=True)


def prompt_ids(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """Token ids of `render(tokenizer, messages)`; the template writes every special token itself."""
    return list(tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"])


def training_ids(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Token ids of a training row, and a mask that is 1 on what the model has to write, end of turn included.

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template and an EOS token.
        messages: A chat whose last message is the assistant's.
    """
    prompt = prompt_ids(tokenizer, messages[:-1])
    reply = [*tokenizer(messages[-1]["content"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return [*prompt, *reply], [0] * len(prompt) + [1] * len(reply)


def end_tokens(tokenizer: Any, configured: int | list[int] | None) -> set[int]:
    """Tokens that end an answer: the tokenizer's EOS and those of the generation config."""
    found = configured if isinstance(configured, list) else [configured]
    return {token for token in [*found, tokenizer.eos_token_id] if token is not None}


def configured_ends(folder: Path) -> int | list[int] | None:
    """The end tokens of a model folder's generation config."""
    path = folder / "generation_config.json"
    return json.loads(path.read_text()).get("eos_token_id") if path.exists() else None
