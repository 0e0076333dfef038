"""Ollama's Modelfile for a model: its chat template in Go's syntax, as Ollama runs none in Jinja, and what ends a reply.

Source: Ollama's reference of Modelfiles and of templates (docs/modelfile.mdx, docs/template.md of its repository), and text/template of Go.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from programs.lms.chat import configured_ends, end_tokens, render
from programs.lms.trained_prompts import TrainedPrompt

REPLY_TOKENS = 256
"""Where a reply is cut off that does not end."""
_CONTEXT = 8192
_MARKS = tuple(f"\ufdd0{name}\ufdd1" for name in ("system", "first", "reply", "second"))
_SYSTEM, _FIRST, _REPLY, _SECOND = _MARKS
_LITERAL = {"{{": '{{ "{{" }}', '"""': '{{ "\\"\\"\\"" }}'}

_TEMPLATE = """\
{{- if .Messages }}
{{- $first := index .Messages 0 }}
{{- $last := index .Messages (len (slice .Messages 1)) }}
%(branches)s{{ end }}"""
_PLAIN = '{{- if and (eq $first.Role "user") (eq $last.Role "user") }}%(plain)s{{ else }}%(chat)s{{ end }}'
_CHAT = (
    '{{- if ne $first.Role "system" }}%(untold)s{{ end }}'
    '{{- range .Messages }}{{ if eq .Role "system" }}%(system)s{{ .Content }}%(system_end)s'
    '{{ else if eq .Role "user" }}%(user)s{{ .Content }}%(user_end)s'
    '{{ else if eq .Role "assistant" }}%(assistant)s{{ .Content }}%(assistant_end)s{{ end }}{{ end }}'
    '{{- if ne $last.Role "assistant" }}%(begin)s{{ end }}'
)


def modelfile(folder: Path, gguf_name: str, prompt: TrainedPrompt | None) -> str:
    """The text of the file: how chats are written, all tokens that end a reply, and that the likeliest token is taken.

    A chat of the user's turns without a system turn is put as the last question in the form of `prompt`; others are written as
    the model's own template writes them.

    Args:
        folder: The model's, for its chat template, its special tokens and its context.
        gguf_name: Of the GGUF file beside it.
        prompt: The form in which a plain question is put; None for a model that has none.

    Raises:
        ValueError: A model without a form for plain questions, whose chat template cannot be said in Go's syntax.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    try:
        chat = _CHAT % {name: _literal(text) for name, text in _pieces(tokenizer)._asdict().items()}
        branches = _PLAIN % {"plain": _plain(tokenizer, prompt), "chat": chat} if prompt else chat
    except ValueError:
        if prompt is None:
            raise
        branches = _plain(tokenizer, prompt)
    lines = [f"FROM ./{gguf_name}", f'TEMPLATE """{_TEMPLATE % {"branches": branches}}"""']
    return "\n".join([*lines, *_parameters(folder, tokenizer), ""])


def _parameters(folder: Path, tokenizer: Any) -> list[str]:
    config = json.loads((folder / "config.json").read_text())
    values = {
        "temperature": 0,
        # Versions of Ollama differ in their default, and a decomposition repeats the words of its question.
        "repeat_penalty": 1,
        "num_predict": REPLY_TOKENS,
        "num_ctx": min(config.get("max_position_embeddings", _CONTEXT), _CONTEXT),
    }
    ends = sorted(end_tokens(tokenizer, configured_ends(folder)))
    return [
        *(f"PARAMETER {name} {value}" for name, value in values.items()),
        *(f'PARAMETER stop "{tokenizer.convert_ids_to_tokens(end)}"' for end in ends),
    ]


class _Pieces(NamedTuple):
    """What a chat template writes around the turns; `untold` comes first where there is no system turn, `begin` before a reply."""

    untold: str
    system: str
    system_end: str
    user: str
    user_end: str
    assistant: str
    assistant_end: str
    begin: str

    def chat(self, turns: Sequence[tuple[str, str]]) -> str:
        """A chat whose last turn is the user's, as the template in Go writes it."""
        written = "".join(f"{getattr(self, role)}{content}{getattr(self, f'{role}_end')}" for role, content in turns)
        return f"{'' if turns[0][0] == 'system' else self.untold}{written}{self.begin}"


def _pieces(tokenizer: Any) -> _Pieces:
    """The parts of the tokenizer's own template, found by writing chats of marked turns, and held against it on four chats."""
    chats = [
        [("user", _FIRST)],
        [("system", _SYSTEM), ("user", _FIRST)],
        [("user", _FIRST), ("assistant", _REPLY), ("user", _SECOND)],
        [("system", _SYSTEM), ("user", _FIRST), ("assistant", _REPLY), ("user", _SECOND)],
    ]
    try:
        whole = [_begun(tokenizer, render(tokenizer, [{"role": role, "content": text} for role, text in chat])) for chat in chats]
        pieces = _taken_apart(whole[0], whole[3])
    except Exception as error:
        raise ValueError(f"its chat template has no form in Ollama's syntax ({type(error).__name__}: {error})") from error
    if any(pieces.chat(chat) != text for chat, text in zip(chats, whole, strict=True)):
        raise ValueError("its chat template does more than to put words around the turns, which has no form in Ollama's syntax")
    return pieces


def _taken_apart(alone: str, full: str) -> _Pieces:
    """The parts, from a chat of one question and from one of all turns.

    What the ends of a system turn and of a reply share with the beginning of the user's turn is counted to the latter.
    """
    before, after = alone.split(_FIRST)
    system, rest = full.split(_SYSTEM)
    system_to_user, rest = rest.split(_FIRST)
    user_to_assistant, rest = rest.split(_REPLY)
    assistant_to_user, end = rest.split(_SECOND)
    user = _common_end(before, system_to_user, assistant_to_user)
    # What follows a question ends it and begins the reply; a reply on file begins with as much of it as it shares.
    user_end = _common_start(after, user_to_assistant)
    if end != after:
        raise ValueError("a later question is put otherwise than the first")
    return _Pieces(
        untold=before.removesuffix(user),
        system=system,
        system_end=system_to_user.removesuffix(user),
        user=user,
        user_end=user_end,
        assistant=user_to_assistant.removeprefix(user_end),
        assistant_end=assistant_to_user.removesuffix(user),
        begin=after.removeprefix(user_end),
    )


def _common_start(*texts: str) -> str:
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in same)


def _common_end(*texts: str) -> str:
    return _common_start(*(text[::-1] for text in texts))[::-1]


def _plain(tokenizer: Any, prompt: TrainedPrompt) -> str:
    text = _begun(tokenizer, render(tokenizer, prompt.chat(_FIRST)))
    return _literal(text).replace(_FIRST, "{{ $last.Content }}")


def _literal(text: str) -> str:
    """A text that Go's template and Ollama's parser leave as it is."""
    for literal, written in _LITERAL.items():
        text = text.replace(literal, written)
    return text


def _begun(tokenizer: Any, text: str) -> str:
    """The prompt without its BOS token, where the tokenizer puts one there of itself and Ollama with it."""
    bos, ids = tokenizer.bos_token, tokenizer("a")["input_ids"]
    return text.removeprefix(bos) if bos and ids[0] == tokenizer.bos_token_id else text
