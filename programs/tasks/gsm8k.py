"""GSM8K (Cobbe et al. 2021): grade school arithmetic in words; the paper's first benchmark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy

from programs.tasks._answers import answer_text, reply_text
from programs.tasks._asked_numbers import asked_number
from programs.tasks._numbers import number
from programs.tasks._published import PublishedTask
from programs.tasks._rows import SHIPPED, Hub, Row
from programs.tasks.base import EMPTY_REFERENCE, NO_FINAL_ANSWER, Score
from programs.tasks.scorers import NUMBER_ALONE

_LIKE_QUESTION = "How many eggs does Janet sell?"
_LIKE_ANSWER = "She sells 16 - 3 - 4 = 9 eggs.\\n#### 9"
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_DECIMAL = re.compile(r"(?<=[0-9])\.[0-9]+\Z")


@dataclass(eq=False)
class GSM8K(PublishedTask):
    """Word problems whose answer is a number; no context.

    An example has `answer` (the text after `####`, without thousands commas; empty if a row has none, which is then
    unscored) and `solution` (the steps, without the calculator's `<<...>>`); of the socratic rows, `subquestions` too.

    Scoring:
        strict: The final number of the answer equals the reference, exactly; see `programs.tasks._asked_numbers.asked_number`.
        lenient: The rule of the paper's authors; see `lenient`.

    Args:
        path: See `PublishedTask`. Files named `socratic` are taken if `config` is that.
        config: `main`, or `socratic` for reference subquestions.
        fractions: See `PublishedTask`.
        seed: See `PublishedTask`.
        scoring: `strict` or `lenient`.
        max_subquestions: The limit that the decomposer is told; 3 in the paper (section 3).
    """

    name = "gsm8k"
    summary = "GSM8K: word problems whose answer is a number; from the hub, --task.path FILE, or 700 rows here: --task.path shipped"
    license = "mit"
    typical_characters = 240
    answer_format = NUMBER_ALONE

    config: Literal["main", "socratic"] = "main"

    def __post_init__(self) -> None:
        if self.config not in ("main", "socratic"):
            raise ValueError(f"config={self.config!r} of task 'gsm8k' must be 'main' or 'socratic'.")
        if self.config == "socratic" and self.path == SHIPPED:
            raise ValueError(
                "No socratic rows come with the package; leave path='shipped' out for those of the hub, or give a file of them."
            )
        super().__post_init__()

    @property
    def hub(self) -> Hub:
        """The main or the socratic rows."""
        return Hub("openai/gsm8k", {"train": "train", "test": "test"}, self.config)

    def select(self, files: list[Path]) -> list[Path]:
        """The socratic files or the others, by `config`; for `socratic` all files, if none has the word in its name."""
        socratic = [file for file in files if "socratic" in file.stem.lower()]
        if self.config == "socratic":
            return socratic or files
        if files and len(socratic) == len(files):
            raise ValueError(f"{files[0]} holds socratic rows by its name; add config='socratic' (--task.config socratic) to read it.")
        return [file for file in files if file not in socratic]

    def example(self, row: Row) -> dspy.Example:
        """The problem; its answer is what follows the last `####`."""
        text = row.text("answer", _LIKE_ANSWER)
        steps, _, final = text.rpartition("####") if "####" in text else (text, "", "")
        lines = [line.partition(" ** ") for line in steps.splitlines() if line.strip()]
        fields: dict[str, Any] = {
            "id": row.id,
            "context": "",
            "question": row.question("question", _LIKE_QUESTION),
            "answer": final.replace(",", "").strip(),
            "solution": _CALCULATOR.sub("", "\n".join(step or head for head, _, step in lines)),
        }
        subquestions = [head.strip() for head, sign, _ in lines if sign]
        if subquestions:
            fields["subquestions"] = subquestions
        return dspy.Example(**fields).with_inputs("context", "question")

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """1.0 or 0.0 by the rule in `scoring`; unscored if the reference is empty or no number."""
        gold = str(example.get("answer") or "")
        wanted = number(gold)
        if wanted is None:
            return Score.unscored(f"the reference answer {gold[:80]!r} is no number" if gold.strip() else EMPTY_REFERENCE)
        if self.scoring == "lenient":
            return Score(float(lenient(reply_text(prediction), gold)))
        found = asked_number(answer_text(prediction), str(example.get("question") or ""))
        return Score(0.0, NO_FINAL_ANSWER) if found is None else Score(float(found == wanted))


def lenient(reply: str, gold: str) -> bool:
    """Whether the paper's authors take `reply` for right (arXiv 2402.15000; `evaluation_gsm8k.py` of their code).

    A reply is right if any of its words, without `$` and one full stop at its end, equals the reference, with or
    without thousands commas, or has an integer part that does: 3.75 passes for 3.
    """
    gold = gold.replace(",", "").strip()
    wanted = {gold, f"{int(gold):,}"} if re.fullmatch(r"-?[0-9]{1,100}", gold) else {gold}
    words = (word.removesuffix(".") for word in reply.replace("$", "").split())
    return any(word in wanted or _DECIMAL.sub("", word) in wanted for word in words)
