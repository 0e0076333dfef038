"""What a report says: sections of text, tables, figures and questions, made from the files of one run.

Nothing here knows how a report looks; `optimizers.reports.write` writes the same sections as markdown and as HTML. A number
stands here only if a file of the run holds it or it follows from such numbers; what is missing is said to be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from optimizers.evaluation.stages import stages_of
from optimizers.reports.blocks import (
    UNTRAINED,
    Block,
    Bullets,
    Code,
    Section,
    Table,
    Text,
    _comparison,
    _student,
    count_text,
    duration_text,
    is_number,
    machine_text,
    missing_text,
    number,
    p_text,
    percent,
    percent_interval,
    picture_or_text,
    plain_value,
    points_interval,
    reasons_text,
    usd_text,
)
from optimizers.reports.questions import _STATES, _questions
from optimizers.reports.read import REFERENCE, RunFiles, read_run
from optimizers.reports.run_costs import _costs
from optimizers.reports.run_figures import accuracy_figure
from optimizers.reports.training import _rows, _training
from optimizers.reports.write import write_sections

FIGURES = ("accuracy.png", "tokens.png", "rows.png", "training.png")


def write_report(run_dir: Path) -> list[Path]:
    """Write `report.md`, `report.html` and `figures/*.png` of a run folder from what it holds.

    Works on a run that is not finished: what is missing is said to be missing, and figures of an earlier report that can
    no longer be drawn are removed. Files are replaced whole, so a reader never sees half of one.

    Args:
        run_dir: A run folder. `metrics.json`, `config.toml`, `predictions/*.jsonl`, `rows.jsonl` and
            `student/*/progress.jsonl` are read, each if it is there.

    Returns:
        The files written: the two reports, then the figures.

    Raises:
        FileNotFoundError: `run_dir` is no run folder.
        ValueError: A file in it is not what it should be; names the file.
    """
    run_dir = Path(run_dir)
    contents = sections(read_run(run_dir))
    written = write_sections(run_dir, contents)
    for name in set(FIGURES) - {path.name for path in written}:
        (run_dir / "figures" / name).unlink(missing_ok=True)
    return written


_CONTINUE = "The same command again does what is missing."


def sections(run: RunFiles) -> list[Section]:
    """The report of `run`, in reading order."""
    from optimizers.reports.screening import screening_sections

    return [
        Section("In short", _headlines(run)),
        Section("What was run", _setting(run)),
        Section("Scores", _scores(run)),
        Section("Differences between conditions", _comparisons(run)),
        Section("Tokens, seconds and dollars", _costs(run)),
        Section("Training rows", _rows(run)),
        *screening_sections(run),
        Section("Training", _training(run)),
        Section("Questions side by side", _questions(run)),
    ]


# In short
def _headlines(run: RunFiles) -> list[Block]:
    blocks: list[Block] = []
    if run.metrics.get("incomplete"):
        blocks.append(Text(f"This run is incomplete: {run.metrics['incomplete']} {_CONTINUE}", "warning"))
    if number(run.metrics.get("overlap")) > 0:
        shared = f"{count_text(run.metrics['overlap'])} questions stand both in training and in test data"
        blocks.append(Text(f"{shared}, so scores of trained students are too high.", "warning"))
    if run.conditions:
        blocks.append(Bullets([_teacher_line(run), *_single_stage_line(run), *_student_lines(run)]))
    else:
        blocks.append(missing_text(f"No condition has been evaluated, so there is no result yet. {_CONTINUE}"))
    if run.metrics.get("task") == "multihop":
        text = (
            "This is the embedded setting: it shows the machinery with real models on synthetic questions. It does not reproduce the "
            "paper's benchmarks, which need a strong LLM: the same command with --teacher openai/... and a task of the paper does that."
        )
        blocks.append(Text(text, "note"))
    return blocks


def _teacher_line(run: RunFiles) -> str:
    teacher = run.conditions.get(REFERENCE)
    if teacher is None or not is_number(teacher.get("score")):
        return f"The teacher in both stages ({REFERENCE}) has no score in this run, so students cannot be held against it."
    return f"The teacher in both stages ({REFERENCE}) scores {_score_with_interval(teacher)}."


def _single_stage_line(run: RunFiles) -> list[str]:
    """What one call alone reaches: without it, two stages would get the credit for reasoning at all (paper, Table 1)."""
    asked = {"single-stage": "directly", "single-stage-cot": "by chain of thought"}
    found = {how: run.conditions[name] for name, how in asked.items() if is_number(run.conditions.get(name, {}).get("score"))}
    parts = [f"{how} {_score_with_interval(condition)}" for how, condition in found.items()]
    return [f"Asked in one stage: {'; '.join(parts)}."] if parts else []


def _student_lines(run: RunFiles) -> list[str]:
    name = _student(run.conditions)
    if name is None:
        lines = ["No trained student was evaluated in the teacher's place."]
    else:
        decomposer = name.split("+")[0]
        line = f"With the trained student {decomposer} as the decomposer ({name}): {_score_with_interval(run.conditions[name])}."
        lines = [" ".join([line, *_difference_sentence(run, name)]), *_retention_lines(run, name), _saving_line(run, name)]
    untrained = run.conditions.get(UNTRAINED, {})
    if is_number(untrained.get("score")):
        lines.insert(1, f"With the student model before training ({UNTRAINED}): {_score_with_interval(untrained)}.")
    return lines


def _difference_sentence(run: RunFiles, name: str) -> list[str]:
    found = _comparison(run, name, REFERENCE)
    if found is None or not is_number(found.get("delta")):
        return ["Its difference from the teacher was not tested."]
    delta, p = found["delta"], found.get("p_holm", found.get("p"))
    size = f"{abs(100 * delta):.1f} points {'more' if delta > 0 else 'less'} than the teacher" if delta else "the score of the teacher"
    text = f"That is {size} on the {count_text(found.get('n'))} questions scored in both"
    text += f" (95% interval of the difference {points_interval(found)}; p = {p_text(p)}{' after Holm' if 'p_holm' in found else ''})"
    if not is_number(p):
        return [f"{text}."]
    meaning = "chance alone hardly explains it" if p < 0.05 else "these questions do not show a difference, which is no proof of equality"
    return [f"{text}: {meaning}."]


def _retention_lines(run: RunFiles, name: str) -> list[str]:
    for record in run.records("retention"):
        if (record.get("a"), record.get("b")) == (name, REFERENCE) and is_number(record.get("ratio")):
            return [f"The student keeps {percent(record['ratio'])} of the teacher's score (95% interval {percent_interval(record)})."]
    return ["How much of the teacher's score the student keeps was not computed."]


def _saving_line(run: RunFiles, name: str) -> str:
    given = run.part("saving").get("per_1000_questions")
    saving = given if isinstance(given, Mapping) and given else _saving(run.conditions, name)
    if isinstance(saving.get(name), Mapping):
        saving = saving[name]
    amounts = [_amount(key, value) for key, value in saving.items() if is_number(value)]
    if not amounts:
        return "What the student saves could not be computed: the calls of both conditions were not counted, or came from a cache."
    text = f"Per 1,000 questions the student in the teacher's place saves {', '.join(amounts)}"
    text += " (negative: it takes more)" if any(number(value) < 0 for value in saving.values()) else ""
    return text + (". No price is known for dollars." if not is_number(saving.get("usd")) else ".")


def _saving(conditions: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Teacher's decomposing and solving less the solving that remains, per 1,000 questions.

    Empty where a stage used the cache: its tokens would then depend on what ran before.
    """
    teacher, student = conditions.get(REFERENCE, {}), conditions[name]
    used = [stages_of(teacher).get("decompose"), stages_of(teacher).get("solve"), stages_of(student).get("solve")]
    if not (teacher.get("n") and student.get("n")) or any(usage is None or usage.get("cache_hits") for usage in used):
        return {}
    before, still, after = (usage or {} for usage in used)
    saving = {}
    for key in ("calls", "input_tokens", "output_tokens", "usd"):
        if all(is_number(usage.get(key)) for usage in (before, still, after)):
            saving[key] = 1000 * ((before[key] + still[key]) / teacher["n"] - after[key] / student["n"])
    return saving


