"""DROP (Dua et al. 2019): questions over a passage that need counting, sorting or arithmetic; the paper's second benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy

from programs.tasks._drop_metric import answer_spans, em_f1, join_spans, lenient, strict, usable
from programs.tasks._published import PublishedTask, question_group
from programs.tasks._rows import READERS, Hub, Row, read_json, shown
from programs.tasks.base import EMPTY_REFERENCE, Score, normalize_answer

__all__ = ["Drop", "em_f1"]

_SPLITS = {"train": "train", "test": "validation"}
_LIKE_ANSWER = '{"number": "4", "date": {}, "spans": []}'
_MERGED = "the row runs the spans of all annotators together, so this may be too low; DROP's own files keep them apart"


def _json_rows(file: Path) -> Iterator[tuple[int | str, Any]]:
    """The questions of a file in DROP's own schema, by passage; else the rows of any JSON file."""
    passages = read_json(file)
    if not isinstance(passages, Mapping):
        yield from READERS[".json"](file)
        return
    for passage_id, entry in passages.items():
        pairs = entry.get("qa_pairs") if isinstance(entry, Mapping) else None
        if not isinstance(pairs, list):
            raise ValueError(f"{file}, row {passage_id}, field 'qa_pairs': found {shown(pairs)}; expected a list of questions.")
        for number, pair in enumerate(pairs, 1):
            query_id = pair.get("query_id") if isinstance(pair, Mapping) else None
            fields = {**pair, "passage": entry.get("passage")} if isinstance(pair, Mapping) else pair
            yield f"{passage_id}/{query_id or number}", fields


@dataclass(eq=False)
class Drop(PublishedTask):
    """Questions over a passage; answers are numbers, dates, or one or several spans.

    `test` is DROP's development set, as in the paper (DROP's own test answers were not public), `dev` is held out of
    `train` by passage. That holds for a local file called `dev` too, unless there is one called `test` beside it.

    Rows are in DROP's own schema (`drop_dataset_dev.json`: passages with `qa_pairs`), or one a question with `passage`,
    `question`, `query_id` and either `answer` with `validated_answers`, or the hub's `answers_spans`. The latter runs the
    spans of all annotators together, so that alternates cannot be told from the spans of one answer: here a number or a
    date is an alternate, and a span begins one if it is in the current one already. Two annotators who wrote different
    spans thus count as one answer of two spans, and a right answer scores too low. For figures to compare with others,
    give DROP's own files, or the source that keeps the annotators apart.

    Args:
        path: As of `PublishedTask`, like `fractions`, `seed`, `scoring` and `max_subquestions`.
        source: Data set of the hub where there is no `path`: `ucinlp/drop`, or `EleutherAI/drop`, whose rows have `answer`
            and `validated_answers`.

    An example has `answer` (the first reference, its spans joined by "; ") and `answers` (all, each a list of spans).

    Scoring, best over all alternates; `value` is F1, `measures` has `em` and `f1`:
        strict: The official evaluation; how a reply becomes spans is told at `programs.tasks._drop_metric.strict`.
        lenient: As the paper's authors score (their final evaluation script): only the most frequent first span counts, and
            the reply is cut by their rule. `measures` has `contains` too, by which their screening goes.
    """

    name = "drop"
    summary = "DROP: numbers, dates and spans over a passage, by F1; from the hub, or --task.path FILE"
    license = "cc-by-sa-4.0"
    typical_characters = 1500
    measure = "F1"
    readers = {**READERS, ".json": _json_rows}  # noqa: RUF012
    answer_format = "If the answer has several parts, separate them by semicolons."

    source: Literal["ucinlp/drop", "EleutherAI/drop"] = "ucinlp/drop"

    @property
    def hub(self) -> Hub:
        """The source; its validation split is our test."""
        return Hub(self.source, _SPLITS)

    def example(self, row: Row) -> dspy.Example:
        """The question, its passage and all its accepted answers.

        Raises:
            ValueError: A field is missing or does not fit; names file, row, field, what was found and what is expected.
        """
        merged = "answers_spans" in row.fields and "answer" not in row.fields
        answers = [list(spans) for spans in usable(_merged_answers(row) if merged else _answers(row))]
        example = dspy.Example(
            id=row.question("query_id", "f37e81fa-ef7b-4583-b671-762fc433faa9"),
            context=row.text("passage", "The Chiefs stayed at home for ...").strip(),
            question=row.question("question", "How many field goals did John Carney make?"),
            answer=join_spans(answers[0]) if answers else "",
            answers=answers,
            spans_merged=merged and any(len(spans) > 1 for spans in answers),
        )
        return example.with_inputs("context", "question")

    def group(self, example: dspy.Example) -> str:
        """The passage: all its questions stand in the same split."""
        return normalize_answer(example.context) or question_group(example)

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """F1 by the rule in `scoring`, with `em` and `f1` (and `contains`) in `measures`; unscored if no reference has a text."""
        answers = usable(example.get("answers") or [[str(example.get("answer") or "")]])
        if not answers:
            return Score.unscored(EMPTY_REFERENCE)
        predicted = getattr(prediction, "answer", None)
        names = ("em", "f1", "contains") if self.scoring == "lenient" else ("em", "f1")
        values = lenient(predicted, answers) if self.scoring == "lenient" else strict(predicted, answers)
        measures = dict(zip(names, values, strict=True))
        return Score(measures["f1"], _MERGED if example.get("spans_merged") else "", measures)

    def _by_split(self, path: str | Path) -> dict[str, list[Path]]:
        files = super()._by_split(path)
        if "dev" in files and "test" not in files:
            files["test"] = files.pop("dev")
        return files

    def _examples(self, split: str) -> list[dspy.Example]:
        """As the parent's, with different ids: DROP has one query_id twice, and a run keeps its results by id."""
        if split not in self._read:
            seen: Counter[str] = Counter()
            for example in super()._examples(split):
                seen[example.id] += 1
                if seen[example.id] > 1:
                    example.id = f"{example.id}-{seen[example.id]}"
        return self._read[split]


