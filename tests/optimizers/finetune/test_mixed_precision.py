"""bfloat16 on a CPU: what is computed otherwise than by autocast alone is the same or nearer to float32, on processors without it too."""

import copy
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from optimizers import TrainingSpec
from optimizers.finetune import mixed_precision, trainer
from optimizers.finetune.bases import trained_model
from optimizers.finetune.completion_loss import completion_loss
from optimizers.finetune.mixed_precision import attend_in_float32_where_short, hold_frozen_in_bfloat16
from programs.lms import devices

ROWS = [
    {"messages": [{"role": "user", "content": f"Where is {n}? " * (1 + n % 3)}, {"role": "assistant", "content": f"In Rome {n}."}]}
    for n in range(8)
]


@pytest.fixture
def made(tiny, tmp_path, monkeypatch):
    """Makes a trainer as its process does on a processor with bfloat16."""
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    monkeypatch.delenv("DIVIDE_OR_CONQUER_DTYPE", raising=False)

    def make(**settings):
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        spec = TrainingSpec(base=str(tiny.folder), device="cpu", threads=1, max_steps=1, learning_rate=1e-2, **settings)
        progress = trainer._Progress(tmp_path / "progress.jsonl")
        return trainer._built(tmp_path, spec, AutoTokenizer.from_pretrained(spec.base), progress), spec

    return make


def gradients_of(model, batch):
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = completion_loss(model, batch)
    loss.backward()
    return float(loss.detach()), {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_weights_that_are_rounded_once_give_autocasts_own_gradients(made, monkeypatch):
    monkeypatch.setattr(mixed_precision, "hold_frozen_in_bfloat16", lambda model: None)
    made = made()[0]
    batch = made.data_collator([made.train_dataset[at] for at in range(4)])
    plain, held = made.model, copy.deepcopy(made.model)
    hold_frozen_in_bfloat16(held)
    first, second = gradients_of(plain, batch), gradients_of(held, batch)
    assert first[0] == second[0] and first[1].keys() == second[1].keys()
    assert any(grad.abs().max() > 0 for grad in first[1].values())
    assert all(torch.equal(first[1][name], grad) for name, grad in second[1].items())


def test_what_is_trained_and_the_embedding_stay_in_float32(made):
    kinds = {}
    for name, weight in made()[0].model.named_parameters():
        kinds.setdefault(weight.dtype, []).append(name)
    assert all("base_layer" in name or "lm_head" in name for name in kinds[torch.bfloat16])
    assert any("lora_A" in name for name in kinds[torch.float32]) and any("embed_tokens" in name for name in kinds[torch.float32])


def test_the_student_is_of_the_bases_own_weights(made, tiny):
    made, spec = made()
    made.train()
    student = trained_model(made, spec)
    assert {weight.dtype for weight in student.parameters()} == {torch.float32}
    base = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    own = dict(student.get_base_model().named_parameters())
    for name, weight in base.named_parameters():
        assert torch.equal(own.get(name, own.get(name.replace(".weight", ".base_layer.weight"))), weight), name
    assert any(weight.abs().max() > 0 for name, weight in student.named_parameters() if "lora_B" in name)


def test_nothing_is_rounded_where_all_weights_are_trained(made):
    assert {weight.dtype for weight in made(method="full")[0].model.parameters()} == {torch.float32}


def hidden_of(model, tokens):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        return model.model(input_ids=tokens).last_hidden_state


def test_short_rows_attend_in_float32_and_long_ones_as_ever(tiny, monkeypatch):
    monkeypatch.setattr(mixed_precision, "SHORT", 16)
    usual = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    attend_in_float32_where_short(ours)
    seen, plain = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda query, *rest, **named: (seen.append((query.dtype, torch.is_autocast_enabled("cpu"))), plain(query, *rest, **named))[1],
    )
    short, long = torch.arange(15)[None], torch.arange(16)[None]
    assert torch.allclose(hidden_of(ours, short), hidden_of(usual, short), rtol=0.2, atol=0.2)
    assert seen[0] == (torch.float32, False)
    assert torch.equal(hidden_of(ours, long), hidden_of(usual, long))
    assert seen[-1][1]


def test_an_attention_that_was_chosen_stays(tiny):
    model = AutoModelForCausalLM.from_pretrained(tiny.folder, attn_implementation="eager")
    attend_in_float32_where_short(model)
    assert model.config._attn_implementation == "eager"
