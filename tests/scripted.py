"""A scripted LM, for faults and formats: what is tested with it is the bookkeeping, never the texts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import dspy
from dspy import lm15


class ScriptedEngine:
    """Answers by a rule on the prompt's last message, and counts what it was asked."""

    def __init__(self, rule: Callable[[str], str | Exception]) -> None:
        self.rule = rule
        self.prompts: list[str] = []
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict) -> ScriptedEngine:
        return self

    def complete(self, request: lm15.Request) -> lm15.Response:
        prompt = request.messages[-1].text
        with self._lock:
            self.prompts.append(prompt)
        reply = self.rule(prompt)
        if isinstance(reply, Exception):
            raise reply
        message = lm15.Message.assistant([lm15.TextPart(reply)])
        usage = lm15.Usage(input_tokens=len(prompt.split()), output_tokens=len(reply.split()))
        return lm15.Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)


class AsyncScriptedEngine:
    """`ScriptedEngine` for `acall`."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    def __deepcopy__(self, memo: dict) -> AsyncScriptedEngine:
        return self

    async def complete(self, request: lm15.Request) -> lm15.Response:
        return self.engine.complete(request)


def scripted_lm(rule: Callable[[str], str | Exception], model: str = "openai/scripted") -> dspy.LM:
    """An LM that answers by `rule`; its engine is at `lm.script`."""
    engine = ScriptedEngine(rule)
    lm = dspy.LM(model, engine=engine, async_engine=AsyncScriptedEngine(engine), cache=False, num_retries=0)
    lm.script = engine
    return lm


def two_stage_rule(prompt: str) -> str:
    """Decomposes into two questions, and answers Rome."""
    return "Who is it?\nWhere is #1?" if "Max subquestions" in prompt else "Ann\nRome\nAnswer: Rome"
