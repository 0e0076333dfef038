"""TODO optimizers.finetune.rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import dspy

from optimizers.finetune.entity_slots import Labelled
from optimizers.labelling.samples import Call, Sample
from programs.signatures import NO_DECOMPOSITION

Rewrite = Callable[[dict[str, Any], dspy.Example], dict[str, Any]]


def teachers_own(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that the teacher wrote, without those that were made from them."""
    return [row for row in rows if "origin" not in row]


def _clean_outputs(outputs: dict[str, Any], sample: Sample) -> dict[str, Any]:
    """A decomposition as the program read it: questions alone, each once, within the limit."""
    if "subquestions" not in outputs or "state" not in sample.prediction:
        return outputs
    return {**outputs, "subquestions": sample.prediction["subquestions"] or [NO_DECOMPOSITION]}


def _decomposes(predictor: dspy.Predict) -> bool:
    return "question" in predictor.signature.input_fields and "subquestions" in predictor.signature.output_fields


def _call_of(sample: Sample, predictor: str) -> Call:
    return next(call for call in sample.calls if call.predictor == predictor)


def _labelled(sample: Sample, predictor: str) -> Labelled:
    """What `augment` sees of a teacher's run."""
    call = _call_of(sample, predictor)
    lines = _clean_outputs(call.outputs, sample)["subquestions"]
    subquestions = () if lines == [NO_DECOMPOSITION] else tuple(lines)
    answers = tuple(map(str, sample.prediction.get("sub_answers") or ()))
    context = call.inputs.get("context") or ""
    return Labelled(sample.example_id, sample.sample, call.inputs["question"], subquestions, answers, context)
