from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.tasks._published import PublishedTask
from programs.tasks._rows import Hub, Row
from programs.tasks.base import SPLITS, overlapping
from programs.tasks.registry import load_task


class Facts(PublishedTask):
    """A task in the fewest lines."""

    name = "facts"
    summary = "for tests"
    hub = Hub("nobody/no-such-data-set", {"train": "train", "test": "validation"})

    def example(self, row: Row) -> dspy.Example:
        fields = {"id": row.id, "context": "", "question": row.question("q", "Who?"), "answer": row.text("a", "Ann")}
        return dspy.Example(**fields).with_inputs("context", "question")


def rows(count: int, prefix: str = "Question") -> list[dict[str, Any]]:
    return [{"q": f"{prefix} {i}?", "a": f"A{i}"} for i in range(count)]


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    """The rows in the form that the extension says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    elif path.suffix == ".json":
        path.write_text(json.dumps(content))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    else:
        from pyarrow import Table, parquet

        parquet.write_table(Table.from_pylist(content), path)
    return path


def questions(task: PublishedTask, split: str) -> list[str]:
    return [example.question for example in task.load(split)]


@pytest.mark.parametrize("extension", ["jsonl", "json", "csv", "parquet"])
def test_each_format_is_read_and_serves_the_split_that_its_name_says(tmp_path: Path, extension: str) -> None:
    for name, split in [
        ("facts_dev", "dev"),
        ("Facts-Validation", "dev"),
        ("valid.00000-of-1", "dev"),
        ("test", "test"),
        ("facts", "test"),
    ]:
        path = write(tmp_path / f"{name}.{extension}", rows(3))
        (first, *rest) = Facts(path=path).load(split)
        assert first.toDict() == {"id": f"{split}-0", "context": "", "question": "Question 0?", "answer": "A0"} and len(rest) == 2
    assert questions(Facts(path=write(tmp_path / f"contest.{extension}", rows(2))), "test") == ["Question 0?", "Question 1?"]


def test_a_file_without_training_rows_says_so_and_how_to_divide_it(tmp_path: Path) -> None:
    path = write(tmp_path / "facts.jsonl", rows(10))
    for split, name in [("train", "training"), ("dev", "development")]:
        with pytest.raises(ValueError, match=rf"facts\.jsonl holds no {name} split, only test.*fractions='0\.7,0\.1,0\.2' divides"):
            Facts(path=path).load(split)
    with pytest.raises(ValueError, match=r"holds no test split, only train"):
        Facts(path=write(tmp_path / "train.jsonl", rows(10))).load("test")
    assert {split: len(Facts(path=path, fractions="0.7,0.1,0.2").load(split)) for split in SPLITS} == {"train": 7, "dev": 1, "test": 2}


def test_a_folder_of_several_data_sets_and_several_files_by_comma(tmp_path: Path) -> None:
    write(tmp_path / "other_train.jsonl", rows(99, "Other"))
    assert len(questions(Facts(path=tmp_path), "dev") + questions(Facts(path=tmp_path), "train")) == 99
    train, more = write(tmp_path / "facts_train_0.jsonl", rows(4)), write(tmp_path / "facts_train_1.csv", rows(3, "More"))
    test = write(tmp_path / "facts_test.jsonl", rows(2, "Test"))
    (tmp_path / "facts_README.md").write_text("no data")
    for path in (tmp_path, f"{train},{more}, {test}"):
        task = Facts(path=path)
        assert questions(task, "test") == ["Test 0?", "Test 1?"]
        # Seven rows may leave the held out tenth empty.
        task.load("train")
        found = task._splits["train"] + task._splits["dev"]
        assert {e.id: e.question for e in found} == {f"train-{i}": row["q"] for i, row in enumerate(rows(4) + rows(3, "More"))}
    with pytest.raises(ValueError, match=r"There is no .*none\.csv; give task 'facts' the path"):
        Facts(path=f"{train},none.csv")


def test_dev_is_a_seeded_tenth_that_train_is_without(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", rows(1000) + [{"q": f"  the question {i}", "a": "again"} for i in range(1000)])
    splits = {split: Facts(path=path).load(split) for split in ("dev", "train")}
    assert 140 <= len(splits["dev"]) <= 260 and len(splits["dev"]) + len(splits["train"]) == 2000
    assert overlapping(splits) == []
    assert questions(Facts(path=path), "train") == [e.question for e in splits["train"]]
    assert questions(Facts(path=path, seed=1), "dev") != [e.question for e in splits["dev"]]
    write(tmp_path / "dev.jsonl", rows(3, "Dev"))
    assert len(Facts(path=tmp_path).load("train")) == 2000 and len(Facts(path=tmp_path).load("dev")) == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["Who is it?", "who is it", "Where?", "The who?", "日本?", "?"]), min_size=1), st.integers(0, 3))
def test_fractions_never_part_a_question(tmp_path_factory: pytest.TempPathFactory, texts: list[str], seed: int) -> None:
    path = write(tmp_path_factory.mktemp("t") / "d.json", [{"q": text, "a": "x"} for text in texts])
    divided = Facts(path=path, fractions=(0.5, 0.2, 0.3), seed=seed)._divided({"train": 0.5, "dev": 0.2, "test": 0.3})
    assert overlapping(divided) == [] and sum(map(len, divided.values())) == len(texts)


def test_fractions_hang_on_the_seed_alone_and_keep_groups_together(tmp_path: Path) -> None:
    class Grouped(Facts):
        def group(self, example: dspy.Example) -> str:
            return str(example.answer)

    content = [{"q": f"Question {i}?", "a": f"passage {i % 20}"} for i in range(200)]
    path = write(tmp_path / "facts.jsonl", content)
    backwards = write(tmp_path / "facts_2.jsonl", content[::-1])
    splits = {split: {e.answer for e in Grouped(path=path, fractions="0.5,0.2,0.3").load(split)} for split in SPLITS}
    assert [len(splits[split]) for split in SPLITS] == [10, 4, 6] and len(set.union(*splits.values())) == 20
    assert {e.answer for e in Grouped(path=backwards, fractions="0.5,0.2,0.3").load("test")} == splits["test"]
    assert {e.answer for e in Grouped(path=path, fractions="0.5,0.2,0.3", seed=1).load("test")} != splits["test"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "d.jsonl",
            b'{"q": "Who?", "a": "x"}\n\n{"q": 3, "a": "x"}',
            r"d\.jsonl, row 3, field 'q': found 3; expected a text, such as 'Who\?'",
        ),
        ("d.jsonl", b'{"q": "Who?"}', r"row 1, field 'a': found no such field among \['q'\]; expected a text, such as 'Ann'"),
        ("d.jsonl", b'{"q": " ", "a": "x"}', r"row 1, field 'q': found an empty text; expected a question, such as 'Who\?'"),
        ("d.jsonl", b'["q", "a"]', r'row 1: found \["q", "a"\]; expected an object with named fields'),
        ("d.jsonl", b'{"q": "Who?", "a": "x"}\n{"q"', r"row 2: not JSON"),
        ("d.jsonl", b'{"q": "\xff"}', r"d\.jsonl: not UTF-8 .* at byte 7"),
        ("d.jsonl", b"\n \n", r"d\.jsonl is empty"),
        ("d.jsonl", b"1" * 5000, r"row 1: not JSON .*number too long"),
        ("d.jsonl", b"[" * 200_000, r"row 1: not JSON .*nested too deeply"),
        ("d.json", b"", r"d\.json is empty"),
        ("d.json", b"[]", r"d\.json is empty"),
        ("d.json", b'{"q": "Who?"}', r'd\.json: found \{"q": "Who\?"\}; expected a list of objects'),
        ("d.json", b'[\n{"q": "Who?", "a": }]', r"d\.json, line 2: not JSON"),
        ("d.csv", b"q,a\n", r"d\.csv is empty"),
        ("d.csv", b"q,a\nWho?,x\nWho, me?,x\n", r"d\.csv, row 3: \[\"x\"\] stands beyond the header's columns; quote texts"),
        ("d.csv", b"q,a\nWho?\n", r"d\.csv, row 2, field 'a': found null; expected a text"),
        ("d.csv", b'q,a\n"' + b"x" * 200_000, r"d\.csv, line \d+: not CSV"),
        ("d.parquet", b"PAR1", r"d\.parquet cannot be read as Parquet"),
        ("d.parquet", b"", r"d\.parquet cannot be read as Parquet"),
    ],
)
def test_bad_data_is_named_by_file_row_and_field(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Facts(path=tmp_path / name).load("test")


def test_bad_options(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("x")
    write(tmp_path / "facts_train_test.jsonl", rows(1))
    (tmp_path / "none").mkdir()
    for path, message in [
        (tmp_path / "d.txt", r"d\.txt has the extension '\.txt'; task 'facts' reads \.csv, \.json, \.jsonl, \.parquet"),
        (tmp_path / "no.jsonl", r"There is no .*no\.jsonl"),
        ("", r"path='' of task 'facts' names nothing"),
        (tmp_path / "none", r"none holds no file that task 'facts' reads"),
        (tmp_path / "facts_train_test.jsonl", r"says two splits, test and train"),
    ]:
        with pytest.raises(ValueError, match=message):
            Facts(path=path)
    with pytest.raises(ValueError, match=r"scoring='kind' of task 'facts' must be 'strict' or 'lenient'"):
        Facts(scoring="kind")  # type: ignore[arg-type]
    for fractions in ("0.5", "a,b,c", "nan,0,1", (0.5, 0.5, 0.5), {"train": 0.5, "valid": 0.5}):
        with pytest.raises(ValueError, match="must be the shares of"):
            Facts(fractions=fractions)


def test_more_than_there_are_and_unknown_splits(tmp_path: Path) -> None:
    task = Facts(path=write(tmp_path / "test.jsonl", rows(10)))
    for limit in (11, -1):
        with pytest.raises(ValueError, match=rf"'test' of .*test\.jsonl has 10 examples, and {limit} were asked for"):
            task.load("test", limit)
    assert [len(task.load("test", limit)) for limit in (0, 3, 10, None)] == [0, 3, 10, 10]
    with pytest.raises(ValueError, match="Unknown split 'teacher'"):
        task.load("teacher")
    with pytest.raises(ValueError, match=r"'dev' of .* has 0 examples, and at least 1"):
        Facts(path=tmp_path / "test.jsonl", fractions="0.5,0,0.5").load("dev")


def test_a_data_set_in_the_form_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets.load_dataset` reads a folder with a hub card as it reads the hub."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "a.jsonl", rows(50))
    write(folder / "b.jsonl", [*rows(3, "Held"), {"q": "Last?", "a": None}])
    card = "configs:\n- config_name: main\n  data_files:\n  - {split: train, path: a.jsonl}\n  - {split: validation, path: b.jsonl}\n"
    (folder / "README.md").write_text(f"---\n{card}---\n")

    task = Facts()
    task.hub = Hub(str(folder), {"train": "train", "test": "validation"}, "main")
    splits = {split: task.load(split) for split in ("train", "dev")}
    assert sorted(e.id for examples in splits.values() for e in examples) == sorted(f"train-{i}" for i in range(50))
    with pytest.raises(ValueError, match=r"set \(main\), split validation, row 4, field 'a': found null; expected a text"):
        task.load("test")


def test_a_failed_download_names_the_set_and_the_way_without_network() -> None:
    script = """
