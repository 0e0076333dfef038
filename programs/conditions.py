"""Names of what is compared: `single-stage`, `single-stage-cot`, and `<decomposer>+<solver>`."""

from __future__ import annotations

from typing import NamedTuple

SINGLE_STAGE = ("single-stage", "single-stage-cot")
STUDENTS = {"S_D-T": "none", "S_D-R": "oracle"}
"""The paper's distilled decomposers, and the screening policy that each is trained under."""
DECOMPOSERS = ("teacher", "student0", *STUDENTS)
SOLVERS = ("teacher", "solver", "student0")
DEFAULT_CONDITIONS = (*SINGLE_STAGE, "teacher+teacher", "student0+teacher", "S_D-T+teacher", "S_D-R+teacher")


SOLVER_CONDITIONS = (
    *SINGLE_STAGE,
    "teacher+teacher",
    *(name.replace("+teacher", "+solver") for name in DEFAULT_CONDITIONS if name not in SINGLE_STAGE),
)
"""The same where somebody else than the teacher solves."""


class Condition(NamedTuple):
    """Who decomposes and who solves; `decomposer` is None for a single stage."""

    name: str
    decomposer: str | None
    solver: str


def parse_condition(name: str) -> Condition:
    """A condition by its name.

    Raises:
        ValueError: Unknown name; says how names are made.
    """
    if name in SINGLE_STAGE:
        return Condition(name, None, "solver")
    decomposer, plus, solver = name.partition("+")
    if plus and decomposer in DECOMPOSERS and solver in SOLVERS:
        return Condition(name, decomposer, solver)
    raise ValueError(
        f"Unknown condition {name!r}; expected one of {list(SINGLE_STAGE)} or <decomposer>+<solver> "
        f"with a decomposer of {list(DECOMPOSERS)} and a solver of {list(SOLVERS)}."
    )
