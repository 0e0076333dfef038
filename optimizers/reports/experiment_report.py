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
from optimizers.reports.benefit import PLAIN, no_benefit
from optimizers.reports.blocks import (
    Block,
    Bullets,
    Code,
    Section,
    Table,
    Text,
    count_text,
    duration_text,
    interval_of,
    is_number,
    machine_text,
    missing_text,
    number,
    overlap_blocks,
    percent,
    percent_interval,
    plain_value,
    reasons_text,
    signed_points,
    usd_text,
)
from optimizers.reports.cascades import cascades
from optimizers.reports.cells import (
    Cell,
    best_student,
    cells_of,
    comparison,
    gap,
    label,
    named,
    points,
    score_of,
    task_of,
    tests_of,
    words_of,
)
from optimizers.reports.costs import costs
from optimizers.reports.left_out import gathered
from optimizers.reports.passages import passages_words
from optimizers.reports.questions import questions, unparsed
from optimizers.reports.read import REFERENCE, WITHOUT, RunFiles, answers_of, metrics_of, text_of
from optimizers.reports.replies import Ending, cut_off_warning, endings_blocks, endings_of, replies_table, reply_warnings
from optimizers.reports.screening import screening_sections
from optimizers.reports.tokens import input_text, kinds_text
from optimizers.reports.training import LOSSES, losses_of, too_long_warnings, without_answers
from optimizers.reports.verdicts import outcome
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
        Section("Learning curves", studies.learning_curves(run, drawn_above=bool(_behind(run)))),
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
    return [replies_table((_place(run, cell), cell) for cell in cells_of(run)), *endings_blocks(_endings(run)), *unparsed(run)]


def _endings(run: RunFiles) -> list[Ending]:
    return endings_of(((_place(run, cell), cell) for cell in cells_of(run)), run.part("labelling"), by_task=True)


# What it says
def what_it_says(run: RunFiles) -> Section:
    """Which part distils, by training task: the first section."""
    return Section("What it says", _headlines(run))


def _headlines(run: RunFiles) -> list[Block]:
    blocks: list[Block] = []
    if run.metrics.get("incomplete"):
        blocks.append(Text(f"This experiment is incomplete: {plain_value(run.metrics['incomplete'])}", "warning"))
    blocks += overlap_blocks(run.metrics)
    trained = _trained(run)
    tasks = trained or tests_of(run)
    blocks += [block for task in tasks for block in _harm(run, task)]
    blocks += cut_off_warning(_endings(run))
    blocks += too_long_warnings((_student_named(student), student) for student in run.records("students"))
    odd = reply_warnings((_place(run, cell), cell) for cell in cells_of(run))
    if not any(score_of(cell) is not None for cell in cells_of(run)):
        return [
            *blocks,
            *odd,
            missing_text("No cell of the grid has a score, so there is no result yet. The same command again does what is missing."),
        ]
    if not trained:
        blocks.append(missing_text("No student was trained and tested, so which part distils cannot be said."))
    behind = _behind(run)
    blocks += [*(Text(text, "warning") for text in behind), *(studies.learning_picture(run) if behind else [])]
    for task in tasks:
        blocks += [Text(f"{task}: {_verdict(run, task)}"), Bullets(_task_lines(run, task))]
    note = "The best student of each kind is picked by the score shown, which flatters it a little where several were trained."
    return [*blocks, *odd, Text(note, "note")]


def _trained(run: RunFiles) -> list[str]:
    return list(dict.fromkeys(str(cell["train"]) for cell in cells_of(run) if cell.get("train")))


def _behind(run: RunFiles) -> list[str]:
    """Where no distilled decomposer scores as high as the teacher; the learning curve beside it says whether more rows would do."""
    found = [(task, best_student(run, task, 0), named(run, task, REFERENCE)) for task in _trained(run)]
    return [
        f"{task}: no distilled decomposer scores as high as the teacher; against {REFERENCE}, the best ({label(run, own)}): "
        f"{gap(run, own, teacher)}."
        for task, own, teacher in found
        if own and teacher and _difference(run, own, teacher) < 0
    ]


def _difference(run: RunFiles, a: Cell, b: Cell) -> float:
    """On the questions scored in both, where that is known; 0 without scores."""
    delta = (comparison(run, a, b) or {}).get("delta")
    return number(delta) if is_number(delta) else points(a, b) or 0.0


def _place(run: RunFiles, cell: Cell) -> str:
    """A cell's condition with where it was trained and tested, and what was changed."""
    where = [f"trained on {cell['train']}"] if cell.get("train") else []
    where += [f"tested on {cell.get('test')}", *([str(cell["ablation"])] if cell.get("ablation") else [])]
    return f"{label(run, cell)}, {', '.join(where)}"