def _amount(key: str, value: float) -> str:
    if key == "usd":
        return usd_text(value)
    label = "teacher calls" if key == "calls" else key.replace("_", " ")
    return f"{value:,.0f} {label}"


# What was run
def _setting(run: RunFiles) -> list[Block]:
    metrics = run.metrics
    facts = {"Task": metrics.get("task"), "Task options": metrics.get("task_options")}
    models = run.part("models")
    facts |= {f"{role.capitalize()} model": models.get(role) for role in dict.fromkeys(["teacher", "student", "solver", *models])}
    facts |= {"Seed": metrics.get("seed"), "Code (commit)": metrics.get("commit"), "Command": metrics.get("command")}
    facts |= {
        "Versions": metrics.get("versions"),
        "Machine": machine_text(run.part("machine")),
        "Time": duration_text(metrics.get("seconds")),
    }
    facts["Overlap of training and test"] = _overlap(metrics.get("overlap"))
    blocks: list[Block] = [Table(["", ""], [[name, plain_value(value)] for name, value in facts.items()], frozenset({0, 1}))]
    blocks.append(Code("config.toml", run.config) if run.config else missing_text("config.toml is missing from the run folder."))
    return blocks


def _overlap(overlap: Any) -> str | None:
    if not is_number(overlap):
        return None
    return "none (checked)" if overlap == 0 else f"{count_text(overlap)} questions"


