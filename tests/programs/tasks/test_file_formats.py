"""Questions in CSV, Parquet and JSON files, and in folders as the hub has them."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from programs.tasks.registry import load_task

ROWS: list[dict[str, Any]] = [
    {"nr": 7, "frage": "Wo liegt Rom?\nIn Italien?", "antwort": "Ja, dort", "text": "Rom, [sic] liegt dort.", "teile": ["Wo?", "Wer?"]},
    {"nr": 8, "frage": "Wie viele?", "antwort": "20", "text": "", "teile": None},
    {"nr": 9, "frage": "Wer?", "antwort": ["Ada", "Ada Smith"], "text": "", "teile": None},
]
COLUMNS = "id=nr,question=frage,answer=antwort,context=text,subquestions=teile"


def as_csv(path: Path, delimiter: str = ",", encoding: str = "utf-8-sig") -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        for row in ROWS:
            writer.writerow({name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()})


def as_parquet(path: Path) -> None:
    from pyarrow import Table, parquet

    lists = [{**row, "antwort": [row["antwort"]] if isinstance(row["antwort"], str) else row["antwort"]} for row in ROWS]
    parquet.write_table(Table.from_pylist(lists), path)


WRITERS = {
    "q.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "lines.json": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "q.json": lambda path: path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8-sig"),
    "list.jsonl": lambda path: path.write_text(json.dumps(ROWS)),
    "q.csv": as_csv,
    "semicolons.csv": lambda path: as_csv(path, ";"),
    "bars.csv": lambda path: as_csv(path, "|"),
    "q.tsv": lambda path: as_csv(path, "\t"),
    "unicode_text.tsv": lambda path: as_csv(path, "\t", "utf-16"),
    "q.parquet": as_parquet,
    "parquet_without_a_name": as_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_questions(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    task = load_task("jsonl", path=tmp_path / name, columns=COLUMNS, fractions="0,0,1")
    found = sorted((example.toDict() for example in task.load("test")), key=lambda one: str(one["id"]))
    assert [one["answer"] if isinstance(one["answer"], list) else [one["answer"]] for one in found] == [
        ["Ja, dort"],
        ["20"],
        ["Ada", "Ada Smith"],
    ]
    assert [one.get("subquestions") for one in found] == [["Wo?", "Wer?"], None, None]
    assert [(one["id"], one["question"], one["context"]) for one in found] == [(str(r["nr"]), r["frage"], r["text"]) for r in ROWS]
    assert task.scoring == "short"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", "question,answer\nWho?,\n", r"d\.csv, row 2, column 'answer': expected a text, a number"),
        ("d.csv", "frage,answer\nWho?,x\n", r"d\.csv, row 2, column 'question': the column is missing; the line has \['answer', 'frage'\]"),
        (
            "d.csv",
            "question;answer\nWho?;x;y\n",
            r"d\.csv, row 2: \[\"y\"\] stands beyond the header's columns; quote texts that hold semicolons",
        ),
        ("d.csv", "id,question,answer\n1,a?,x\n1,b?,x\n", r"d\.csv, row 3, column 'id': '1' is the id of row 2 too"),
        ("d.json", '[{"question": "a?"}]', r"d\.json, row 1, column 'answer': the column is missing"),
        ("d.json", "[1]", r"d\.json, row 1: expected a JSON object"),
        ("d.json", "[]", r"d\.json is empty"),
        ("d.json", '[{"question": "a?",\n]', r"d\.json, line 2: not JSON"),
        ("d.xlsx", "PK", r"pandas\.read_excel\('.*d\.xlsx'\)\.to_json\('questions\.jsonl', orient='records', lines=True\)"),
    ],
)
def test_what_is_wrong_is_named_by_its_row(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_task("jsonl", path=tmp_path / name).load("train")


def test_a_value_that_json_has_no_form_for_is_shown(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    parquet.write_table(Table.from_pylist([{"question": "When?", "answer": datetime.date(1990, 5, 3)}]), tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"row 1, column 'answer': expected a text, a number, or a list of these, got \"1990-05-03\""):
        load_task("jsonl", path=tmp_path / "d.parquet").load("test")


def lines(start: int, count: int) -> str:
    return "".join(json.dumps({"question": f"Number {i}?", "answer": str(i)}) + "\n" for i in range(start, start + count))


def test_a_folder_of_the_hub_has_its_validation_questions_for_dev(tmp_path: Path) -> None:
    (tmp_path / "train-00000-of-00002.jsonl").write_text(lines(0, 3))
    (tmp_path / "train-00001-of-00002.jsonl").write_text(lines(3, 2))
    (tmp_path / "validation.csv").write_text("question,answer\nWhat?,9\n")
    (tmp_path / "train_old.jsonl").write_text(lines(90, 3))
    task = load_task("jsonl", path=tmp_path)
    assert [e.answer for e in task.load("train")] == list("01234") and len({e.id for e in task.load("train")}) == 5
    assert [e.question for e in task.load("dev")] == ["What?"] and task.scoring == "number"
    with pytest.raises(ValueError, match=r"There is no .*test\.jsonl, .*; the folder has train and dev\. .* has test\.jsonl, or a \.json"):
        task.load("test")
    (tmp_path / "test.json").write_text(f"[{lines(0, 1)}]")
    with pytest.raises(ValueError, match=r"'Number 0\?' stands in train-00000-of-00002\.jsonl and in test\.json of"):
        task.load("test")


def test_a_folder_without_dev_says_what_is_missing_and_when_it_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(lines(0, 3))
    (tmp_path / "test.jsonl").write_text(lines(3, 3))
    task = load_task("jsonl", path=tmp_path)
    assert len(task.load("train")) == len(task.load("test")) == 3
    with pytest.raises(ValueError, match=r"dev\.jsonl or valid\.jsonl or validation\.jsonl.* data\.dev 0 needs no dev questions"):
        task.load("dev")


def test_two_files_for_a_split_are_refused_unless_one_has_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "validation.jsonl").write_text(lines(0, 1))
    (tmp_path / "valid.csv").write_text("question,answer\nWhat?,9\n")
    with pytest.raises(ValueError, match=r"several files for 'dev': valid\.csv, validation\.jsonl; leave one"):
        load_task("jsonl", path=tmp_path, scorer="exact").load("dev")
    (tmp_path / "dev.jsonl").write_text(lines(5, 1))
    assert [e.answer for e in load_task("jsonl", path=tmp_path).load("dev")] == ["5"]
