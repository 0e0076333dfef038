"""The model card of a student, from what the folder of its run holds; nothing that it does not hold is made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optimizers.reports.blocks import (
    Block,
    Bullets,
    Section,
    Table,
    Text,
    count_text,
    duration_text,
    is_number,
    machine_text,
    overlap_blocks,
    percent,
    percent_interval,
    plain_value,
    points_difference,
    points_interval,
    reasons_text,
)
from optimizers.reports.write import markdown
from optimizers.sharing.facts import PAPER, TAG, card_text, command, labels_of, licence, named, origins_of, settings, task_words, teacher_of
from optimizers.sharing.origins import ModelOrigin, base_origin, is_hub_name, model_origin
from optimizers.sharing.public import public_value
from optimizers.sharing.shared_run import Figure, SharedRun, SharedStudent, finished_run
from optimizers.sharing.usage import usage_blocks
from programs.lms.artifacts import Artifact
from programs.lms.trained_prompts import plain_prompt, prompts_of

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

_DOES = {
    "S_D": "It writes the subquestions that a question is to be solved by, and leaves the solving to another model.",
    "S_E": "It answers a question with the subquestions that it is given, which another model writes.",
    "S_C": "It answers a question in one stage, by a chain of thought.",
    "joi": "It writes the subquestions of a question, and answers it with them.",
}

_LEARNED_FROM = (
    "A small student of a large teacher, distilled from what the teacher wrote.",
    "A small student, distilled from traces of programs elsewhere and from what a large teacher wrote.",
    "A small student, distilled from decompositions in traces of programs elsewhere; the teacher that is named was asked for none.",
)
"""By whose decompositions these are: the teacher's, both, those of traces."""


def model_card(
    run: Path | str, student: str = "", *, repo: str = "", weights: str = "merged", license: str = "", base_model: str = "",
    data_repo: str = "", gguf: bool = False,
) -> ModelCard:  # fmt: skip
    """The card of a student.

    Args:
        run: The folder of a finished run or experiment.
        student: Its name, `S_D-R` by default; see `SharedRun.student`.
        repo: Where it goes on the hub, for the snippets; by default the student's name.
        weights: `merged`, or `adapter` for the LoRA adapter alone.
        license: As the hub writes it (`apache-2.0`); left out where it is empty.
        base_model: The base on the hub, where the package does not know it.
        data_repo: Where the run's data set is on the hub.
        gguf: Whether a GGUF file goes with it.

    Raises:
        ValueError: No finished run, no such student, or a damaged one.
    """
    from huggingface_hub import ModelCard

    shared = finished_run(run)
    chosen = shared.student(student)
    artifact, repo, adapter = shared.artifact(chosen), repo or chosen.name, weights == "adapter"
    base = base_origin(artifact)
    base = base._replace(hub=base_model) if base_model else base
    questions, figures = origins_of(shared, chosen.train), shared.figures(chosen)
    data = _metadata(repo, base, adapter, license, [data_repo, *(one.source for one in questions)], _results(shared, figures))
    rank = int((artifact.manifest.get("training") or {}).get("lora_rank") or 16)
    prompt = plain_prompt(prompts_of(artifact))
    sections = [
        Section("What it is", _what_it_is(shared, chosen, artifact, base)),
        Section("Licence", [Bullets(licence(license, "--license", "model", questions, teacher_of(shared), base, labels_of(shared)))]),
        Section("How to use it", usage_blocks(repo, chosen.name, prompt, base=base.hub if adapter else "", rank=rank, gguf=gguf)),
        Section("Test figures", _figure_blocks(shared, figures)),
        Section("How it was made", _making(shared, artifact)),
    ]
    return ModelCard(card_text(data, markdown(repo, sections)))


def _metadata(
    repo: str, base: ModelOrigin, adapter: bool, license: str, datasets: Sequence[str], results: list[EvalResult]
) -> ModelCardData:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=license or None,
        base_model=base.hub or None,
        datasets=[name for name in datasets if is_hub_name(name)] or None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=[TAG, "dspy", "question-decomposition", "distillation"],
        model_name=repo.rpartition("/")[2],
        eval_results=results or None,
    )
    if base.hub:
        data["base_model_relation"] = "adapter" if adapter else "finetune"
    return data


