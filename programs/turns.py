"""What an LM says in its own turn: without thoughts, control tokens, and the turns that it goes on to write for others."""

from __future__ import annotations

import re

_TAGS = r"think|thinking|thought|seed:think"
_OPEN = rf"(?:<(?:{_TAGS})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>)"
_CLOSE = rf"(?:</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>)"
_BLOCK = re.compile(rf"{_OPEN}(?:(?!{_OPEN}).)*?{_CLOSE}", re.IGNORECASE | re.DOTALL)
_LEFT_OPEN = re.compile(_OPEN, re.IGNORECASE)
_ONLY_CLOSED = re.compile(rf"\A.*{_CLOSE}", re.IGNORECASE | re.DOTALL)
_FINAL_CHANNEL = re.compile(r".*<\|channel\|>final<\|message\|>", re.DOTALL)
_CHANNEL = re.compile(r"<\|channel\|>(?:analysis|commentary).*", re.DOTALL)
_CHANNELS_WITHOUT_SIGNS = re.compile(r"\A(?:analysis.*?)?assistantfinal(?:json)?", re.DOTALL)

_UNSEEN = re.compile("[\ufeff\u200b\u2060\u200e\u200f\u00ad]")
_BREAK = re.compile("\r\n?|[\u2028\u2029\x85\x0b\x0c]")
_BLANK = re.compile("[\u00a0\u2007\u3000]")
_OPENS_TURN = re.compile(
    r"\A\s*(?:<s>|\[/INST\]|<\|(?:im_start|start_header_id|assistant)\|>|<start_of_turn>|<\|end_header_id\|>"
    r"|<\|python_tag\|>|\[TOOL_CALLS\](?:\s*[\w.-]+(?:\[ARGS\])?(?=\s*\{))?"
    r"|(?:assistant|model)(?=\s*(?:\n|<\|end_header_id\|>|<\|message\|>))|###? ?(?:response|assistant)\s*:?\s*\n|assistant\s*:\s)+\s*",
    re.IGNORECASE,
)
_ENDS_TURN = re.compile(
    r"</s>|\[/?INST\]|<\|(?:im_end|im_start|eot_id|end|endoftext|end_of_text|eom_id|return|user|assistant|start_header_id)\|>"
    r"|<(?:end|start)_of_turn>|<eos>|<[｜|]end[▁_]of[▁_]sentence[｜|]>|\n[ \t]*\[END\](?=\s*\Z)"
)


def own_turn(text: str) -> str:
    """A reply as its reader sees it.

    Servers that complete raw text leave the tokens that end a turn in it, and what the LM wrote behind them; marks of byte order
    and of zero width hide a number or a label at the start of a line.
    """
    plain = _BLANK.sub(" ", _BREAK.sub("\n", _UNSEEN.sub("", text)))
    plain = _OPENS_TURN.sub("", without_thoughts(plain))
    ended = _ENDS_TURN.search(plain)
    return plain[: ended.start()].rstrip() if ended else plain


def without_thoughts(text: str) -> str:
    """A reply without what a reasoning model thought aloud in it.

    Thoughts stand in `<think>…</think>` (also `<thinking>`, `[THINK]`, `◁think▷`, `<|begin_of_thought|>`), or in the
    channels of gpt-oss, with or without their signs. Chat templates that open the block themselves leave the closing tag alone
    in the reply, and a reply that was cut off has no closing tag.
    """
    if _FINAL_CHANNEL.match(text):
        return _FINAL_CHANNEL.sub("", text).replace("<|return|>", "").strip()
    found, left = _CHANNELS_WITHOUT_SIGNS.sub("", _CHANNEL.sub("", text)), ""
    while found != left:
        left, found = found, _BLOCK.sub("", found)
    found = _ONLY_CLOSED.sub("", found)
    opened = _LEFT_OPEN.search(found)
    found = found[: opened.start()] if opened else found
    return text if found == text else found.strip()
