"""What screening made of a teacher's label: for which students it is a training row, and why not for the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from optimizers.viewer.places import Place, inside

_FILES = ("rows.jsonl", "rounds/rows.jsonl", "labels/rows.jsonl", "students/*/*/notes/rows.jsonl")


def remarks_on(place: Place, example: Any, sample: Any) -> list[str]:
    """A sentence a student and policy, each once.

    Args:
        place: The job.
        example: Id of the question.
        sample: Number of the teacher's run on it.
    """
    said: dict[str, None] = {}
    for row in _rows(place, str(example)):
        if str(row.get("id")) == str(example) and (row.get("sample") or 0) == (sample or 0):
            who = f"{row.get('student') or 'student'}, policy {row.get('policy')}"
            said[f"{who}: kept" if row.get("kept") else f"{who}: left out, {str(row.get('reason')).replace('_', ' ')}"] = None
    return list(said)


def _rows(place: Place, example: str) -> Iterator[dict[str, Any]]:
    needle = json.dumps(example, ensure_ascii=False).encode("utf-8", "surrogatepass")
    paths = [path for pattern in _FILES for path in sorted(place.folder.glob(pattern))]
    for path in (path for path in paths if inside(place, str(path.relative_to(place.folder)))):
        try:
            with path.open("rb") as file:
                for raw in file:
                    row = json.loads(raw) if needle in raw else None
                    if isinstance(row, dict):
                        yield row
        except (OSError, ValueError, RecursionError):
            continue
