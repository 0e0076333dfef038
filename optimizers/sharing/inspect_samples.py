"""An answer to a test question as a sample of a log of inspect_ai: its scores, and both stages' calls word for word."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optimizers.reports.prompts import Exchange, own_stage
from optimizers.sharing.predictions import ROLES, kind_of, public_model
from programs.lms.ledger import Usage, summed
from programs.parts import WAY

if TYPE_CHECKING:
    from inspect_ai.event import Event, ModelEvent
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessage, ModelOutput, ModelUsage
    from inspect_ai.scorer import Score

Line = Mapping[str, Any]

_STOPS = {"stop": "stop", "length": "max_tokens", "content_filter": "content_filter", "tool_calls": "tool_calls"}
_NOT_ON_FILE = "the reply is not on file; this is the answer that was read from it"


@dataclass(frozen=True)
class Stage:
    """A stage of an answer.

    Attributes:
        name: `decompose`, `solve`, `answer` or that of a program of one's own.
        model: Its model string, as others may read it.
        usage: What it cost.
        asked: The prompt and the reply, as far as they are on file.
    """

    name: str
    model: str
    usage: Usage
    asked: Exchange

    @property
    def role(self) -> str:
        """See `ROLES`."""
        return ROLES.get(self.name, self.name)

    @property
    def is_on_file(self) -> bool:
        """Whether there is a reply to show."""
        return bool(self.asked.record) and "error" not in self.asked.record

    @property
    def ended(self) -> float | None:
        """When the reply was there, in seconds since 1970; None where it is not known."""
        found = self.asked.record.get("time")
        return float(found) if isinstance(found, int | float) else None

    @property
    def seconds(self) -> float:
        """How long the call took."""
        return float(self.asked.record.get("seconds") or 0.0)


def stages_of(line: Line, exchanges: Sequence[Exchange], models: Mapping[str, str]) -> list[Stage]:
    """The stages of an answer, each with the call that its own model answered.

    Args:
        line: Of `evaluate`.
        exchanges: What is on file for it.
        models: Model string by stage.
    """
    costs = line.get("usage") or {}
    found = []
    for one in exchanges:
        model = models.get(one.stage) or models.get(one.stage.partition(".")[0]) or str(one.record.get("model") or "not recorded")
        # The same prompt may have gone to another condition's model too; its reply is not this one's.
        own = one if one.record.get("model") == model else Exchange(one.stage)
        found.append(Stage(one.stage, public_model(model), Usage.from_dict(costs.get(one.stage) or {}), own))
    return found


def sample_of(line: Line, stages: Sequence[Stage], scorer: str, place: str) -> EvalSample:
    """A sample of a log.

    Args:
        line: Of `evaluate`.
        stages: In their order.
        scorer: Name of the task's measure.
        place: Tells the log from others, for the identifiers in it.
    """
    from inspect_ai.log import EvalSample

    ends = [stage.ended for stage in stages if stage.ended is not None]
    starts = [stage.ended - stage.seconds for stage in stages if stage.ended is not None]
    return EvalSample(
        id=line["id"] if isinstance(line["id"], int | str) else str(line["id"]),
        epoch=1,
        uuid=identifier(place, line["id"]),
        input=str(line.get("question") or ""),
        target=_target(line.get("gold")),
        messages=[turn for stage in stages for turn in _turns(stage, place, line["id"])],
        output=_output(line, stages, place),
        scores=_scores(line, scorer),
        metadata=_metadata(line, stages),
        events=list(_events(stages, place, line["id"])),
        model_usage=usage_by({stage.name: (stage.model, stage.usage) for stage in stages}),
        role_usage=usage_by({stage.name: (stage.role, stage.usage) for stage in stages}),
        started_at=moment(min(starts)) if starts else None,
        completed_at=moment(max(ends)) if ends else None,
        total_time=line.get("seconds"),
        error=_error(line),
    )


def usage_by(stages: Mapping[str, tuple[str, Usage]]) -> dict[str, ModelUsage]:
    """What stages cost by model or role; dollars are missing as soon as one call has no known price.

    Args:
        stages: Stage -> under which name it counts, and its cost.
    """
    return {name: _usage(total) for name, total in summed({name: usage} for name, usage in stages.values()).items()}


def _usage(usage: Usage) -> ModelUsage:
    from inspect_ai.model import ModelUsage

    # Inspect counts tokens of a provider's prompt cache apart from the other input tokens.
    tokens = {"input_tokens": usage.input_tokens - usage.cached_tokens - usage.written_tokens, "output_tokens": usage.output_tokens}
    cache = {"input_tokens_cache_read": usage.cached_tokens or None, "input_tokens_cache_write": usage.written_tokens or None}
    return ModelUsage(**tokens, **cache, total_tokens=usage.input_tokens + usage.output_tokens, total_cost=usage.usd)


def identifier(*parts: Any) -> str:
    """An identifier that is the same whenever the same log is written."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:22]


