from __future__ import annotations

import contextlib
import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.tasks.base import SPLITS, normalize_answer, overlapping
from programs.tasks.registry import load_task, task_names


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def rows(count: int) -> list[dict[str, Any]]:
    return [{"question": f"Question {i}?", "answer": f"A{i}"} for i in range(count)]


def test_a_single_file_is_split_by_seed_without_overlap(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", rows(100))
    splits = {split: [e.question for e in load_task("jsonl", path=path).load(split)] for split in SPLITS}
    assert {split: len(questions) for split, questions in splits.items()} == {"train": 70, "dev": 10, "test": 20}
    assert len({question for questions in splits.values() for question in questions}) == 100
    assert splits["test"] == [e.question for e in load_task("jsonl", path=path).load("test")]
    assert splits["test"] != [e.question for e in load_task("jsonl", path=path, seed=1).load("test")]
    assert "jsonl" in task_names()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["Who is it?", "who is it", "Where?", "Why?", "The who?", "日本?"]), min_size=1), st.integers(0, 3))
def test_the_same_question_never_stands_in_two_splits(tmp_path_factory: pytest.TempPathFactory, questions: list[str], seed: int) -> None:
    path = write(tmp_path_factory.mktemp("t") / "d.jsonl", [{"question": q, "answer": "x"} for q in questions])
    task = load_task("jsonl", path=path, seed=seed)
    found: dict[str, set[str]] = {}
    count = 0
    for split in SPLITS:
        examples: list[dspy.Example] = []
        with contextlib.suppress(ValueError):  # a split without questions
            examples = task.load(split)
        count += len(examples)
        for example in examples:
            found.setdefault(normalize_answer(example.question), set()).add(split)
    assert count == len({question.casefold().rstrip("?") for question in questions})
    assert all(len(splits) == 1 for splits in found.values())


def test_a_repeated_question_counts_once_and_two_answers_to_it_are_refused(tmp_path: Path) -> None:
    asked = [
        *rows(5),
        *({**row, "question": f" {row['question'].upper().rstrip('?')}"} for row in rows(5)),
        {"question": "Question 0?", "context": "Of another passage.", "answer": "x"},
    ]
    with pytest.warns(UserWarning, match="5 of 11 lines repeat an earlier question and context, and are left out"):
        found = load_task("jsonl", path=write(tmp_path / "d.jsonl", asked), fractions="0,0,1").load("test")
    assert sorted(example.id for example in found) == ["1", "11", "2", "3", "4", "5"]
    path = write(tmp_path / "e.jsonl", [*rows(5), {**rows(5)[2], "answer": "another"}])
    with pytest.raises(ValueError, match=r"e.jsonl, lines 3 and 6 ask the same and have different answers: "):
        load_task("jsonl", path=path).load("test")


def test_all_columns_under_other_names(tmp_path: Path) -> None:
    row = {"frage": "Wo?", "antwort": 4, "text": "Hier.", "teile": ["Wer?"], "nr": 7}
    path = write(tmp_path / "d.jsonl", [row])
    columns = "question=frage, answer=antwort,context=text,subquestions=teile,id=nr"
    for given_as in (columns, dict(part.strip().split("=") for part in columns.split(","))):
        (example,) = load_task("jsonl", path=path, columns=given_as, fractions="1,0,0").load("train")
        assert example.toDict() == {"id": "7", "context": "Hier.", "question": "Wo?", "answer": "4", "subquestions": ["Wer?"]}
        assert set(example.inputs().keys()) == {"context", "question"}


def test_answers_as_squad_has_them_and_whole_numbers_as_pandas_writes_them(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [{"question": "Wo?", "answers": {"text": ["Rom", "in Rom"], "answer_start": [3, 0]}, "id": 7.0}])
    (example,) = load_task("jsonl", path=path, columns="answer=answers", fractions="1,0,0").load("train")
    assert (example.id, example.answer) == ("7", ["Rom", "in Rom"])


def test_blanks_around_the_names_of_columns_and_an_index_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(",question, answer \n0,Wo?,Rom\n")
    with warnings.catch_warnings(action="error"):
        (example,) = load_task("jsonl", path=path, fractions="1,0,0").load("train")
    assert (example.question, example.answer) == ("Wo?", "Rom")


