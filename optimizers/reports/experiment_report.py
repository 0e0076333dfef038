"""The report of an experiment: the paper's tables in its numbers, and the studies that the paper lacks.

Reads `metrics.json` of kind "experiment", `config.toml` and, where texts are shown, the predictions; writes what
`optimizers.reports.write` writes for a run, from the same blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optimizers.reports import controls
from optimizers.reports import paper_tables as tables
from optimizers.reports import transfer as studies
from optimizers.reports.blocks import (
    Block,
    Bullets,
    Code,
    Section,
    Table,
    Text,
    count_text,
    duration_text,
    machine_text,
    missing_text,
    number,
    percent,
    plain_value,
    reasons_text,
    usd_text,
)
from optimizers.reports.cascades import cascades
from optimizers.reports.cells import cells_of, task_of, words_of
from optimizers.reports.costs import costs
from optimizers.reports.experiment_headlines import endings_in, place_of, short_of_teacher, what_it_says
from optimizers.reports.left_out import gathered
from optimizers.reports.questions import questions, unparsed
from optimizers.reports.read import RunFiles, answers_of, metrics_of, part, text_of
from optimizers.reports.replies import endings_blocks, replies_table
from optimizers.reports.screening import screening_sections
from optimizers.reports.tokens import input_text, kinds_text
from optimizers.reports.training import LOSSES, losses_of, without_answers
from optimizers.reports.write import write_sections

_FIGURES = ("transfer.png", "learning.png", "errors-*.png", "costs-*.png")

_LEAKS_SHOWN = 10

_LEAK_KEYS = (("train_id", "train"), ("test_id", "test"), ("test_question", "question"))


class _Predictions(Mapping[str, Sequence[dict[str, Any]]]):
    """Lines of prediction files by their path below `predictions` without the suffix, read when asked for."""

    def __init__(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        self._folder, self._tasks = folder, metrics.get("tasks") or {}

    def __getitem__(self, name: str) -> Sequence[dict[str, Any]]:
        path = self._folder / f"{name}.jsonl"
        if not path.is_file():
            raise KeyError(name)
        task = self._tasks.get(name.split("/")[0]) if isinstance(self._tasks, Mapping) else None
        return answers_of(path, task.get("test_ids") if isinstance(task, Mapping) else None)

    def __iter__(self) -> Iterator[str]:
        return (str(path.relative_to(self._folder).with_suffix("")) for path in sorted(self._folder.glob("**/*.jsonl")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def write_experiment_report(folder: Path) -> list[Path]:
    """Write `report.md`, `report.html` and `figures/*.png` of an experiment from what its folder holds.

    Works on an experiment that is not finished: what is missing is said to be missing, and figures of an earlier report
    that can no longer be drawn are removed.

    Args:
        folder: An experiment's folder. `metrics.json`, `config.toml` and
            `predictions/<test>/[<train>/[<ablation>/]]<condition>.jsonl` are read, each if it is there.

    Returns:
        The files written: the two reports, then the figures.

    Raises:
        FileNotFoundError: `folder` holds neither `metrics.json` nor `config.toml`.
        ValueError: A file in it is not what it should be, or `metrics.json` is of a single run; names the file.
    """
    folder = Path(folder)
    return write_sections(folder, gathered(sections(read_experiment(folder))), earlier=_FIGURES)


def read_experiment(folder: Path) -> RunFiles:
    """The files of an experiment's folder, the predictions read only when asked for; see `write_experiment_report`."""
    config = folder / "config.toml"
    if not (folder / "metrics.json").is_file() and not config.is_file():
        raise FileNotFoundError(
            f"{folder} is no experiment's folder: it has neither metrics.json nor config.toml. "
            "Give the folder that `divide-or-conquer experiment` wrote."
        )
    metrics = metrics_of(folder / "metrics.json")
    if metrics.get("kind", "experiment") != "experiment":
        raise ValueError(
            f"{folder / 'metrics.json'} is of kind {metrics['kind']!r}, expected 'experiment'; use `divide-or-conquer report`."
        )
    predictions = _Predictions(folder / "predictions", metrics)
    return RunFiles(metrics=metrics, config=text_of(config), predictions=predictions, rows=[], progress={})


