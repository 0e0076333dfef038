"""Settings that make a training fit: each leaves the steps as they are, and what cannot be trained is refused before it begins."""

import importlib.util
import json

import pytest
import torch
from small_models import save

from optimizers import TrainingSpec
from optimizers.experiments.plan_view import plan
from optimizers.finetune import bases, trainer
from optimizers.finetune.bases import check_installed
from optimizers.finetune.completion_loss import CompletionLossTrainer
from optimizers.finetune.job_folder import read_progress
from optimizers.finetune.seconds import training_seconds
from optimizers.finetune.specs import PreferenceSpec
from optimizers.finetune.train import train
from optimizers.settings.load import load_config
from programs.lms import artifacts

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Where is {n}? " * (1 + n % 3)},
            {"role": "assistant", "content": f"In Rome {n}. " * (1 + n % 4)},
        ]
    }
    for n in range(16)
]


def spec_of(tiny, **settings):
    common = {"max_steps": 3, "threads": 1, "device": "cpu", "warmup_steps": 0, "save_dtype": "float32", "learning_rate": 1e-2}
    return TrainingSpec(base=str(tiny.folder), **{**common, **settings})


def trained(tiny, folder, **settings):
    return train(ROWS, spec_of(tiny, **settings), folder, name="s", adapter="line", base="tiny", dev_rows=ROWS[:4])


def losses_of(artifact):
    return [line[key] for line in read_progress(artifact.folder) for key in ("loss", "eval_loss") if key in line]


def built(tiny, folder, **settings):
    """A trainer as the process makes it."""
    from transformers import AutoTokenizer

    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    spec = spec_of(tiny, **settings)
    return trainer._built(folder, spec, AutoTokenizer.from_pretrained(spec.base), trainer._Progress(folder / "progress.jsonl"))


@pytest.fixture
def in_float32(monkeypatch):
    """Else products are rounded by the shape of what is multiplied, on machines with bfloat16: steps are then alike, not equal."""
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")


@pytest.fixture
def plain(tiny, home, tmp_path, in_float32):
    """The same training without any of these settings."""
    return trained(tiny, tmp_path / "plain", microbatch_tokens=0)


@pytest.mark.parametrize("settings", [{"microbatch_tokens": 50}, {"gradient_checkpointing": True}], ids=["parts", "checkpointing"])
def test_less_memory_is_the_same_training(tiny, plain, tmp_path, settings):
    artifact = trained(tiny, tmp_path / "s", **settings)
    assert losses_of(artifact) == pytest.approx(losses_of(plain), rel=1e-5)
    assert len(losses_of(artifact)) > 3
    assert losses_of(artifact)[-2] < losses_of(artifact)[0]


def gradients_of(made, rows=8):
    """Of one step on a batch, and how many rows each part of it had."""
    batch = made.data_collator([made.train_dataset[at] for at in range(rows)])
    widths, loss = [], made._loss
    made._loss = lambda plain, inputs, count: widths.append(tuple(inputs["input_ids"].shape)) or loss(plain, inputs, count)
    made.create_optimizer()
    made.current_gradient_accumulation_steps = 1
    total = made.training_step(made.model, batch, (batch["labels"][:, 1:] != -100).sum())
    return total, {name: weight.grad for name, weight in made.model.named_parameters() if weight.grad is not None}, widths, batch


