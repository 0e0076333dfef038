"""Students that were saved as adapters alone, where the base that the configuration names has been moved away."""

import json

import pytest
import torch
from safetensors.torch import save_file

from optimizers.experiments.roles import Roles
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
    base = published(tmp_path / "base", "model.safetensors", "base")
    alone = {"base": base.model_string, "merge_into": base.model_string}
    student = published(tmp_path / "run" / "S_D-R", "adapter_model.safetensors", "S_D-R", **alone)
    (tmp_path / "base").rename(tmp_path / "away")
    config = load_config(None, {"teacher.model": "embedded/teacher", "student.model": f"local/{tmp_path}/base"})
    with pytest.raises(ValueError, match="is no folder"):
        Roles(config, tmp_path / "none")
    with pytest.raises(ValueError, match="is an adapter alone") as refused:
        Roles(config, tmp_path / "run")
    assert student.model_string in str(refused.value) and base.model_string in str(refused.value)
    register(open_artifact(tmp_path / "away"))
    with pytest.raises(ValueError, match=rf"trained on {base.model_string}, which is in {tmp_path}/away by now: move it back"):
        Roles(config, tmp_path / "run")