def sections(run: RunFiles) -> list[Section]:
    """The report of an experiment, in reading order."""
    return [
        what_it_says(run),
        Section("Setting", _setting(run)),
        Section("Labels and students", _students(run)),
        *screening_sections(run),
        Section("Table 1: all conditions", tables.table_1(run)),
        Section("Table 3: other tasks", tables.table_3(run)),
        Section("Table 4: other solvers", tables.table_4(run)),
        Section("Table 6: static or interactive", tables.table_6(run)),
        Section("Table 7: the decomposer as solver", tables.table_7(run)),
        Section("Table 8: what solvers are trained on", tables.table_8(run)),
        Section("Table 9: examples in the prompt", tables.table_9(run)),
        Section("Table 10: limit on subquestions", tables.table_10(run)),
        Section("Transfer between tasks", studies.transfer(run)),
        Section("Learning curves", studies.learning_curves(run, drawn_above=bool(short_of_teacher(run)))),
        Section("Other ablations", studies.ablations(run)),
        Section("Comparisons", controls.comparisons(run)),
        Section("Controls", controls.controls(run)),
        *cascades(run),
        Section("Cost", costs(run)),
        Section("Errors", studies.errors(run)),
        Section("Variance over seeds", studies.variance(run)),
        Section("Unparsed replies", _unread(run)),
        Section("Questions side by side", questions(run)),
    ]


def _unread(run: RunFiles) -> list[Block]:
    return [replies_table((place_of(run, cell), cell) for cell in cells_of(run)), *endings_blocks(endings_in(run)), *unparsed(run)]


# Setting
def _setting(run: RunFiles) -> list[Block]:
    facts = {key.capitalize(): run.metrics.get(key) for key in ("command", "commit", "versions", "seed")}
    facts |= {"Machine": machine_text(run.part("machine")), "Time": duration_text(run.metrics.get("seconds"))}
    facts |= {f"Time of {stage}": duration_text(seconds) for stage, seconds in run.part("timings").items()}
    facts |= {f"Model: {role}": model for role, model in run.part("models").items()}
    facts["Calls"] = _calls(run.part("calls"))
    blocks: list[Block] = [*_tasks(run), Table(["", ""], [[key, plain_value(fact)] for key, fact in facts.items()], frozenset({0, 1}))]
    blocks += _leaks(run)
    blocks.append(Code("config.toml", run.config) if run.config else missing_text("config.toml is missing from the experiment's folder."))
    return blocks


def _calls(calls: Mapping[str, Any]) -> str | None:
    if not calls:
        return None
    share = f" ({percent(number(calls.get('saved')) / calls['requested'])})" if number(calls.get("requested")) else ""
    counted = [count_text(calls.get(key)) for key in ("requested", "made", "saved")]
    return f"{counted[0]} asked for, {counted[1]} made, {counted[2]} saved by sharing between conditions{share}"


def _tasks(run: RunFiles) -> list[Block]:
    tasks = {name: task_of(run, name) for name in run.part("tasks")}
    if not tasks:
        return [missing_text("metrics.json records no task.")]
    rows = []
    for name, task in tasks.items():
        words = [plain_value(task.get(key)) for key in ("task", "options", "measure", "scoring")]
        leaks = len(task["leaks"]) if isinstance(task.get("leaks"), list) else None
        rows.append([name, *words, *map(count_text, (task.get("train"), task.get("test"), leaks, task.get("kept_out")))])
    columns = ["Name", "Task", "Options", "Measure", "Scoring", "Training questions", "Test questions", "Leaks", "Kept out"]
    rules = sorted({str(task["scoring"]) for task in tasks.values() if task.get("scoring")})
    text = f"{len(rows)} tasks; answers are scored by the {' and the '.join(rules) or 'unrecorded'} rule, and so is every score below."
    return [Text(text), Table(columns, rows, frozenset(range(5)))]


