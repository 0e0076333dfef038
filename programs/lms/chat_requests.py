"""What clients of the server send: the settings of OpenAI's chat completions that are read, and those that are refused."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CHOICES = 128
"""As many answers to one request as OpenAI gives."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "min_p": (0,),
    "min_tokens": (0,),
    "length_penalty": (1,),
    "typical_p": (1,),
    "mirostat": (0,),
    "ignore_eos": (False,),
    "echo": (False,),
    "prompt_logprobs": (0,),
    "n_probs": (0,),
    "best_of": (1,),
    "until": ([],),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "modalities": (["text"],),
    "audio": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "grammar": ("",),
    "json_schema": ({},),
    "regex": (),
    "ebnf": (),
    "format": ("",),
}
"""What the engine cannot do -> the values, beside null, that ask for nothing."""


class ChatMessage(BaseModel):
    """One turn; content parts other than text are refused."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[Any] | None = None

    def text(self) -> str:
        """The turn's text; an assistant's may be null.

        Raises:
            ValueError: A part that is no text, or a turn that has none.
        """
        if self.tool_calls:
            raise ValueError("Tool calls are not supported; leave tool_calls out and send text.")
        if self.content is None and self.role != "assistant":
            raise ValueError(f"The content of a turn of role {self.role!r} is null; send text.")
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(_part_text(part) for part in self.content)


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The settings of `/v1/chat/completions` that are read; null is the default of each.

    Those in `_NEUTRAL` are refused where they ask for something. Others are ignored, as most servers do: they name the
    user or the provider's service and change no answer.
    """

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def limit(self) -> int | None:
        """How many tokens an answer may have: of several names the one that a client adds to the usual one, which it may send by itself."""
        return self.max_completion_tokens or self.max_new_tokens or self.max_tokens

    def unsupported(self) -> str | None:
        """The first setting that asks for what the engine cannot do."""
        given = self.model_extra or {}
        return next((name for name, neutral in _NEUTRAL.items() if given.get(name) is not None and given[name] not in neutral), None)


def _part_text(part: dict[str, Any]) -> str:
    if part.get("type") != "text":
        raise ValueError(f"Content of type {part.get('type')!r} is not supported; send text.")
    if not isinstance(part.get("text"), str):
        raise ValueError(f"A content part of type 'text' has the text {part.get('text')!r}; expected a string under 'text'.")
    return str(part["text"])
