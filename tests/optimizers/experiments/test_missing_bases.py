"""Models that are not there: what is said of the setting, its value and the next step; and of students whose base was moved away."""

import json

import pytest
import torch
from safetensors.torch import save_file

from optimizers import run, run_experiment
from optimizers.experiments.roles import Roles
from optimizers.planning import plan
from optimizers.settings.load import load_config
from programs.lms.artifacts import open_artifact, publish, register


def published(folder, file, name, **manifest):
    work = folder.with_name(f"{folder.name}.work")
    work.mkdir(parents=True)
    save_file({"weight": torch.zeros(2)}, work / file)
    base = manifest.get("merge_into")
    (work / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base})) if base else None
    return publish(work, folder, name=name, **manifest)


def test_the_student_and_its_base_with_the_hash_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DIVIDE_OR_CONQUER_HOME", str(tmp_path / "home"))
    # The embedded teacher would be prepared in a new home.
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    base = published(tmp_path / "base", "model.safetensors", "base")
    alone = {"base": base.model_string, "merge_into": base.model_string}
    student = published(tmp_path / "run" / "S_D-R", "adapter_model.safetensors", "S_D-R", **alone)
    (tmp_path / "base").rename(tmp_path / "away")
    config = load_config(None, {"teacher.model": "openai/x", "student.model": f"local/{tmp_path}/base"})
    with pytest.raises(ValueError, match="is no folder"):
        Roles(config, tmp_path / "none")
    with pytest.raises(ValueError, match="is an adapter alone") as refused:
        Roles(config, tmp_path / "run")
    assert student.model_string in str(refused.value) and base.model_string in str(refused.value)
    register(open_artifact(tmp_path / "away"))
    with pytest.raises(ValueError, match=rf"trained on {base.model_string}, which is in {tmp_path}/away by now: move it back"):
        Roles(config, tmp_path / "run")


@pytest.fixture
def place(tmp_path, home, monkeypatch):
    """A folder with the begin of a GGUF file, a student, and a model without weights."""
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    published(tmp_path / "run" / "student" / "S_D-R", "model.safetensors", "S_D-R")
    (tmp_path / "weightless").mkdir()
    (tmp_path / "weightless" / "config.json").write_text('{"model_type": "llama"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROLES = {
    "teacher": "teacher",
    "student": "student",
    "solver": "solver",
    "screening.judge": r"screening\.judge",
    "experiment.solvers.big": r"experiment\.solvers\.big",
    "experiment.students.big": r"experiment\.students\.big",
}
MISSING = {
    "local/nosuch": r": Unknown model 'local/nosuch': .*expected .*local/<folder>.*looked for as .*/nosuch.*divide-or-conquer fetch",
    "local/mine.gguf": r": Unknown model .*Did you mean gguf/mine\.gguf\?",
    "local/run": r" 'local/run': .*/run is no model: .*models in it are local/.*/run/student/S_D-R",
    "local/run/student/S_D-T": r": Unknown model .*Did you mean local/run/student/S_D-R\?",
    "local/weightless": r" 'local/weightless': .*its weights are missing; download the model again",
    "local/qwen2.5-coder-0.5b": r"Did you mean gguf/qwen2\.5-coder-0\.5b\? .*divide-or-conquer fetch qwen2\.5-coder-0\.5b$",
    "gguf/qwen2.5-coder-1.5b": r" 'gguf/qwen2\.5-coder-1\.5b': The weights .* not in .*: divide-or-conquer fetch qwen2\.5-coder-1\.5b$",
    "gguf/mein.gguf": r": Unknown model 'gguf/mein\.gguf': .*Did you mean gguf/mine\.gguf\?",
    "embedded/bse": r": Unknown model 'embedded/bse'; expected embedded/base",
    "hf/x": r": Unknown model 'hf/x'; a Hugging Face model is hf/<organisation>/<name>.*local/<folder>",
    "./run/student/S_D-R": r"Unknown model .*Did you mean local/\./run/student/S_D-R\?",
}


@pytest.mark.parametrize("model", MISSING)
def test_a_plan_names_the_setting_its_value_and_the_next_step(place, model):
    for role, named in ROLES.items():
        job = "experiment" if role.startswith("experiment") else "run"
        with pytest.raises(ValueError, match=named + r"\b.*" + MISSING[model]):
            plan(load_config(None, {role: model}), job)


@pytest.mark.parametrize("role", ROLES)
def test_a_job_says_so_too(place, role, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    config = load_config(None, {"teacher": "openai/x", "student": "local/run/student/S_D-R", "out": "out", role: "local/nosuch"})
    do = run_experiment if role.startswith("experiment") else run
    with pytest.raises(ValueError, match=ROLES[role] + r": Unknown model 'local/nosuch'"):
        do(config)
    assert not (place / "out").exists()


def test_only_models_of_this_process_are_offered_for_a_student(place):
    for student in ("local/nosuch", "embedded/nosuch", "gguf/nosuch.gguf", "hf/x"):
        with pytest.raises(ValueError, match="student: ") as refused:
            plan(load_config(None, {"student": student}))
        assert "openai" not in str(refused.value)
