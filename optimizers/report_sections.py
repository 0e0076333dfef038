"""What a report says: sections of text, tables, figures and questions, made from the files of one run.

Nothing here knows how a report looks; `optimizers.report` writes the same sections as markdown and as HTML. A number
stands here only if a file of the run holds it or it follows from such numbers; what is missing is said to be missing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from optimizers import figures
from optimizers.figures import interval_of, is_number, number, stages_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = "teacher+teacher"
UNTRAINED = "student0+teacher"
STUDENTS = ("S_D-R+teacher", "S_D-T+teacher")
QUESTIONS_SHOWN = 12
_STATES = ("ok", "none_needed", "unparseable", "over_limit")
_LONGEST = 3000
_CONTINUE = "The same command again does what is missing."


@dataclass(frozen=True)
class RunFiles:
    """What the files of a run folder hold; an empty value where a file is missing.

    Attributes:
        metrics: `metrics.json`.
        config: Text of `config.toml`.
        predictions: Lines of `predictions/<condition>.jsonl` by condition.
        rows: Lines of `rows.jsonl`.
        progress: Lines of `student/<name>/progress.jsonl` by student.
    """

    metrics: Mapping[str, Any]
    config: str
    predictions: Mapping[str, Sequence[Mapping[str, Any]]]
    rows: Sequence[Mapping[str, Any]]
    progress: Mapping[str, Sequence[Mapping[str, Any]]]

    def part(self, key: str) -> Mapping[str, Any]:
        """`metrics[key]`, or an empty mapping."""
        value = self.metrics.get(key)
        return value if isinstance(value, Mapping) else {}

    def records(self, key: str) -> list[Mapping[str, Any]]:
        """`metrics[key]` where it is a list of records, or an empty list."""
        return [value for value in self.metrics.get(key) or [] if isinstance(value, Mapping)]

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        return {name: value for name, value in self.part("conditions").items() if isinstance(value, Mapping)}


@dataclass(frozen=True)
class Text:
    """A paragraph. `tone` is `plain`, `note`, `warning` or `missing`."""

    text: str
    tone: str = "plain"
    kind: str = "text"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]
    kind: str = "bullets"


@dataclass(frozen=True)
class Table:
    """Cells as text. Columns whose index is in `words` are set flush left, the others flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset({0})
    kind: str = "table"


@dataclass(frozen=True)
class Picture:
    """A figure as PNG; `name` is its file under `figures/`, `alt` says what it shows to who cannot see it."""

    name: str
    alt: str
    data: bytes
    kind: str = "picture"


@dataclass(frozen=True)
class Code:
    """Text as it is, under a title; `language` marks its fence in markdown."""

    title: str
    text: str
    language: str = "toml"
    kind: str = "code"


@dataclass(frozen=True)
class Reply:
    """What one condition did with a question.

    Attributes:
        condition: Its name.
        verdict: `right`, `wrong`, `partly right` or `unscored`.
        steps: Subquestions, each with its answer (empty where there is none).
        answer: The final answer.
        remarks: The state of the decomposition, the scorer's detail, an error: where there is something to say.
    """

    condition: str
    verdict: str
    steps: Sequence[tuple[str, str]]
    answer: str
    remarks: Sequence[str]


@dataclass(frozen=True)
class Question:
    """A test question with what each condition made of it."""

    question: str
    context: str
    gold: str
    replies: Sequence[Reply]
    kind: str = "question"


Block = Text | Bullets | Table | Picture | Code | Question


@dataclass
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def sections(run: RunFiles) -> list[Section]:
    """The report of `run`, in reading order."""
    from optimizers.screening_report import screening_sections

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


def missing_text(text: str) -> Text:
    """What a file does not hold, said as such."""
    return Text(text, "missing")


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


