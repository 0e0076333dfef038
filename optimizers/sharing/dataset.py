"""What a run has of its teacher as a `datasets` data set: the questions with what the teacher made of them, the calls, the rows.

Beside it, on this machine alone, the answers to the test questions: on the hub these would end in what later models are trained on.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy

from optimizers.jobs.jsonlines import read_lines, read_with_offsets
from optimizers.labelling.samples import SAMPLES, Sample, inputs_hash
from optimizers.labelling.samples import failure as failure_of
from optimizers.reports.frames import usage_record
from optimizers.sharing.predictions import ROLES, Answered, answered, kind_of, public_model
from optimizers.sharing.shared_run import SharedRun
from programs.tasks.base import Task

if TYPE_CHECKING:
    from datasets import Features

Record = dict[str, Any]
Tasks = Mapping[str, Task | None]

CALL_FIELDS = ("key", "example", "sample", "stage", "model", "prompt", "text", "finish", "input_tokens", "output_tokens", "seconds", "usd")
PREDICTION_FIELDS = (
    *("train", "variant", "condition", "id", "question", "context", "answer", "subquestions", "sub_answers", "reasoning", "predicted"),
    *("score", "state", "detail", "unparsed", "cut_off", "error", "decomposer", "solver"),
    *("input_tokens", "output_tokens", "seconds", "usd"),
)
ROW_FIELDS = ("id", "sample", "question", "student", "target", "policy", "kept", "reason", "messages", "traced", "origin", "sources")

TABLES = ("questions", "rows", "traces", "predictions")


@dataclass(frozen=True)
class Part:
    """One table of the data set.

    Attributes:
        name: One of `TABLES`: its configuration's name on the hub.
        summary: What a line of it is.
        features: Its columns.
        lines: Gives its lines; may be called any number of times.
    """

    name: str
    summary: str
    features: Features
    lines: Callable[[], Iterator[Record]]


def parts_of(run: SharedRun) -> list[Part]:
    """The tables of a run's data set that have a line.

    Raises:
        ValueError: There is nothing of a teacher in the folder, or a file is damaged.
    """
    features = _features()
    made = {"questions": _questions, "rows": _rows, "traces": _traces}
    summaries = {
        "questions": "a question that the teacher was asked, with all that it made of it",
        "rows": "a decision of screening: what a student learned from, or the reason why it did not",
        "traces": "an answered call of the teacher, as it came",
    }
    if run.files.part("labelling").get("traced"):
        summaries["questions"] = "a question, with all that the teacher made of it, or what a trace has"
        summaries["rows"] += "; traced, where its decomposition is that of a trace"
    tasks = {name: run.task(name) for name in run.tasks()}
    parts = [Part(name, summaries[name], features[name], functools.partial(_lines, make, run, tasks)) for name, make in made.items()]
    found = [part for part in parts if next(part.lines(), None) is not None]
    if not found:
        raise ValueError(f"{run.folder} has no calls of a teacher on file: {SAMPLES} and traces.jsonl are not there, or empty.")
    return found


def exported_parts(run: SharedRun) -> list[Part]:
    """The tables of `parts_of`, and `predictions`.

    Raises:
        ValueError: As `parts_of`; or answers that the run's figures are not of.
    """
    tasks = {name: run.task(name) for name in run.tasks()}
    summary = "an answer of a condition to a test question, with its score"
    found = list(answered(run))
    lines = functools.partial(_lines, lambda run, tasks: _predictions(run, tasks, found), run, tasks)
    return [*parts_of(run), Part("predictions", summary, _features()["predictions"], lines)]


def _lines(make: Callable[[SharedRun, Tasks], Iterator[Record]], run: SharedRun, tasks: Tasks) -> Iterator[Record]:
    return map(writable, make(run, tasks))


def writable(value: Any) -> Any:
    """A value whose texts UTF-8 can hold: a reply may end in half a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [writable(one) for one in value]
    return {name: writable(one) for name, one in value.items()} if isinstance(value, dict) else value


def _features() -> dict[str, Features]:
    from datasets import Features, List, Value

    text, texts, number, whole = Value("string"), List(Value("string")), Value("float64"), Value("int64")
    whose = {"task": text, "source": text, "license": text}
    made = {
        "program": text,
        "sample": whole,
        "traced": Value("bool"),
        "subquestions": texts,
        "sub_answers": texts,
        "reasoning": text,
        "answer": text,
        "state": text,
        "error": text,
    }
    questions = {"id": text, "question": text, "context": text, "answer": texts, "subquestions": texts, "samples": List(made)}
    kinds = {"sample": whole, "input_tokens": whole, "output_tokens": whole, "seconds": number, "usd": number}
    answers = {**kinds, "score": number, "unparsed": Value("bool"), "cut_off": Value("bool")}
    answers |= dict.fromkeys(("answer", "subquestions", "sub_answers"), texts)
    turns = List({"role": text, "content": text})
    rows = {"sample": whole, "kept": Value("bool"), "traced": Value("bool"), "messages": turns, "sources": texts}
    return {
        "questions": Features({**questions, **whose}),
        "rows": Features({**{name: rows.get(name, text) for name in ROW_FIELDS}, "variant": text, **whose}),
        "traces": Features({**{name: kinds.get(name, text) for name in CALL_FIELDS}, **whose}),
        "predictions": Features({**{name: answers.get(name, text) for name in PREDICTION_FIELDS}, **whose}),
    }


