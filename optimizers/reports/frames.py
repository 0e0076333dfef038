"""Results as pandas frames: fixed columns in a fixed order, each with its dtype, whatever an earlier version left out.

Shares, scores and differences are from 0 to 1 (-1 to 1), not in percent. What is not known is missing (`NA`, `NaN`), never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.evaluation.answers import last_answers
from optimizers.evaluation.stages import stages_of
from optimizers.reports.blocks import interval_of, is_number

if TYPE_CHECKING:
    from pandas import DataFrame

COUNT, SHARE, WORDS, FLAG, ANY = "Int64", "float64", "string", "boolean", "object"

USAGE = {"input_tokens": COUNT, "output_tokens": COUNT, "seconds": SHARE, "usd": SHARE}

SCORE = {"n": COUNT, "scored": COUNT, "score": SHARE, "low": SHARE, "high": SHARE, "failed": COUNT, "unparsed": COUNT, **USAGE}

COMPARISON = {
    "a": WORDS,
    "b": WORDS,
    "n": COUNT,
    "delta": SHARE,
    "low": SHARE,
    "high": SHARE,
    "p": SHARE,
    "p_holm": SHARE,
    "wins": COUNT,
    "losses": COUNT,
    "ties": COUNT,
}

PREDICTION = {
    "id": ANY,
    "question": WORDS,
    "context": WORDS,
    "gold": ANY,
    "subquestions": ANY,
    "sub_answers": ANY,
    "reasoning": WORDS,
    "answer": WORDS,
    "score": SHARE,
    "state": WORDS,
    "detail": WORDS,
    "unparsed": FLAG,
    "cut_off": FLAG,
    "error": WORDS,
    **USAGE,
}

SCREENING = {
    "samples": COUNT,
    "kept": COUNT,
    **{f"{share}{bound}": SHARE for share in ("precision", "recall") for bound in ("", "_low", "_high")},
    "calls": COUNT,
    "cache_hits": COUNT,
    **USAGE,
}

TRAINING = {"step": COUNT, "steps": COUNT, "seconds": SHARE, "loss": SHARE, "eval_loss": SHARE}


def frame(records: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> DataFrame:
    """A row a record.

    Args:
        records: What they have beside the columns is left out; what they lack is missing.
        columns: Name -> dtype, in their order.
    """
    import pandas

    values: dict[str, list[Any]] = {name: [] for name in columns}
    for record in records:
        for name, own in values.items():
            own.append(record.get(name))
    return pandas.DataFrame({name: _series(values.pop(name), dtype) for name, dtype in columns.items()})


def _series(values: Sequence[Any], dtype: str) -> Any:
    import pandas

    if dtype in (COUNT, SHARE):
        numbers = pandas.Series([value if is_number(value) else None for value in values], dtype="float64")
        return numbers.round().astype(COUNT) if dtype == COUNT else numbers
    if dtype == WORDS:
        return pandas.Series([value if value is None else str(value) for value in values], dtype=WORDS)
    if dtype == FLAG:
        return pandas.Series([value if isinstance(value, bool) else None for value in values], dtype=FLAG)
    return pandas.Series(list(values), dtype=ANY)


def score_record(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the columns `SCORE` want of a condition of `metrics.json`."""
    low, high = interval_of(entry)
    return {**entry, "low": low, "high": high, **usage_record(stages_of(entry))}


def comparison_record(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the columns `COMPARISON` want of a comparison."""
    low, high = interval_of(entry)
    return {**entry, "low": low, "high": high}


def screening_record(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the columns `SCREENING` want of a measured policy."""
    record = {**entry, **(entry.get("cost") or {})}
    for name in ("precision", "recall"):
        share = entry.get(name) or {}
        low, high = interval_of(share)
        record |= {name: share.get("estimate"), f"{name}_low": low, f"{name}_high": high}
    return record


def usage_record(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of what stages cost; a part that one of them does not know is missing."""
    values = {name: [stage.get(name) for stage in stages.values()] for name in USAGE}
    return {name: sum(found) if found and all(map(is_number, found)) else None for name, found in values.items()}


def prediction_records(path: Path, ids: Iterable[Any] | None = None, **place: Any) -> Iterator[dict[str, Any]]:
    """The last answers in a file of `evaluate`.

    Args:
        path: The file; one that is not there has none.
        ids: Those of the questions that count; None takes all.
        place: Further values of each record.

    Raises:
        ValueError: A line is none of `evaluate`'s.
    """
    wanted = None if ids is None else set(ids)
    for line in last_answers(path):
        if wanted is None or line["id"] in wanted:
            # The seconds are those of the question, as its stages may have been answered from file.
            yield {**line, **usage_record(line.get("usage") or {}), "seconds": line.get("seconds"), **place}
