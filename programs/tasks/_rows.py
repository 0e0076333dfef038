"""Rows of published data sets, unchanged: from the Hugging Face hub, or from files of your own."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SHIPPED = "shipped"
"""The path that stands for the rows that come with the package."""
SHIPPED_FOLDER = Path(__file__).parent / "data"

SPLIT_WORDS = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

Reader = Callable[[Path], Iterable[tuple[int | str, Any]]]
"""Place and fields of each row of a file; a ValueError if it cannot be read."""


class Hub(NamedTuple):
    """A data set of the hub.

    Attributes:
        name: As `datasets.load_dataset` takes it: "openai/gsm8k".
        splits: The hub's split behind each of ours; those without one are left out.
        config: The configuration, for a data set that has several: "main".
    """

    name: str
    splits: Mapping[str, str]
    config: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of a data set, with its place for error messages.

    Attributes:
        id: Split and index, such as "train-12", the same on each load of the same data; for data without an id of its own.
        source: The file, or the data set of the hub.
        place: The row's number as an editor shows it, or what else finds it in `source`.
        fields: The columns.
    """

    id: str
    source: str
    place: int | str
    fields: Mapping[str, Any]

    def text(self, field: str, like: str) -> str:
        """The text in `field`, which may be empty.

        Args:
            field: The column.
            like: An example of a valid text, for the error message.

        Raises:
            ValueError: The column is missing, or holds something else.
        """
        if field not in self.fields:
            raise self.error(field, f"no such field among {sorted(map(str, self.fields))}", f"a text, such as {like!r}")
        value = self.fields[field]
        if not isinstance(value, str):
            raise self.error(field, shown(value), f"a text, such as {like!r}")
        return value

    def question(self, field: str, like: str) -> str:
        """As `text`, without white space at the ends; a ValueError if nothing is left."""
        text = self.text(field, like).strip()
        if not text:
            raise self.error(field, "an empty text", f"a question, such as {like!r}")
        return text

    def error(self, field: str, found: str, expected: str) -> ValueError:
        """The error to raise about a field: `raise row.error("answer", "3", "a text, such as '#### 3'")`."""
        return ValueError(f"{self.source}, row {self.place}, field {field!r}: found {found}; expected {expected}.")


def hub_rows(hub: Hub, split: str) -> Iterator[tuple[str, int, Any]]:
    """Source, row number and fields of each row of our `split`.

    Raises:
        ValueError: The download failed; names the data set, the cause and the next step.
    """
    source = f"{hub.name}{f' ({hub.config})' if hub.config else ''}, split {hub.splits[split]}"
    try:
        # Here, as it takes seconds, and no other task needs it.
        import datasets

        rows = datasets.load_dataset(hub.name, hub.config, split=hub.splits[split])
    except Exception as error:
        # The library raises a dozen unrelated kinds for a missing network, a proxy, a full disk or a bad cache.
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(
            f"The data set {source} could not be loaded from the Hugging Face hub ({cause}). Check the network, or give a file or folder "
            f"that you downloaded before: --task.path FILE.{_offline(hub)}"
        ) from error
    for number, fields in enumerate(rows, 1):
        yield source, number, fields


def _offline(hub: Hub) -> str:
    """What to do without a network, for a data set of which some rows come with the package."""
    task = hub.name.partition("/")[2]
    shipped = hub.config in (None, "main") and any(_task_of(file) == task for file in SHIPPED_FOLDER.iterdir())
    return f" Some of its rows come with the package: --task.path {SHIPPED}." if shipped else ""


def file_rows(files: Iterable[Path], readers: Mapping[str, Reader]) -> Iterator[tuple[str, int | str, Any]]:
    """Source, place and fields of each row of `files`, by the reader of their extension.

    Raises:
        ValueError: A file that cannot be read or holds no row.
    """
    for file in files:
        empty = True
        for place, fields in readers[file.suffix.lower()](file):
            empty = False
            yield str(file), place, fields
        if empty:
            raise ValueError(f"{file} is empty; expected one row a question.")


def shipped_files(task: str) -> list[Path]:
    """The files with a task's rows that come with the package.

    Raises:
        ValueError: There are none; names the tasks that have some.
    """
    files = [file for file in sorted(SHIPPED_FOLDER.iterdir()) if file.suffix.lower() in READERS]
    found = [file for file in files if _task_of(file) == task]
    if not found:
        raise ValueError(
            f"No rows of task {task!r} come with the package, only those of {', '.join(sorted({_task_of(file) for file in files}))}; leave "
            f"path={SHIPPED!r} out for the hub's data, or give a file. A file of yours of that name is './{SHIPPED}'."
        )
    return found


def _task_of(shipped: Path) -> str:
    return shipped.stem.partition("_")[0]


def find_files(path: str | Path, task: str, readers: Mapping[str, Reader]) -> list[Path]:
    """The files that `path` stands for: itself, its parts at commas, or what lies in the folder.

    Raises:
        ValueError: Nothing there, or an extension that has no reader.
    """
    if not str(path).strip():
        raise ValueError(f"path={path!r} of task {task!r} names nothing; give a file or folder, or leave it out for the hub's data.")
    parts = [Path(path)] if Path(path).exists() else [Path(part.strip()) for part in str(path).split(",") if part.strip()]
    files = [file for part in parts or [Path(path)] for file in (_in_folder(part, task, readers) if part.is_dir() else [part])]
    for file in files:
        if not file.is_file():
            raise ValueError(f"There is no {file}; give task {task!r} the path of a file or folder, or no path for the hub's data.")
        if file.suffix.lower() not in readers:
            raise ValueError(f"{file} has the extension {file.suffix!r}; task {task!r} reads {', '.join(sorted(readers))}.")
    return files