def test_an_address_is_no_path() -> None:
    with pytest.raises(ValueError, match=r"https://host/d\.jsonl is an address; download the file first"):
        load_task("jsonl", path="https://host/d.jsonl")


def test_a_folder_with_a_file_a_split(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows(3))
    write(tmp_path / "test.jsonl", [{"question": "New?", "answer": "x"}])
    task = load_task("jsonl", path=tmp_path)
    assert [e.id for e in task.load("train")] == ["train-1", "train-2", "train-3"]
    assert len(task.load("test")) == 1
    with pytest.raises(ValueError, match=r"There is no .*dev\.jsonl"):
        task.load("dev")
    write(tmp_path / "dev.jsonl", [{"question": "question 1", "answer": "x"}])
    with pytest.raises(ValueError, match=r"stands in train\.jsonl and in dev\.jsonl"):
        task.load("dev")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "q"', r"d\.jsonl, line 2, column \d+: not JSON"),
        ('["q", "a"]', r"line 2: expected a JSON object"),
        ('{"frage": "q", "answer": "a"}', r"line 2, column 'question': the column is missing; the line has \['answer', 'frage'\]"),
        ('{"question": "q"}', r"line 2, column 'answer': the column is missing"),
        ('{"question": " ", "answer": "a"}', r"line 2, column 'question': expected a text, got an empty one"),
        ('{"question": 3, "answer": "a"}', r"line 2, column 'question': expected a text, got 3"),
        ('{"question": "q", "answer": {"a": 1}}', r"line 2, column 'answer': expected a text, a number, or a list of these"),
        ('{"question": "q", "answer": null}', r"line 2, column 'answer': expected a text, a number"),
        ('{"question": "q", "answer": true}', r"line 2, column 'answer': expected a text, a number"),
        ('{"question": "q", "answer": "a", "context": ["x"]}', r"line 2, column 'context': expected a text"),
        ('{"question": "q", "answer": "a", "subquestions": "x?"}', r"line 2, column 'subquestions': expected a list of texts"),
        ('{"question": "q", "answer": "a", "id": "one"}', r"line 2, column 'id': 'one' is the id of line 1 too"),
        ('{"question": "q", "answer": ' + "9" * 5000 + "}", r"d\.jsonl, line 2: a number is too long to read; write it as a text"),
        ('{"question": "q", "answer": NaN}', r"line 2, column 'answer': expected a text, a number"),
        ('{"question": "q", "answer": 1e999}', r"line 2, column 'answer': expected a text, a number"),
        ('{"question": "\\ud800", "answer": "a"}', r"line 2, column 'question': half of a surrogate pair"),
        ('{"question": "q", "answer": "a", "context": "\\ud800"}', r"line 2, column 'context': half of a surrogate pair"),
        ('{"question": "q", "answer": "a", "id": [1]}', r"line 2, column 'id': expected a text or a whole number"),
    ],
)
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_bad_line_is_named_by_number_and_column(tmp_path: Path, line: str, message: str, end: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"question": "one?", "answer": "1", "id": "one"}\n' + line + end)
    with pytest.raises(ValueError, match=message):
        load_task("jsonl", path=path).load("train")


def test_bytes_that_are_no_utf8_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "q?", "answer": "a"}\r\n\r\n{"question": "\xff", "answer": "a"}\n')
    with pytest.raises(ValueError, match="line 3: not UTF-8"):
        load_task("jsonl", path=path).load("train")
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert load_task("jsonl", path=path, fractions="1,0,0").load("train")[0].question == "q?"


