"""Levers that keep a student near its base: real trainings of the tiny model, judged by its weights."""

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from optimizers import TrainingSpec
from optimizers.finetune.job_folder import read_progress
from optimizers.finetune.train import train
from optimizers.settings.load import load_config
from programs.lms.model_strings import resolve

QUICK = TrainingSpec(epochs=1, batch_size=4, learning_rate=1e-2, save_dtype="float32", max_length=200, warmup_steps=0)


def chats(count):
    return [{"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"number {i}"}]} for i in range(count)]


def trained(model, folder, **settings):
    spec = QUICK.model_copy(update={"base": str(resolve(model).folder), **settings})
    return train(chats(8), spec, folder, name="t", adapter="line", base=model)


def weights(folder):
    return {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}


def distance(a, b):
    return sum(float((a[name] - b[name]).square().sum()) for name in a) ** 0.5


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_scale_puts_the_weights_at_that_share_of_the_way(tiny_model, tmp_path, method):
    base = weights(resolve(tiny_model).folder)
    whole, scaled = (trained(tiny_model, tmp_path / f"{scale}", method=method, adapter_scale=scale) for scale in (1.0, 0.25))
    full, quarter = weights(whole.folder), weights(scaled.folder)
    assert distance(full, base) > 0.1
    for name, start in base.items():
        torch.testing.assert_close(quarter[name], start + 0.25 * (full[name] - start), rtol=0, atol=1e-6)


def test_a_scale_of_one_is_the_plain_merge(tiny_model, tmp_path):
    plain = trained(tiny_model, tmp_path / "plain")
    assert trained(tiny_model, tmp_path / "one", adapter_scale=1.0, neftune_noise=0.0, kl_weight=0.0).model_string == plain.model_string


def test_the_adapter_beside_a_scaled_model_is_the_one_that_was_merged(tiny_model, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = trained(tiny_model, tmp_path / "t", adapter_scale=0.5).folder
    base = AutoModelForCausalLM.from_pretrained(resolve(tiny_model).folder, dtype=torch.float32)
    merged = PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload().state_dict()
    for name, value in weights(folder).items():
        torch.testing.assert_close(merged[name], value, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_noise_changes_what_is_learnt_and_the_seed_repeats_it(tiny_model, tmp_path):
    plain, noisy, again = (trained(tiny_model, tmp_path / f"{n}", neftune_noise=alpha) for n, alpha in enumerate((0.0, 5.0, 5.0)))
    assert noisy.model_string.split("@")[1] == again.model_string.split("@")[1]
    assert distance(weights(noisy.folder), weights(plain.folder)) > 1e-3


def divergence(model, folder):
    """Mean KL of the base from the model on the prompts, over all positions."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    models = [AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (resolve(model).folder, folder)]
    total = 0.0
    for row in chats(8):
        ids = torch.tensor([tokenizer.apply_chat_template(row["messages"][:1], tokenize=True, return_dict=False)])
        with torch.no_grad():
            base, student = (m(ids).logits[0, :-1].log_softmax(-1) for m in models)
        total += float((base.exp() * (base - student)).sum(-1).mean())
    return total / 8


@pytest.mark.slow
def test_a_divergence_penalty_keeps_the_prompts_distribution_nearer_to_the_base(tiny_model, tmp_path):
    settings = {"epochs": 10, "gradient_accumulation": 2}
    plain, kept = (trained(tiny_model, tmp_path / f"{weight}", kl_weight=weight, **settings) for weight in (0.0, 5.0))
    assert divergence(tiny_model, kept.folder) < 0.5 * divergence(tiny_model, plain.folder)
    losses = [[record["loss"] for record in read_progress(artifact.folder) if "loss" in record] for artifact in (plain, kept)]
    # Before the first update the student is the base, and the penalty nothing.
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.adapter_scale": 0}, "training.adapter_scale=0"),
        ({"training.adapter_scale": 1.5}, "training.adapter_scale=1.5"),
        ({"training.neftune_noise": -1}, "training.neftune_noise=-1"),
        ({"training.kl_weight": 0.1, "training.method": "full"}, "kl_weight=0.1 needs method 'lora'"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(settings, message):
    with pytest.raises(ValueError, match=message):
        load_config("forgiving", settings)
    with pytest.raises(ValidationError):
        TrainingSpec(**{key.removeprefix("training."): value for key, value in settings.items()})
