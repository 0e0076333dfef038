"""The files of a run folder, read for its report."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimizers.jobs.jsonlines import RecordsOnFile

SCHEMA = 1


def read_run(run_dir: Path) -> RunFiles:
    """The files of a run folder that a report speaks of.

    Raises:
        FileNotFoundError: `run_dir` holds neither `metrics.json` nor `config.toml`.
        ValueError: A file cannot be read, or `metrics.json` is of another schema.
    """
    if not any((run_dir / name).is_file() for name in ("metrics.json", "config.toml")):
        raise FileNotFoundError(
            f"{run_dir} is no run folder: it has neither metrics.json nor config.toml. "
            "Give the folder that `divide-or-conquer run --out DIR` wrote."
        )
    metrics = metrics_of(run_dir / "metrics.json")
    asked = metrics.get("test_ids") or None
    return RunFiles(
        metrics=metrics,
        config=text_of(run_dir / "config.toml"),
        predictions={path.stem: answers_of(path, asked) for path in sorted(run_dir.glob("predictions/*.jsonl"))},
        rows=_on_file(run_dir / "rows.jsonl"),
        progress={path.parent.name: lines_of(path) for path in sorted(run_dir.glob("student/*/progress.jsonl"))},
    )


def metrics_of(path: Path) -> dict[str, Any]:
    """What `metrics.json` holds; empty if it is not there.

    Raises:
        ValueError: It is no JSON, or of another schema.
    """
    if not path.is_file():
        return {}
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Delete it and run `divide-or-conquer evaluate` again.") from error
    if not isinstance(metrics, dict) or metrics.get("schema", SCHEMA) != SCHEMA:
        found = metrics.get("schema") if isinstance(metrics, dict) else type(metrics).__name__
        raise ValueError(f"{path} has schema {found!r}; this version reads schema {SCHEMA}. Report with the version that wrote the run.")
    return metrics


def text_of(path: Path) -> str:
    """Text of a file; empty if it is not there.

    Raises:
        ValueError: It is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise _no_text(path, error) from error


def answers_of(path: Path, asked: Collection[Any] | None = None) -> RecordsOnFile:
    """The last line of each question in a file of predictions, of those that are in `asked` (ids; None takes all)."""
    wanted = None if asked is None else set(asked)
    found: dict[Any, int] = {}
    for number, (offset, line) in enumerate(_lines(path)):
        if wanted is None or line.get("id") in wanted:
            found[line.get("id", number)] = offset
    return RecordsOnFile(path, array("q", found.values()))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Records of a JSONL file; none if it is not there. A killed run leaves half a last line, which is passed over."""
    return [record for _, record in _lines(path)]


def _on_file(path: Path) -> RecordsOnFile:
    """As `lines_of`, one at a time in memory."""
    return RecordsOnFile(path, array("q", (offset for offset, _ in _lines(path))))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `lines_of`, each record with its offset in bytes."""
    if not path.is_file():
        return
    offset, torn = 0, None
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.strip():
                if torn is not None:
                    raise torn
                try:
                    yield offset, _parsed(path, number, raw)
                except _TornError as error:
                    torn = error
            offset += len(raw)


class _TornError(ValueError):
    """A line is no JSON, as the last one of a job that was killed may be."""


def _parsed(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    try:
        record = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _no_text(path, error) from error
    except ValueError as error:
        told = f"{path}, line {number} is not valid JSON ({error}). Delete that line and run the same command again."
        raise _TornError(told) from error
    if not isinstance(record, dict):
        raise ValueError(f"{path}, line {number} is {type(record).__name__}; expected a JSON object.")
    return record


def _no_text(path: Path, error: UnicodeDecodeError) -> ValueError:
    return ValueError(f"{path} is no text in UTF-8 ({error}). Restore it, or move the folder away and run the same command again.")


def part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """`record[key]`, or an empty mapping."""
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


REFERENCE = "teacher+teacher"
WITHOUT = "none+teacher"
"""The same solver, given no subquestions."""


@dataclass(frozen=True)
class RunFiles:
    """What the files of a run folder hold; an empty value where a file is missing.

    Attributes:
        metrics: `metrics.json`.
        config: Text of `config.toml`.
        predictions: Lines of `predictions/<condition>.jsonl` by condition, which may be read each time that one goes over them.
        rows: Lines of `rows.jsonl`, likewise.
        progress: Lines of `student/<name>/progress.jsonl` by student.
    """

    metrics: Mapping[str, Any]
    config: str
    predictions: Mapping[str, Sequence[Mapping[str, Any]]]
    rows: Sequence[Mapping[str, Any]]
    progress: Mapping[str, Sequence[Mapping[str, Any]]]

    def part(self, key: str) -> Mapping[str, Any]:
        """`metrics[key]`, or an empty mapping."""
        return part(self.metrics, key)

    def records(self, key: str) -> list[Mapping[str, Any]]:
        """`metrics[key]` where it is a list of records, or an empty list."""
        return [value for value in self.metrics.get(key) or [] if isinstance(value, Mapping)]

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        return {name: value for name, value in self.part("conditions").items() if isinstance(value, Mapping)}
