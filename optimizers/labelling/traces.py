"""Traces from elsewhere as the teacher's: read from files, and laid beside the questions that they are of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import dspy

from optimizers.labelling.journal import digest
from optimizers.labelling.trace_formats import NAMES, NoDecomposerError, NoTraceError, Trace, traces_in
from programs.tasks._rows import READERS, parse_columns, read_json, read_text
from programs.tasks.base import canonical

TRACED = "teacher_traces"
"""Field of an example with its traces, none of its inputs."""

TRACE_ID = "trace-"
"""How the ids of questions begin that came with a trace."""

ANOTHER_CALL, TWICE = "another call", "stands there twice"
_HOLDERS = ("traces", "history", "rows", "data")
_LISTED = 3
_LIST_ON_A_LINE = "a list, and .jsonl has one object a line; a list of rows is read from a file that ends in .json"

Source: TypeAlias = "str | Path | Iterable[Any]"
"""A file, a folder, or rows: dicts, such as `lm.history`, examples, or a data frame."""

Leaks = Callable[[dspy.Example], bool]


@dataclass
class Traces:
    """What was found in somebody else's traces.

    Attributes:
        found: Those that can be used, in their order.
        refused: (place, reason) of every row that has none.
        passed_over: What is no fault of a row -> how many: calls that are no decomposer's, and repetitions.
        kept_out: (place, question) of those whose question is reported, and must not be trained on.
    """

    found: list[Trace] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    kept_out: list[tuple[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """All of it in a sentence, with the first of those that were refused."""
        told = [f"{len(self.found)} decompositions of {len({_key(one) for one in self.found})} questions are taken"]
        told += [f"{count} are passed over ({reason})" for reason, count in self.passed_over.items()]
        if self.kept_out:
            place, question = self.kept_out[0]
            told.append(f"{len(self.kept_out)} are kept out, as their questions are tested (the first: {place}, {question!r})")
        if self.refused:
            shown = "; ".join(f"{place}: {reason}" for place, reason in self.refused[:_LISTED])
            told.append(f"{len(self.refused)} cannot be read ({shown}{'; ...' if len(self.refused) > _LISTED else ''})")
        return f"Traces: {', '.join(told)}."

    def to_dict(self) -> dict[str, Any]:
        """For JSON: counts, and every row that was refused or kept out, with its place."""
        return {
            "found": len(self.found),
            "passed_over": dict(self.passed_over),
            "refused": [{"place": place, "reason": reason} for place, reason in self.refused],
            "kept_out": [{"place": place, "question": question} for place, question in self.kept_out],
        }


def read_traces(source: Source, columns: str | Mapping[str, str] = "") -> Traces:
    """Read traces.

    Args:
        source: A file (`.jsonl`, `.json`, `.csv`, `.parquet`), a folder of such files, or rows (dicts, examples, a data frame): plain ones
            with a question and its decomposition (a list, or a text in any form that LLMs write), entries of `lm.history`, or traces of
            MLflow (`trace.to_json()`, rows of `mlflow.search_traces`). A plain row may have a `context`, the `answer` that the program
            gave, and the `reference` answer that is right. Of a history, calls that ask for subquestions alone are taken.
        columns: Where your names differ: "question=frage,subquestions=teile", or as a dict.

    Raises:
        ValueError: Nothing there, another kind of file, unknown names in `columns`, or none that can be used; says why.
    """
    names = _named(parse_columns(columns, list(NAMES), "question=frage,subquestions=teile"))
    found, seen = Traces(), dict[Any, int]()
    empty = True
    for place, row in _placed(source):
        empty = False
        try:
            if isinstance(row, ValueError):
                raise NoTraceError(str(row))
            for trace in traces_in(row, names):
                _add(found, seen, replace(trace, place=place))
        except NoDecomposerError as error:
            if _is_plain(row):
                found.refused.append((place, str(error)))
            else:
                found.passed_over[ANOTHER_CALL] += 1
        except NoTraceError as error:
            found.refused.append((place, str(error)))
    if empty:
        raise ValueError(f"{source if isinstance(source, str | Path) else 'traces='} is empty: there is no row in it.")
    if not found.found:
        raise ValueError(f"{found.summary()} A trace has a question and its decomposition; columns= maps names of your own.")
    return found


def _named(columns: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """`NAMES` with one's own; what is one field's by them is no other's."""
    others = {name: tuple(column for column in known if column not in columns.values()) for name, known in NAMES.items()}
    return {**others, **{name: (column,) for name, column in columns.items()}}


def _is_plain(row: Any) -> bool:
    return not (isinstance(row, Mapping) and "outputs" in row and ("messages" in row or "prompt" in row))


def _add(found: Traces, seen: dict[Any, int], trace: Trace) -> None:
    """Add a trace; a repetition gives the first what that lacks."""
    made = (*_key(trace), trace.subquestions)
    if made not in seen:
        seen[made] = len(found.found)
        found.found.append(trace)
        return
    found.passed_over[TWICE] += 1
    first = found.found[seen[made]]
    lacking = {
        name: value for name in ("answer", "reference") if getattr(first, name) is None and (value := getattr(trace, name)) is not None
    }
    found.found[seen[made]] = replace(first, id=first.id or trace.id, **lacking)