from programs.tasks._rows import Hub, hub_rows
try:
    next(hub_rows(Hub("nobody/no-such-data-set", {"test": "test"}), "test"))
except ValueError as error:
    print(error)
"""
    # Offline, as the library tries for half a minute otherwise.
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert "nobody/no-such-data-set, split test could not be loaded from the Hugging Face hub (" in done.stdout
    assert "--task.path FILE" in done.stdout


def test_the_package_is_imported_without_the_slow_libraries() -> None:
    # `dspy` itself may import what it likes; what this package adds is what counts.
    script = """
import sys, dspy
before = set(sys.modules)
import programs.tasks.gsm8k, programs.tasks.bamboogle
print(sorted({"torch", "datasets", "pyarrow"} & (set(sys.modules) - before)))
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_shipped_rows_are_said_to_be_few_and_where_the_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = load_task("gsm8k", path="shipped")
    counts = {split: len(task.load(split)) for split in SPLITS}
    assert counts["train"] + counts["dev"] == 500 and counts["test"] == 200
    for split, count in counts.items():
        assert [e.id for e in task.load(split, count)] == [e.id for e in task.load(split)]
        said = rf"'{split}' of the shipped rows of openai/gsm8k has {count} examples, and 1000 were asked for; .*--task\.path shipped\) out"
        with pytest.raises(ValueError, match=said):
            task.load(split, 1000)
    # A file of that name is one.
    write(tmp_path / "shipped.jsonl", rows(3)).rename(tmp_path / "shipped")
    assert len(load_task("gsm8k", path="shipped").load("test")) == 200
    with pytest.raises(ValueError, match="has the extension ''"):
        load_task("gsm8k", path="./shipped")


def test_tasks_without_shipped_rows() -> None:
    with pytest.raises(ValueError, match=r"No rows of task 'drop' come with the package, only those of bamboogle, gsm8k; leave path="):
        load_task("drop", path="shipped")
    with pytest.raises(ValueError, match="No socratic rows come with the package"):
        load_task("gsm8k", path="shipped", config="socratic")