def _results(run: SharedRun, figures: Sequence[Figure]) -> list[EvalResult]:
    """The student's own figures as the hub's `model-index`, each with its interval."""
    from huggingface_hub import EvalResult

    found = []
    for figure in figures:
        if not figure.own or not is_number(figure.cell.get("score")):
            continue
        record = run.tasks().get(figure.test) or {}
        source = next((one.source for one in origins_of(run, figure.test) if is_hub_name(one.source)), "")
        measure = str(record.get("measure") or "accuracy")
        solver = model_origin(str((figure.cell.get("models") or {}).get("solve") or "")).shown
        details = {"condition": figure.condition, "questions": figure.cell.get("scored"), "ci95": list(figure.cell.get("ci95") or [])}
        found.append(
            EvalResult(
                task_type="text-generation",
                task_name="Question answering in two stages",
                dataset_type=source or str(record.get("task") or figure.test),
                dataset_name=f"{source or figure.test}, {count_text(figure.cell.get('n'))} questions",
                dataset_split="test",
                metric_type=measure,
                metric_value=figure.cell["score"],
                metric_name=f"{measure}, {figure.condition}",
                metric_args={**details, **({"solver": solver} if solver else {})},
            )
        )
    return found


def _what_it_is(run: SharedRun, student: SharedStudent, artifact: Artifact, base: ModelOrigin) -> list[Block]:
    record, training = student.record, artifact.manifest.get("training") or {}
    took, version = duration_text(record.get("seconds")), run.files.part("versions").get("divide-or-conquer", "")
    does = _DOES.get(student.name[:3], "")
    labels = labels_of(run)
    wrote = _LEARNED_FROM[0 if labels is None else 1 if labels.asked else 2]
    text = f"{wrote} {does} The method is that of {PAPER}."
    facts = {
        "Student": student.label,
        "Base": named(base),
        "Teacher": named(teacher_of(run)),
        **({"Decompositions": labels.words()} if labels else {}),
        "Trained on": f"{count_text(record.get('rows'))} rows, from questions of {task_words(run, student.train)}",
        "Rows kept and dropped": _screened(run, student),
        "Training": f"{training.get('method', 'not recorded')}, {count_text(record.get('steps'))} steps, {took}",
        "Made by": f"divide-or-conquer {version}, commit {plain_value(run.metrics.get('commit'))}",
        "Content": artifact.model_string,
    }
    return [Text(text), Table(["", ""], [[name, plain_value(value)] for name, value in facts.items()], frozenset({0, 1}))]


def _screened(run: SharedRun, student: SharedStudent) -> str:
    labelling = run.files.part("labelling")
    labelling = labelling.get(student.train) or {} if run.is_experiment else labelling
    policies = labelling.get("by_policy") or {}
    policy = student.record.get("policy") or ("none" if student.name.endswith("-T") else next((p for p in policies if p != "none"), "none"))
    counts = policies.get(policy)
    if not isinstance(counts, Mapping):
        return "not recorded"
    return f"policy {policy}: {count_text(counts.get('kept'))} kept; dropped: {reasons_text(counts.get('dropped') or {})}"


def _figure_blocks(run: SharedRun, figures: Sequence[Figure]) -> list[Block]:
    if not any(figure.own for figure in figures):
        return [Text("No test question was asked of this student.", "missing")]
    text = (
        "Right answers with 95 % intervals. In NAME+NAME the first decomposes and the second solves; student0 is the untrained base. "
        "Differences are paired, in percentage points to teacher+teacher. The rows of this student bear a star."
    )
    tests = list(dict.fromkeys(figure.test for figure in figures))
    blocks: list[Block] = [Text(text), *overlap_blocks(run.metrics)]
    if run.metrics.get("incomplete"):
        blocks.append(Text(f"The run is not complete: {run.metrics['incomplete']}.", "warning"))
    for test in tests:
        columns = [f"Condition, on {test}", "Questions", "Score", "95% interval", "Difference", "95% interval", "Failed"]
        blocks.append(Table(columns, [_figure_row(figure) for figure in figures if figure.test == test]))
    return blocks


def _figure_row(figure: Figure) -> list[str]:
    cell, difference = figure.cell, figure.difference or {}
    ends = [points_difference(difference), points_interval(difference)] if difference else ["-", "-"]
    name = f"{figure.condition} ★" if figure.own else figure.condition
    return [name, count_text(cell.get("scored")), percent(cell.get("score")), percent_interval(cell), *ends, count_text(cell.get("failed"))]


def _making(run: SharedRun, artifact: Artifact) -> list[Block]:
    training = {name: value for name, value in (artifact.manifest.get("training") or {}).items() if value is not None}
    rows = [[name, str(public_value(name, value))] for name, value in sorted(training.items())]
    machine = f"Machine: {machine_text(run.files.part('machine')) or 'not recorded'}; {duration_text(run.metrics.get('seconds'))} in all."
    return [command(run), Text(machine), Table(["Training setting", "Value"], rows, frozenset({0, 1})), *settings(run)]