def _student(conditions: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The condition that headlines speak of: a trained student that decomposes for the teacher."""
    others = (name for name in conditions if name.endswith("+teacher") and name not in (REFERENCE, UNTRAINED))
    known = (name for name in STUDENTS if name in conditions)
    return next((name for name in (*known, *others) if is_number(conditions[name].get("score"))), None)


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


def _comparison(run: RunFiles, a: str, b: str) -> Mapping[str, Any] | None:
    """The comparison of `a` with `b`, turned round if the run holds the reverse."""
    return next((found for record in run.records("comparisons") if (found := oriented(record, a, b))), None)


def oriented(record: Mapping[str, Any], a: str, b: str) -> Mapping[str, Any] | None:
    """The comparison `record` as one of `a` with `b`, turned round if it is the reverse; None if it is of others."""
    if (record.get("a"), record.get("b")) == (a, b):
        return record
    if (record.get("a"), record.get("b")) != (b, a) or not is_number(record.get("delta")):
        return None
    low, high = interval_of(record)
    bounds = [-high, -low] if is_number(low) and is_number(high) else None
    return {**record, "a": a, "b": b, "delta": -record["delta"], "ci95": bounds}


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


def machine_text(machine: Mapping[str, Any]) -> str | None:
    """The machine in one line; None where nothing was recorded."""
    parts = [str(machine["cpu"])] if machine.get("cpu") else []
    parts += [f"{plain_value(machine['cores'])} cores"] if machine.get("cores") else []
    parts += [f"{machine['memory_gib']:.0f} GiB of memory"] if is_number(machine.get("memory_gib")) else []
    parts += [f"{key}: {plain_value(value)}" for key, value in machine.items() if key not in ("cpu", "cores", "memory_gib")]
    return ", ".join(parts) or None


def plain_value(value: Any) -> str:
    """A fact as text; `not recorded` where there is none."""
    if value is None or value in ("", {}):
        return "not recorded"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item if isinstance(item, str) else json.dumps(item)}" for key, item in value.items())
    return str(value)


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
        "accuracy.png", figures.accuracy_figure(run.conditions), _score_alt(run.conditions), "No condition has a score to draw."
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


# Costs


def _costs(run: RunFiles) -> list[Block]:
    lines = [[name, stage, *_usage_row(usage)] for name, c in run.conditions.items() for stage, usage in stages_of(c).items()]
    if labelling := run.part("labelling"):
        lines.insert(0, ["(labelling)", "teacher", *_usage_row(labelling)])
    if not lines:
        return [missing_text("No usage was recorded in this run.")]
    text = (
        "Sums over all test questions of a condition. Local models cost seconds; dollars stand only where a price is known "
        "('no price' elsewhere). Seconds add up over calls that ran side by side, so they can exceed the time on the clock."
    )
    columns = ["Condition", "Stage", "Calls", "From cache", "Input tokens", "Output tokens", "Seconds", "US dollars"]
    alt = "Tokens a test question by condition, stacked by stage; the numbers are in the table above."
    picture = picture_or_text(
        "tokens.png", figures.token_figure(run.conditions), alt, "No tokens of a condition were counted, so there is no figure."
    )
    return [Text(text), Table(columns, lines, frozenset({0, 1})), picture]


def _usage_row(usage: Mapping[str, Any]) -> list[str]:
    counts = [count_text(usage.get(key)) for key in ("calls", "cache_hits", "input_tokens", "output_tokens")]
    seconds = f"{usage['seconds']:,.1f}" if is_number(usage.get("seconds")) else "n/a"
    return [*counts, seconds, usd_text(usage.get("usd"))]


# Rows and training


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
    alt = "Training rows kept and dropped by policy; the numbers are in the table above."
    picture = picture_or_text("rows.png", figures.rows_figure(policies), alt, "There are no rows to draw.")
    return [Text(text), Table(["Policy", "Questions", "Kept", "Dropped"], lines, frozenset({0, 3})), picture]


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


def _training(run: RunFiles) -> list[Block]:
    students = run.part("students") or run.part("training")
    trained = {name: value for name, value in students.items() if isinstance(value, Mapping)}
    blocks: list[Block] = []
    if trained:
        columns = ["Student", "Rows", "Tokens", "Steps", "Seconds", "Final loss", "Model"]
        blocks.append(Table(columns, [[name, *_training_row(value)] for name, value in trained.items()], frozenset({0, 6})))
    else:
        blocks.append(missing_text("metrics.json records no finished training in this run."))
    alt = f"Training loss against step for {', '.join(run.progress) or 'no student'}; dashed on held-out rows."
    picture = picture_or_text(
        "training.png", figures.training_figure(run.progress), alt, "No loss was logged (student/*/progress.jsonl), so there is no curve."
    )
    return [*blocks, picture]


def _training_row(value: Mapping[str, Any]) -> list[str]:
    seconds = f"{value['seconds']:,.0f}" if is_number(value.get("seconds")) else "n/a"
    loss = f"{value['final_loss']:.4f}" if is_number(value.get("final_loss")) else "n/a"
    return [*(count_text(value.get(key)) for key in ("rows", "tokens", "steps")), seconds, loss, plain_value(value.get("model"))]


def picture_or_text(name: str, figure: Figure | None, alt: str, missing: str) -> Picture | Text:
    """`figure` as PNG, or `missing` where there was nothing to draw."""
    return missing_text(missing) if figure is None else Picture(name, alt, figures.png(figure))


# Questions side by side


def _questions(run: RunFiles) -> list[Block]:
    return question_blocks({name: run.predictions[name] for name in _shown_conditions(run)})


def question_blocks(predictions: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Block]:
    """Up to `QUESTIONS_SHOWN` questions that all conditions answered, half of them with different verdicts if there are such.

    Args:
        predictions: Lines of `predictions/*.jsonl` by condition, in the order to be shown.
    """
    answered = {name: {str(line.get("id")): line for line in lines} for name, lines in predictions.items()}
    common = [key for key in next(iter(answered.values()), {}) if all(key in lines for lines in answered.values())]
    if not common:
        return [missing_text("No test question has a prediction in every condition that would stand here (predictions/*.jsonl).")]
    chosen, disagreeing = _choose(common, answered)
    text = f"{len(chosen)} of {count_text(len(common))} test questions, the same at every run."
    if len(answered) > 1:
        text += (
            f" These conditions disagree on {disagreeing} of those shown; such questions are picked on purpose, so read no rates off them."
        )
    return [Text(text), *(question_block([(name, answered[name][key]) for name in answered]) for key in chosen)]


def _shown_conditions(run: RunFiles) -> list[str]:
    """Up to three: teacher, trained student, untrained student where they are, else the first ones that there are."""
    there = [name for name in (*run.conditions, *run.predictions) if run.predictions.get(name)]
    wanted = [REFERENCE, _student(run.conditions), UNTRAINED, *there]
    return [name for name in dict.fromkeys(wanted) if name in there][:3]


def _choose(common: Sequence[str], answered: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[list[str], int]:
    """Question ids in test order, half of them with verdicts that differ as far as there are such; and how many differ."""
    split = [key for key in common if len({verdict(lines[key]) for lines in answered.values()}) > 1]
    same = [key for key in common if key not in set(split)]
    from_split = min(len(split), max(QUESTIONS_SHOWN // 2, QUESTIONS_SHOWN - len(same)))
    picked = {*_spread(split, from_split), *_spread(same, QUESTIONS_SHOWN - from_split)}
    return [key for key in common if key in picked], from_split


def _spread(items: Sequence[str], count: int) -> list[str]:
    """`count` items at even distances, so that a sorted test set is not shown from its start alone."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def question_block(lines: Sequence[tuple[str, Mapping[str, Any]]]) -> Question:
    """One question from its line in each condition."""
    first = lines[0][1]
    replies = [_reply(name, line) for name, line in lines]
    return Question(text_of(first.get("question")), text_of(first.get("context")), text_of(first.get("gold")), replies)


def _reply(name: str, line: Mapping[str, Any]) -> Reply:
    # Answers beyond the subquestions are shown too: a solver that writes too many is worth seeing.
    pairs = zip_longest(line.get("subquestions") or [], line.get("sub_answers") or [], fillvalue="")
    steps = [(text_of(step), text_of(answer)) for step, answer in pairs]
    answer = text_of(line.get("answer")) or "(no answer)"
    return Reply(name, verdict(line), steps, answer, _remarks(line))


def _remarks(line: Mapping[str, Any]) -> list[str]:
    remarks = []
    if line.get("state") not in (None, "ok"):
        remarks.append(f"decomposition: {str(line['state']).replace('_', ' ')}")
    if not line.get("subquestions") and line.get("decomposition"):
        remarks.append(f"the decomposer wrote: {text_of(line['decomposition'])}")
    return remarks + [f"{label}{text_of(line[key])}" for key, label in (("detail", ""), ("error", "error: ")) if line.get(key)]


def verdict(line: Mapping[str, Any]) -> str:
    """`right`, `wrong`, `partly right` or `unscored`."""
    score = line.get("score")
    if score is None or not is_number(score):
        return "unscored"
    return "wrong" if score == 0 else "right" if score == 1 else "partly right"


def text_of(value: Any) -> str:
    """`value` as text; a very long one is cut, and says so."""
    text = "" if value is None else str(value) if not isinstance(value, list) else ", ".join(map(str, value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} [and {len(text) - _LONGEST:,} more characters]"


# Numbers as text


def _score_with_interval(condition: Mapping[str, Any]) -> str:
    scored = condition.get("scored", condition.get("n"))
    return f"{percent(condition.get('score'))} (95% interval {percent_interval(condition)}, {count_text(scored)} questions)"


def percent(value: Any) -> str:
    """A share as `93.1%`."""
    return f"{100 * value:.1f}%" if is_number(value) else "n/a"


def percent_interval(record: Mapping[str, Any]) -> str:
    """`ci95` of a score."""
    low, high = interval_of(record)
    return f"{percent(low)} to {percent(high)}" if is_number(low) and is_number(high) else "n/a"


def points_interval(record: Mapping[str, Any]) -> str:
    """`ci95` of a difference of scores, in percentage points."""
    low, high = interval_of(record)
    return f"{100 * low:+.1f} to {100 * high:+.1f}" if is_number(low) and is_number(high) else "n/a"


def p_text(value: Any) -> str:
    """A p value to four places."""
    if not is_number(value):
        return "n/a"
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def count_text(value: Any) -> str:
    """A count with thousands set apart."""
    return f"{value:,.0f}" if is_number(value) else "n/a"


def usd_text(value: Any) -> str:
    """Dollars; `no price` where none is known."""
    if not is_number(value):
        return "no price"
    return (
        f"{'-' if value < 0 else ''}${abs(value):,.2f}" if abs(value) >= 1 or value == 0 else f"{'-' if value < 0 else ''}${abs(value):.4f}"
    )


def duration_text(seconds: Any) -> str | None:
    """Seconds in the unit that reads best."""
    if not is_number(seconds):
        return None
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def reasons_text(counts: Mapping[str, Any]) -> str:
    """Counts by reason, zeros left out."""
    return ", ".join(f"{str(reason).replace('_', ' ')} {count_text(count)}" for reason, count in counts.items() if number(count)) or "none"
