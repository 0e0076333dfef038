"""A scripted LM that reads the whole prompt, instructions and demos included: what a prompt optimizer changes."""

from __future__ import annotations

from collections.abc import Callable

import dspy
from dspy import lm15
from scripted import AsyncScriptedEngine, ScriptedEngine


class PromptEngine(ScriptedEngine):
    """`ScriptedEngine` whose rule is given (system text, messages)."""

    def __init__(self, rule: Callable[[str, list[str]], str | Exception]) -> None:
        super().__init__(lambda prompt: "")
        self.whole = rule

    def complete(self, request: lm15.Request) -> lm15.Response:
        # An engine of its own for every call: the rule that the call goes by must not be another thread's.
        reply = self.whole(request.system or "", [message.text for message in request.messages])
        once = ScriptedEngine(lambda _: reply)
        with self._lock:
            self.prompts.append(request.messages[-1].text)
        return once.complete(request)


def prompted_lm(rule: Callable[[str, list[str]], str | Exception], model: str = "openai/scripted") -> dspy.LM:
    """An LM that answers by `rule`; its engine is at `lm.script`."""
    engine = PromptEngine(rule)
    lm = dspy.LM(model, engine=engine, async_engine=AsyncScriptedEngine(engine), cache=False, num_retries=0)
    lm.script = engine
    return lm
