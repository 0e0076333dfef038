"""A task of your own: a file of questions and answers (JSONL, JSON, CSV, Parquet), or a folder with one file a split."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dspy

from programs.tasks._own_splits import split_up
from programs.tasks._published import Fractions, parse_fractions
from programs.tasks._rows import READERS, SPLIT_WORDS, TABLES, parse_columns, read_json
from programs.tasks.base import SPLITS, Score, Task, asked, canonical, each_once
from programs.tasks.scorers import AUTO, FORMATS, MEASURES, golds_of, scorer_by_name, suited_scorer

COLUMNS = ("question", "answer", "context", "subquestions", "id")
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_SHARD = re.compile(r"-\d+-of-\d+$")
"""How the hub numbers the files of a split: train-00000-of-00002.parquet."""
_LOOKED_AT = 1000
"""Lines of a file by which a scorer is chosen."""
_REQUIRED = ("question", "answer")
_OFTEN_CONTEXT = ("text", "passage", "paragraph", "document", "article", "story", "body", "evidence")


class JsonlTask(Task):
    """Questions from a file: one JSON object a line with `question`, `answer`, and if you have them `context`, `subquestions`, `id`.

    A JSON file with a list of such objects, a CSV file with a header and a Parquet file are read by the same names. `answer` is a text, a
    number, or a list of accepted answers (the best match counts); in a cell of CSV, lists are written as JSON. A single file is split by
    seed, and neither the same question nor the same passage stands in two splits (see `split_up`); a folder is read as `train.jsonl`,
    `dev.jsonl` or `validation.jsonl`, and `test.jsonl`, or files of these names in the other formats.

    Args:
        path: The file or the folder.
        columns: Where your names differ: "question=frage,answer=antwort", or as a dict.
        seed: Another seed splits a single file differently.
        fractions: Shares of train, dev and test of a single file: "0.7,0.1,0.2", a sequence or a dict.
        max_subquestions: The limit that the decomposer is told.
        decomposer_sees_context: Whether the decomposer is given the passage, or the question alone; None gives a model what it
            was trained to see, and the passage to all others.
        scorer: How an answer is judged: `auto` (`number` where every answer of the file is one, with a unit or without, `short` where
            nearly all have six words at most, else `exact`), `exact`, `number` (the final number), `short` (`number` where the
            reference is one, else its words, alone or in a sentence that repeats the question), `f1` (of words), `contains`,
            `multiple_choice`, or a Python function `module:function`, called as `f(example, prediction, trace=None)`; see
            `programs.tasks.scorers`.

    Raises:
        ValueError: Nothing at `path`, a format that is not read, unknown columns, fractions that do not add up to 1, or an unknown scorer.
    """

    name = "jsonl"
    summary = "your own file of questions and answers: --task.path FILE, columns mapped by --task.columns"

    def __init__(
        self,
        path: str | Path,
        columns: str | Mapping[str, str] = "",
        seed: int = 0,
        fractions: Fractions = (0.7, 0.1, 0.2),
        max_subquestions: int | None = 3,
        decomposer_sees_context: bool | None = None,
        scorer: str = AUTO,
    ) -> None:
        if "://" in str(path):
            raise ValueError(f"{path} is an address; download the file first, and give task 'jsonl' the path of what you have.")
        self.path = Path(path)
        if not self.path.exists():
            raise ValueError(f"There is no {self.path}; give task 'jsonl' the path of a JSONL file, or of a folder with train.jsonl.")
        _refuse_other_formats(self.path)
        self.columns = {**{name: name for name in COLUMNS}, **parse_columns(columns, COLUMNS, "question=frage,answer=antwort")}
        self.seed = seed
        self.fractions = parse_fractions(fractions)
        self.max_subquestions = max_subquestions
        self.decomposer_sees_context = decomposer_sees_context
        scorer = self._suited() if scorer == AUTO else scorer
        self.scoring = scorer
        self._score = scorer_by_name(scorer)
        # A class attribute of other tasks; here it follows from the scorer.
        vars(self)["measure"] = MEASURES.get(scorer, "accuracy" if ":" not in scorer else scorer.partition(":")[2])
        self.answer_format = FORMATS.get(scorer, "")
        self._splits: dict[str, list[dspy.Example]] = {}

    def load(self, split: str, limit: int | None = None) -> list[dspy.Example]:
        """The first `limit` examples of `split` (all, if None).

        Raises:
            ValueError: Unknown split, fewer than `limit` examples, or a bad line, with its file, number and column.
        """
        self.check_split(split)
        if split not in self._splits:
            self._splits |= self._load_folder(split) if self.path.is_dir() else self._load_file()
        found = self._splits[split]
        if not found or (limit is not None and len(found) < limit):
            wanted = "at least 1" if limit is None else limit
            raise ValueError(
                f"Split {split!r} of {self.path} has {len(found)} examples, and {wanted} were asked for; ask for fewer, add lines, "
                "or (with a single file) change the fractions."
            )
        return found[:limit]

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """By `scorer`, with the best of the accepted answers; unscored if the reference is empty."""
        return self._score(example, prediction)

    def _suited(self) -> str:
        """The scorer for the first answers of each file; a line that cannot be read is told of when it is loaded."""
        files = [file for split in SPLITS for file in self._files(split)] if self.path.is_dir() else [self.path]
        answers: list[list[Any]] = []
        for file in files:
            with contextlib.suppress(ValueError):
                for number, row in itertools.islice(_rows(file), _LOOKED_AT):
                    answers.append(golds_of(dspy.Example(answer=_Row(file, number, row, self.columns).answer())))
        return suited_scorer(answers)

    def _files(self, split: str) -> list[Path]:
        """The files of a split in a folder; none where there is none.

        Raises:
            ValueError: Several that are no parts of one.
        """
        exact = self.path / f"{split}.jsonl"
        if exact.is_file():
            return [exact]
        found = sorted(file for file in self.path.iterdir() if file.suffix.lower() in READERS and _split_of(file) == split)
        if len({(_SHARD.sub("", file.stem), file.suffix) for file in found}) > 1:
            names = ", ".join(file.name for file in found)
            raise ValueError(f"{self.path} has several files for {split!r}: {names}; leave one of them there.")
        return found

    def _load_folder(self, split: str) -> dict[str, list[dspy.Example]]:
        files = self._files(split)
        if not files:
            raise ValueError(self._missing(split))
        parts = [self._read(file, f"{split}-{f'{number}-' if len(files) > 1 else ''}") for number, file in enumerate(files)]
        examples = each_once(example for part in parts for example in part)
        taken = {canonical(example.question): name for name, split_examples in self._splits.items() for example in split_examples}
        for example in examples:
            other = taken.get(canonical(example.question))
            if other and other != split:
                both = f"{self._files(other)[0].name} and in {files[0].name}"
                raise ValueError(f"{example.question!r} stands in {both} of {self.path}; remove it from one.")
        return {split: examples}

    def _missing(self, split: str) -> str:
        names = " or ".join(f"{word}.jsonl" for word, meant in SPLIT_WORDS.items() if meant == split)
        there = [one for one in SPLITS if one != split and self._files(one)]
        told = f"There is no {self.path / f'{split}.jsonl'}, which holds the questions of the {split} split"
        told += f"; the folder has {' and '.join(there) or 'no split at all'}"
        wanted = f"A folder for task 'jsonl' has {names}, or a .json, .csv, .tsv or .parquet file of that name."
        return f"{told}. {wanted}{' A job with data.dev 0 needs no dev questions.' if split == 'dev' else ''}"

    def _load_file(self) -> dict[str, list[dspy.Example]]:
        return split_up(self._read(self.path, ""), self.fractions, f"jsonl/{self.seed}")

    def _read(self, file: Path, prefix: str) -> list[dspy.Example]:
        examples: list[dspy.Example] = []
        lines: dict[str, int] = {}
        found: dict[str, None] = {}
        for number, row in _rows(file):
            found |= dict.fromkeys(row)
            example = self._example(file, number, row, f"{prefix}{number}")
            if example.id in lines:
                column = self.columns["id"]
                place = _place_word(file)
                raise ValueError(
                    f"{file}, {place} {number}, column {column!r}: {example.id!r} is the id of {place} {lines[example.id]} too."
                )
            lines[example.id] = number
            examples.append(example)
        if not examples:
            raise ValueError(f"{file} is empty; expected one JSON object a line with {list(_REQUIRED)}.")
        self._check_columns(file, list(found), any(example.context for example in examples))
        return _without_repeats(file, examples, lines)

    def _check_columns(self, file: Path, found: list[str], has_context: bool) -> None:
        # Reference subquestions may stand in one file of a folder alone.
        mapped = {name: column for name, column in self.columns.items() if name not in (column, "subquestions")}
        missing = next((name for name, column in mapped.items() if column not in found), None)
        if missing:
            raise ValueError(
                f"{file}: no line has the column {mapped[missing]!r} that columns= gives for {missing!r}; the lines have {sorted(found)}. "
                "Name one of these, or leave it out of the columns."
            )
        if unused := [column for column in found if column and column not in self.columns.values()]:
            self._name_unused(file, unused, has_context)

    def _name_unused(self, file: Path, unused: list[str], has_context: bool) -> None:
        passage = next((column for column in unused if column.lower() in _OFTEN_CONTEXT), unused[0])
        advice = f"--task.columns 'context={passage}' takes {passage!r} for the passage" if not has_context else "--task.columns maps names"
        shown = ", ".join(map(repr, unused[:10])) + (f" and {len(unused) - 10} more" if len(unused) > 10 else "")
        warnings.warn(f"{file} has columns that are not used: {shown}; {advice}.", stacklevel=2)

    def _example(self, file: Path, number: int, row: dict[str, Any], fallback_id: str) -> dspy.Example:
        read = _Row(file, number, row, self.columns)
        fields: dict[str, Any] = {
            "id": read.id() or fallback_id,
            "context": read.text("context", required=False),
            "question": read.text("question"),
            "answer": read.answer(),
        }
        subquestions = read.subquestions()
        if subquestions is not None:
            fields["subquestions"] = subquestions
        return dspy.Example(**fields).with_inputs("context", "question")


def _without_repeats(file: Path, examples: list[dspy.Example], lines: Mapping[str, int]) -> list[dspy.Example]:
    kept: dict[tuple[str, str], dspy.Example] = {}
    for example in examples:
        first = kept.setdefault(asked(example), example)
        if first is not example and {*map(canonical, golds_of(first))} != {*map(canonical, golds_of(example))}:
            raise ValueError(
                f"{file}, {_place_word(file)}s {lines[first.id]} and {lines[example.id]} ask the same and have different answers: "
                f"{example.question!r}. Remove one, or give the answers that count as right as a list in one."
            )
    if left := len(examples) - len(kept):
        warnings.warn(f"{file}: {left} of {len(examples)} lines repeat an earlier question and context, and are left out.", stacklevel=2)
    return list(kept.values())


class _Row:
    """One line of a user's file, with its place for error messages."""

    def __init__(self, file: Path, number: int, row: dict[str, Any], columns: Mapping[str, str]) -> None:
        self._file, self._number, self._row, self._columns = file, number, row, columns

    def _value(self, name: str) -> Any:
        column = self._columns[name]
        if column not in self._row and name in _REQUIRED:
            raise self._error(name, f"the column is missing; the line has {sorted(self._row)}. Map your names by columns='{name}=...'")
        return self._row.get(column)

    def _error(self, name: str, message: str) -> ValueError:
        return ValueError(f"{self._file}, {_place_word(self._file)} {self._number}, column {self._columns[name]!r}: {message}")

    def id(self) -> str:
        value = self._value("id")
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
            return "" if value is None else str(value)
        raise self._error("id", f"expected a text or a whole number, got {_shown(value)}")

    def text(self, name: str, required: bool = True) -> str:
        value = self._value(name)
        if value is None and not required:
            return ""
        if not isinstance(value, str):
            raise self._error(name, f"expected a text, got {_shown(value)}")
        if required and not value.strip():
            raise self._error(name, "expected a text, got an empty one")
        return self._writable(name, value)

    def _writable(self, name: str, text: str) -> str:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise self._error(name, f"half of a surrogate pair, {_shown(text)}, is no character; save the file again as UTF-8") from None
        return text

    def answer(self) -> str | list[str]:
        value = self._value("answer")
        if isinstance(value, dict) and isinstance(value.get("text"), list):
            # As SQuAD and its like have it, with the places beside the texts.
            value = value["text"]
        several = isinstance(value, list)
        answers = value if several else [value]
        if not all(_is_answer(one) for one in answers):
            raise self._error("answer", f"expected a text, a number, or a list of these, got {_shown(value)}")
        texts = [self._writable("answer", str(one)) for one in answers]
        return texts if several else texts[0]

    def subquestions(self) -> list[str] | None:
        value = self._value("subquestions")
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return [self._writable("subquestions", one) for one in value]
        raise self._error("subquestions", f"expected a list of texts, got {_shown(value)}")


