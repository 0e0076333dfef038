"""The trainer for CPUs computes in the number format that the machine is good for."""

import dataclasses
import json

import pytest
import torch

from optimizers import TrainingSpec
from optimizers.finetune import trainer
from programs.lms import devices
from programs.lms.model_strings import resolve


@pytest.mark.parametrize("settings", [{}, {"kl_weight": 0.1}], ids=["plain", "kl"])
@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_layers_compute_in_the_format_that_the_manifest_will_name(tiny_model, tmp_path, monkeypatch, has_bf16, dtype, settings):
    from transformers import AutoTokenizer

    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: has_bf16)
    messages = [{"role": "user", "content": "say 1"}, {"role": "assistant", "content": "one"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    (tmp_path / "dev_rows.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    spec = TrainingSpec(base=str(resolve(tiny_model).folder), max_steps=1, batch_size=1, device="cpu", save_steps=1, **settings)
    progress = trainer._Progress(tmp_path / "progress.jsonl")
    built = trainer._built(tmp_path, spec, AutoTokenizer.from_pretrained(spec.base), progress)
    seen = set()
    for name, layer in built.model.named_modules():
        if name.endswith("q_proj"):
            layer.register_forward_hook(lambda layer, inputs, output: seen.add(output.dtype))
    built.train()
    assert seen == {dtype}
    assert str(dtype).removeprefix("torch.") == devices.device_and_dtype(spec.device)[1]
    assert dataclasses.is_dataclass(built.args) and built.args.bf16 is has_bf16


def test_a_training_ends_with_its_last_losses_and_not_with_its_mean():
    log = [{"loss": loss, "step": step} for step, loss in enumerate([3.0] * 90 + [0.02, 0.01] * 5)] + [{"train_loss": 2.7}]
    log.insert(50, {"eval_loss": 0.5})
    log.append({"eval_loss": 0.03})
    found = trainer._losses(log, 2.7)
    assert found == {"last_train_loss": pytest.approx(0.015), "last_dev_loss": 0.03, "mean_train_loss": 2.7}
    assert trainer._losses([], 0.0) == {"last_train_loss": None, "last_dev_loss": None, "mean_train_loss": 0.0}
