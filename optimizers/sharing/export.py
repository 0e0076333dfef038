"""A run's data set as files that `datasets` reads, and that this package reads again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.jobs.jsonlines import line_of, write_whole
from optimizers.sharing.dataset import TABLES, Part, exported_parts
from optimizers.sharing.shared_run import finished_run

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

FORMATS = ("parquet", "jsonl", "arrow")
"""`parquet` and `jsonl` are a file a table, for `datasets.load_dataset`; `arrow` is that of `datasets.load_from_disk`."""
_DICT = "dataset_dict.json"


def export_dataset(run: Path | str, folder: Path | str, format: str = "parquet") -> dict[str, int]:
    """Write what a run has of its teacher, and its answers to the test questions, as a data set with a card, and read it back.

    The tables are `questions` (with `question`, `answer`, `context`, `subquestions` and `id`, as task `jsonl` takes them),
    `rows`, `traces` and `predictions`. As `jsonl`, `--task jsonl --task.path FOLDER/questions.jsonl` asks the questions again, and
    `--labelling.calls_from FOLDER` labels a new run by the calls in `traces.jsonl`.

    Args:
        run: The folder of a run or an experiment.
        folder: Where to write; must not be there, or be empty.
        format: One of `FORMATS`.

    Returns:
        Lines by table.

    Raises:
        ValueError: No finished run, nothing of a teacher in it, answers that the figures are not of, an unknown format, a folder that
            is in use, or files that were read back as something else.
    """
    from optimizers.sharing.dataset_cards import dataset_card

    refuse_format(format)
    refuse_used(Path(folder))
    shared = finished_run(run)
    parts = exported_parts(shared)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    counts = write_tables(parts, target, format)
    if format != "arrow":
        dataset_card(shared.folder, format=format, predictions=True).save(target / "README.md")
    _check(parts, target)
    return counts


def dataset_of(run: Path | str) -> DatasetDict:
    """The tables of `export_dataset` in memory: `dataset_of("runs/first")["rows"]` is a `datasets.Dataset`; nothing is written.

    Args:
        run: The folder of a run or an experiment.

    Raises:
        ValueError: As `export_dataset`.
    """
    import datasets

    parts = exported_parts(finished_run(run))
    return datasets.DatasetDict({part.name: datasets.Dataset.from_list(list(part.lines()), features=part.features) for part in parts})


def read_dataset(folder: Path | str, cache: str | None = None) -> DatasetDict:
    """The tables that `export_dataset` wrote, or that were downloaded from the hub, by name.

    Args:
        folder: The folder, of any of `FORMATS`.
        cache: Where `datasets` keeps what it makes of the files; its own place by default.

    Raises:
        ValueError: No such data set there.
    """
    import datasets

    folder = Path(folder)
    if (folder / _DICT).is_file():
        return datasets.load_from_disk(str(folder))
    if not any((folder / f"{name}.{ending}").is_file() for name in TABLES for ending in ("parquet", "jsonl")):
        raise ValueError(f"{folder} holds no data set of a run: give the folder that `divide-or-conquer export-dataset` wrote.")
        # By its whole path: `datasets` takes a bare "parquet" or "json" for one of its own loaders.
    path = str(folder.resolve())
    names = datasets.get_dataset_config_names(path)
    return datasets.DatasetDict({name: datasets.load_dataset(path, name, split="train", cache_dir=cache) for name in names})


def write_tables(parts: Sequence[Part], folder: Path, format: str) -> dict[str, int]:
    """Write the tables in one of `FORMATS`, without a card; returns the lines of each."""
    import datasets

    if format == "jsonl":
        return {part.name: _write_lines(part, folder) for part in parts}
    with _in_passing() as cache:
        tables = {part.name: _table(part, cache) for part in parts}
        if format == "arrow":
            datasets.DatasetDict(tables).save_to_disk(str(folder))
        else:
            for name, table in tables.items():
                table.to_parquet(str(folder / f"{name}.parquet"))
        return {name: len(table) for name, table in tables.items()}


def _write_lines(part: Part, folder: Path) -> int:
    # Not by `Dataset.to_json`, whose pandas rounds numbers and turns whole ones beside a null into fractions.
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for line in part.lines():
            count += 1
            yield line_of(line)

    write_whole(folder / f"{part.name}.jsonl", lines())
    return count


def _table(part: Part, cache: str) -> Dataset:
    from datasets import Dataset

    # The name in place of a fingerprint: it would be taken of the generator, with all that hangs on it.
    return Dataset.from_generator(part.lines, features=part.features, cache_dir=cache, fingerprint=part.name)


def _check(parts: Sequence[Part], folder: Path) -> None:
    """Compare what was written with what stands in the run, line by line."""
    with _in_passing() as cache:
        found = read_dataset(folder, cache)
        for part in parts:
            table, lines = found[part.name], (_plain(line, part) for line in part.lines())
            if table.features != part.features or any(one != other for one, other in zip_longest(lines, table)):
                raise ValueError(f"{folder}: the table {part.name!r} is read back as another one. Did the run go on meanwhile?")


def _plain(line: Mapping[str, Any], part: Part) -> dict[str, Any]:
    """A line as `datasets` gives it back: with every column."""
    return {name: line.get(name) for name in part.features}


@contextlib.contextmanager
def _in_passing() -> Iterator[str]:
    """A folder for what `datasets` keeps meanwhile, and none of its progress bars."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    folder = tempfile.mkdtemp(prefix="divide-or-conquer-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if shown:
            datasets.enable_progress_bars()


def refuse_format(format: str, formats: Sequence[str] = FORMATS) -> None:
    """Refuse a format that is not among `formats`.

    Raises:
        ValueError: Names them.
    """
    if format not in formats:
        raise ValueError(f"Unknown format {format!r} of a data set; expected one of {list(formats)}.")


def refuse_used(folder: Path) -> None:
    """Refuse a folder to write into that holds something.

    Raises:
        ValueError: It does, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not an empty folder; name another one.")
