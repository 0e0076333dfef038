"""Few-shot examples from a file of one's own, for both stages, in the form of a compiled program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy

from programs.signatures import Decompose, Solve

_FORM = (
    '{"question": "...", "subquestions": ["...", "..."], "sub_answers": ["...", "..."], "answer": "..."}, and "context" where there is one'
)
_STAGES = {"decompose": Decompose, "solve": Solve}


def examples_state(file: Path) -> dict[str, Any]:
    """The state of a two-stage program that shows the examples of a JSONL file.

    A line is `question` and `subquestions`, for the decomposer; with `sub_answers` and `answer` the solver is shown it too.

    Args:
        file: One JSON object a line.

    Raises:
        ValueError: No such file, no example in it, or a line of another form; names the line.
    """
    try:
        lines = [(place, line) for place, line in enumerate(file.read_text("utf-8-sig").splitlines(), 1) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"The examples in {str(file)!r} cannot be read ({error}); give a JSONL file, one example a line: {_FORM}."
        ) from error
    examples = [_example(f"{file}, line {place}", line) for place, line in lines]
    if not examples:
        raise ValueError(f"{file} holds no example; write one a line: {_FORM}.")
    return {stage: _predictor(signature, examples).dump_state() for stage, signature in _STAGES.items()}


def _predictor(signature: type[dspy.Signature], examples: list[dict[str, Any]]) -> dspy.Predict:
    predictor = dspy.Predict(signature)
    complete = [example for example in examples if signature.output_fields.keys() <= example.keys()]
    predictor.demos = [dspy.Example(**{name: value for name, value in one.items() if name in signature.fields}) for one in complete]
    return predictor


def _example(where: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON ({error}); expected {_FORM}.") from error
    if not isinstance(row, Mapping):
        raise ValueError(f"{where} is {row!r:.80}; expected {_FORM}.")
    for name in ("question", "context", "answer"):
        if not isinstance(row.get(name, ""), str | int | float):
            raise ValueError(f"{where}: {name!r} is {row[name]!r:.80}; expected a text, as in {_FORM}.")
    for name in ("subquestions", "sub_answers"):
        found = row.get(name, [""])
        if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
            raise ValueError(f"{where}: {name!r} is {found!r:.80}; expected a list of texts, as in {_FORM}.")
    if not str(row.get("question", "")).strip() or "subquestions" not in row:
        raise ValueError(f"{where} lacks 'question' or 'subquestions'; expected {_FORM}.")
    given = {name: row[name] for name in ("context", "question", "subquestions", "sub_answers", "answer") if name in row}
    return {"context": "", **given, **({"answer": str(row["answer"])} if "answer" in row else {})}
