"""The sets of answers in a job's folder: those of a condition, of a round, of a trial, of a candidate, and the teacher's labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optimizers.labelling.journal import JOURNALS
from optimizers.reports.questions import text_of
from optimizers.reports.read import part
from optimizers.viewer.answer_file import AnswerFile, AsLine, Line, Table, hashed
from optimizers.viewer.places import inside
from optimizers.viewer.summaries import Summary

LABELS = "labels"


@dataclass(frozen=True)
class AnswerSet:
    """Answers of one condition, or the like, to many questions.

    Attributes:
        name: As people name it: `S_D-R+teacher`, `gsm8k/gsm8k/S_D-R+teacher`, `round 1, dev`, `trial 3`, `labels`.
        file: Where they stand.
        asked: Hashes of the ids of the questions that count; None takes all.
        models: Model string by stage, as far as the results say.
        prompts: Which of the job's prompts were used: the key of a candidate of `compile`, else empty.
    """

    name: str
    file: AnswerFile
    asked: frozenset[int] | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    prompts: str = ""

    @property
    def is_labels(self) -> bool:
        """Whether it is the teacher's answers to training questions, which bear no score."""
        return self.name.split()[0] == LABELS

    def places(self, table: Table) -> Any:
        """The places in a table of its file that count, as an array."""
        import numpy as np

        if self.asked is None:
            return np.arange(len(table))
        return np.flatnonzero(np.isin(table.ids, np.fromiter(self.asked, "u8", len(self.asked))))


class Files:
    """The answer files that were read, each once."""

    def __init__(self) -> None:
        self._files: dict[tuple[Path, str], AnswerFile] = {}

    def get(self, path: Path, what: str, as_line: AsLine) -> AnswerFile:
        """The file at `path`; `what` tells several ways to read it apart."""
        return self._files.setdefault((path, what), AnswerFile(path, as_line))


def sets_of(job: Summary, files: Files) -> list[AnswerSet]:
    """All sets of a job, in reading order: conditions, rounds, trials, candidates, labels."""
    return [*_predictions(job, files), *_rounds(job, files), *_trials(job, files), *_candidates(job, files), *_labels(job, files)]


def _below(job: Summary, pattern: str) -> list[tuple[Path, str]]:
    """Files of a job that match, with their path in it; none to which a link leads from outside."""
    try:
        paths = sorted(job.place.folder.glob(pattern))
    except OSError:
        return []
    named = [(path, path.relative_to(job.place.folder).as_posix()) for path in paths]
    return [(path, _plain(name)) for path, name in named if inside(job.place, name)]


