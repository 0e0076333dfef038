"""Ollama's Modelfile for a model that takes a bare question, as Ollama does not run chat templates in Jinja."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from programs.lms.chat import configured_ends, end_tokens, render
from programs.lms.trained_prompts import TrainedPrompt

_QUESTION = "\ufdd0question\ufdd0"
_LITERAL = {"{{": '{{ "{{" }}', '"""': '{{ "\\"\\"\\"" }}'}


def modelfile(folder: Path, gguf_name: str, prompt: TrainedPrompt) -> str:
    """The text of the file: the form of `prompt`, and all tokens that end an answer.

    Args:
        folder: The model's, for its chat template and its special tokens.
        gguf_name: Of the GGUF file beside it.
        prompt: The form in which a bare question is put.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = _begun(tokenizer, render(tokenizer, prompt.chat(_QUESTION)))
    for literal, written in _LITERAL.items():
        text = text.replace(literal, written)
    ends = sorted(end_tokens(tokenizer, configured_ends(folder)))
    stops = "".join(f'PARAMETER stop "{tokenizer.convert_ids_to_tokens(end)}"\n' for end in ends)
    template = text.replace(_QUESTION, "{{ .Prompt }}")
    return f'FROM ./{gguf_name}\nTEMPLATE """{template}{{{{ .Response }}}}"""\nPARAMETER temperature 0\n{stops}'


def _begun(tokenizer: Any, text: str) -> str:
    """The prompt without its BOS token, where the tokenizer puts one there of itself and Ollama with it."""
    bos, ids = tokenizer.bos_token, tokenizer("a")["input_ids"]
    return text.removeprefix(bos) if bos and ids[0] == tokenizer.bos_token_id else text
