"""What a run found, in short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.conditions import TRAINED, stages_in
from optimizers.evaluation.stages import answered_in, stages_of
from optimizers.reports.benefit import PLAIN, Rival, no_benefit, no_gain
from optimizers.reports.blocks import (
    CONTINUE,
    Block,
    Bullets,
    Section,
    Text,
    count_text,
    is_number,
    missing_text,
    number,
    overlap_blocks,
    percent,
    percent_interval,
    points_difference,
    points_interval,
    signed_points,
    usd_text,
)
from optimizers.reports.conditions import UNTRAINED, paired_comparison_of, student_condition
from optimizers.reports.read import REFERENCE, WITHOUT, RunFiles, part
from optimizers.reports.replies import cut_off_warning, endings_of, reply_warnings
from optimizers.reports.training import too_long_warnings
from optimizers.reports.verdicts import difference_words, outcome, outcome_words, p_words

_MOST = 0.5
_LEAST_SHARE = 0.3
"""Of the test questions, with one answer: below that a condition as bad as one answer is seen to be bad by itself."""

# As in `programs.signatures`, which would load DSPy.
_DECLINED = "No decomposition"


def in_short(run: RunFiles) -> list[Section]:
    """What holds for all of it; teacher, one stage alone and student, with what it keeps and saves; then what is odd in a condition."""
    return [Section("In short", [*_warnings(run), _results(run), *reply_warnings(run.conditions.items()), *_setting_note(run)])]


def _warnings(run: RunFiles) -> list[Block]:
    blocks: list[Block] = []
    if run.metrics.get("incomplete"):
        blocks.append(Text(f"This run is incomplete: {run.metrics['incomplete']} {CONTINUE}", "warning"))
    # Untrained, the student knows no format: what follows the results says so, and nobody paid a server for it.
    asked = [(name, condition) for name, condition in run.conditions.items() if name != UNTRAINED]
    cut = cut_off_warning(endings_of(asked, run.part("labelling")))
    blocks += [Text(f"The student {name} could not be trained: {why}", "warning") for name, why in run.part("skipped").items()]
    blocks += too_long_warnings(run.part("students").items())
    told = no_benefit(run.conditions.get(REFERENCE), _rivals(run))
    benefit: list[Block] = [Text(said, "warning") for said in (told, _no_gain(run)) if said]
    blocks += [Text(told, "warning") for told in (*_unanswered(run), *_no_better_than_one_answer(run))]
    return [*blocks, *overlap_blocks(run.metrics), *_teacher_abstaining(run), *benefit, *_abstaining(run), *cut]


def _unanswered(run: RunFiles) -> list[str]:
    """What the calls of conditions said of which none was answered."""
    failed = [name for name, condition in run.conditions.items() if condition.get("failed") and not condition.get("scored", 1)]
    said = {name: next((line["error"] for line in run.predictions.get(name, ()) if line["error"]), "") for name in failed}
    return [
        f"{name}: none of its {run.conditions[name]['n']} questions has an answer; the first call said: {why}" for name, why in said.items()
    ]


def _no_better_than_one_answer(run: RunFiles) -> list[str]:
    """That conditions score no more than who always gives the commonest answer, as of questions of yes or no."""
    found = run.part("commonest")
    share = number(found.get("share"))
    if share < _LEAST_SHARE:
        return []
    no_more = [
        f"{name} {percent(one['score'])}" for name, one in run.conditions.items() if is_number(one.get("score")) and one["score"] <= share
    ]
    told = f"Whoever always answers {found['answer']!r} scores {percent(share)} on these questions"
    return [f"{told}, and no less than {', '.join(no_more)}: such scores need no understanding."] if no_more else []


def _teacher_abstaining(run: RunFiles) -> list[Block]:
    """That the teacher leaves most questions whole: with and without its decompositions the solver is then asked nearly the same."""
    none, whole = _undecomposed(run, REFERENCE)
    if not whole or none / whole <= _MOST:
        return []
    text = (
        f"The teacher itself left {none} of {whole} questions undecomposed, so that {REFERENCE} is nearly its solver alone: this run can "
        "hardly tell whether decomposing helps, and a student has little to learn from it. Questions of more steps, a larger teacher, or "
        "another prompt for it (compile) decompose more."
    )
    return [Text(text, "warning")]


def _abstaining(run: RunFiles) -> list[Block]:
    """That the student leaves most questions whole: its score is then the solver's own, whatever it learned."""
    name = student_condition(run.conditions)
    none, whole = _undecomposed(run, name) if name else (0, 0)
    if not whole or none / whole <= _MOST:
        return []
    rows = (row for row in run.rows if row.get("kept") and row.get("student") == str(name).split("+")[0])
    declined = [str((row.get("messages") or [{}])[-1].get("content", "")).startswith(_DECLINED) for row in rows]
    taught = f" {sum(declined)} of the {len(declined)} rows that it learned from are such." if any(declined) else ""
    text = (
        f"The student left {none} of {whole} questions undecomposed, so that its score ({name}) is nearly that of the solver alone.{taught}"
    )
    return [Text(text, "warning")]


