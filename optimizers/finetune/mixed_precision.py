"""Training in bfloat16 on a CPU: what autocast would compute, without what costs it time; see `benchmarks/training.py --profile`.

Autocast rounds the frozen weights again at every use, as it remembers those alone that are trained. And the way back of torch's attention
takes up to ten times as long in bfloat16 as in float32 where rows are short.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SHORT = 512
"""Rows of fewer tokens attend in float32. From there on both take as long (torch 2.13, two cores with AMX)."""
_ATTENTION = "sdpa_float32_where_short"


def hold_frozen_in_bfloat16(model: nn.Module) -> None:
    """Round the matrices that are not trained once; products are those of autocast, bit by bit.

    Args:
        model: With an adapter. An output layer that shares its weights with the embedding gets its own.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.requires_grad:
            layer.weight = nn.Parameter(layer.weight.detach().to(torch.bfloat16), requires_grad=False)


def attend_in_float32_where_short(model: Any) -> None:
    """Let a model of transformers whose attention is torch's own compute it in float32 for rows of fewer than `SHORT` tokens."""
    if model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(_ATTENTION, _attention)
    AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
    model.set_attn_implementation(_ATTENTION)


def _attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, **further: Any
) -> tuple[torch.Tensor, None]:
    if query.shape[2] >= SHORT:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **further)
    with torch.autocast(query.device.type, enabled=False):
        output, weights = sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **further)
    return output.to(query.dtype), weights
