"""A run's folder read from another working directory than the one that it was made in."""

import json
import shutil
from pathlib import Path

import pytest

from optimizers import Run, run
from optimizers.experiments.run_folder import made_in
from optimizers.experiments.run_job import MainJob
from optimizers.settings.load import load_config
from optimizers.sharing.shared_run import finished_run


@pytest.fixture
def project(here, monkeypatch):
    """Recorded folders, whose questions and models are named by relative paths; the working directory is another one."""
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    return here


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["run", "experiment"])
def test_its_program_is_made_and_the_folder_left_as_it_was(project, kind):
    before = files(project / kind)
    for folder in (project / kind, Path("..") / kind):
        program = Run(folder).program("S_D-R+teacher")
        assert program.decompose.lm.model.startswith("local/S_D-R@") and program.max_subquestions == 3
    assert Path.cwd() == project / "elsewhere" and files(project / kind) == before


def test_another_file_of_that_name_is_not_taken_for_the_runs(project):
    Path("questions.jsonl").write_text("no JSON")
    assert Run(project / "run").program("single-stage")


def test_where_it_was_made_is_noted_and_found_again(project, monkeypatch):
    assert made_in(project / "run") == made_in(Path("../run")) == project
    monkeypatch.chdir(project)
    config = load_config("run/config.toml", {"out": str(project / "whole" / "run"), "evaluation.conditions": "single-stage"})
    MainJob(config)
    monkeypatch.chdir(project / "elsewhere")
    assert made_in(project / "whole" / "run") == project
    assert Run(project / "whole" / "run").program("single-stage")
    # A copy of the project has files of its own, and a folder under another name those of before.
    shutil.copytree(project / "run", project / "copy" / "run")
    (project / "copy" / "run" / "directory.json").write_text(json.dumps({"working_directory": str(project)}))
    assert made_in(project / "copy" / "run") == project / "copy"
    (project / "copy" / "run").rename(project / "copy" / "old")
    assert made_in(project / "copy" / "old") == project


def test_prompts_that_are_kept_are_not_looked_for(project, monkeypatch):
    monkeypatch.chdir(project)
    demo = {"question": "Who?", "subquestions": ["Where?"], "sub_answers": ["Here"], "answer": "Rome"}
    Path("shots.jsonl").write_text(json.dumps(demo) + "\n")
    given = {"out": "with", "teacher.program": "shots.jsonl", "evaluation.conditions": "teacher+teacher"}
    MainJob(load_config("run/config.toml", given))
    Path("shots.jsonl").unlink()
    assert [demo["subquestions"] for demo in Run("with").program().decompose.demos] == [["Where?"]]


def test_whose_its_questions_are_is_known_there_too(project):
    assert finished_run(project / "run").task("jsonl").name == "jsonl"


def test_a_job_there_names_both_places(project):
    with pytest.raises(ValueError, match=r"There is no questions\.jsonl;") as refused:
        run(load_config(str(project / "run" / "config.toml"), {"out": str(project / "run")}), stages=("report",))
    assert f"are relative to {project}, where it was made, and were looked for in {project / 'elsewhere'}" in str(refused.value)


def test_a_file_that_is_gone_is_told_with_the_place(project):
    (project / "questions.jsonl").unlink()
    with pytest.raises(ValueError, match=rf"There is no questions\.jsonl; .*It was looked for in {project}\.$"):
        Run(project / "run").program()
    (project / "run").rename(project / "renamed")
    with pytest.raises(ValueError, match=rf"looked for in {project}/elsewhere, as .*/renamed does not say where it was made"):
        Run(project / "renamed").program()


def test_a_whole_path_that_is_gone_is_told_with_what_it_is_needed_for(project, monkeypatch):
    monkeypatch.chdir(project)
    questions = project / "questions.jsonl"
    given = {"out": str(project / "whole"), "task.path": str(questions), "evaluation.conditions": "single-stage"}
    MainJob(load_config(str(project / "run" / "config.toml"), given))
    questions.rename(project / "moved.jsonl")
    with pytest.raises(ValueError, match=rf"There is no {questions}; .*which a report needs too: put it back there, or a link to it\.$"):
        run(load_config(str(project / "whole" / "config.toml"), {"out": str(project / "whole")}), stages=("report",))
    questions.symlink_to(project / "moved.jsonl")
    assert Run(project / "whole").program("single-stage")
