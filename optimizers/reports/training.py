"""Training rows of a run, and the trainings on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from optimizers.reports.blocks import (
    Block,
    Section,
    Table,
    Text,
    count_text,
    is_number,
    missing_text,
    number,
    picture_or_text,
    plain_value,
    reasons_text,
)
from optimizers.reports.read import RunFiles
from optimizers.reports.run_figures import rows_figure, training_figure


def rows(run: RunFiles) -> list[Section]:
    """What each screening policy kept of the labelled questions, and why it dropped the others."""
    return [Section("Training rows", _rows(run))]


def _rows(run: RunFiles) -> list[Block]:
    policies = policies_of(run)
    if not policies:
        return [missing_text("No question was labelled or screened in this run.")]
    lines = [
        [
            policy,
            count_text(sum(fates.values())),
            count_text(fates.get("kept")),
            reasons_text({k: v for k, v in fates.items() if k != "kept"}),
        ]
        for policy, fates in policies.items()
    ]
    text = "Of the questions that the teacher labelled, what each screening policy kept as training rows, and why it dropped the others."
    labelling = run.part("labelling")
    if is_number(labelling.get("failed")):
        text += f" The teacher failed on {count_text(labelling['failed'])} of {count_text(labelling.get('calls'))} calls."
    text += without_answers(labelling) + from_traces(labelling)
    alt = "Training rows kept and dropped by policy; the numbers are in the table above."
    picture = picture_or_text("rows.png", rows_figure(policies), alt, "There are no rows to draw.")
    return [Text(text), Table(["Policy", "Questions", "Kept", "Dropped"], lines, frozenset({0, 3})), picture]


def without_answers(labelling: Mapping[str, Any]) -> str:
    """What is said of the kept rows whose solver's reply was cut off; empty without any."""
    counts = {policy: fates.get("without_answer") for policy, fates in (labelling.get("by_policy") or {}).items()}
    told = [f"{count_text(count)} of those that {policy} kept" for policy, count in counts.items() if number(count)]
    if not told:
        return ""
    return f" Of {' and '.join(told)} the decomposition is whole and the solver's reply was cut off at its limit of tokens."


def from_traces(labelling: Mapping[str, Any]) -> str:
    """Where the rows come from, and what of somebody else's traces was not taken; empty without traces."""
    traces = labelling.get("traces")
    if not isinstance(traces, Mapping):
        return ""
    traced = number(labelling.get("traced"))
    asked = number(labelling.get("samples")) - traced
    text = f" {count_text(traced)} labels are from the traces of {traces.get('file')}, {count_text(asked)} from the teacher."
    fates = [(policy, fates, number(fates.get("from_traces"))) for policy, fates in (labelling.get("by_policy") or {}).items()]
    kept = [f"{policy} {count_text(own)} and {count_text(number(fates.get('kept')) - own)}" for policy, fates, own in fates]
    text += f" Of the kept rows, from traces and from the teacher: {'; '.join(kept)}." if kept else ""
    left = {"could not be read": traces.get("refused"), "are of questions that are tested": traces.get("kept_out")}
    told = [f"{count_text(count)} {why}" for why, count in left.items() if number(count)]
    told += [f"{count_text(count)} are passed over ({why})" for why, count in (traces.get("passed_over") or {}).items()]
    return text + (f" Of what the file holds besides, {', '.join(told)} (traces.json)." if told else "")


def policies_of(run: RunFiles) -> dict[str, dict[str, float]]:
    """Counts of rows by policy and fate (`kept` first): from `metrics.json`, or from `rows.jsonl` where that has none."""
    labelling = run.part("labelling")
    by_policy = labelling.get("by_policy") or ({"all": labelling} if "kept" in labelling else {})
    if by_policy:
        return {policy: {"kept": number(fates.get("kept")), **_numbers(fates.get("dropped") or {})} for policy, fates in by_policy.items()}
    counts: dict[str, Counter[str]] = {}
    for row in run.rows:
        fate = "kept" if row.get("kept") else str(row.get("reason") or "no reason given")
        counts.setdefault(str(row.get("policy") or "all"), Counter(kept=0))[fate] += 1
    return {policy: dict(counter) for policy, counter in counts.items()}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in values.items() if is_number(value)}


def too_long_warnings(students: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Block]:
    """That students did not see some of their rows, which are the longest and so not any ones.

    Args:
        students: Names, and what is on file of their trainings.
    """
    told = {
        name: f"{name}: {count_text(student['too_long'])} of {count_text(student['rows'] + student['too_long'])}"
        for name, student in students
        if number(student.get("too_long"))
    }
    if not told:
        return []
    text = (
        f"Rows longer than training.max_length were left out of training ({', '.join(told.values())}). They are the questions of the most "
        "words or steps: a student that lacks them is held back by this setting. A larger training.max_length takes more memory."
    )
    return [Text(text, "warning")]


def training(run: RunFiles) -> list[Section]:
    """A line a trained student, and the curves of the losses."""
    return [Section("Training", _training(run))]


def _training(run: RunFiles) -> list[Block]:
    students = run.part("students") or run.part("training")
    trained = {name: value for name, value in students.items() if isinstance(value, Mapping)}
    blocks: list[Block] = []
    if trained:
        columns = ["Student", "Rows", "Tokens", "Steps", "Seconds", *LOSSES, "Model"]
        blocks.append(Table(columns, [[name, *_training_row(value)] for name, value in trained.items()], frozenset({0, 8})))
    else:
        blocks.append(missing_text("metrics.json records no finished training in this run."))
    alt = f"Training loss against step for {', '.join(run.progress) or 'no student'}; dashed on held-out rows."
    picture = picture_or_text(
        "training.png", training_figure(run.progress), alt, "No loss was logged (student/*/progress.jsonl), so there is no curve."
    )
    return [*blocks, picture]


def _training_row(value: Mapping[str, Any]) -> list[str]:
    seconds = f"{value['seconds']:,.0f}" if is_number(value.get("seconds")) else "n/a"
    counts = [count_text(value.get(key)) for key in ("rows", "tokens", "steps")]
    return [*counts, seconds, *losses_of(value), plain_value(value.get("model"))]


LOSSES = ("Last training loss (mean of 10 steps)", "Last dev loss", "Mean training loss")


def losses_of(student: Mapping[str, Any]) -> list[str]:
    """The losses of a training under `LOSSES`; an earlier version wrote the mean alone, as `final_loss`."""
    mean = student.get("mean_train_loss", student.get("final_loss"))
    return [f"{loss:.4f}" if is_number(loss) else "n/a" for loss in (student.get("last_train_loss"), student.get("last_dev_loss"), mean)]
