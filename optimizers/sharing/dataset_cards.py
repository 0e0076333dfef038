"""The card of a run's data set, from what the folder holds; nothing that it does not hold is made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.reports.blocks import Block, Bullets, Code, Section, Table, Text, count_text
from optimizers.reports.write import markdown
from optimizers.sharing.dataset import Part, exported_parts, parts_of
from optimizers.sharing.facts import (
    PAPER,
    TAG,
    Labels,
    card_text,
    command,
    labels_of,
    licence,
    named,
    origins_of,
    settings,
    task_words,
    teacher_of,
)
from optimizers.sharing.origins import is_hub_name
from optimizers.sharing.shared_run import SharedRun, finished_run

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard


def dataset_card(
    run: Path | str, *, repo: str = "", license: str = "", model_repo: str = "", format: str = "parquet", predictions: bool = False
) -> DatasetCard:  # fmt: skip
    """The card of a run's data set.

    Args:
        run: The folder of a finished run or experiment.
        repo: Where it goes on the hub, for the snippets; by default a folder of this machine is spoken of.
        license: As the hub writes it (`cc-by-sa-4.0`); left out where it is empty.
        model_repo: Where the student is on the hub.
        format: `parquet` or `jsonl`: the files beside the card.
        predictions: Whether the answers to the test questions are among them.

    Raises:
        ValueError: No finished run, or nothing of a teacher in it.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    shared = finished_run(run)
    parts = exported_parts(shared) if predictions else parts_of(shared)
    questions = list(dict.fromkeys(origin for task in shared.tasks() for origin in origins_of(shared, task)))
    data = DatasetCardData(
        license=license or None,
        annotations_creators=_creators(labels_of(shared)),
        source_datasets=[one.source for one in questions if is_hub_name(one.source)] or None,
        task_categories="text-generation",
        tags=[TAG, "question-decomposition", "distillation", "synthetic"],
    )
    _describe_files(data, parts, format)
    sections = [
        Section("What it is", _what_is_in(shared, parts, model_repo)),
        Section(
            "Licence", [Bullets(licence(license, "--data-license", "data set", questions, teacher_of(shared), labels=labels_of(shared)))]
        ),
        Section("How to use it", _data_usage(repo or "FOLDER", parts, format, calls=not shared.is_experiment)),
        Section("How it was made", [command(shared), *settings(shared)]),
    ]
    return DatasetCard(card_text(data, markdown(repo or shared.folder.resolve().name, sections)))


def _creators(labels: Labels | None) -> str | list[str]:
    """Who wrote the decompositions, in the words of the hub: what came with traces was found."""
    made = ["machine-generated"] if labels is None or labels.asked or labels.calls else []
    return [*made, "found"] if labels else made[0]


def _describe_files(data: Any, parts: Sequence[Part], format: str) -> None:
    """Files and columns of every table, in the words of `datasets`, so that they are read as they were written."""
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs

    configs: dict[str, dict[str, Any]] = {
        part.name: {"data_files": [{"split": "train", "path": f"{part.name}.{format}"}]} for part in parts
    }
    configs[parts[0].name]["default"] = True
    MetadataConfigs(configs).to_dataset_card_data(data)
    DatasetInfosDict({part.name: DatasetInfo(features=part.features) for part in parts}).to_dataset_card_data(data)


def _what_is_in(run: SharedRun, parts: Sequence[Part], model_repo: str) -> list[Block]:
    labels = labels_of(run)
    wrote = "What an LLM wrote as the teacher of a small model that decomposes questions."
    if labels:
        wrote = (
            "Decompositions that a small model learned from: those of traces from elsewhere are marked as traced, the others are an LLM's."
        )
    text = f"{wrote} The method is that of {PAPER}. Replies are as they came, right and wrong ones; screening says which are which."
    student = [Text(f"The student that learned from it: {model_repo}.")] if model_repo else []
    rows = [[part.name, count_text(sum(1 for _ in part.lines())), part.summary, ", ".join(part.features)] for part in parts]
    told = [["Decompositions", labels.words()]] if labels else []
    facts = [["Teacher", named(teacher_of(run))], *told, *(["Questions", task_words(run, name)] for name in run.tasks())]
    tables = [Table(["Table", "Lines", "A line is", "Columns"], rows, frozenset({0, 2, 3})), Table(["", ""], facts, frozenset({0, 1}))]
    of_traces = " and of traces" if labels else ""
    notes = [
        "source and license of a line are those of its question, as far as they are known; null where they are not.",
        f"answer is the reference; null where the questions could not be loaded again. Those of the teacher{of_traces} are in samples.",
        "Calls that failed are left out.",
    ]
    if any(part.name == "predictions" for part in parts):
        notes.append("predictions are answers to test questions: what is trained on them cannot be tested on those questions.")
    return [Text(text), *student, *tables, Bullets(notes)]


def _data_usage(repo: str, parts: Sequence[Part], format: str, calls: bool) -> list[Block]:
    there = [part.name for part in parts]
    loads = "\n".join(f'{name} = load_dataset("{repo}", "{name}", split="train")' for name in there)
    if "rows" in there:
        loads += '\nlearned = rows.filter(lambda row: row["kept"])  # `messages` are chats, as TRL trains on them'
    blocks: list[Block] = [Code("In Python", f"from datasets import load_dataset\n\n{loads}", "python")]
    if format == "jsonl":
        lines = [] if repo == "FOLDER" else [f"hf download --repo-type dataset {repo} --local-dir FOLDER"]
        lines.append("divide-or-conquer run --task jsonl --task.path FOLDER/questions.jsonl")
        if calls:
            # An experiment has the calls of several tasks, each where its own folder has them.
            lines += ["# or the run below again, with the teacher's replies from here:"]
            lines += ["divide-or-conquer run ... --labelling.calls_from FOLDER"]
        blocks.append(Code("In a shell", "\n".join(lines), "sh"))
    return blocks
