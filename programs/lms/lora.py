"""LoRA adapters merged into their model, also where its input and output embeddings are one matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def merge_adapter(model: Any) -> Any:
    """The model with its adapter merged in; `model` is used up.

    An adapter on one of two tied embeddings changes that one alone, while peft would merge it into the matrix that both
    share (https://github.com/huggingface/peft/issues/2777). They are untied first, and saved as two.

    Args:
        model: peft's wrapper of a causal LM.
    """
    _untie_adapted(model.get_base_model())
    return model.merge_and_unload(safe_merge=True)


def save_adapter(model: Any, folder: Path, dtype: Any) -> None:
    """Write an adapter with the settings of the model that it makes of its base, without that one's weights.

    Args:
        model: peft's wrapper of a causal LM.
        folder: Where to; made if it is not there.
        dtype: Of torch, of the merged model's weights.
    """
    model.save_pretrained(folder)
    # peft's card is about a folder of this machine.
    (folder / "README.md").unlink(missing_ok=True)
    causal = model.get_base_model()
    causal.config.dtype = dtype
    causal.config.save_pretrained(folder)
    if causal.generation_config is not None:
        causal.generation_config.save_pretrained(folder)


def _untie_adapted(causal: Any) -> None:
    import torch

    embeddings = causal.get_input_embeddings(), causal.get_output_embeddings()
    plain = [getattr(layer, "base_layer", layer) for layer in embeddings]
    if None in plain or plain[0].weight is not plain[1].weight or list(embeddings) == plain:
        return
    plain[1].weight = torch.nn.Parameter(plain[1].weight.detach().clone(), requires_grad=False)
    causal.config.tie_word_embeddings = False