def _plain(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _predictions(job: Summary, files: Files) -> list[AnswerSet]:
    found = [(name.removeprefix("predictions/").removesuffix(".jsonl"), path) for path, name in _below(job, "predictions/**/*.jsonl")]
    known, asked = _conditions(job), _test_ids(job)
    order = {name: at for at, name in enumerate(known)}
    found = sorted(
        ((name, path) for name, path in found if path.name not in JOURNALS), key=lambda one: (order.get(one[0], len(order)), one)
    )
    return [
        AnswerSet(name, files.get(path, "", _answer), asked.get(name.split("/")[0], asked.get("")), _models(known.get(name, {})))
        for name, path in found
    ]


def _conditions(job: Summary) -> dict[str, Mapping[str, Any]]:
    """Entries of `metrics.json` by the path of their predictions."""
    cells = job.metrics.get("cells")
    if not isinstance(cells, list):
        conditions = job.metrics.get("conditions")
        return {name: one for name, one in conditions.items() if isinstance(one, Mapping)} if isinstance(conditions, Mapping) else {}
    found = {}
    for cell in (cell for cell in cells if isinstance(cell, Mapping)):
        parts = [cell.get("test"), cell.get("train"), cell.get("variant"), cell.get("condition")]
        found["/".join(str(part) for part in parts if part)] = cell
    return found


def _models(condition: Mapping[str, Any]) -> dict[str, str]:
    return {str(stage): str(model) for stage, model in part(condition, "models").items()}


def _test_ids(job: Summary) -> dict[str, frozenset[int]]:
    """Hashes of the ids of the test questions by test task; those of a run, which has one alone, under the empty name."""
    tasks = job.metrics.get("tasks")
    about = tasks if isinstance(tasks, Mapping) else {"": job.metrics}
    ids = {str(name): one.get("test_ids") for name, one in about.items() if isinstance(one, Mapping)}
    return {name: frozenset(map(hashed, found)) for name, found in ids.items() if isinstance(found, list) and found}


def _rounds(job: Summary, files: Files) -> list[AnswerSet]:
    paths = [found for split in ("dev", "test", "own") for found in _below(job, f"rounds/*/{split}.jsonl")]
    numbered = sorted((int(path.parent.name), path) for path, _ in paths if path.parent.name.isdecimal())
    return [AnswerSet(f"round {number}, {path.stem}", files.get(path, "", _answer)) for number, path in numbered]


def _trials(job: Summary, files: Files) -> list[AnswerSet]:
    trials = job.metrics.get("trials")
    known = [one for one in trials if isinstance(one, Mapping)] if isinstance(trials, list) else []
    numbers = {str(one.get("folder")): one.get("number") for one in known}
    paths = [(numbers.get(f"trials/{path.parent.name}"), path) for path, _ in _below(job, "trials/*/predictions.jsonl")]
    named = [(number if isinstance(number, int) else len(paths), path) for number, path in paths]
    return [
        AnswerSet(f"trial {number if number < len(paths) else _plain(path.parent.name)}", files.get(path, "", _answer))
        for number, path in sorted(named)
    ]


def _candidates(job: Summary, files: Files) -> list[AnswerSet]:
    path = inside(job.place, "evaluations.jsonl")
    candidates = job.metrics.get("candidates")
    if path is None:
        return []
    known = [one for one in candidates if isinstance(one, Mapping)] if isinstance(candidates, list) else []
    numbers = {str(one.get("key")): f"candidate {one.get('number')}" for one in known}
    found = dict.fromkeys(_splits(path))
    return [
        AnswerSet(
            f"{numbers.get(key, f'candidate {key}')}, {split}", files.get(path, f"{key} {split}", _evaluation(key, split)), prompts=key
        )
        for key, split in found
    ]


def _splits(path: Path) -> Iterator[tuple[str, str]]:
    """Candidate and split of the lines of `evaluations.jsonl`, which is small: a score a line."""
    for raw in path.read_bytes().splitlines():
        try:
            line = json.loads(raw)
            yield str(line["candidate"]), str(line["split"])
        except (ValueError, KeyError, TypeError):
            continue


def _labels(job: Summary, files: Files) -> list[AnswerSet]:
    paths = [found for pattern in ("samples.jsonl", "labels/**/samples.jsonl", "rounds/samples.jsonl") for found in _below(job, pattern)]
    names = [(" ".join([LABELS, *_where(name)]), path) for path, name in paths]
    return [AnswerSet(name, files.get(path, "", _sample)) for name, path in names]


def _where(name: str) -> list[str]:
    """What tells the labels of one file from those of another: the task, or that the rounds asked for them."""
    parts = [part for part in name.split("/")[:-1] if part != LABELS]
    return ["of", "/".join(parts)] if parts else []


def _answer(record: Line) -> Line | None:
    if "id" not in record or "score" not in record:
        raise ValueError("no answer")
    return record


def _evaluation(candidate: str, split: str) -> AsLine:
    """Of `compile`: which question, and its score; the words of the question are not on file."""

    def as_line(record: Line) -> Line | None:
        if (str(record["candidate"]), str(record["split"])) != (candidate, split):
            return None
        return {"id": record["id"], "question": "", "score": record["score"], "error": record.get("failure"), "usage": {}}

    return as_line


def _sample(record: Line) -> Line:
    """A line of `samples.jsonl`: a run of the teacher on a training question."""
    calls = [call for call in record["calls"] if isinstance(call, list) and len(call) == 3]
    inputs = {name: value for call in reversed(calls) for name, value in _mapping(call[1]).items()}
    prediction = _mapping(record["prediction"])
    outputs = {name: value for call in calls for name, value in _mapping(call[2]).items()}
    given = {**outputs, **prediction}
    sample = record.get("sample") or 0
    kept = {name: given.get(name) for name in ("subquestions", "sub_answers", "reasoning", "answer", "state")}
    return {
        "id": f"{record['example']}, sample {sample}" if sample else record["example"],
        "example": record["example"],
        "sample": sample,
        # Of a program of the user's own, whatever it was given.
        "question": inputs.get("question") or "; ".join(f"{name}: {text_of(value)}" for name, value in inputs.items()),
        "context": inputs.get("context") or "",
        "gold": None,
        **kept,
        "answer": given.get("answer") if "answer" in given else "; ".join(f"{k}: {text_of(v)}" for k, v in prediction.items()),
        "decomposition": "\n".join(map(str, given.get("lines") or [])),
        "score": None,
        "error": f"{record['error']}: {record.get('message', '')}" if record.get("error") else None,
        "usage": record.get("usage") or {},
        "calls": calls,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
