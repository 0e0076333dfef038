"""What a run has of its teacher as a data set: in every format the same, and read again by `datasets` and by this package."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from optimizers import Run, dataset_of, export_dataset, read_dataset
from optimizers.cli import app
from optimizers.sharing.dataset import exported_parts, parts_of
from optimizers.sharing.shared_run import finished_run
from programs.tasks import load_task

sys.path.insert(0, str(Path(__file__).parents[2] / "recorded"))
from record import JOBS


def lines(path):
    return [json.loads(line) for line in Path(path).open()]


def write(path, records):
    Path(path).write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.parametrize("folder", ["run", "experiment"])
def test_every_format_holds_what_the_run_holds_and_is_read_back_as_that(here, folder):
    parts = {part.name: list(part.lines()) for part in exported_parts(finished_run(folder))}
    assert {name: list(table) for name, table in dataset_of(folder).items()} == parts
    for format in ("parquet", "jsonl", "arrow"):
        counts = export_dataset(folder, f"out-{format}", format)
        read = read_dataset(f"out-{format}", str(here / "cache"))
        assert {name: list(table) for name, table in read.items()} == parts
        assert counts == {name: len(found) for name, found in parts.items()}
    labels = here / folder if folder == "run" else here / folder / "labels" / "jsonl"
    assert [line["text"] for line in parts["traces"]] == [line["text"] for line in lines(labels / "traces.jsonl")]
    assert sorted(line["id"] for line in parts["questions"]) == sorted({line["example"] for line in lines(labels / "samples.jsonl")})
    rows = [line for path in here.glob(f"{folder}/**/rows.jsonl") if "student" not in path.parent.name and "S_D" not in str(path)
            for line in lines(path)]  # fmt: skip
    assert sorted((row["id"], row["student"], row["kept"]) for row in rows) == sorted(
        (r["id"], r["student"], r["kept"]) for r in parts["rows"]
    )


@pytest.mark.parametrize("folder", ["run", "experiment"])
def test_predictions_are_those_of_the_run_with_their_places(here, folder):
    table, frame = dataset_of(folder)["predictions"].to_pandas(), Run(folder).predictions()
    assert len(table) == len(frame) > 0
    key = ["condition", "id"] if folder == "run" else ["train", "variant", "condition", "id"]
    frame["variant"] = frame.get("variant")
    for one, other in zip(*(t.fillna(dict.fromkeys(key, "")).sort_values(key).to_dict("records") for t in (table, frame)), strict=True):
        assert (one["question"], one["predicted"], one["score"]) == (other["question"], other["answer"], other["score"])
        assert list(one["subquestions"]) == list(other["subquestions"] or []) and one["input_tokens"] == other["input_tokens"]
    student = table[table["condition"] == "S_D-R+teacher"].iloc[0]
    assert student["decomposer"].startswith("local/S_D-R@") and student["solver"] == "openai/scripted"
    assert "predictions" not in {part.name for part in parts_of(finished_run(folder))}


def test_answers_that_the_figures_are_not_of_are_not_handed_on(here):
    path = here / "run" / "predictions" / "S_D-R+teacher.jsonl"
    write(path, [{**line, "score": 0.0} for line in lines(path)])
    with pytest.raises(ValueError, match=r"S_D-R\+teacher.jsonl holds other answers than the figures"):
        export_dataset("run", "shared")


def test_the_files_are_read_without_the_card(here):
    import datasets

    for format, loader in (("jsonl", "json"), ("parquet", "parquet")):
        export_dataset("run", f"out-{format}", format)
        for name in ("rows", "predictions"):
            read = datasets.load_dataset(loader, data_files=f"out-{format}/{name}.{format}", split="train", cache_dir=str(here / "cache"))
            assert [line["id"] for line in read] == [line["id"] for line in dataset_of("run")[name]]


def test_datasets_reads_the_folder_by_itself(here):
    import datasets

    export_dataset("run", "shared")
    export_dataset("run", "arrow", "arrow")
    cache = str(here / "cache")
    rows = datasets.load_dataset("./shared", "rows", split="train", cache_dir=cache)
    assert list(rows) == list(datasets.load_from_disk("arrow")["rows"])
    assert list(datasets.load_dataset("./shared", split="train", cache_dir=cache)) == list(datasets.load_from_disk("arrow")["questions"])
    kept = [row for row in rows if row["kept"] and row["student"] == "S_D-R"]
    assert [row["messages"] for row in kept] == [row["messages"] for row in lines("run/student/S_D-R/rows.jsonl")]


def test_the_questions_are_a_task_with_the_references_and_the_teachers_subquestions(here):
    export_dataset("run", "shared", "jsonl")
    task = load_task("jsonl", path="shared/questions.jsonl", fractions="1,0,0")
    with pytest.warns(UserWarning, match="columns that are not used"):
        found = {example.id: example for example in task.load("train")}
    own = {example.id: example for example in load_task("jsonl", path="questions.jsonl").load("train")}
    assert len(found) == 12 and found.keys() < own.keys()
    for key, example in found.items():
        assert (example.question, example.answer) == (own[key].question, [own[key].answer])
        assert example.subquestions == ["Who is it?", "Where is #1?"]


def test_a_new_run_labels_by_the_calls_and_asks_the_teacher_nothing(here):
    """The teacher's server is gone: a call that is not on file fails."""
    export_dataset("run", "shared", "jsonl")
    result = CliRunner().invoke(
        app, ["label", *JOBS["run"][1:], "--labelling.calls_from", "shared", "--out", "again"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    predictions = {name: {line["example"]: line["prediction"] for line in lines(f"{name}/samples.jsonl")} for name in ("run", "again")}
    assert predictions["again"] == predictions["run"]


def test_answers_are_left_out_where_the_file_of_questions_is_gone_or_another_one(here):
    records = lines("questions.jsonl")
    write("questions.jsonl", [{**record, "question": record["question"].upper()} for record in records])
    export_dataset("run", "changed")
    Path("questions.jsonl").unlink()
    export_dataset("run", "gone")
    for folder in ("changed", "gone"):
        found = read_dataset(folder, str(here / "cache"))["questions"]
        assert [line["answer"] for line in found] == [None] * 12 and all(line["question"].startswith("Where does") for line in found)


def test_failed_calls_torn_lines_and_what_utf8_cannot_hold(here):
    path = here / "run" / "traces.jsonl"
    first, *rest = lines(path)
    failed = {**first, "error": "AuthenticationError: key sk-1234567890abcdefghij of ann@example.org"}
    half = json.dumps({**first, "text": "half \ud83d"})
    path.write_text("".join(json.dumps(line) + "\n" for line in [failed, *rest]) + half + "\n" + '{"torn')
    samples = lines(here / "run" / "samples.jsonl")
    samples[0] = {**samples[0], "error": "error:TimeoutError", "message": "http://10.0.0.7/secret", "prediction": {}}
    write(here / "run" / "samples.jsonl", samples)
    export_dataset("run", "shared", "jsonl")
    found = read_dataset("shared", str(here / "cache"))
    assert len(found["traces"]) == len(rest) + 1 and found["traces"][-1]["text"] == "half ?"
    written = "".join(path.read_text() for path in Path("shared").iterdir())
    assert not any(secret in written for secret in ("sk-1234567890", "ann@example.org", "10.0.0.7"))
    broken = next(line for line in found["questions"] if line["id"] == samples[0]["example"])
    assert broken["samples"][0]["error"] == "error:TimeoutError" and broken["subquestions"] is None


def test_whose_questions_they_are_stands_on_every_line(here):
    """A run on a benchmark's own rows, in place of a file of a user's own."""
    metrics = json.loads(Path("run/metrics.json").read_text())
    for options, whose in (({"path": "shipped"}, ("openai/gsm8k", "mit")), ({"path": str(here / "gsm8k_train.jsonl")}, (None, None))):
        write("gsm8k_train.jsonl", [{"question": "How many?", "answer": "One.\n#### 1"}])
        Path("run/metrics.json").write_text(json.dumps({**metrics, "task": "gsm8k", "task_options": options}))
        for part in parts_of(finished_run("run")):
            assert {(line["task"], line["source"], line["license"]) for line in part.lines()} == {("gsm8k", *whose)}


@pytest.mark.parametrize(("name", "options", "whose"), [
    ("gsm8k", {"path": "shipped"}, ("openai/gsm8k", "mit")),
    ("gsm8k", {}, ("openai/gsm8k", "mit")),
    ("bamboogle", {"path": "shipped"}, ("chiayewken/bamboogle", "mit")),
    ("drop", {}, ("ucinlp/drop", "cc-by-sa-4.0")),
    ("drop", {"source": "EleutherAI/drop"}, ("EleutherAI/drop", "cc-by-sa-4.0")),
    ("multihop", {}, ("generated by the task multihop of divide-or-conquer", "mit")),
])  # fmt: skip
def test_what_the_tasks_know_of_their_questions(name, options, whose):
    task = load_task(name, **options)
    assert task.origin_of("1") == whose
    parts = {"own": {"name": name, **options}, "people": {"name": "multihop"}}
    assert load_task("mixture", parts=parts, max_subquestions=3, decomposer_sees_context=False).origin_of("own/1") == whose


@pytest.mark.parametrize(("arguments", "said"), [
    (("run", "out", "csv"), r"Unknown format 'csv' of a data set; expected one of \['parquet', 'jsonl', 'arrow'\]"),
    (("run", "study"), "study is there already and not an empty folder"),
    (("run", "questions.jsonl"), "questions.jsonl is there already"),
    (("tiny", "out"), "tiny holds no run"),
])  # fmt: skip
def test_wrong_arguments(here, arguments, said):
    with pytest.raises(ValueError, match=said):
        export_dataset(*arguments)


def test_a_run_without_calls_on_file_and_a_folder_that_is_no_data_set(here):
    for name in ("traces.jsonl", "samples.jsonl", "rows.jsonl"):
        (here / "run" / name).unlink()
    with pytest.raises(ValueError, match="run has no calls of a teacher on file"):
        export_dataset("run", "out")
    assert not Path("out").exists()
    with pytest.raises(ValueError, match="run holds no data set of a run"):
        read_dataset("run")


def test_the_command_into_a_folder_of_the_name_of_a_loader(here):
    """`datasets` takes a bare "parquet" for its own."""
    result = CliRunner().invoke(app, ["export-dataset", "run", "parquet"], catch_exceptions=False)
    assert result.exit_code == 0 and "Wrote parquet, and read it back: 12 questions, 24 rows, 24 traces" in result.output
