"""What the students were trained on, or the programs shown, held against the questions that are reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import dspy

from optimizers.evaluation.leakage import Leak, find_leaks
from optimizers.experiments.roles import Roles
from optimizers.jobs.jsonlines import read_lines
from programs.compiled.state import CompiledPrompts
from programs.tasks.base import asked, normalize_answer


def learned_from(splits: Mapping[str, Sequence[dspy.Example]], rows: Iterable[Mapping[str, Any]]) -> list[dspy.Example]:
    """All questions that students are trained on or chosen by: those of train and dev, and those of further rows.

    Args:
        splits: Questions by split.
        rows: Lines of `rows.jsonl`, or training rows; the teacher's own are of the questions of train.
    """
    further = [dspy.Example(id=row["id"], question=row["question"]) for row in rows if row.get("origin")]
    return [*splits.get("train", []), *splits.get("dev", []), *further]


def overlap(
    learned: Sequence[dspy.Example], program: CompiledPrompts | None, reported: Sequence[dspy.Example], repeated: Iterable[str] = ()
) -> dict[str, int]:
    """How many of the reported questions were learned from or shown.

    Args:
        learned: See `learned_from`.
        program: The teacher's compiled prompts.
        reported: Test questions.
        repeated: Ids of those that stand in the rows of an artifact.

    Returns:
        `overlap` counts the questions themselves, `near_overlap` those that are nearly so (`find_leaks`), `same_passage` those on the
        passage of a question that was learned from.
    """
    leaks = find_leaks(learned, reported)
    exact = {leak.test_id for leak in leaks if _is_same(leak)} | set(repeated)
    exact |= {example.id for example in (program.shown(reported) if program else [])}
    passages = {context for context, _ in map(asked, learned) if context}
    on_them = sum(asked(example)[0] in passages for example in reported)
    return {"overlap": len(exact), "near_overlap": len({leak.test_id for leak in leaks} - exact), "same_passage": on_them}


def _is_same(leak: Leak) -> bool:
    """Whether it is the question itself; further rows do not tell the passage that a decomposer did not see."""
    return leak.kind == "exact" or normalize_answer(leak.test_question) == normalize_answer(leak.train_question)


def repeated_in(folder: Path, learned: Sequence[dspy.Example], reported: Sequence[dspy.Example]) -> list[dspy.Example]:
    """The reported questions that an artifact was trained on, by the rows in its folder: the data may have changed since.

    Args:
        folder: The artifact's; one without rows was trained on nothing that is known.
        learned: The questions of today, which `find_leaks` judges better, as it knows their contexts and chains.
        reported: Test questions.
    """
    judged = {normalize_answer(example.question) for example in learned}
    prompts = [_parts(row["messages"][-2]["content"]) for row in read_lines(folder / "rows.jsonl") if len(row.get("messages", ())) > 1]
    everywhere = frozenset[str]().union(*prompts)
    return [
        example
        for example in reported
        if (question := normalize_answer(example.question)) in everywhere - judged
        and any(question in parts and _has_context(parts, example) for parts in prompts)
    ]


def _parts(prompt: str) -> frozenset[str]:
    """The lines of a prompt, with and without the label in front, and all of it; a solver's subquestions are no questions of their own."""
    lines = [prompt, *takewhile(lambda line: not normalize_answer(line).startswith("subquestions"), prompt.splitlines())]
    return frozenset(map(normalize_answer, [*lines, *(line.partition(":")[2] for line in lines)])) - {""}


def _has_context(parts: frozenset[str], example: dspy.Example) -> bool:
    first = next((line for line in (example.get("context") or "").splitlines() if line.strip()), "")
    return not first or normalize_answer(first) in parts


def refuse_trained_on(roles: Roles, students: Iterable[str], learned: Sequence[dspy.Example], reported: Sequence[dspy.Example]) -> None:
    """Refuse to measure students on questions that they were trained on.

    Raises:
        ValueError: There are any; names the student, the first question and the next step.
    """
    for student in students:
        repeated = repeated_in(roles.folder_of(student), learned, reported)
        if repeated:
            raise ValueError(
                f"Student {student} was trained on {len(repeated)} of the test questions, the first: {repeated[0].question!r}. The data "
                "have changed since: restore them, train it again from the labels on file by --redo distill, or choose another folder."
            )
