"""Some test questions of a run, with the replies of up to three conditions side by side."""

from __future__ import annotations

from optimizers.reports.blocks import Section
from optimizers.reports.conditions import UNTRAINED, student_condition
from optimizers.reports.questions import question_blocks
from optimizers.reports.read import REFERENCE, WITHOUT, RunFiles


def questions(run: RunFiles) -> list[Section]:
    """Half of them are ones on which the conditions disagree, if there are such."""
    return [Section("Questions side by side", question_blocks({name: run.predictions[name] for name in _shown_conditions(run)}))]


def _shown_conditions(run: RunFiles) -> list[str]:
    """Up to three: teacher, trained student, no subquestions, untrained student where they are, else the first ones that there are."""
    there = [name for name in (*run.conditions, *run.predictions) if run.predictions.get(name)]
    wanted = [REFERENCE, student_condition(run.conditions), WITHOUT, UNTRAINED, *there]
    return [name for name in dict.fromkeys(wanted) if name in there][:3]