def moment(seconds: float) -> str:
    """A time in seconds since 1970 as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _target(gold: Any) -> str | list[str]:
    return [str(one) for one in gold] if isinstance(gold, list | tuple) else "" if gold is None else str(gold)


def _turns(stage: Stage, place: str, sample: Any) -> list[ChatMessage]:
    """The prompt, where it is known to the letter, and the reply."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {"system": ChatMessageSystem, "developer": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    told = {"stage": stage.name}
    turns = [
        kinds.get(one.role, ChatMessageUser)(content=one.text, id=identifier(place, sample, stage.name, number), metadata=told)
        for number, one in enumerate(stage.asked.messages)
    ]
    return [*turns, *([_reply(stage, str(stage.asked.record.get("text") or ""), place, sample)] if stage.is_on_file else [])]


def _reply(stage: Stage, text: str, place: str, sample: Any) -> ChatMessage:
    from inspect_ai.model import ChatMessageAssistant

    key = identifier(place, sample, stage.name, "reply")
    return ChatMessageAssistant(content=text, id=key, model=stage.model, source="generate", metadata={"stage": stage.name})


def _output(line: Line, stages: Sequence[Stage], place: str) -> ModelOutput:
    """What the last stage said; the answer alone where its reply is not on file."""
    from inspect_ai.model import ModelOutput

    if not stages:
        return ModelOutput()
    last = stages[-1]
    if last.is_on_file:
        return _said(last, place, line["id"])
    text = str(line["answer"]) if line.get("answer") is not None else ""
    return _with_text(last, text, place, line["id"], {"reply": _NOT_ON_FILE} if text else {})


def _said(stage: Stage, place: str, sample: Any) -> ModelOutput:
    return _with_text(stage, str(stage.asked.record.get("text") or ""), place, sample, {"finish": stage.asked.record.get("finish")})


def _with_text(stage: Stage, text: str, place: str, sample: Any, metadata: dict[str, Any]) -> ModelOutput:
    from inspect_ai.model import ChatCompletionChoice, ModelOutput

    stop = _STOPS.get(str(stage.asked.record.get("finish")), "unknown")
    choice = ChatCompletionChoice(message=_reply(stage, text, place, sample), stop_reason=stop)
    return ModelOutput(model=stage.model, choices=[choice], usage=_usage(stage.usage), time=stage.seconds or None, metadata=metadata)


