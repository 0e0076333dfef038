"""Keeps a student near the model that it starts from, so that it forgets less of what the rows do not show."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from optimizers.finetune.spec import TrainingSpec


def scale_towards_base(model: Any, spec: TrainingSpec) -> None:
    """Set the trained weights, in place, to `base + spec.adapter_scale * (trained - base)`.

    The interpolation of WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3). For LoRA
    the up projections are scaled, so that the adapter on disk is the one that the merged model holds.

    Args:
        model: peft's model where `spec.method` is `lora`, else one whose base is at `spec.base`.
        spec: Settings of the training; nothing is done at a scale of 1.
    """
    if spec.adapter_scale == 1:
        return
    with torch.no_grad():
        if spec.method == "lora":
            for name, parameter in model.named_parameters():
                if ".lora_B." in name or ".lora_embedding_B." in name:
                    parameter.mul_(spec.adapter_scale)
        else:
            _interpolate(model, spec)


def _interpolate(model: Any, spec: TrainingSpec) -> None:
    from transformers import AutoModelForCausalLM

    base = dict(AutoModelForCausalLM.from_pretrained(spec.base, dtype=torch.float32).named_parameters())
    for name, parameter in model.named_parameters():
        start = base[name].to(parameter.device, parameter.dtype)
        parameter.copy_(torch.lerp(start, parameter, spec.adapter_scale))


def in_prompt(inputs: dict[str, Any]) -> torch.Tensor:
    """The positions whose next token belongs to the prompt, of shape (rows, tokens - 1)."""
    return (inputs["labels"][:, 1:] == -100) & (inputs["attention_mask"][:, 1:] == 1)


def prompt_divergence(model: Any, inputs: dict[str, Any], tokens: int | None = None) -> torch.Tensor:
    """Mean Kullback-Leibler divergence of the student's next-token distribution from the base's, on the prompts.

    KL(base || student) in nats a token, over the positions whose next token belongs to the prompt: there the rows
    teach nothing, and the base is the only reference. It costs a second forward pass.

    Args:
        model: peft's model of a causal LM with an active adapter; without the adapter it is the base.
        inputs: `input_ids`, `attention_mask` and `labels` (-100 where masked), each of shape (rows, tokens).
        tokens: Positions to divide by, where these are a part of a batch; their own number, if None.
    """
    kept = in_prompt(inputs)
    training = model.training
    # Without dropout and noise: the base as it answers.
    model.eval()
    with torch.no_grad(), model.disable_adapter():
        wanted = functional.log_softmax(_logits(model, inputs, kept), dim=-1)
    model.train(training)
    given = functional.log_softmax(_logits(model, inputs, kept), dim=-1)
    total = functional.kl_div(given, wanted, reduction="sum", log_target=True)
    return total / (kept.sum().clamp(min=1) if tokens is None else max(1, tokens))


def _logits(model: Any, inputs: dict[str, Any], kept: torch.Tensor) -> torch.Tensor:
    causal = model.get_base_model()
    hidden = causal.get_decoder()(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    return causal.get_output_embeddings()(hidden[:, :-1][kept]).float()
