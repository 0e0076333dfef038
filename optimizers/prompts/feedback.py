"""What GEPA is told about one answer, in words: which stage failed, and what the reference says."""

from __future__ import annotations

from typing import Any

import dspy

from programs.signatures import NO_DECOMPOSITION
from programs.tasks import equal_answers

_RESCUE = {
    True: "With the reference subquestions the solver answers it right, so the decomposition stage is what failed.",
    False: "With the reference subquestions the solver answers it wrong as well, so the solving stage failed in any case.",
}


def feedback(example: dspy.Example, prediction: Any, stage: str, score: float, rescued: bool | None = None, said: str = "") -> str:
    """Words on one stage's part in an answer.

    Args:
        example: With `answer`, and `subquestions` and `sub_answers` where there are references.
        prediction: Of `TwoStage`; None where the program raised.
        stage: `decompose` or `solve`; anything else gets both.
        score: Of the answer, in [0, 1].
        rescued: Whether the solver gets it right with the reference subquestions; None if that was not tried.
        said: What the task's scorer says of the answer.
    """
    if prediction is None or prediction.get("answer") is None:
        return "The program gave no answer: a call failed. This says nothing about the instructions."
    verdict = [_verdict(example, prediction, score, said), *([] if rescued is None else [_RESCUE[rescued]])]
    parts = {"decompose": _on_decomposition, "solve": _on_solution}
    chosen = [parts[stage]] if stage in parts else list(parts.values())
    return " ".join([*verdict, *(sentence for part in chosen for sentence in part(example, prediction, score))])


def _verdict(example: dspy.Example, prediction: Any, score: float, said: str) -> str:
    if said:
        known = f"The final answer {_short(prediction.answer)} has a score of {score:.2f}; the reference answer is "
        return f"{known}{_short(example.answer)}. The scorer says: {said}"
    if score >= 1:
        return f"The final answer {_short(prediction.answer)} is right."
    wrong = "is only partly right" if score > 0 else "is wrong"
    return f"The final answer {_short(prediction.answer)} {wrong} (score {score:.2f}); the reference answer is {_short(example.answer)}."


def _on_decomposition(example: dspy.Example, prediction: Any, score: float) -> list[str]:
    state = prediction.get("state")
    found = {
        "unparseable": "The decomposition stage failed: no line of its reply is a question, so the solver got no subquestions. "
        f"It must write one subquestion a line, each with a question mark, or exactly: {NO_DECOMPOSITION}.",
        "over_limit": "The decomposition stage wrote more subquestions than allowed.",
        "none_needed": "The decomposition stage wrote that no decomposition is needed.",
    }.get(state, "")
    said = [found] if found else []
    asked = list(prediction.get("subquestions") or [])
    if state in ("ok", "over_limit"):
        said.append(f"Its subquestions: {_numbered(asked)}.")
    reference = example.get("subquestions")
    if score < 1 and reference is not None:
        said.append(_against_reference(asked, list(reference)))
    return said


def _against_reference(asked: list[str], reference: list[str]) -> str:
    if len(asked) == len(reference) and all(map(equal_answers, asked, reference)):
        return "They are those of the reference, so the solving stage failed, not this one."
    wanted = _numbered(reference) if reference else NO_DECOMPOSITION
    return f"The reference decomposition is: {wanted}. The difference to it is the likely cause."


def _on_solution(example: dspy.Example, prediction: Any, score: float) -> list[str]:
    if prediction.get("unparsed"):
        return ["The solving stage failed: its reply lacks the labelled final answer, so the whole reply was taken for the answer."]
    if score >= 1:
        return []
    asked, answers = list(prediction.get("subquestions") or []), list(prediction.get("sub_answers") or [])
    said = [f"It was given the subquestions {_numbered(asked)}." if asked else "It was given no subquestions."]
    if answers:
        said.append(f"Its answers to them: {_numbered(answers)}.")
    elif asked:
        said.append("It answered none of them.")
    reference = example.get("sub_answers")
    if reference:
        said.append(_first_slip(answers, list(reference)))
    return said


def _first_slip(answers: list[str], reference: list[str]) -> str:
    for number, wanted in enumerate(reference, 1):
        given = answers[number - 1] if number <= len(answers) else None
        if given is None or not equal_answers(given, wanted):
            return f"The first that differs from the reference is number {number}, which is {_short(wanted)} there."
    return "These are those of the reference, so the last step, from them to the final answer, failed."


def _numbered(lines: list[str]) -> str:
    return "; ".join(f"{number}. {line}" for number, line in enumerate(lines, 1)) or "none"


def _short(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= 200 else text[:200] + "...")