def _placed(source: Source) -> Iterator[tuple[str, Any]]:
    """Rows with their places; a row that is not even JSON is its error."""
    if not isinstance(source, str | Path):
        yield from ((f"row {number}", _plain(row)) for number, row in enumerate(_given_rows(source), 1))
        return
    path = Path(source)
    if not path.exists():
        raise ValueError(f"There is no {path}; give traces a file ({', '.join(sorted(READERS))}), or a folder of such files.")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS) if path.is_dir() else [path]
    if not files or files[0].suffix.lower() not in READERS:
        raise ValueError(f"{path} holds no file of traces; expected {', '.join(sorted(READERS))} (a history is written by json.dump).")
    for file in files:
        yield from _rows_of(file)


def _given_rows(source: Any) -> Iterable[Any]:
    """The rows of a list, of a data frame, or of an object that holds them."""
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return list(source.to_dict("records"))
    if isinstance(source, Mapping):
        return _held(source)
    if not isinstance(source, Iterable):
        raise ValueError(f"traces={source!r}: expected a file, a folder, or rows, such as `lm.history`, a list of dicts, or a data frame.")
    return source


def _plain(row: Any) -> Any:
    """A row with lists for arrays, as a data frame of Parquet has them; of an example, its fields."""
    row = row.toDict() if isinstance(row, dspy.Example) else row
    if not isinstance(row, Mapping):
        return row
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in row.items()}


def _rows_of(file: Path) -> Iterator[tuple[str, Any]]:
    kind = file.suffix.lower()
    if kind == ".jsonl":
        yield from _lines_of(file)
    elif kind == ".json":
        yield from ((f"{file}, row {number}", row) for number, row in enumerate(_held(read_json(file)), 1))
    else:
        yield from ((f"{file}, row {number}", row) for number, row in READERS[kind](file))


def _held(whole: Any) -> list[Any]:
    """The rows of a JSON file: a list, or one in an object, or one trace alone."""
    if isinstance(whole, Mapping):
        whole = next((whole[name] for name in _HOLDERS if isinstance(whole.get(name), list)), whole)
    return whole if isinstance(whole, list) else [] if whole is None else [whole]


def _lines_of(file: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            try:
                read = json.loads(line)
                listed = isinstance(read, list)
                yield f"{file}, line {number}", ValueError(_LIST_ON_A_LINE) if listed else read
            except (ValueError, RecursionError) as error:
                yield f"{file}, line {number}", ValueError(f"not JSON ({error})")


def _key(trace: Trace) -> tuple[str, str]:
    return canonical(trace.question), canonical(trace.context)


# Beside the questions
def with_traces(splits: Mapping[str, Sequence[dspy.Example]], traces: Traces, leaks: Leaks) -> dict[str, list[dspy.Example]]:
    """Questions with the traces that are of them; and the traces' own questions behind those of `train`.

    A trace is of a question of the same text, and of the same context where both have one. Those of questions that are reported are moved
    to `traces.kept_out`.

    Args:
        splits: The teacher's questions: `train`, and others whose labels are not trained on.
        traces: What was read.
        leaks: Whether a question that is in none of the splits is one that is reported.
    """
    by_text: dict[str, list[dspy.Example]] = {}
    for example in (example for examples in splits.values() for example in examples):
        by_text.setdefault(canonical(example.question), []).append(example)
    own: dict[int, list[Trace]] = {}
    added: dict[tuple[str, str], list[Trace]] = {}
    for trace in traces.found:
        example = _example_of(trace, by_text)
        if example is not None:
            own.setdefault(id(example), []).append(trace)
        elif leaks(dspy.Example(id=trace.id or trace.place, question=trace.question, context=trace.context)):
            traces.kept_out.append((trace.place, trace.question))
        else:
            added.setdefault(_key(trace), []).append(trace)
    kept_out = {place for place, _ in traces.kept_out}
    traces.found = [trace for trace in traces.found if trace.place not in kept_out]
    found = {split: [_with(example, own.get(id(example))) for example in examples] for split, examples in splits.items()}
    return {**found, "train": [*found["train"], *map(_example, added.values())]}


def _with(example: dspy.Example, traces: list[Trace] | None) -> dspy.Example:
    return example.copy(**{TRACED: traces}) if traces else example


def _example_of(trace: Trace, by_text: Mapping[str, list[dspy.Example]]) -> dspy.Example | None:
    """The question that a trace is of; of several with other contexts, the one with its own."""
    same = by_text.get(canonical(trace.question), [])
    context = canonical(trace.context)
    exact = [example for example in same if canonical(example.get("context") or "") == context]
    open_ones = [example for example in same if not context or not example.get("context")]
    return exact[0] if exact else open_ones[0] if len(open_ones) == 1 and len(same) == 1 else None


def _example(traces: list[Trace]) -> dspy.Example:
    first = traces[0]
    reference = next((one.reference for one in traces if one.reference is not None), "")
    fields = {"context": first.context, "question": first.question, "answer": reference, TRACED: traces}
    return dspy.Example(id=f"{TRACE_ID}{digest(_key(first))[:12]}", **fields).with_inputs("context", "question")


def traces_of(example: dspy.Example) -> list[Trace]:
    """The traces of a question; none as a rule."""
    return example.get(TRACED) or []


def mark_of(trace: Trace) -> str:
    """What tells a trace from another one of the same question, for the line of its sample."""
    return digest([trace.subquestions, trace.answer])[:16]