def _verdict(run: RunFiles, task: str) -> str:
    """Which part distils, by what the best students' differences from the teacher in both stages show."""
    teacher = named(run, task, REFERENCE)
    found = {"decomposer": best_student(run, task, 0), "solver": best_student(run, task, 1)}
    results = {part: outcome(comparison(run, cell, teacher)) for part, cell in found.items() if cell and teacher}
    if len(results) < 2 or "untested" in results.values():
        missing = [part for part in found if results.get(part, "untested") == "untested"]
        return f"which part distils cannot be said: no tested difference from {REFERENCE} for the {' and the '.join(missing)} student."
    lost = [part for part, result in results.items() if result == "lower"]
    if not lost:
        possible = _possible_losses(run, teacher, found)
        return f"both parts distil as far as can be told: for neither student can a loss against the teacher be shown{possible}."
    if len(lost) == 2:
        sizes = (f"the {part} student is {gap(run, cell, teacher)}" for part, cell in found.items() if cell and teacher)
        return f"neither part distils without a loss: against the teacher {', '.join(sizes)}."
    kept = "solver" if lost == ["decomposer"] else "decomposer"
    return f"the {kept} distils as far as can be told, the {lost[0]} does not: the {lost[0]} student alone loses by more than chance."


def _harm(run: RunFiles, task: str) -> list[Block]:
    """That the teacher's own subquestions are no help to its solver: what a decomposer distils then is that."""
    teacher = named(run, task, REFERENCE)
    found = {name: named(run, task, name) for name in PLAIN}
    told = no_benefit(teacher, [(name, cell, comparison(run, cell, teacher)) for name, cell in found.items() if cell and teacher])
    return [Text(f"{task}: {told[0].lower()}{told[1:]}", "warning")] if told else []


def _possible_losses(run: RunFiles, teacher: Cell | None, found: Mapping[str, Cell | None]) -> str:
    """How much could have been lost all the same: with few questions that is much."""
    bounds = {part: interval_of(comparison(run, cell, teacher) or {})[0] for part, cell in found.items() if cell and teacher}
    told = [f"{signed_points(100 * low)[1:]} points by the {part}" for part, low in bounds.items() if is_number(low) and low < 0]
    return f"; a loss of up to {' and '.join(told)} cannot be ruled out" if told else ""


def _task_lines(run: RunFiles, task: str) -> list[str]:
    teacher = named(run, task, REFERENCE)
    without = named(run, task, WITHOUT)
    shown: dict[str, Cell | None] = {
        **({"The same solver without subquestions": without} if without else {}),
        "Best decomposer student": best_student(run, task, 0),
        "Best solver student": best_student(run, task, 1),
        "One stage by chain of thought": named(run, task, "single-stage-cot"),
        "Plain distillation of the chain of thought": named(run, task, "single-stage-cot@S_C-T"),
    }
    lines = [f"Teacher in both stages: {_scored(run, teacher)}." if teacher else f"{REFERENCE} was not run, so nothing is held against it."]
    for name, cell in shown.items():
        if cell is not None:
            against = f"; against {REFERENCE} {gap(run, cell, teacher)}" if teacher else ""
            lines.append(f"{name}: {_scored(run, cell)}{against}.")
    missing = [f"{name[0].lower()}{name[1:]}" for name, cell in shown.items() if cell is None]
    shared = passages_words(cell for cell in cells_of(run) if cell.get("test") == task).strip()
    return [*lines, *([shared] if shared else []), *([f"Not run: {'; '.join(missing)}."] if missing else [])]


def _scored(run: RunFiles, cell: Cell) -> str:
    scored = cell.get("scored", cell.get("n"))
    return f"{label(run, cell)} {percent(cell.get('score'))} (95% interval {percent_interval(cell)}, {count_text(scored)} questions)"


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


def _student_named(student: Mapping[str, Any]) -> str:
    variant = student.get("ablation") or student.get("variant")
    return " ".join(str(word) for word in (student.get("name"), "trained on", student.get("train"), variant) if word)


def _student_row(student: Mapping[str, Any]) -> list[str]:
    words = words_of({"variant": student.get("ablation"), **student}, "name", "train", "base", "variant", "policy")
    counts = [count_text(student.get(key)) for key in ("seed", "rows", "tokens", "seconds")]
    return [*words, *counts, *losses_of(student), count_text(student.get("overwritten"))]


def _without_answers(run: RunFiles) -> list[Block]:
    found = {task: without_answers(record) for task, record in run.part("labelling").items() if isinstance(record, Mapping)}
    return [Text(f"{task}:{said}") for task, said in found.items() if said]


def _labelling(run: RunFiles) -> Block:
    rows, models = [], run.part("models")
    for task, label_of in run.part("labelling").items():
        record = label_of if isinstance(label_of, Mapping) else {}
        counts = [count_text(record.get(key)) for key in ("questions", "samples", "failed", "output_tokens", "seconds")]
        usage = [*counts[:3], input_text(record), *counts[3:]]
        policies = record.get("by_policy") or {"-": {}}
        for policy, fates in policies.items():
            kind = kinds_text([models.get("teacher"), models.get("solver", models.get("teacher"))])
            rows.append(
                [
                    task,
                    kind,
                    *usage,
                    usd_text(record.get("usd")),
                    policy,
                    count_text(fates.get("kept")),
                    reasons_text(fates.get("dropped") or {}),
                ]
            )
    columns = [
        "Task",
        "Tokens are",
        "Questions",
        "Samples",
        "Failed",
        "Input tokens",
        "Output tokens",
        "Seconds",
        "US dollars",
        "Policy",
        "Kept",
        "Dropped",
    ]
    return Table(columns, rows, frozenset({0, 1, 9, 11})) if rows else missing_text("No training task was labelled.")
