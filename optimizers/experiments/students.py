"""How each student is made: which calls of the teacher it learns, after which screening, with which target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dspy

from optimizers.conditions import FEEDBACK, MATCHED


@dataclass(frozen=True)
class StudentRecipe:
    """One student of the grid.

    Attributes:
        stages: Predictors whose calls are its rows; with two, one model learns both.
        policy: Screening policy.
        direct: Whether the target is the answer alone, under an unchanged prompt (appendix A of the paper).
        reference_answer: Whether the data set's answer overwrites the teacher's (`S_E-A`). The chain above it stays the
            teacher's, right or wrong: rows where the two differ are marked.
        matched: Whether it gets as many rows as the student with the fewest.
        teacher: The program that labels for it: `two-stage`, `single-stage-cot` or `feedback`.
    """

    stages: tuple[str, ...]
    policy: str = "none"
    direct: bool = False
    reference_answer: bool = False
    matched: bool = False
    teacher: str = "two-stage"

    def rewrite(self, outputs: dict[str, Any], example: dspy.Example) -> dict[str, Any]:
        """The target that the student learns in place of the teacher's outputs."""
        if "answer" not in outputs:
            return outputs
        if self.reference_answer:
            gold = example.answer
            outputs = {**outputs, "answer": gold[0] if isinstance(gold, list) else gold}
        return {"answer": outputs["answer"]} if self.direct else outputs


RECIPES: dict[str, StudentRecipe] = {
    "S_D-T": StudentRecipe(("decompose",)),
    "S_D-R": StudentRecipe(("decompose",), "oracle"),
    "S_E-T": StudentRecipe(("solve",)),
    "S_E-A": StudentRecipe(("solve",), reference_answer=True),
    "S_E-R": StudentRecipe(("solve",), "oracle"),
    "S_E-T(direct)": StudentRecipe(("solve",), direct=True),
    "S_E-A(direct)": StudentRecipe(("solve",), direct=True, reference_answer=True),
    f"S_D-T{MATCHED}": StudentRecipe(("decompose",), matched=True),
    f"S_E-T{MATCHED}": StudentRecipe(("solve",), matched=True),
    "joint": StudentRecipe(("decompose", "solve")),
    "S_C-T": StudentRecipe(("answer.predict",), teacher="single-stage-cot"),
    f"S_D-T{FEEDBACK}": StudentRecipe(("decompose",), teacher="feedback"),
    f"S_D-R{FEEDBACK}": StudentRecipe(("decompose",), "oracle", teacher="feedback"),
}
"""By name. Not in the paper: `S_E-R`, the matched ones, `joint`, `S_C-T`, those with feedback. Its solvers see unscreened rows only."""