def _leaks(run: RunFiles) -> list[Block]:
    listed = [leak for name in run.part("tasks") for leak in _mappings(task_of(run, name).get("leaks"))]
    kept_out = sum(number(task_of(run, name).get("kept_out")) for name in run.part("tasks"))
    if not listed:
        return [Text("No test question was found among the training questions.")] if run.part("tasks") else []
    exact = sum(leak.get("kind") == "exact" for leak in listed)
    shown = f"; the first {_LEAKS_SHOWN} are:" if len(listed) > _LEAKS_SHOWN else ":"
    text = f"{exact} test questions stand among the training questions word for word, {len(listed) - exact} nearly so"
    rows = [
        [*words_of(leak, "kind", "train_task"), *(_first(leak, *keys) for keys in _LEAK_KEYS), percent(leak.get("share"))]
        for leak in listed[:_LEAKS_SHOWN]
    ]
    columns = ["Kind", "Training task", "Training question", "Test question", "Text", "Words shared"]
    return [Text(f"{text}; {count_text(kept_out)} were kept out of the test{shown}"), Table(columns, rows, frozenset(range(5)))]


def _first(record: Mapping[str, Any], *keys: str) -> str:
    return next((str(record[key]) for key in keys if record.get(key) is not None), "-")


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


# Labels and students
def _students(run: RunFiles) -> list[Block]:
    blocks: list[Block] = [_labelling(run), *_without_answers(run)]
    if skipped := run.part("skipped"):
        blocks += [Text("These students could not be trained:", "warning"), Bullets([f"{name}: {why}" for name, why in skipped.items()])]
    students = run.records("students")
    if not students:
        return [*blocks, missing_text("metrics.json records no trained student.")]
    changed = sum(number(student.get("overwritten")) for student in students)
    blocks.append(
        Text(f"{len(students)} students were trained; {count_text(changed)} of their rows have the reference over a wrong answer.")
    )
    columns = ["Student", "Trained on", "Base", "Variant", "Policy", "Seed", "Rows", "Tokens", "Seconds", *LOSSES, "Overwritten"]
    rows = [_student_row(student) for student in students]
    return [*blocks, Table(columns, rows, frozenset(range(5)))]


def _student_row(student: Mapping[str, Any]) -> list[str]:
    words = words_of({"variant": student.get("ablation"), **student}, "name", "train", "base", "variant", "policy")
    counts = [count_text(student.get(key)) for key in ("seed", "rows", "tokens", "seconds")]
    return [*words, *counts, *losses_of(student), count_text(student.get("overwritten"))]


def _without_answers(run: RunFiles) -> list[Block]:
    found = {task: without_answers(record) for task, record in run.part("labelling").items() if isinstance(record, Mapping)}
    return [Text(f"{task}:{said}") for task, said in found.items() if said]


def _labelling(run: RunFiles) -> Block:
    rows, labelled, models = [], run.part("labelling"), run.part("models")
    kind = kinds_text([models.get("teacher"), models.get("solver", models.get("teacher"))])
    for task in labelled:
        record = part(labelled, task)
        counts = [count_text(record.get(key)) for key in ("questions", "samples", "failed", "output_tokens", "seconds")]
        usage = [*counts[:3], input_text(record), *counts[3:], usd_text(record.get("usd"))]
        for policy, fates in (record.get("by_policy") or {"-": {}}).items():
            rows.append([task, kind, *usage, policy, count_text(fates.get("kept")), reasons_text(fates.get("dropped") or {})])
    columns = ["Task", "Tokens are", "Questions", "Samples", "Failed", "Input tokens", "Output tokens", "Seconds", "US dollars"]
    columns += ["Policy", "Kept", "Dropped"]
    return Table(columns, rows, frozenset({0, 1, 9, 11})) if rows else missing_text("No training task was labelled.")