@pytest.mark.parametrize("kl_weight", [0.0, 0.3])
@pytest.mark.parametrize("tokens", [1, 100])
def test_the_parts_of_a_batch_have_its_gradients(tiny, tmp_path, in_float32, tokens, kl_weight):
    whole = gradients_of(built(tiny, tmp_path, microbatch_tokens=0, kl_weight=kl_weight))
    parts = gradients_of(built(tiny, tmp_path, microbatch_tokens=tokens, kl_weight=kl_weight))
    assert parts[0] == pytest.approx(float(whole[0]), rel=1e-5)
    assert whole[1].keys() == parts[1].keys() and any(weight.abs().max() > 0 for weight in whole[1].values())
    for name, weight in whole[1].items():
        torch.testing.assert_close(parts[1][name], weight, rtol=1e-3, atol=1e-5)
    assert whole[2] == [tuple(whole[3]["input_ids"].shape)]
    rows = max(1, tokens // whole[2][0][1])
    assert [shape[0] for shape in parts[2]] == [rows] * (8 // rows)
    # Nobody pays for the padding of another part.
    assert all(width <= max(tokens, max(map(len, built(tiny, tmp_path).train_dataset["input_ids"]))) for _, width in parts[2])
    assert min(width for _, width in parts[2]) < whole[2][0][1]


def test_what_is_not_kept_is_computed_again(tiny, tmp_path):
    counts = []
    for on in (False, True):
        made = built(tiny, tmp_path, gradient_checkpointing=on, microbatch_tokens=0)
        made.model.train()
        seen = []
        for name, layer in made.model.named_modules():
            if name.endswith("layers.0.mlp.gate_proj"):
                layer.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        if on:
            made.model.gradient_checkpointing_enable(made.args.gradient_checkpointing_kwargs)
        gradients_of(made)
        counts.append(len(seen))
    assert counts == [1, 2]
    plan = [training_seconds(spec_of(tiny, gradient_checkpointing=on), "embedded/base", 100) for on in (False, True)]
    assert plan[1] > plan[0]


def test_a_base_in_bfloat16_gives_a_student_of_the_bases_own_weights(tiny, plain, tmp_path):
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    made = built(tiny, tmp_path, dtype="bfloat16")
    assert {str(weight.dtype) for name, weight in made.model.named_parameters() if "lora" not in name} == {"torch.bfloat16"}
    artifact = trained(tiny, tmp_path / "s", dtype="bfloat16")
    assert losses_of(artifact) == pytest.approx(losses_of(plain), rel=0.05)
    base = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    wanted = PeftModel.from_pretrained(base, artifact.folder / "adapter").merge_and_unload().state_dict()
    found = load_file(artifact.folder / "model.safetensors")
    for name, weight in found.items():
        torch.testing.assert_close(weight, wanted[name])


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_that_was_shared_out_is_put_together(tiny, tmp_path, in_float32, method):
    """As FSDP hands it over, which is not there without GPUs: the weights by name."""
    spec = spec_of(tiny, method=method)
    made = built(tiny, tmp_path, method=method)
    with torch.no_grad():
        for weight in made.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    state = {name: weight.clone() for name, weight in made.model.state_dict().items()}
    whole = bases._put_together(made.model, state, spec)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(whole.eval()(ids).logits, made.model.eval()(ids).logits, rtol=1e-3, atol=1e-4)


def test_4_bits_need_a_package_that_is_named(tiny, home, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else found(name, *rest))
    with pytest.raises(ValueError, match="pip install bitsandbytes"):
        check_installed(spec_of(tiny, load_in_4bit=True))
    with pytest.raises(ValueError, match="pip install bitsandbytes"):
        plan(load_config(None, {"training.load_in_4bit": True}))
    with pytest.raises(ValueError, match="pip install bitsandbytes"):
        trained(tiny, tmp_path / "s", load_in_4bit=True)
    assert not list(tmp_path.glob("s*"))


@pytest.fixture
def wide(base, tmp_path):
    """As bitsandbytes packs 4 bits in blocks of 64 for processors with bfloat16."""
    folder = save("llama", base.folder, tmp_path / "wide", intermediate_size=128, num_key_value_heads=4)
    return artifacts.publish(folder, tmp_path / "published", name="wide", adapter="line-terse", base="random")


def test_4_bits_train_an_adapter_for_the_bases_own_weights(wide, home, tmp_path):
    pytest.importorskip("bitsandbytes")
    made = built(wide, tmp_path, load_in_4bit=True)
    assert isinstance(made, CompletionLossTrainer)
    kinds = {type(layer).__name__ for name, layer in made.model.named_modules() if name.endswith("q_proj.base_layer")}
    assert kinds == {"Linear4bit"}
    artifact = trained(wide, tmp_path / "s", load_in_4bit=True, max_steps=6)
    assert losses_of(artifact)[-2] < losses_of(artifact)[0]
    assert "quantization_config" not in json.loads((artifact.folder / "config.json").read_text())
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(artifact.folder)
    base = AutoModelForCausalLM.from_pretrained(wide.folder)
    assert torch.equal(model.get_input_embeddings().weight, base.get_input_embeddings().weight)
    assert not torch.equal(model.model.layers[0].mlp.up_proj.weight, base.model.layers[0].mlp.up_proj.weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"load_in_4bit": True, "method": "full"}, "load_in_4bit=true needs method 'lora'"),
        ({"save_weights": "adapter", "method": "full"}, "save_weights='adapter' needs method 'lora'"),
        ({"accelerate_config": "x.yaml", "processes": 2}, "leave out processes"),
    ],
)
def test_settings_that_exclude_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingSpec(**settings)


def test_dpo_and_grpo_are_not_launched():
    with pytest.raises(ValueError, match="train in one process"):
        PreferenceSpec(accelerate_config="x.yaml")
