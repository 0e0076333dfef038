"""Rounds and trials are those of the questions that were asked: an edited data file mixes nothing in."""

import json

import dspy
import pytest
from scripted import scripted_lm, two_stage_rule

from optimizers.improvement.attempts import Attempts, RoundContext
from optimizers.improvement.job import ImproveJob
from optimizers.jobs.jsonlines import read_json
from optimizers.jobs.progress import no_progress
from optimizers.labelling.journal import Limits
from optimizers.settings.improve import ImproveConfig
from optimizers.settings.load import load_config
from optimizers.studies.study import StudyJob
from programs import TwoStage
from programs.tasks.jsonl import JsonlTask


def question(number, text, answer):
    return dspy.Example(id=str(number), question=text, context="", answer=answer).with_inputs("question", "context")


def rows(folder, data, examples, model="openai/scripted"):
    student = TwoStage()
    student.set_lm(scripted_lm(two_stage_rule, model))
    context = RoundContext(JsonlTask(data), ImproveConfig(samples=2, temperature=1.0, min_rows=1), folder, [], 0, 1, Limits, no_progress)
    return Attempts(context, student, examples).rows(1, student)


def test_a_rounds_rows_are_made_anew_where_question_reference_or_student_changed(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "Where?", "answer": "Rome"}\n')
    first = [question(1, "Where is 1?", "Rome"), question(2, "Where is 2?", "Oslo")]
    assert [row["id"] for row in rows(tmp_path, data, first)] == ["1"]
    assert [row["id"] for row in rows(tmp_path, data, first)] == ["1"]
    shifted = [question(1, "New?", "Oslo"), question(2, "Where is 1?", "Rome")]
    assert [row["id"] for row in rows(tmp_path, data, shifted)] == ["2"]
    assert [row["id"] for row in rows(tmp_path, data, [question(1, "New?", "Rome"), shifted[1]])] == ["1", "2"]
    tried = read_json(tmp_path / "1" / "tried.json")
    assert rows(tmp_path, data, first, "openai/other") and read_json(tmp_path / "1" / "tried.json")["asked"] != tried["asked"]


def test_rounds_of_an_earlier_version_stand(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "Where?", "answer": "Rome"}\n')
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "tried.json").write_text('{"rows": 1}')
    (tmp_path / "1" / "rows.jsonl").write_text('{"id": "kept"}\n')
    assert rows(tmp_path, data, [question(1, "Where is 1?", "Rome")]) == [{"id": "kept"}]


def test_test_questions_that_further_rows_repeat_are_kept_out_and_counted(tmp_path):
    given = {"out": str(tmp_path / "run"), "data.train": 8, "data.test": 3, "improve.data.dev": 3}
    job = ImproveJob(load_config("forgiving", given))
    made = [{"id": "1~mask1", "question": job.splits["test"][0].question.upper(), "origin": "mask_entities"}]
    assert job.overlap(made)["overlap"] == 1
    job.keep_out(made)
    assert job.kept_out == {"test": 1} and len(job.tests["test"][1]) == 2
    assert job.overlap(made)["overlap"] == 0


def test_a_study_of_edited_questions_is_refused(tmp_path):
    data = tmp_path / "data.jsonl"
    lines = [json.dumps({"question": f"Where is {n}?", "answer": "Rome"}) + "\n" for n in range(40)]
    data.write_text("".join(lines))
    given = {"out": str(tmp_path / "study"), "task": "jsonl", "task.path": str(data), "data.train": 4, "data.dev": 2, "data.test": 1}

    def job():
        made = StudyJob(load_config("forgiving", {**given, "study.space.training.learning_rate": "{ low = 1e-4, high = 1e-3 }"}))
        made.folder.mkdir(exist_ok=True)
        made._check_questions()

    job()
    job()
    data.write_text("".join(['{"question": "First?", "answer": "Oslo"}\n', *lines]))
    with pytest.raises(ValueError, match=r"questions are others than those that the trials in .*study were done with.*--out .*study-2"):
        job()
