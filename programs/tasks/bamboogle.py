"""Bamboogle (Press et al. 2022): questions of two hops that a search engine answers wrongly; the paper's third benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from programs.tasks._answers import answer_text, reply_text
from programs.tasks._entities import compare
from programs.tasks._published import PublishedTask
from programs.tasks._rows import READERS, Hub, Row, csv_rows
from programs.tasks.base import EMPTY_REFERENCE, Score

_LIKE_QUESTION = "When did the last king from Britain's House of Hanover die?"
_LIKE_ANSWER = "20 June 1837"
_MARK = "The answer is: "


def _mended_rows(file: Path) -> Iterator[tuple[int | str, Any]]:
    """Rows of the authors' sheet, which was once saved with its typographic quotes broken into bytes that are not UTF-8."""
    yield from csv_rows(file, lambda content: content.replace(b"?\x80?", "”".encode()))


@dataclass(eq=False)
class Bamboogle(PublishedTask):
    """125 questions without a passage; all are test questions, so that training data needs `fractions`.

    Rows have `Question` and `Answer`, as on the hub, and `Answer 2` in the authors' sheet. An example has `answer`, and
    `aliases` with the second answer where there is one.

    Scoring, best over the answer and its aliases; `value` is accuracy, `measures` has `em`, `f1` and `accuracy`:
        strict: See `programs.tasks._entities.compare`.
        lenient: The rule of the paper's authors, for `value` and `accuracy`; see `lenient`.

    Args:
        path: See `PublishedTask`.
        fractions: See `PublishedTask`.
        seed: See `PublishedTask`.
        scoring: `strict` or `lenient`.
        max_subquestions: The limit that the decomposer is told; 2 in the code of the paper's authors, 3 in its text.
    """

    name = "bamboogle"
    summary = "Bamboogle: 125 questions of two hops, for tests; from the hub, --task.path FILE, or here: --task.path shipped"
    license = "mit"
    typical_characters = 75
    readers = {**READERS, ".csv": _mended_rows}  # noqa: RUF012

    max_subquestions: int | None = 2

    @property
    def hub(self) -> Hub:
        """125 test rows."""
        return Hub("chiayewken/bamboogle", {"test": "test"})

    def example(self, row: Row) -> dspy.Example:
        """The question with its answers."""
        second = row.text("Answer 2", "Mildred Gale").strip() if row.fields.get("Answer 2") is not None else ""
        return dspy.Example(
            id=row.id,
            context="",
            question=row.question("Question", _LIKE_QUESTION),
            answer=row.text("Answer", _LIKE_ANSWER).strip(),
            aliases=[second] if second else [],
        ).with_inputs("context", "question")

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """Accuracy by the rule in `scoring`, with `em`, `f1` and `accuracy`; unscored in `strict` without a reference."""
        first = str(example.get("answer") or "")
        golds = [gold for gold in (first, *map(str, example.get("aliases") or [])) if gold.strip()]
        if not golds and self.scoring == "strict":
            return Score.unscored(EMPTY_REFERENCE)
        matches = [compare(answer_text(prediction), gold, str(example.get("question") or "")) for gold in golds]
        measures = {name: max((getattr(match, name) for match in matches), default=0.0) for name in ("em", "f1", "accuracy")}
        if self.scoring == "lenient":
            measures["accuracy"] = float(lenient(reply_text(prediction), first))
        return Score(measures["accuracy"], "", measures)


def lenient(reply: str, gold: str) -> bool:
    """Whether the paper's authors take `reply` for right (arXiv 2402.15000; the evaluation in their code).

    A reply is right if the reference stands anywhere after its last "The answer is: ", or anywhere at all if it has no
    such words, even within a longer word. Commas, double quotes and case are ignored. An empty reference is always
    found.
    """
    return _bare(gold) in _bare(reply.rpartition(_MARK)[2])


def _bare(text: str) -> str:
    return text.replace(",", "").replace('"', "").lower().strip()
