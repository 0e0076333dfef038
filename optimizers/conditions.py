"""Names of what is compared: single-stage forms, `interactive`, `<decomposer>+<solver>`, and cascades of two of these.

The students are the paper's (section 3 and appendix A) and those that it lacks; how each is trained stands in
`optimizers.experiments.students`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from programs.baselines.registry import CONTROLS as CONTROL_MODULES

SINGLE_STAGE = ("single-stage", "single-stage-cot", "single-stage-short")
"""Direct, by chain of thought, and in the paper's form of at most five words."""

INTERACTIVE = "interactive"

ONE_PROGRAM = (*SINGLE_STAGE, INTERACTIVE)
"""Conditions without a decomposer; `@<role>` behind them names who answers, the solver by default."""

THEN = "-then-"
"""Between the cheap part of a cascade and the dear one: `single-stage@student0-then-teacher+teacher`."""

CASCADE = "cascade"
"""The form of a condition of two parts; see `programs.Cascade`."""

CASCADE_FOLDER = "_cascades"
"""Of `predictions`: for each cascade its dev answers, and the threshold with the curve behind it. No task begins so."""

MATCHED = "(matched)"
"""Behind a student's name: trained on as many rows as the student with the fewest."""

DECOMPOSER_STUDENTS = ("S_D-T", "S_D-R", f"S_D-T{MATCHED}", "joint")

SOLVER_STUDENTS = ("S_E-T", "S_E-A", "S_E-R", "S_E-T(direct)", "S_E-A(direct)", f"S_E-T{MATCHED}", "joint")

PLAIN_STUDENT = "S_C-T"
"""Distilled on the teacher's single-stage chain of thought: plain distillation, what a user would do instead."""

STUDENTS = tuple(dict.fromkeys((*DECOMPOSER_STUDENTS, *SOLVER_STUDENTS, PLAIN_STUDENT)))

FEEDBACK = "(feedback)"
"""Behind a decomposer's name: it sees the solver's first attempt (`programs.feedback`)."""

FEEDBACK_STUDENTS = (f"S_D-T{FEEDBACK}", f"S_D-R{FEEDBACK}")

FEEDBACK_DECOMPOSERS = (f"teacher{FEEDBACK}", f"student0{FEEDBACK}", *FEEDBACK_STUDENTS)

TRAINED = (*STUDENTS, *FEEDBACK_STUDENTS)
"""Every student there is; those with feedback are not of the grid, and stand in no list of conditions by themselves."""

CONTROLS = ("shuffled", "other", "generic")
"""The teacher's subquestions in another order, those of another question, and ones that fit any question."""

DECOMPOSING_ROLES = ("teacher", "student0", "fewshot", *DECOMPOSER_STUDENTS, *FEEDBACK_DECOMPOSERS)
"""Decomposers that are models; no control may take their names."""

DECOMPOSERS = ("none", "reference", *DECOMPOSING_ROLES, *CONTROLS)

SOLVERS = ("teacher", "solver", "student0", *SOLVER_STUDENTS, "S_D-T", "S_D-R")

DEFAULT_CONDITIONS = ("single-stage", "single-stage-cot", "teacher+teacher", "student0+teacher", "S_D-T+teacher", "S_D-R+teacher")

SOLVER_CONDITIONS = (
    "single-stage",
    "single-stage-cot",
    "teacher+teacher",
    *(name.replace("+teacher", "+solver") for name in DEFAULT_CONDITIONS if "+" in name),
)
"""The default ones where somebody else than the teacher solves."""

ALL_CONDITIONS = (
    *SINGLE_STAGE,
    INTERACTIVE,
    "single-stage@student0",
    f"single-stage-cot@{PLAIN_STUDENT}",
    "teacher+teacher",
    *(f"{decomposer}+teacher" for decomposer in ("none", "reference", *CONTROLS, "student0", "fewshot", *DECOMPOSER_STUDENTS)),
    *(f"teacher+{solver}" for solver in ("student0", *SOLVER_STUDENTS)),
    "student0+student0",
    "joint+joint",
    "none+S_E-A",
    "none+S_E-A(direct)",
    "S_D-R+student0",
    "S_D-R+S_D-R",
    "S_D-R+S_E-A",
)
"""The paper's whole grid and what it lacks: `all` in a list of conditions."""