def _is_answer(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:80] if _has_surrogate(value) else json.dumps(value, ensure_ascii=False, default=str)[:80]


def _has_surrogate(value: Any) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in json.dumps(value, ensure_ascii=False, default=str))


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and columns of each row, in any of the formats."""
    kind = _kind(file)
    if kind == ".jsonl":
        yield from _lines(file)
        return
    rows = enumerate(_listed(file), 1) if kind == ".json" else READERS[kind](file)
    for number, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{file}, row {number}: expected a JSON object with {list(_REQUIRED)}, got {_shown(row)}.")
        yield int(number), {name: _cell(value) for name, value in row.items()} if kind in TABLES else row


def _kind(file: Path) -> str:
    """The format, one of `READERS`: by the first bytes of the file where these tell, as JSONL often ends in .json."""
    with file.open("rb") as content:
        start = content.read(4)
        if start == _PARQUET:
            return ".parquet"
        if file.suffix.lower() in TABLES:
            return file.suffix.lower()
        content.seek(0)
        first = next((line for line in content if line.removeprefix(b"\xef\xbb\xbf").strip()), b"")
    return ".json" if first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[") else ".jsonl"


def _listed(file: Path) -> list[Any]:
    found = read_json(file)
    return found if isinstance(found, list) else []


def _cell(value: Any) -> Any:
    """A cell of CSV, of which nothing but a list of texts is told from its text."""
    if not isinstance(value, str) or not value.strip().startswith("["):
        return value or None
    try:
        listed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return listed if isinstance(listed, list) else value


def _split_of(file: Path) -> str | None:
    return SPLIT_WORDS.get(_SHARD.sub("", file.stem).lower())


def _place_word(file: Path) -> str:
    return "line" if _kind(file) == ".jsonl" else "row"


def _refuse_other_formats(path: Path) -> None:
    """Refuse what is no text and no Parquet by its extension, with a line that converts it."""
    readers = {".xlsx": "read_excel(FILE)", ".xls": "read_excel(FILE)", ".feather": "read_feather(FILE)"}
    if path.is_file() and (reader := readers.get(path.suffix.lower())):
        raise ValueError(
            f"{path} is no format that task 'jsonl' reads ({', '.join(sorted(READERS))}). pandas converts it: "
            f"pandas.{reader.replace('FILE', repr(str(path)))}.to_json('questions.jsonl', orient='records', lines=True)"
        )


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            yield number, _parse(file, number, text)


def _parse(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        if number == 1 and line.startswith(_GZIP):
            raise ValueError(f"{file} is compressed; unpack it first (gunzip).") from error
        raise ValueError(f"{file}, line {number}: not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        where = getattr(error, "colno", 1)
        what = getattr(error, "msg", "nested too deeply")
        raise ValueError(f"{file}, line {number}, column {where}: not JSON ({what}); expected one JSON object a line.") from error
    except ValueError as error:
        # Python reads no number of more than 4,300 digits.
        raise ValueError(f"{file}, line {number}: a number is too long to read; write it as a text, in quotes.") from error
    if not isinstance(row, dict):
        raise ValueError(f"{file}, line {number}: expected a JSON object with {list(_REQUIRED)}, got {_shown(row)}.")
    return row