def _undecomposed(run: RunFiles, name: str) -> tuple[int, int]:
    """How many questions a condition left undecomposed, of how many."""
    states = run.conditions.get(name, {}).get("states") or {}
    return states.get("none_needed", 0), sum(states.values())


def _no_gain(run: RunFiles) -> str:
    name, before = student_condition(run.conditions), run.conditions.get(UNTRAINED)
    if name is None or before is None:
        return ""
    return no_gain(name, run.conditions[name], UNTRAINED, before, paired_comparison_of(run, name, UNTRAINED))


def _rivals(run: RunFiles) -> list[Rival]:
    return [(name, run.conditions[name], paired_comparison_of(run, name, REFERENCE)) for name in PLAIN if name in run.conditions]


def _results(run: RunFiles) -> Block:
    if not run.conditions:
        return missing_text(f"No condition has been evaluated, so there is no result yet. {CONTINUE}")
    return Bullets([_teacher_line(run), *_without_line(run), *_single_stage_line(run), *_student_lines(run), *_solver_lines(run)])


def _setting_note(run: RunFiles) -> list[Block]:
    if run.metrics.get("task") != "multihop":
        return []
    text = (
        "This is the embedded setting: it shows the machinery with real models on synthetic questions. It does not reproduce the "
        "paper's benchmarks, which need a strong LLM: the same command with --teacher openai/... and a task of the paper does that."
    )
    return [Text(text, "note")]


def _teacher_line(run: RunFiles) -> str:
    teacher = run.conditions.get(REFERENCE)
    if teacher is None or not is_number(teacher.get("score")):
        return f"The teacher in both stages ({REFERENCE}) has no score in this run, so students cannot be held against it."
    return f"The teacher in both stages ({REFERENCE}) scores {_score_with_interval(teacher)}."


def _without_line(run: RunFiles) -> list[str]:
    """What the same solver reaches with no subquestions: where it is not less, decomposing is of no use to it."""
    without = run.conditions.get(WITHOUT, {})
    if not is_number(without.get("score")):
        return []
    found = paired_comparison_of(run, WITHOUT, REFERENCE)
    told = f"{points_interval(found)}; {p_words(found)}: {outcome_words(found)}" if found else ""
    against = f", {points_difference(found)} points against it ({told})" if found else ""
    return [f"The same solver without subquestions ({WITHOUT}) scores {_score_with_interval(without)}{against}."]


def _single_stage_line(run: RunFiles) -> list[str]:
    """What one call alone reaches: without it, two stages would get the credit for reasoning at all (paper, Table 1)."""
    asked = {"single-stage": "directly", "single-stage-cot": "by chain of thought"}
    found = {how: run.conditions[name] for name, how in asked.items() if is_number(run.conditions.get(name, {}).get("score"))}
    parts = [f"{how} {_score_with_interval(condition)}" for how, condition in found.items()]
    return [f"Asked in one stage: {'; '.join(parts)}."] if parts else []


def _student_lines(run: RunFiles) -> list[str]:
    untrained = run.conditions.get(UNTRAINED, {})
    has_untrained = is_number(untrained.get("score"))
    before = [f"With the student model before training ({UNTRAINED}): {_score_with_interval(untrained)}."] if has_untrained else []
    name = student_condition(run.conditions)
    if name is None:
        return [*before, "No trained student was evaluated in the teacher's place."]
    decomposer = name.split("+")[0]
    line = f"With the trained student {decomposer} as the decomposer ({name}): {_score_with_interval(run.conditions[name])}."
    return [
        *before,
        " ".join([line, *_difference_sentence(run, name)]),
        *_undecomposed_lines(run, name),
        *_retention_lines(run, name),
        _saving_line(run, name),
    ]


def _solver_lines(run: RunFiles) -> list[str]:
    """Trained students that solve, to compare: which of the two parts distils is the question (paper, section 3)."""
    lines = []
    for name, condition in run.conditions.items():
        solver = (stages_in(name) or ("", ""))[1]
        if solver in TRAINED and is_number(condition.get("score")):
            line = f"With the trained student {solver} as the solver ({name}): {_score_with_interval(condition)}."
            lines.append(" ".join([line, *_difference_sentence(run, name)]))
    return lines


