"""What a local model was trained to read: kept in its manifest, and applied wherever the model is asked."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import dspy

from programs.adapter import adapter_by_name
from programs.lms import embedded
from programs.lms.artifacts import Artifact
from programs.lms.model_strings import is_local, resolve
from programs.signatures import Decompose

KEY = "prompts"
"""The manifest's entry: predictor name -> fields of a `TrainedPrompt`."""
UNTOLD: Literal["untold"] = "untold"
"""In place of a limit: the rows had several, or the predictor knows none."""
PLACE = "{question}"
"""Where a bare question goes in the last turn of `TrainedPrompt.messages`."""
_ROWS_READ = 50
_CONTEXT = re.compile(r"^Context: ", re.MULTILINE)
_LIMIT = re.compile(r"^Max subquestions: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class TrainedPrompt:
    """The form in which a predictor's rows were written.

    Attributes:
        adapter: Name of the prompt format (see `programs.adapter.adapter_by_name`).
        sees_context: Whether the rows had a passage; None where the predictor has no field for one.
        max_subquestions: The limit that all rows told; None where they told none, `UNTOLD` where it is not known.
        instructions: Of the signature.
        inputs: Names of the signature's input fields.
        outputs: Names of the signature's output fields.
        messages: The chat for a bare question, which stands at `{question}` in the last turn; empty where a question alone is
            not enough, as for a solver.
    """

    adapter: str
    sees_context: bool | None = None
    max_subquestions: int | Literal["untold"] | None = UNTOLD
    instructions: str = ""
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    messages: Sequence[Mapping[str, str]] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """As plain data: in a manifest, and in the server's list of models."""
        return asdict(self)

    def chat(self, question: str) -> list[dict[str, str]]:
        """The chat in which the model was trained to be asked `question`; empty without `messages`."""
        return [{"role": m["role"], "content": m["content"].replace(PLACE, question)} for m in self.messages]


def trained_prompt(predictor: dspy.Predict, adapter: str, inputs: Iterable[Mapping[str, Any]]) -> TrainedPrompt:
    """What a predictor's rows look like.

    Args:
        predictor: Its signature and demos are those of the rows.
        adapter: Name of the rows' prompt format.
        inputs: The inputs of each row.
    """
    signature, rows = predictor.signature, list(inputs)
    limits = {row.get("max_subquestions") for row in rows}
    limit: Any = limits.pop() if "max_subquestions" in signature.input_fields and len(limits) == 1 else UNTOLD
    return TrainedPrompt(
        adapter=adapter,
        sees_context=any(row.get("context") for row in rows) if "context" in signature.input_fields else None,
        max_subquestions=limit,
        instructions=signature.instructions,
        inputs=list(signature.input_fields),
        outputs=list(signature.output_fields),
        messages=_bare_chat(predictor, adapter, limit),
    )


def prompts_of(artifact: Artifact) -> dict[str, TrainedPrompt]:
    """Predictor name -> its form: from the manifest, the table of embedded models, or the rows that lie in the artifact."""
    if artifact.manifest.get("namespace") == "embedded":
        return _embedded(artifact.name)
    entries = artifact.manifest.get(KEY)
    if isinstance(entries, Mapping):
        known = TrainedPrompt.__dataclass_fields__
        return {name: TrainedPrompt(**{k: v for k, v in entry.items() if k in known}) for name, entry in entries.items()}
    return _from_rows(artifact)


def prompts_of_model(model: str) -> dict[str, TrainedPrompt]:
    """`prompts_of` what a model string names; empty for models that are no artifacts."""
    artifact = resolve(model) if is_local(model) else None
    return prompts_of(artifact) if artifact else {}


def manifest_entry(prompts: Mapping[str, TrainedPrompt]) -> dict[str, Any]:
    """What `publish` is given for the manifest; nothing without prompts."""
    return {KEY: {name: prompt.to_dict() for name, prompt in prompts.items()}} if prompts else {}


def trained_to_decompose(model: dspy.LM | None) -> TrainedPrompt | None:
    """The form in which an LM was trained to decompose; None for one that nobody here trained for it."""
    if model is None or not is_local(model.model):
        return None
    try:
        return _decompose_prompt(model.model) if "@" in model.model else _decompose_prompt.__wrapped__(model.model)
    except ValueError:
        # Whoever asks a model that is not there hears why from the call.
        return None


def plain_prompt(prompts: Mapping[str, TrainedPrompt]) -> TrainedPrompt | None:
    """The form in which a bare question is put to a model: that of its decomposer, or of the first that takes one."""
    able = {name: prompt for name, prompt in prompts.items() if prompt.messages}
    return next((able[name] for name in able if _decomposes(able[name])), next(iter(able.values()), None))


def is_plain(roles: Sequence[str]) -> bool:
    """Whether a chat of turns of these roles is a plain question: the last one of the user, who has told the model nothing else.

    What was asked and answered before it is no part of it, as no student was trained on that.
    """
    return bool(roles) and roles[0] == roles[-1] == "user"


@functools.lru_cache(maxsize=256)
def _decompose_prompt(model: str) -> TrainedPrompt | None:
    return next((prompt for prompt in prompts_of_model(model).values() if _decomposes(prompt)), None)


def _decomposes(prompt: TrainedPrompt) -> bool:
    return "subquestions" in prompt.outputs


def _bare_chat(predictor: dspy.Predict, adapter: str, limit: Any) -> list[dict[str, str]]:
    fields = predictor.signature.input_fields
    free = [name for name in fields if name not in ("context", "max_subquestions")]
    if len(free) != 1 or fields[free[0]].annotation is not str:
        return []
    inputs = {"context": "", free[0]: PLACE}
    if limit not in (None, UNTOLD):
        inputs["max_subquestions"] = limit
    given = {name: value for name, value in inputs.items() if name in fields}
    messages = adapter_by_name(adapter).format(predictor.signature, predictor.demos, given)
    return [{"role": message["role"], "content": message["content"]} for message in messages]


@functools.cache
def _embedded(name: str) -> dict[str, TrainedPrompt]:
    if name not in embedded.TRAINED_TO_DECOMPOSE:
        return {}
    inputs = [{"context": "", "max_subquestions": embedded.MAX_SUBQUESTIONS}]
    return {"decompose": trained_prompt(dspy.Predict(Decompose), "line-terse", inputs)}


def _from_rows(artifact: Artifact) -> dict[str, TrainedPrompt]:
    """Of a student from before manifests had prompts: what its rows show, as far as their format is ours."""
    rows = artifact.folder / "rows.jsonl"
    if artifact.adapter not in ("line", "line-terse") or not rows.exists():
        return {}
    with rows.open() as lines:
        asked = [[turn["content"] for turn in json.loads(line)["messages"]] for line, _ in zip(lines, range(_ROWS_READ), strict=False)]
    system = adapter_by_name(artifact.adapter).format(Decompose, [], {"question": ""})[0]["content"]
    if not asked or any(turns[0] != system for turns in asked):
        return {}
    inputs = [{"context": _CONTEXT.search(turns[-2]), "max_subquestions": _limit(turns[-2])} for turns in asked]
    return {"decompose": trained_prompt(dspy.Predict(Decompose), artifact.adapter, inputs)}


def _limit(text: str) -> int | None:
    found = _LIMIT.search(text)
    return int(found[1]) if found else None
