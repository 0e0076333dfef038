"""The model that a training starts from, in the number format and on the device that its settings ask for, and the one that comes out."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from optimizers.finetune.several_processes import read_accelerate_config
from optimizers.finetune.spec import TrainingSpec


def check_installed(spec: TrainingSpec) -> None:
    """Refuse settings that the packages of this machine cannot train with, before anything is paid for.

    Raises:
        ValueError: `load_in_4bit` without bitsandbytes, or a file of `accelerate config` that a training
            cannot be launched with.
    """
    if spec.load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(
            "training.load_in_4bit=true needs bitsandbytes, which is not installed: pip install bitsandbytes (the extra "
            "'divide-or-conquer[qlora]'), or set it to false and training.dtype to bfloat16."
        )
    launch = read_accelerate_config(spec.accelerate_config) if spec.accelerate_config else None
    if launch and launch.is_sharded and spec.kl_weight:
        raise ValueError(
            f"training.kl_weight={spec.kl_weight} needs the whole model in each process, and {spec.accelerate_config} shards it: "
            "set it to 0, or distributed_type MULTI_GPU."
        )


def base_model(spec: TrainingSpec) -> Any:
    """The base of a training as a causal LM of transformers; in 4 bits where the settings say so."""
    import torch
    from transformers import AutoModelForCausalLM

    further = _in_4_bits(spec) if spec.load_in_4bit else {}
    return AutoModelForCausalLM.from_pretrained(spec.base, dtype=getattr(torch, spec.dtype), **further)


def _in_4_bits(spec: TrainingSpec) -> dict[str, Any]:
    import torch
    from transformers import BitsAndBytesConfig

    from programs.lms.devices import device_and_dtype

    device, dtype = device_and_dtype(spec.device)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=getattr(torch, dtype)
    )
    # Of several processes each has a GPU of its own.
    place = int(os.environ.get("LOCAL_RANK", "0")) if device == "cuda" else device
    return {"quantization_config": config, "device_map": {"": place}}


def lora_config(spec: TrainingSpec) -> Any:
    """peft's settings of the adapter to train."""
    from peft import LoraConfig

    targets = spec.lora_targets if spec.lora_targets == "all-linear" else [name.strip() for name in spec.lora_targets.split(",")]
    return LoraConfig(
        r=spec.lora_rank, lora_alpha=spec.lora_alpha, lora_dropout=spec.lora_dropout, target_modules=targets, task_type="CAUSAL_LM"
    )


def trained_model(trainer: Any, spec: TrainingSpec) -> Any:
    """What a training ended with, whole and, for LoRA, on a base in float32; to be called in all processes of it.

    An adapter that was trained on a base in 4 bits or in bfloat16 is put on the base's own weights, so that merging rounds once.
    """
    import torch

    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    model = trainer.accelerator.unwrap_model(trainer.model)
    rounded = spec.method == "lora" and any(weight.dtype != torch.float32 for weight in model.parameters())
    return _put_together(model, state, spec) if (sharded or rounded) and trainer.is_world_process_zero() else model


def _put_together(model: Any, state: dict[str, Any] | None, spec: TrainingSpec) -> Any:
    import torch
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(spec.base, dtype=torch.float32)
    if spec.method == "full":
        whole.load_state_dict(state)
        return whole
    learned = get_peft_model_state_dict(model, state_dict=state)
    whole = get_peft_model(whole, lora_config(spec))
    set_peft_model_state_dict(whole, learned)
    return whole