def test_an_empty_file_a_missing_file_and_too_few(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"e\.jsonl is empty"):
        load_task("jsonl", path=tmp_path / "e.jsonl").load("train")
    with pytest.raises(ValueError, match=r"There is no .*none\.jsonl"):
        load_task("jsonl", path=tmp_path / "none.jsonl")
    task = load_task("jsonl", path=write(tmp_path / "d.jsonl", rows(10)))
    with pytest.raises(ValueError, match=r"'train' of .* has 7 examples, and 8 were asked for"):
        task.load("train", 8)
    assert len(task.load("train", 7)) == 7
    with pytest.raises(ValueError, match="Unknown split 'val'"):
        task.load("val")


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.jsonl", [{"question": "q?", "answer": "a", "text": "A passage."}, {"question": "r?", "answer": "a", "source": 1}]
    )
    with pytest.warns(
        UserWarning, match=r"d\.jsonl has columns that are not used: 'text', 'source'; --task\.columns 'context=text' takes 'text'"
    ):
        load_task("jsonl", path=path, fractions="1,0,0").load("train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_task("jsonl", path=write(tmp_path / "e.jsonl", rows(3)), fractions="1,0,0").load("train")


@pytest.mark.parametrize("columns", ["context=passge", "id=kye", "context=passage.text"])
def test_a_mapped_column_that_no_line_has_is_refused_and_not_taken_for_empty(tmp_path: Path, columns: str) -> None:
    path = write(tmp_path / "d.jsonl", [{**row, "passage": "Here.", "key": "k"} for row in rows(1)])
    with pytest.raises(ValueError, match=r"no line has the column .* the lines have \['answer', 'key', 'passage', 'question'\]"):
        load_task("jsonl", path=path, columns=columns, fractions="1,0,0").load("train")


def test_a_compressed_file_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "d.jsonl", rows(3)).read_bytes()))
    with pytest.raises(ValueError, match="is compressed; unpack it"):
        load_task("jsonl", path=path).load("train")


def test_the_same_question_in_other_characters_stands_in_one_split(tmp_path: Path) -> None:
    forms = [f"Who wrote {quoted}, part {i}?" for i in range(30) for quoted in ('"Emma"', "“Emma”", "＂Emma＂")]
    task = load_task("jsonl", path=write(tmp_path / "d.jsonl", [{"question": q, "answer": "x"} for q in forms]), fractions="0.5,0.2,0.3")
    assert overlapping({split: task.load(split) for split in SPLITS}) == []


METRICS = """
import dspy
from programs.tasks import Score
def half(example, prediction, trace=None):
    return 0.5 if prediction.answer == example.answer else 0
def judge(example, prediction):
    return Score(1.0, "seen " + example.question)
def yes(example, prediction):
    return True
def nothing(example, prediction):
    return None
def two(example, prediction):
    return 2
def words(example, prediction):
    return "good"
def of_gepa(gold, pred, trace, pred_name, pred_trace):
    return dspy.Prediction(score=0.5, feedback="Name the country.")
def one(example):
    return 1
number = 3
"""