# Scores and differences
def _scores(run: RunFiles) -> list[Block]:
    if not run.conditions:
        return [missing_text(f"No condition has been evaluated. {_CONTINUE}")]
    states = list(dict.fromkeys([*_STATES, *(state for c in run.conditions.values() for state in c.get("states") or {})]))
    columns = [
        "Condition",
        "Score",
        "95% interval",
        "Questions",
        "Scored",
        *(state.replace("_", " ") for state in states),
        "Failed",
        "Failures",
    ]
    rows = [[name, *_score_row(condition, states)] for name, condition in run.conditions.items()]
    text = (
        "Score is the mean over scored questions; a question that could not be scored counts neither as right nor as wrong. "
        f"The columns {', '.join(state.replace('_', ' ') for state in states)} count what came of the decomposition; failed questions "
        "gave no answer at all."
    )
    picture = picture_or_text(
        "accuracy.png", accuracy_figure(run.conditions), _score_alt(run.conditions), "No condition has a score to draw."
    )
    return [Text(text), Table(columns, rows, frozenset({0, len(columns) - 1})), picture]


def _score_row(condition: Mapping[str, Any], states: Iterable[str]) -> list[str]:
    counted = condition.get("states") or {}
    cells = [
        percent(condition.get("score")),
        percent_interval(condition),
        count_text(condition.get("n")),
        count_text(condition.get("scored")),
    ]
    # A program with one stage has no decomposition to count; zero would say that there was one.
    cells += [count_text(counted.get(state, 0)) if counted else "n/a" for state in states]
    return [*cells, count_text(condition.get("failed")), reasons_text(condition.get("failures") or {})]


def _score_alt(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    return "Score by condition: " + "; ".join(f"{name} {percent(c.get('score'))} ({percent_interval(c)})" for name, c in conditions.items())


def _comparisons(run: RunFiles) -> list[Block]:
    blocks: list[Block] = []
    if records := run.records("comparisons"):
        text = (
            "Each line holds two conditions against each other on the questions that are scored in both: delta is the score of A less "
            "that of B in percentage points, so a positive delta speaks for A; a difference is read as real where the p value after "
            "Holm's correction is below 0.05, and an interval that holds 0 says only that these questions do not show one."
        )
        columns = ["A", "B", "Questions", "Delta, points", "95% interval", "p", "p after Holm", "A better", "B better"]
        blocks += [Text(text), Table(columns, [_comparison_row(record) for record in records], frozenset({0, 1}))]
    else:
        blocks.append(missing_text("No two conditions were compared in this run."))
    if records := run.records("retention"):
        blocks.append(Text("Share of B's score that A keeps, on the same questions:"))
        kept = [[str(r.get("a")), str(r.get("b")), percent(r.get("ratio")), percent_interval(r)] for r in records]
        blocks.append(Table(["A", "B", "Kept", "95% interval"], kept, frozenset({0, 1})))
    return blocks


def _comparison_row(record: Mapping[str, Any]) -> list[str]:
    delta = f"{100 * record['delta']:+.1f}" if is_number(record.get("delta")) else "n/a"
    tail = [p_text(record.get("p")), p_text(record.get("p_holm")), count_text(record.get("wins")), count_text(record.get("losses"))]
    return [str(record.get("a")), str(record.get("b")), count_text(record.get("n")), delta, points_interval(record), *tail]


# Numbers as text
def _score_with_interval(condition: Mapping[str, Any]) -> str:
    scored = condition.get("scored", condition.get("n"))
    return f"{percent(condition.get('score'))} (95% interval {percent_interval(condition)}, {count_text(scored)} questions)"
