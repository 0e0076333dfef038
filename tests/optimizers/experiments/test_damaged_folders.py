"""Damaged and foreign files of a job's folder are named with the next step, and what is redone is moved aside, never deleted."""

import json

import pytest

from optimizers.experiments.experiment import ExperimentJob
from optimizers.experiments.redo import chosen, set_aside
from optimizers.experiments.results import Run
from optimizers.experiments.run_job import MainJob
from optimizers.finetune.job_folder import read_progress
from optimizers.jobs.jsonlines import read_json
from optimizers.reports.read import read_run
from optimizers.settings.load import load_config

DAMAGES = [b"{", b"\xff\xfe\x00", b"[1]", b"[" * 100_000]


def settings(tmp_path, **given):
    return load_config("forgiving", {"out": str(tmp_path / "run"), "data.train": 6, "data.test": 3, **given})


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_json_file_is_named_with_the_next_step(tmp_path, content):
    path = tmp_path / "labelling.json"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"labelling\.json (is no valid JSON|holds no JSON object).*move it away and run the same command again"
    ):
        read_json(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed = ", r"config\.toml is no valid TOML.*--out"),
        (b"\xff\xfe\x00", r"config\.toml is no valid TOML.*--out"),
        (b"a = " + b"[" * 100_000, r"config\.toml is no valid TOML.*--out"),
        (b'[tool.other]\nname = "x"\n', r"config\.toml is no configuration of a run; restore it.*--out"),
        (b'teacher = "x"\n', r"config\.toml is no configuration of a run"),
        (b"", r"config\.toml is no configuration of a run"),
    ],
)
def test_a_damaged_or_foreign_configuration_is_named(tmp_path, content, message):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        MainJob(settings(tmp_path))


def test_a_report_names_a_configuration_that_is_no_text(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"config\.toml is no text in UTF-8"):
        read_run(tmp_path)


def test_a_recipe_that_is_no_text_is_named(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"mine\.toml"):
        load_config(str(tmp_path / "mine.toml"))


def test_damaged_metrics_and_progress_are_named(tmp_path):
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is no valid JSON"):
        _ = Run(tmp_path).metrics
    (tmp_path / "progress.jsonl").write_text('{"step": 1}\nx\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"progress\.jsonl, line 2"):
        read_progress(tmp_path)


def test_the_copy_of_a_teachers_program_is_named_where_it_is_torn(tmp_path):
    stage = {"signature": {"instructions": "x", "fields": []}, "demos": []}
    (tmp_path / "program.json").write_text(json.dumps({"decompose": stage, "solve": stage}))
    config = settings(tmp_path, **{"teacher.program": str(tmp_path / "program.json")})
    MainJob(config)
    (tmp_path / "run" / "teacher_program.json").write_text("{")
    with pytest.raises(ValueError, match=r"teacher_program\.json is no valid JSON"):
        MainJob(config)


def test_only_students_of_the_job_are_redone():
    assert chosen(["distill"], ["S_D-T", "S_D-R"]) == ["S_D-T", "S_D-R"] and chosen([], ["S_D-T"]) == []
    with pytest.raises(
        ValueError, match=r"--redo S_X: this job trains no such student; expected 'distill' for all, or some of \['S_D-T'\]"
    ):
        chosen(["S_X"], ["S_D-T"])


def test_what_is_set_aside_keeps_its_path_and_every_earlier_one(tmp_path):
    for content in ("1", "2"):
        (tmp_path / "student").mkdir()
        (tmp_path / "student" / "a").write_text(content)
        set_aside(tmp_path, [tmp_path / "student", tmp_path / "not there"])
    assert [(tmp_path / "aside" / n / "student" / "a").read_text() for n in "12"] == ["1", "2"]
    assert set_aside(tmp_path, [tmp_path / "student"]) is None


def test_a_student_is_set_aside_with_its_answers_alone(tmp_path):
    job = MainJob(settings(tmp_path, **{"evaluation.conditions": "teacher+teacher,S_D-T+teacher,S_D-R+teacher"}))
    files = ["traces.jsonl", "student/S_D-R/manifest.json", "student/S_D-R.work/job.json", "student/S_D-T/manifest.json"]
    files += [f"predictions/{name}.jsonl" for name in ("teacher+teacher", "S_D-T+teacher", "S_D-R+teacher", "calls")]
    for file in files:
        (job.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (job.folder / file).write_text("x")
    job.redo(["S_D-R"])
    moved = {file for file in files if not (job.folder / file).exists()}
    assert moved == {file for file in files if "S_D-R" in file}
    assert all((job.folder / "aside" / "1" / file).exists() for file in moved)


def test_an_experiments_students_are_set_aside_in_every_variant(tmp_path):
    wanted = {"experiment.conditions": "teacher+teacher,S_D-R+teacher", "experiment.ablations": "rows", "experiment.rows": "3"}
    job = ExperimentJob(settings(tmp_path, **wanted))
    folders = [job.distillation(train, variant).roles.folder_of("S_D-R") for train, variant in job.trainings()]
    cells = [job.folder / "predictions" / cell.path for cell in job.cells()]
    for path in [*(folder / "manifest.json" for folder in folders), *cells]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    job.redo(["distill"])
    assert len(folders) > 1 and not any(folder.exists() for folder in folders)
    assert {path.name for path in cells if path.exists()} == {"teacher+teacher.jsonl"}