def _difference_sentence(run: RunFiles, name: str) -> list[str]:
    found = paired_comparison_of(run, name, REFERENCE)
    if found is None or not is_number(found.get("delta")):
        return ["Its difference from the teacher was not tested."]
    delta = found["delta"]
    shown = signed_points(100 * delta)
    size = "the score of the teacher" if shown == "+0.0" else f"{shown[1:]} points {'more' if delta > 0 else 'less'} than the teacher"
    text = f"That is {size} on the {count_text(found.get('n'))} questions scored in both"
    text += f" (95% interval of the difference {points_interval(found)}; {p_words(found)})"
    meaning = {
        "higher": "chance alone hardly explains it",
        "lower": "chance alone hardly explains it",
        "none": f"{outcome_words(found)}, which is no proof of equality",
        "untested": "the difference was not tested",
    }
    return [f"{text}: {meaning[outcome(found)]}."]


def _undecomposed_lines(run: RunFiles, name: str) -> list[str]:
    """How often the student wrote no subquestions, and what it adds to a solver that gets none: it may shine by abstaining."""
    (none, whole), (theirs, of_them) = _undecomposed(run, name), _undecomposed(run, REFERENCE)
    lines = []
    if none:
        teacher = f" (the teacher {theirs} of {of_them})" if of_them else ""
        lines = [f"The student left {none} of {whole} questions undecomposed{teacher}; there the solver works without subquestions."]
    against = paired_comparison_of(run, name, WITHOUT)
    return [*lines, *([f"Against the solver without subquestions ({WITHOUT}): {difference_words(against)}."] if against else [])]


def _retention_lines(run: RunFiles, name: str) -> list[str]:
    for record in run.records("retention"):
        if (record.get("a"), record.get("b")) == (name, REFERENCE) and is_number(record.get("ratio")):
            if percent_interval(record) == "n/a":
                return ["Too few of the teacher's answers are right to tell what share of its score the student keeps."]
            kept = f"The student keeps {percent(record['ratio'])} of the teacher's score (95% interval {percent_interval(record)})"
            return [f"{kept}{', which the solver reaches without it' if _needless(run) else ''}."]
    return ["How much of the teacher's score the student keeps was not computed."]


def _needless(run: RunFiles) -> bool:
    """Whether the solver without subquestions scores as high as with the teacher's."""
    return bool(no_benefit(run.conditions.get(REFERENCE), (rival for rival in _rivals(run) if rival[0] == WITHOUT)))


def _saving_line(run: RunFiles, name: str) -> str:
    whole = _saving(run.conditions, name)
    saving = whole or part(run.part("saving"), "per_1000_questions")
    amounts = [_amount(key, value) for key, value in saving.items() if is_number(value)]
    if not amounts:
        return "What the student saves could not be computed: the calls of both conditions were not counted, or came from a cache."
    text = f"Per 1,000 questions the student in the teacher's place saves {', '.join(amounts)}"
    text += ", the solver's part included" if whole else " by the teacher's decomposing; what the solver takes more or less is not known"
    text += " (negative: it takes more)" if any(number(value) < 0 for value in saving.values()) else ""
    return text + (". No price is known for dollars." if not is_number(saving.get("usd")) else ".")


def _saving(conditions: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Teacher's decomposing and solving less the solving that remains, per 1,000 questions.

    Empty where a stage used the cache: its tokens would then depend on what ran before.
    """
    teacher, student = conditions.get(REFERENCE, {}), conditions[name]
    used = [stages_of(teacher).get("decompose"), stages_of(teacher).get("solve"), stages_of(student).get("solve")]
    if not (answered_in(teacher) and answered_in(student)) or any(usage is None or usage.get("cache_hits") for usage in used):
        return {}
    before, still, after = (usage or {} for usage in used)
    saving = {}
    for key in ("calls", "input_tokens", "output_tokens", "usd"):
        if all(is_number(usage.get(key)) for usage in (before, still, after)):
            saving[key] = 1000 * ((before[key] + still[key]) / answered_in(teacher) - after[key] / answered_in(student))
    return saving


def _amount(key: str, value: float) -> str:
    if key == "usd":
        return usd_text(value)
    label = "teacher calls" if key == "calls" else key.replace("_", " ")
    return f"{count_text(value)} {label}"


def _score_with_interval(condition: Mapping[str, Any]) -> str:
    scored = condition.get("scored", condition.get("n"))
    return f"{percent(condition.get('score'))} (95% interval {percent_interval(condition)}, {count_text(scored)} questions)"