def test_a_scorer_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metrics.py").write_text(METRICS)
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "d.jsonl", [{"question": "q?", "answer": "Rome"}])
    example = load_task("jsonl", path=path, fractions="1,0,0").load("train")[0]

    def score(name: str) -> Any:
        return load_task("jsonl", path=path, scorer=f"own_metrics:{name}").score(example, dspy.Prediction(answer="Rome"))

    assert (score("half").value, score("judge").detail, score("yes").value) == (0.5, "seen q?", 1.0)
    assert score("nothing").is_unscored and score("nothing").detail == "scorer 'own_metrics:nothing' returned None"
    assert (score("of_gepa").value, score("of_gepa").detail) == (0.5, "Name the country.")
    with pytest.raises(ValueError, match=r"scorer 'own_metrics:words' returned 'good'; expected a bool, a number from 0 to 1"):
        score("words")
    with pytest.raises(ValueError, match="A score is a number from 0 to 1"):
        score("two")
    for name, message in [
        ("own_metrics:third", "module 'own_metrics' has no function 'third'"),
        ("own_metrics:number", "module 'own_metrics' has no function 'number'"),
        ("own_metrics:one", "scorer 'own_metrics:one' takes 1 arguments"),
        ("no_such_module:f", r"module 'no_such_module' cannot be imported \(ModuleNotFoundError"),
        (
            "exakt",
            r"Unknown scorer 'exakt'; expected one of \['auto', 'exact', 'number', 'short', 'f1', .*\], or a function",
        ),
        ("own_metrics:", "Unknown scorer"),
        ("", "Unknown scorer"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_task("jsonl", path=path, scorer=name)


@pytest.mark.parametrize(
    ("answers", "scoring"),
    [
        (["12 km", "$7.50", "853 g", "five", 21], "number"),
        ([["18", "eighteen"], "20 %", "-3 °C", "1,234 km/h"], "number"),
        (["1990", "Rome"], "short"),
        (["Apollo 11", "Apollo 13"], "short"),
        (["3 May 1990", "1991"], "short"),
        (["007", "008"], "short"),
        (["3:30", "4:00"], "short"),
        (["B", "C"], "short"),
        (["3 April", "5 April"], "short"),
        (["10 Downing Street", "221 Baker Street"], "short"),
        (["12 of the eggs that were in the basket"], "exact"),
        (["Rome", "12", "no", "5 km", "the one with three chainrings and eight sprockets"], "short"),
        (["Rome", "as the river had frozen in the night before"], "exact"),
    ],
)
def test_the_scorer_of_a_file_follows_from_its_answers(tmp_path: Path, answers: list[Any], scoring: str) -> None:
    lines = [{"question": f"How many are {i}?", "answer": answer} for i, answer in enumerate(answers)]
    task = load_task("jsonl", path=write(tmp_path / "d.jsonl", lines), fractions="0,0,1")
    assert task.scoring == scoring
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "test.jsonl", lines)
    write(folder / "notes.jsonl", [{"question": "What is it?", "answer": "something else that lies there"}])
    assert load_task("jsonl", path=folder).scoring == scoring


@pytest.mark.parametrize(
    ("reference", "reply", "right"),
    [
        ("45 dollars", "The total cost is 45 dollars.", 1), ("Olaf", "olaf", 1), ("Nina", "Olaf is taller than Nina.", 0),
        ("3 April", "3 May", 0), ("3 April", "3 april", 1), ("1:30 pm", "the group comes back at 10:30 am", 0), ("No", "No.", 1),
    ],
)  # fmt: skip
def test_a_file_of_numbers_and_words_is_judged_by_each_reference(tmp_path: Path, reference: str, reply: str, right: float) -> None:
    lines = [{"question": "What is it?", "answer": reference}, {"question": "Who is it?", "answer": "Rome"}]
    task = load_task("jsonl", path=write(tmp_path / "d.jsonl", lines), fractions="0,0,1")
    example = next(example for example in task.load("test") if example.answer == reference)
    assert task.score(example, dspy.Prediction(answer=reply)).value == right
    assert "as few words as it takes" in task.answer_format


@pytest.mark.parametrize(
    ("reference", "reply", "right"),
    [
        ("853 g", "853 grams", 1), ("21 cm", "21", 1), ("8", "8 degrees", 1), ("$5.63", "Keiko pays $5.63 for 2 coffees and one bun.", 1),
        ("208 litres", "There are 208 liters left.", 1), ("853 g", "835 g", 0), ("21 cm", "It is between 20 and 21 cm.", 0),
    ],
)  # fmt: skip
def test_a_unit_or_a_sentence_around_a_number_is_no_fault(tmp_path: Path, reference: str, reply: str, right: int) -> None:
    task = load_task("jsonl", path=write(tmp_path / "d.jsonl", [{"question": "How much is it?", "answer": reference}]), fractions="0,0,1")
    assert task.score(task.load("test")[0], dspy.Prediction(answer=reply)).value == right


def test_the_scorer_decides_the_measure_and_stands_with_the_scoring(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", rows(3))
    task = load_task("jsonl", path=path, scorer="f1")
    assert (task.measure, task.scoring) == ("F1", "f1")
    assert (load_task("jsonl", path=path).measure, load_task("jsonl", path=path).scoring) == ("accuracy", "short")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "frage"}, "'frage' is no pair"),
        ({"columns": "quest=frage"}, r"unknown name 'quest'; expected some of \['question'"),
        ({"fractions": "0.5,0.1,0.1"}, "must be the shares"),
        ({"fractions": [1, 1]}, "must be the shares"),
        ({"fractions": {"val": 1.0}}, "must be the shares"),
        ({"fractions": "a,b,c"}, "must be the shares"),
    ],
)
def test_wrong_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_task("jsonl", path=write(tmp_path / "d.jsonl", rows(1)), **options)


def test_the_best_of_several_answers_counts_and_an_empty_one_is_unscored(tmp_path: Path) -> None:
    task = load_task("jsonl", path=write(tmp_path / "d.jsonl", [{"question": "q?", "answer": ["The Nile", 42, ""]}]), fractions="1,0,0")
    (example,) = task.load("train")
    assert [task.score(example, dspy.Prediction(answer=a)).value for a in ("nile.", "42", "41", None)] == [1.0, 1.0, 0.0, 0.0]
    assert task.score(dspy.Example(answer=[""]), dspy.Prediction(answer="")).is_unscored