def _label_folders(run: SharedRun) -> dict[str, Path]:
    """The folder of the teacher's calls by training task."""
    if not run.is_experiment:
        return dict.fromkeys(run.tasks(), run.folder)
    return {path.name: path for path in sorted((run.folder / "labels").glob("*")) if path.is_dir()}


def _row_files(run: SharedRun) -> Iterator[tuple[str, str, Path]]:
    """Training task, variant and file of what screening decided."""
    if not run.is_experiment:
        yield from ((name, "", run.folder / "rows.jsonl") for name in run.tasks())
        return
    for path in sorted((run.folder / "students").glob("*/*/notes/rows.jsonl")):
        task, variant = path.parts[-4:-2]
        yield task, "" if variant == "main" else variant, path


def _whose(run: SharedRun, tasks: Tasks, task: str, example: Any) -> Record:
    origin = run.origin_of(tasks.get(task), str(example))
    return {"task": task, "source": origin.source or None, "license": origin.license or None}


def _traces(run: SharedRun, tasks: Tasks) -> Iterator[Record]:
    for task, folder in _label_folders(run).items():
        for line in read_lines(folder / "traces.jsonl"):
            # What a failed call was told may name servers and accounts.
            if "error" not in line and not line.get("empty"):
                yield {**{name: line.get(name) for name in CALL_FIELDS}, **_whose(run, tasks, task, line.get("example"))}


def _rows(run: SharedRun, tasks: Tasks) -> Iterator[Record]:
    for task, variant, path in _row_files(run):
        for line in read_lines(path):
            fields = {name: line.get(name) for name in ROW_FIELDS}
            # The place of a trace is a file of who made the run.
            told = {name: bool(line.get(name)) for name in ("kept", "traced")}
            yield {**fields, **told, "variant": variant, **_whose(run, tasks, task, line.get("id"))}


def _predictions(run: SharedRun, tasks: Tasks, found: Sequence[Answered]) -> Iterator[Record]:
    for one in found:
        models = {ROLES.get(stage, stage): public_model(model) for stage, model in one.models.items()}
        place = {"train": one.train or None, "variant": one.variant or None, "condition": one.condition}
        for line in one.lines:
            fields = {name: line.get(name) for name in PREDICTION_FIELDS} | usage_record(line.get("usage") or {})
            read = {"id": str(line["id"]), "answer": _answers(line.get("gold")), "predicted": _word(line.get("answer"))}
            lists = {name: _texts(line.get(name)) for name in ("subquestions", "sub_answers")}
            told = {"error": kind_of(line["error"]) or None, "seconds": line.get("seconds")}
            roles = {role: models.get(role) for role in ("decomposer", "solver")}
            yield {**fields, **place, **read, **lists, **told, **roles, **_whose(run, tasks, one.test, line["id"])}


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def _questions(run: SharedRun, tasks: Tasks) -> Iterator[Record]:
    for task, folder in _label_folders(run).items():
        path, places = folder / SAMPLES, dict[str, list[int]]()
        for offset, line in read_with_offsets(path):
            places.setdefault(str(line.get("example")), []).append(offset)
        references = _references(run, tasks, task)
        for example, offsets in places.items():
            found = _question(path, offsets, references.get(example))
            if found:
                yield {"id": example, **found, **_whose(run, tasks, task, example)}


def _references(run: SharedRun, tasks: Tasks, name: str) -> dict[str, dspy.Example]:
    """The task's own questions by id, for their reference answers; none where they cannot be loaded."""
    task, record = tasks.get(name), run.tasks().get(name) or {}
    found: dict[str, dspy.Example] = {}
    for split, count in (("dev", None), ("train", None), ("train", record.get("train"))):
        try:
            examples = task.load(split, count) if task else []
        except (ValueError, OSError):
            examples = []
        found |= {str(example.id): example for example in examples}
    return found


def _question(path: Path, offsets: list[int], reference: dspy.Example | None) -> Record | None:
    """A question with its samples; None where nothing on file says how it reads."""
    with path.open("rb") as file:
        records = [(file.seek(offset), json.loads(file.readline()))[1] for offset in offsets]
    records.sort(key=lambda record: record["sample"])
    same = reference is not None and all(record.get("inputs") == inputs_hash(reference) for record in records)
    samples = [Sample.from_record(record) for record in records]
    inputs = next((call.inputs for sample in samples for call in sample.calls if call.inputs.get("question")), None)
    asked = inputs or (reference.toDict() if reference is not None and same else None)
    if asked is None:
        return None
    made = [
        {"program": record.get("program"), "traced": "traced" in record, **_made(sample)}
        for record, sample in zip(records, samples, strict=True)
    ]
    usable = next((one["subquestions"] for one in made if one["subquestions"] and one["error"] is None), None)
    return {
        "question": str(asked["question"]),
        "context": str(asked.get("context") or ""),
        "answer": _answers(reference.get("answer")) if reference is not None and same else None,
        "subquestions": usable,
        "samples": made,
    }


def _made(sample: Sample) -> Record:
    prediction = sample.prediction
    texts = {name: _texts(prediction.get(name)) for name in ("subquestions", "sub_answers")}
    words = {name: None if prediction.get(name) is None else str(prediction[name]) for name in ("reasoning", "answer", "state")}
    return {"sample": sample.sample, **texts, **words, "error": failure_of(sample.error, prediction)}


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def _answers(value: Any) -> list[str]:
    return _texts(value) if isinstance(value, list | tuple) else [] if value is None else [str(value)]
