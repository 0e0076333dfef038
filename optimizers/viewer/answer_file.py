"""Where each answer of a JSONL file stands, so that a page reads the lines that it shows and no others."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.evaluation.passages import passage_key
from optimizers.reports.blocks import is_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

Line = dict[str, Any]
AsLine = Callable[[Line], Line | None]
"""A record of a file in the shape of a line of `predictions/*.jsonl`; None where it is none of those wanted."""

FAILED = "failed"


@dataclass(frozen=True)
class Table:
    """The answers of a file, one a place, in columns; some 42 bytes an answer.

    Attributes:
        offsets: Where the line starts, in bytes.
        ids: Hash of the question's id.
        keys: Hash of id, question, context and reference: what two files must share to be compared.
        passages: Hash of the context; of the question's id where there is none.
        scores: 0 to 1; NaN where unscored.
        states: Index into `state_names`.
        state_names: States of decompositions, `failed` for questions without an answer.
    """

    offsets: NDArray[Any]
    ids: NDArray[Any]
    keys: NDArray[Any]
    passages: NDArray[Any]
    scores: NDArray[Any]
    states: NDArray[Any]
    state_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets)


def hashed(value: Any) -> int:
    """64 bits of a value."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def key_of(line: Mapping[str, Any]) -> int:
    """What a line answers; as `optimizers.evaluation.answers` tells answers apart."""
    return hashed([line.get("id"), line.get("question"), line.get("context") or "", line.get("gold")])


class AnswerFile:
    """One file of answers, which a running job may be writing: every `refresh` reads what was added.

    Args:
        path: The file.
        as_line: Turns its records into lines of predictions.

    Attributes:
        table: The last answer to each id.
        damaged: Number of the lines that are no answers, with the number of the first: (how many, first). A torn last line is
            that of a job that was killed, and counts as none.
        unreadable: Why the file cannot be read; empty if it can.
    """

    def __init__(self, path: Path, as_line: AsLine) -> None:
        self.path, self._as_line = path, as_line
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._forget()

    def _forget(self) -> None:
        import numpy as np

        offsets, ids, keys, passages, scores, states = (np.empty(0, kind) for kind in ("i8", "u8", "u8", "u8", "f8", "u2"))
        self.table = Table(offsets, ids, keys, passages, scores, states)
        self.damaged, self.unreadable = (0, 0), ""
        self._end = self._lines = 0

    @property
    def version(self) -> tuple[int, int, int] | None:
        """Tells the file as it was read from what it is before or later: inode, size, time of change."""
        return self._seen

    def refresh(self) -> Table:
        """Read what is new; all of it where the file is another one."""
        with self._lock:
            try:
                stat = self.path.stat()
                now = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if now != self._seen:
                    if self._seen is None or now[0] != self._seen[0] or now[1] <= self._seen[1]:
                        self._forget()
                    self._scan()
                    self._seen = now
            except OSError as error:
                self._forget()
                self._seen, self.unreadable = None, f"{self.path.name}: {error.strerror}"
            return self.table

    def _scan(self) -> None:
        names = {name: at for at, name in enumerate(self.table.state_names)}
        columns: tuple[list[Any], ...] = ([], [], [], [], [], [])
        with self.path.open("rb") as file:
            file.seek(self._end)
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                self._lines += 1
                try:
                    line = self._as_line(_record(raw))
                    row = line and _row(line, self._end, names)
                except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
                    self.damaged, row = (self.damaged[0] + 1, self.damaged[1] or self._lines), None
                for column, value in zip(columns, row or (), strict=False):
                    column.append(value)
                self._end += len(raw)
        self.table = _last_of_each(self.table, columns, tuple(names))

    def read(self, table: Table, places: Sequence[int]) -> list[Line]:
        """The lines at some places of a table that `refresh` gave; one that changed meanwhile is left out."""
        return [line for _, raw in self._raw(table, places) if (line := self._line(raw)) is not None]

    def _raw(self, table: Table, places: Sequence[int]) -> list[tuple[int, bytes]]:
        """(place, bytes of its line), in the order given."""
        found, offsets = [], table.offsets
        try:
            with self.path.open("rb") as file:
                for place in places:
                    file.seek(int(offsets[place]))
                    found.append((int(place), file.readline()))
        except (OSError, IndexError):
            return found
        return found

    def _line(self, raw: bytes) -> Line | None:
        try:
            return self._as_line(_record(raw))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            return None

    def holding(self, table: Table, places: Sequence[int], words: str) -> list[int]:
        """Those of `places` whose answer has `words` in one of its texts, whatever the case."""
        wanted = words.casefold()
        # As the words stand in JSON: most lines need not be parsed to know that they do not hold them.
        written = json.dumps(words, ensure_ascii=False)[1:-1].casefold()
        found = []
        for start in range(0, len(places), _BATCH):
            for place, raw in self._raw(table, places[start : start + _BATCH]):
                text = raw.decode("utf-8", "replace")
                if (written in text.casefold() or "\\u" in text) and (line := self._line(raw)) is not None:
                    found += [place] if any(wanted in one.casefold() for one in texts_of(line)) else []
        return found


_BATCH = 1000

_MOST_STATES = 50

_TEXTS = ("id", "question", "context", "gold", "subquestions", "decomposition", "sub_answers", "reasoning", "answer", "detail", "error")


def texts_of(line: Mapping[str, Any]) -> list[str]:
    """Everything of a line that a reader may look for."""
    values = [line.get(name) for name in _TEXTS]
    return [str(item) for value in values for item in (value if isinstance(value, list) else [value]) if item is not None]


def _record(raw: bytes) -> Line:
    record = json.loads(raw)
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    return record


def _row(line: Line, offset: int, names: dict[str, int]) -> tuple[Any, ...]:
    score = line.get("score")
    state = FAILED if line.get("error") else str(line.get("state") or "no decomposition")
    state = state if state in names or len(names) < _MOST_STATES else "other"
    known, question = score if is_number(score) else float("nan"), hashed(line["id"])
    return offset, question, key_of(line), passage_key(line.get("context"), question), known, names.setdefault(state, len(names))


def _last_of_each(table: Table, columns: tuple[list[Any], ...], names: tuple[str, ...]) -> Table:
    """The table with new rows behind it; of an id that is there more than once, the last."""
    import numpy as np

    before = (table.offsets, table.ids, table.keys, table.passages, table.scores, table.states)
    joined = [np.concatenate([old, np.asarray(new, old.dtype)]) for old, new in zip(before, columns, strict=True)]
    last = dict(zip(joined[1].tolist(), range(len(joined[1])), strict=True))
    if len(last) < len(joined[1]):
        kept = np.sort(np.fromiter(last.values(), "i8", len(last)))
        joined = [column[kept] for column in joined]
    offsets, ids, keys, passages, scores, states = joined
    return Table(offsets, ids, keys, passages, scores, states, names)
