"""What a training is known by, so that the same one is never done twice and another one never taken for it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimizers.finetune.spec import WITHOUT_EFFECT, TrainingSpec, defaults_since

Rows = Sequence[dict[str, Any]]

_OLDEST = "adapter_scale"
"""The first setting that came after identities."""

_NOT_COUNTED = {*WITHOUT_EFFECT, "limits"}

_ROW_KEYS = ("messages", "rejected", "example")


@dataclass(frozen=True, eq=False)
class TrainingIdentity:
    """Everything that decides what comes out of a training.

    Attributes:
        rows: Chats to train on, as `train` takes them.
        dev_rows: Chats whose loss picks the best checkpoint.
        spec: The settings, with a seed.
        adapter: Name of the prompt format of the rows.
        base: Model string of what is trained.
    """

    rows: Rows
    dev_rows: Rows
    spec: TrainingSpec
    adapter: str
    base: str

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all that."""
        return self._digest(self.base)

    @functools.cached_property
    def digests(self) -> frozenset[str]:
        """`digest`, and what stands in its place in folders of earlier versions."""
        # Those told the base by its folder, which is another one on another machine.
        return frozenset({self.digest, self._digest(self.spec.base)})

    def is_of(self, manifest: Mapping[str, Any]) -> bool:
        """Whether an artifact is what this training would make: by its identity, or by what its manifest says of a folder that moved."""
        if manifest.get("training_identity") in self.digests:
            return True
        if self.dev_rows or self.spec.accelerate_config or (manifest.get("base"), manifest.get("adapter")) != (self.base, self.adapter):
            return False
        made_with = {**defaults_since(_OLDEST), **manifest.get("training", {}), **self.spec.model_dump(include=_NOT_COUNTED)}
        same_settings = made_with == self.spec.model_dump(exclude={"base"}, mode="json")
        return same_settings and manifest.get("rows_sha256") == _hash_of_lines(self.rows)

    def _digest(self, base: str) -> str:
        settings = {**self.spec.model_dump(exclude={*_NOT_COUNTED, *self.spec.at_default_since(_OLDEST)}), "base": base}
        if self.spec.accelerate_config:
            # What the file says counts, not where it lies.
            settings["accelerate_config"] = Path(self.spec.accelerate_config).expanduser().read_text()
        # The hash of one list of all that, a row at a time: as one text, many rows would be there several times.
        found = hashlib.sha256(b"[")
        for part in (self.rows, self.dev_rows):
            for number, row in enumerate(part):
                found.update(f"{', ' if number else '['}{json.dumps(row, sort_keys=True)}".encode())
            found.update(b"], " if part else b"[], ")
        found.update(f"{json.dumps(settings, sort_keys=True)}, {json.dumps(self.adapter)}]".encode())
        return found.hexdigest()


def row_lines(rows: Rows) -> Iterator[str]:
    """The lines of `rows.jsonl` in a job's folder and in its artifact: of each row what the trainer reads."""
    return (json.dumps({key: row[key] for key in _ROW_KEYS if key in row}) + "\n" for row in rows)


def _hash_of_lines(rows: Rows) -> str:
    found = hashlib.sha256()
    for line in row_lines(rows):
        found.update(line.encode())
    return found.hexdigest()