def _answers(row: Row) -> list[list[str]]:
    """The spans of `answer` and of each of `validated_answers`."""
    if not isinstance(row.fields.get("answer"), Mapping):
        found = shown(row.fields["answer"]) if "answer" in row.fields else f"no such field among {sorted(map(str, row.fields))}"
        raise row.error("answer", found, f"an object, such as {_LIKE_ANSWER}")
    validated = _records(row, "validated_answers", ("number", "date", "spans"))
    answers = [("answer", row.fields["answer"])]
    answers += [(f"validated_answers.{index}", answer) for index, answer in enumerate(validated)]
    return [_spans(row, field, answer) for field, answer in answers]


def _spans(row: Row, field: str, answer: Mapping[str, Any]) -> list[str]:
    if not {"number", "date", "spans"} & set(answer):
        raise row.error(field, shown(answer), f"some of number, date and spans, such as {_LIKE_ANSWER}")
    number, spans, date = answer.get("number"), answer.get("spans"), answer.get("date")
    if not _is_plain(number):
        raise row.error(f"{field}.number", shown(number), "a number or a text, such as '4'")
    if spans is not None and not (isinstance(spans, list) and all(isinstance(span, str) for span in spans)):
        raise row.error(f"{field}.spans", shown(spans), "a list of texts, such as ['Kansas City']")
    if date is not None and not (isinstance(date, Mapping) and all(map(_is_plain, date.values()))):
        raise row.error(
            f"{field}.date", shown(date), "an object of day, month and year, such as {'day': '3', 'month': 'May', 'year': '1791'}"
        )
    return answer_spans(answer)


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))


def _merged_answers(row: Row) -> list[list[str]]:
    """The alternates in `answers_spans`, as far as they can be told apart; see `Drop`."""
    answers: list[list[str]] = []
    still_open = False
    for record in _records(row, "answers_spans", ("spans", "types")):
        span, kind = record.get("spans"), record.get("types")
        if not isinstance(span, str) or kind not in ("number", "date", "span"):
            raise row.error("answers_spans", shown(record), "a text and its type: number, date or span")
        if still_open and kind == "span" and not any(em_f1(span, other)[0] for other in answers[-1]):
            answers[-1].append(span)
        else:
            answers.append([span])
        still_open = kind == "span"
    return answers


def _records(row: Row, field: str, keys: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """The objects in `field`: a list of them, or an object of equally long lists, as the hub has it."""
    value = row.fields.get(field)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(record, Mapping) for record in value):
        return value
    columns = [value.get(key) for key in keys] if isinstance(value, Mapping) else []
    lists = [column for column in columns if isinstance(column, list)]
    if len(lists) != len(keys) or len(set(map(len, lists))) > 1:
        raise row.error(field, shown(value), f"a list of objects with {list(keys)}, or an object with equally long lists under these")
    return [dict(zip(keys, values, strict=True)) for values in zip(*lists, strict=True)]