class Condition(NamedTuple):
    """Who does what.

    Attributes:
        name: As it is typed and reported.
        form: One of `ONE_PROGRAM`, `two-stage`, or `cascade`.
        decomposer: Role; None unless the form is `two-stage`.
        solver: Role that answers; of a cascade, that of its dear part.
        parts: Of a cascade, the cheap condition and the dear one; empty for all others.
    """

    name: str
    form: str
    decomposer: str | None
    solver: str
    parts: tuple[Condition, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """Everybody who has a part in it, each once."""
        own = (self.decomposer, self.solver) if not self.parts else [role for part in self.parts for role in part.roles]
        return tuple(dict.fromkeys(role for role in own if role))

    @property
    def students(self) -> tuple[str, ...]:
        """The trained students in it."""
        return tuple(role for role in self.roles if role in TRAINED)

    @property
    def with_feedback(self) -> bool:
        """Whether the decomposer sees the solver's first attempt."""
        return bool(self.decomposer and self.decomposer.endswith(FEEDBACK))


def students_of(conditions: Iterable[Condition]) -> list[str]:
    """The students that the conditions ask for, in the order of `TRAINED`."""
    wanted = {student for condition in conditions for student in condition.students}
    return [student for student in TRAINED if student in wanted]


def stages_in(name: str) -> tuple[str, str] | None:
    """Decomposer and solver of a two-stage condition's name; None for the names of other conditions."""
    if is_cascade(name):
        return None
    decomposer, plus, solver = name.partition("+")
    return (decomposer, solver) if plus else None


def is_cascade(name: str) -> bool:
    """Whether a condition of that name is a cascade."""
    return THEN in name


def parts_in(name: str) -> list[str]:
    """The conditions that a condition's name is made of: of a cascade its two parts, of any other itself."""
    return name.split(THEN)


def solvers_in(name: str) -> set[str]:
    """The roles that answer in a condition, as its name has them; none of a single stage that names nobody."""
    return {role for part in parts_in(name) for role in re.split("[+@]", part)[1:]}


def with_parts(names: Iterable[str]) -> list[str]:
    """The names, each once, with the parts of a cascade before it: its gain is held against both."""
    return list(dict.fromkeys(one for name in names for one in (*parts_in(name), name)))


def parse_condition(name: str, solvers: Iterable[str] = ()) -> Condition:
    """A condition by its name.

    Args:
        name: `single-stage`, `single-stage@student0`, `S_D-R+teacher`, `S_D-R(feedback)+teacher`,
            `single-stage@student0-then-teacher+teacher`, ...
        solvers: Names of further solvers that a configuration has.

    Raises:
        ValueError: Unknown name; says how names are made.
    """
    if is_cascade(name):
        return _cascade(name, solvers)
    answering = (*SOLVERS, PLAIN_STUDENT, *solvers)
    form, _, role = name.partition("@")
    if form in ONE_PROGRAM and (role in answering or name == form):
        return Condition(name, form, None, role or "solver")
    stages = stages_in(name)
    if stages and (stages[0] in DECOMPOSERS or stages[0] in CONTROL_MODULES) and stages[1] in (*SOLVERS, *solvers):
        return Condition(name, "two-stage", *stages)
    raise ValueError(
        f"Unknown condition {name!r}; expected one of {list(ONE_PROGRAM)}, with @<solver> behind it or not, or <decomposer>+<solver> "
        f"with a decomposer of {list(dict.fromkeys([*DECOMPOSERS, *CONTROL_MODULES.names()]))} and a solver of {[*SOLVERS, *solvers]}, "
        f"or two of these with {THEN} between them for a cascade."
    )


def _cascade(name: str, solvers: Iterable[str]) -> Condition:
    """The condition of a cascade's name."""
    parts = tuple(parse_condition(part, solvers) for part in parts_in(name))
    if len(parts) != 2 or parts[0] == parts[1]:
        raise ValueError(f"Unknown condition {name!r}: a cascade has two different parts, <cheap>{THEN}<dear>.")
    return Condition(name, CASCADE, None, parts[1].solver, parts)


def expand_conditions(names: Iterable[str], solvers: Iterable[str] = ()) -> list[str]:
    """The names, each once, with `all` replaced by `ALL_CONDITIONS` and the transfer of decomposers to further solvers."""
    further = [f"{decomposer}+{solver}" for solver in solvers for decomposer in ("teacher", "student0", "S_D-R")]
    further += [f"single-stage@{solver}" for solver in solvers]
    expanded: list[str] = []
    for name in names:
        expanded += [*ALL_CONDITIONS, *further] if name == "all" else [name]
    return with_parts(expanded)
