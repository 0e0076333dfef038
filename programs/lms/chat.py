"""The one place where messages become the text, and the tokens, that a local model reads."""

from __future__ import annotations

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