def _in_folder(folder: Path, task: str, readers: Mapping[str, Reader]) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in readers)
    if not files:
        raise ValueError(f"The folder {folder} holds no file that task {task!r} reads; expected some of {', '.join(sorted(readers))}.")
    return [file for file in files if task in file.stem.lower()] or files


def split_of(file: Path) -> str | None:
    """The split that the file's name says, or None.

    Raises:
        ValueError: It says two.
    """
    said = {SPLIT_WORDS[word] for word in re.split(r"[^a-z0-9]+", file.stem.lower()) if word in SPLIT_WORDS}
    if len(said) > 1:
        raise ValueError(f"The name of {file} says two splits, {' and '.join(sorted(said))}; name it by one.")
    return said.pop() if said else None


def read_text(file: Path, mend: Callable[[bytes], bytes] | None = None) -> str:
    """The file's text, without a byte order mark and mended by `mend`; a ValueError if it is no UTF-8 or cannot be read.

    UTF-16 is read where a byte order mark says so, as in the "Unicode text" of spreadsheets.
    """
    try:
        content = file.read_bytes()
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        return (mend(content) if mend else content).decode(encoding)
    except UnicodeDecodeError as error:
        wanted = "UTF-16, which its first bytes say" if error.encoding == "utf-16" else "UTF-8"
        raise ValueError(f"{file}: not {wanted} ({error.reason} at byte {error.start}); save the file as UTF-8.") from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from error


def read_json(file: Path) -> Any:
    """What a JSON file holds; None if it is empty. A ValueError names the line of a syntax error."""
    text = read_text(file)
    return _parse_json(f"{file}", text) if text.strip() else None


def _parse_json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) and error.lineno > 1 else ""
        raise ValueError(f"{where}{line}: not JSON ({getattr(error, 'msg', 'nested too deeply, or a number too long')}).") from error


def _json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    rows = read_json(file)
    if rows is not None and not isinstance(rows, list):
        raise ValueError(f"{file}: found {shown(rows)}; expected a list of objects, one a question.")
    yield from enumerate(rows or [], 1)


def _jsonl_rows(file: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            yield number, _parse_json(f"{file}, row {number}", line)


def csv_rows(file: Path, mend: Callable[[bytes], bytes] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a CSV file with a header, numbered as a spreadsheet numbers them.

    Args:
        file: See `read_text`. Its columns stand at commas, semicolons, tabs or bars: at those that part the header into most names, as
            spreadsheets write semicolons where a comma stands before decimals.
        mend: Changes the bytes beforehand, for a published file that is known to be broken.

    Raises:
        ValueError: No UTF-8, no CSV, or a row with more columns than the header.
    """
    text = io.StringIO(read_text(file, mend), newline="")
    delimiter = _delimiter(text)
    rows = csv.DictReader(text, delimiter=delimiter)
    try:
        rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
        for number, row in enumerate(rows, 2):
            surplus = row.pop(None, None)
            if any(surplus or []):
                raise ValueError(
                    f"{file}, row {number}: {shown(surplus)} stands beyond the header's columns; "
                    f"quote texts that hold {_DELIMITERS[delimiter]}."
                )
            yield number, row
    except csv.Error as error:
        raise ValueError(f"{file}, line {rows.line_num}: not CSV ({error}).") from error


def _delimiter(text: io.StringIO) -> str:
    """The sign between the columns; the comma where nothing tells. The text is left at its start."""

    def names(delimiter: str) -> int:
        try:
            return len(next(csv.reader(text, delimiter=delimiter), []))
        except csv.Error:
            return 0
        finally:
            text.seek(0)

    return max(_DELIMITERS, key=names)


def _parquet_rows(file: Path) -> Iterator[tuple[int, Any]]:
    # The library below `datasets`, without the copy that `datasets` would write to its cache.
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(file).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet: {error}.") from error
    yield from enumerate(rows, 1)


def shown(value: Any) -> str:
    """A value as text for an error message, cut at 80 characters."""
    return json.dumps(value, ensure_ascii=False, default=str)[:80]


READERS: dict[str, Reader] = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
    ".parquet": _parquet_rows,
}
TABLES = {name for name, reader in READERS.items() if reader is csv_rows}
"""Extensions of texts with columns."""


def parse_columns(columns: str | Mapping[str, str], known: Sequence[str], example: str) -> dict[str, str]:
    """Names of known columns with one's own.

    Args:
        columns: Such as `example`, or a dict.
        known: The names that may be mapped.
        example: For the message.

    Raises:
        ValueError: No pair, or an unknown name.
    """
    if isinstance(columns, str):
        pairs = [part.partition("=") for part in columns.split(",") if part.strip()]
        wrong = next((name for name, sign, _ in pairs if not sign), None)
        if wrong is not None:
            raise ValueError(f"columns: {wrong.strip()!r} is no pair; expected such as {example!r}.")
        columns = {name.strip(): column.strip() for name, _, column in pairs}
    unknown = sorted(set(columns) - set(known))
    if unknown:
        raise ValueError(f"columns: unknown name {unknown[0]!r}; expected some of {list(known)}, each with your own after it.")
    return dict(columns)