def _events(stages: Sequence[Stage], place: str, sample: Any) -> Iterator[Event]:
    """A span a stage with its call in it, where the time of the call is known: an event needs one."""
    from inspect_ai.event import SpanBeginEvent, SpanEndEvent

    worked = 0.0
    for stage in stages:
        if not stage.is_on_file or stage.ended is None:
            continue
        key = identifier(place, sample, stage.name, "span")
        started, over = (datetime.fromtimestamp(at, UTC) for at in (stage.ended - stage.seconds, stage.ended))
        begin: dict[str, Any] = {"span_id": key, "timestamp": started, "working_start": worked}
        worked += stage.seconds
        yield SpanBeginEvent(id=key, name=stage.name, type="solver", uuid=identifier(key, "begin"), **begin)
        yield _call(stage, place, sample, {**begin, "completed": over, "uuid": identifier(key, "call")})
        yield SpanEndEvent(id=key, span_id=key, uuid=identifier(key, "end"), timestamp=over, working_start=worked)


def _call(stage: Stage, place: str, sample: Any, common: Mapping[str, Any]) -> ModelEvent:
    from inspect_ai.event import ModelEvent
    from inspect_ai.model import GenerateConfig

    return ModelEvent(
        model=stage.model,
        role=stage.role,
        input=_turns(stage, place, sample)[:-1],
        tools=[],
        tool_choice="none",
        config=GenerateConfig(),
        output=_said(stage, place, sample),
        cache="read" if stage.asked.record.get("cached") else None,
        working_time=stage.seconds,
        **common,
    )


def _scores(line: Line, scorer: str) -> dict[str, Score]:
    """The task's score and its further measures; none of a question whose call failed."""
    from inspect_ai.scorer import Score

    if line["score"] is None and line["error"]:
        return {}
    # Inspect's own mark of what could not be judged, so that it is never read as wrong.
    value = math.nan if line["score"] is None else line["score"]
    told = {"state": _state(line), "unparsed": bool(line.get("unparsed")), "cut_off": bool(line.get("cut_off"))}
    answer = None if line.get("answer") is None else str(line["answer"])
    own = Score(value=value, answer=answer, explanation=line.get("detail") or kind_of(line["error"]) or None, metadata=told)
    further = {measure_name(name, scorer): Score(value=one, answer=answer) for name, one in (line.get("measures") or {}).items()}
    return {scorer: own, **further}


def measure_name(name: str, scorer: str) -> str:
    """Under which name a further measure stands beside the task's own."""
    return f"{name} (measured too)" if name == scorer else name


def _error(line: Line) -> Any:
    from inspect_ai.log import EvalError

    if line["score"] is not None or not line["error"]:
        return None
    told = f"{kind_of(line['error'])}: the message is left out of shared logs, as it may name servers and accounts."
    return EvalError(message=told, traceback="", traceback_ansi="")


def _state(line: Line) -> Any:
    """How its decomposition could be read; None where none was made."""
    made = line.get("decomposition") or line.get("subquestions")
    return line.get("state") if made or any(own_stage(stage, line) == "decompose" for stage in line.get("usage") or {}) else None


def _way(line: Line) -> dict[str, Any]:
    """Which way a cascade went with the question; of its errors the kinds, as the messages may name servers."""
    if not line.get("route"):
        return {}
    return {**{name: line.get(name) for name in WAY}, "errors": [kind_of(error) for error in line.get("errors") or []]}


def _metadata(line: Line, stages: Sequence[Stage]) -> dict[str, Any]:
    """What the program made of the replies, and what each stage cost."""
    read = {name: line.get(name) for name in ("context", "subquestions", "sub_answers", "reasoning")}
    return {
        **{name: value for name, value in read.items() if value},
        **_way(line),
        "decomposition": _state(line),
        "unparsed": bool(line.get("unparsed")),
        "cut_off": bool(line.get("cut_off")),
        **({"error": kind_of(line["error"])} if line["error"] else {}),
        "stages": {stage.name: {"model": stage.model, **stage.usage.to_dict()} for stage in stages},
        **({"not_on_file": missing} if (missing := [stage.name for stage in stages if not stage.is_on_file]) else {}),
        **({"prompt_not_on_file": untold} if (untold := [s.name for s in stages if s.is_on_file and not s.asked.messages]) else {}),
    }
