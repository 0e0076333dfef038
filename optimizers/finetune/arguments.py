"""The arguments that every kind of TRL training takes from a `TrainingSpec`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optimizers.finetune.spec import TrainingSpec


def common_arguments(folder: Path, spec: TrainingSpec) -> dict[str, Any]:
    """Arguments of `SFTConfig`, `DPOConfig` and `GRPOConfig` alike.

    Args:
        folder: The job's; checkpoints go into it.
        spec: The job's settings.
    """
    from optimizers.finetune.tracker_callbacks import reporting_arguments
    from programs.lms.devices import device_and_dtype

    device, dtype = device_and_dtype(spec.device)
    return {
        "output_dir": str(folder / "checkpoints"),
        "num_train_epochs": spec.epochs,
        "max_steps": spec.max_steps,
        "per_device_train_batch_size": spec.batch_size,
        "gradient_accumulation_steps": spec.gradient_accumulation,
        "learning_rate": spec.learning_rate,
        "warmup_steps": spec.warmup_steps,
        "lr_scheduler_type": spec.scheduler,
        "weight_decay": spec.weight_decay,
        "seed": spec.seed or 0,
        "data_seed": spec.seed or 0,
        "bf16": dtype == "bfloat16",
        "use_cpu": device == "cpu",
        "gradient_checkpointing": spec.gradient_checkpointing,
        "logging_steps": 1,
        "save_steps": spec.save_steps,
        "save_total_limit": 2,
        **reporting_arguments(folder),
        "disable_tqdm": True,
        "dataloader_pin_memory": device != "cpu",
    }
