"""Answers on file, one line each: what a line answers, and which line of a question counts."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from optimizers.jobs.jsonlines import RecordsOnFile, as_json, read_with_offsets
from programs.lms.ledger import Usage

Key = tuple[Any, Any, Any, str]


def key_of(line: Mapping[str, Any]) -> Key:
    """What a line answers: id, question, context and reference."""
    return line["id"], line.get("question"), line.get("context") or "", as_json(line.get("gold"), sort_keys=True, default=str)


def question_of(example: dspy.Example) -> dict[str, Any]:
    """The fields of a line that say what it answers."""
    return {"id": example.id, "question": example.question, "context": example.get("context") or "", "gold": example.answer}


class AnswersOnFile(RecordsOnFile):
    """The last answers to some questions in a file of `evaluate`, one in memory as long as one goes over them.

    Args:
        path: The file.
        offsets: Where they start.
        failed: Offset of an answer -> stage -> calls that failed in the tries before it.
    """

    def __init__(self, path: Path, offsets: array[int], failed: Mapping[int, Mapping[str, int]]) -> None:
        super().__init__(path, offsets)
        self._failed = failed

    def _read(self, offsets: Sequence[int]) -> Iterator[dict[str, Any]]:
        for offset, line in zip(offsets, super()._read(offsets), strict=True):
            failed = self._failed.get(offset)
            yield line if failed is None else {**line, "usage": _with_failed(line["usage"], failed)}


def answers(path: Path, examples: Sequence[dspy.Example]) -> list[dict[str, Any]]:
    """The answers to some questions in a file of `evaluate`, one a question, in the order of `examples`; missing ones are left out.

    Raises:
        ValueError: A line is none of `evaluate`'s; names the file.
    """
    return list(answers_on_file(path, examples))


def answers_on_file(path: Path, examples: Sequence[dspy.Example]) -> AnswersOnFile:
    """As `answers`, each read when it is asked for."""
    last = _LastLines(path)
    return last.answers(example.id for example in examples if last.keys.get(example.id) == hash(key_of(question_of(example))))


def last_answers(path: Path, ids: Iterable[Any] | None = None) -> AnswersOnFile:
    """The last line of each id: a question that failed and was asked again counts once.

    What came to an answer in a failed try was answered from file in the next one, and stands in its `usage`; the calls
    that failed are added to it.

    Args:
        path: A file of `evaluate`; none has no answers.
        ids: Those that are wanted, in their order; by default all, in that of the file.

    Raises:
        ValueError: A line is none of `evaluate`'s.
    """
    last = _LastLines(path)
    return last.answers(last.keys if ids is None else (one for one in ids if one in last.keys))


class _LastLines:
    """The last line of each id in a file: what it answers, where it stands, and what failed before it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.keys: dict[Any, int] = {}
        self._offsets: dict[Any, int] = {}
        self._retried: dict[Any, dict[str, int]] = {}
        self._failed: dict[int, dict[str, int]] = {}
        for offset, line in read_with_offsets(path):
            if not {"id", "score", "error"} <= set(line):
                raise ValueError(
                    f"{path} has a line that is no answer: {json.dumps(line)[:100]}. Move the file away, and run the same command again."
                )
            self._take(offset, line)

    def _take(self, offset: int, line: dict[str, Any]) -> None:
        name, key = line["id"], hash(key_of(line))
        retried = self._retried.pop(name, {})
        before = retried if self.keys.get(name) == key else {}
        if before:
            self._failed[offset] = before
        self.keys[name], self._offsets[name] = key, offset
        if is_to_retry(line):
            own = {stage: used.get("failed") or 0 for stage, used in line["usage"].items()}
            self._retried[name] = {stage: count for stage in {**own, **before} if (count := own.get(stage, 0) + before.get(stage, 0))}

    def answers(self, ids: Iterable[Any]) -> AnswersOnFile:
        """The answers to some questions that there are."""
        return AnswersOnFile(self._path, array("q", (self._offsets[name] for name in ids)), self._failed)


def _with_failed(usage: dict[str, Any], failed: Mapping[str, int]) -> dict[str, Any]:
    """Usage by stage, with the failed calls of the tries before."""
    more = {stage: Usage(calls=count, failed=count) for stage, count in failed.items()}
    return {**usage, **{stage: (Usage.from_dict(usage.get(stage, {})) + used).to_dict() for stage, used in more.items()}}


def is_to_retry(line: Mapping[str, Any]) -> bool:
    """Whether a line is that of a question whose call failed, which is asked again."""
    return line["score"] is None and line["error"] is not None


def scores_of(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Score by question id, of the scored ones."""
    return {line["id"]: line["score"] for line in lines if line["score"] is not None}
