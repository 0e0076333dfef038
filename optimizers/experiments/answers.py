"""Answers of a job's conditions: every call on file and within the job's limits, each file by the students that there are now."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from optimizers.conditions import TRAINED, Condition
from optimizers.experiments.earlier import move_answers_of_others
from optimizers.experiments.roles import Roles
from optimizers.labelling.journal import Budget, Journal, LimitReached, Limits
from optimizers.settings.run import RunConfig
from programs.lms.artifacts import open_artifact
from programs.lms.ledger import Usage


class EvaluationStoppedError(RuntimeError):
    """The limit of the job ended the test questions before their time; what was paid for is kept."""


@contextlib.contextmanager
def answering(config: RunConfig, folder: Path) -> Iterator[tuple[Journal, Budget | None]]:
    """The journal of the test questions, and what limits its calls.

    Args:
        config: Of the job, with its limits.
        folder: Of all answers.

    Raises:
        EvaluationStoppedError: A limit of the job is reached.
    """
    own = folder / "calls.jsonl"
    whole = config.job_limits(own)
    with Journal(own) as journal:
        try:
            yield journal, Budget(Limits(job=whole), journal) if whole else None
        except LimitReached as limit:
            spent = journal.paid + (whole.elsewhere if whole else Usage())
            usd = "" if spent.usd is None else f", {spent.usd:.4f} dollars"
            raise EvaluationStoppedError(
                f"Evaluation stopped: {limit}. The job made {spent.calls} calls ({spent.input_tokens + spent.output_tokens} tokens{usd}), "
                f"which are kept in {folder.parent}. The same command with a higher limit (--max_usd, --max_tokens, --max_calls) goes on; "
                "--dry-run says what the whole job may come to."
            ) from None


def check_students(condition: Condition, roles: Roles, answers: Path, predictions: Path) -> None:
    """Move answers of a condition aside that its students did not give; see `move_answers_of_others`."""
    models = [open_artifact(roles.folder_of(student), verify=False).model_string for student in condition.students]
    move_answers_of_others(answers, models, predictions)


def students_in_memory(condition: Condition, roles: Roles) -> list[str]:
    """The students' models, trained or not, that a condition asks: their memory can be given back when it is answered."""
    return [roles.model(role).model for role in ("student0", *TRAINED) if role in condition.roles]


def refuse_untrained(students: Collection[str], folder_of: Callable[[str], Path]) -> None:
    """Refuse to ask the test questions before the students are there.

    Raises:
        ValueError: Names those without an artifact, and what to run.
    """
    missing = [student for student in students if not (folder_of(student) / "manifest.json").exists()]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} {'has' if len(missing) == 1 else 'have'} no trained model in {folder_of(missing[0]).parent}, and no "
            "question was asked. Run `divide-or-conquer distill` with the same settings first, or `run` for all stages."
        )
