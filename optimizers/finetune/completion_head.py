"""TRL's "fused" language-model head for a CPU: log-probabilities at completion positions only, in one matrix product.

DPO and GRPO of TRL 1.16 score every position of prompt and completion, in tiles, where there is no Triton
(`trl.trainer.utils.add_fused_lm_head`); as with SFT (see `completion_loss`) that costs more than the rest of the step.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from trl.trainer.utils import FusedCausalLMOutput


def add_completion_head(model: Any, temperature: float = 1.0) -> None:
    """Let `model(..., labels=labels, fused_lm_head=True)` compute what TRL's head does, for the labelled positions alone.

    Args:
        model: A causal LM of transformers, whose forward TRL may have patched already; not peft's wrapper of it.
        temperature: What the logits are divided by.
    """
    before = model.forward

    # `generate` checks its arguments against the signature of `forward`.
    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **options: Any) -> Any:
        if not fused_lm_head:
            return before(*args, labels=labels, **options)
        hidden = self.get_decoder()(*args, **{**options, "use_cache": False}).last_hidden_state
        return _scored(self.get_output_embeddings(), hidden[:, :-1], labels[:, 1:], temperature)

    model.forward = types.MethodType(forward, model)


def _scored(head: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float) -> FusedCausalLMOutput:
    kept = targets != -100
    logits = head(hidden[kept]).float() / temperature
    spread = logits.log_softmax(-1)
    chosen = spread.gather(-1, targets[kept].unsqueeze(-1)).squeeze(-1)

    def placed(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(kept.shape).masked_scatter(kept, values)

    with torch.no_grad():
        entropy = -(spread.exp() * spread).sum(-1)
        top = logits.argmax(-1) == targets[kept]
    return FusedCausalLMOutput(
        loss=-chosen.sum() / kept.sum().clamp(min=1),
        log_probs=placed(chosen),
        entropy=placed(entropy),
        mean_logits=placed(logits.detach().mean(-1)),
        is_top1=placed(top),
        label_mask=kept,
    )
