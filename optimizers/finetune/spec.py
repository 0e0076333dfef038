"""What a training job is: read by the trainer's process, written by the Provider, hashed into the artifact."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TrainingSpec(BaseModel):
    """Settings of one supervised fine-tuning."""

    model_config = ConfigDict(extra="forbid")

    base: str = ""
    """Folder or Hugging Face id of the model to start from."""
    method: Literal["lora", "full"] = "lora"
    """LoRA adapters that are merged at the end, or all weights."""
    epochs: float = Field(4.0, gt=0)
    """Passes over the rows."""
    max_steps: int = -1
    """Optimizer steps; overrides `epochs` if positive."""
    min_steps: int = Field(0, ge=0)
    """Optimizer steps that few rows are repeated up to, beyond `epochs`; `max_steps` overrides it."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak rate. 1e-3 suits LoRA on a 135M model; the paper's 2e-5 is for all weights of a 13B one."""
    batch_size: int = Field(8, ge=1)
    """Rows a device and step."""
    gradient_accumulation: int = Field(1, ge=1)
    warmup_steps: int = Field(10, ge=0)
    scheduler: str = "linear"
    """A learning-rate scheduler of transformers."""
    weight_decay: float = Field(0.0, ge=0)
    lora_rank: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_targets: str = "all-linear"
    """`all-linear`, or module names joined by commas."""
    adapter_scale: float = Field(1.0, gt=0, le=1)
    """The share of the change that is kept at the end: base + scale * (trained - base); dev losses are those before it."""
    neftune_noise: float = Field(0.0, ge=0)
    """Noise on the embeddings while training (NEFTune's alpha, Jain et al. 2023); 5 is usual, 0 is none."""
    kl_weight: float = Field(0.0, ge=0)
    """Weight of the divergence from the base on the rows' prompts, a second forward pass; with LoRA only."""
    max_length: int = Field(1024, ge=16)
    """Tokens; longer rows are left out and counted."""
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = Field(0, ge=0)
    """CPU threads; 0 takes all usable cores."""
    save_steps: int = Field(25, ge=1)
    """Steps between checkpoints (and dev losses): what a kill can cost."""
    save_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the merged model on disk."""

    def epochs_of(self, rows: int, devices: int = 1) -> float:
        """Passes over so many rows, as `epochs` and `min_steps` ask for."""
        return max(self.epochs, self.min_steps / self._steps_a_pass(rows, devices))

    def steps_of(self, rows: int) -> int:
        """Optimizer steps on so many rows, on one device."""
        return self.max_steps if self.max_steps > 0 else math.ceil(self._steps_a_pass(rows) * self.epochs_of(rows))

    def _steps_a_pass(self, rows: int, devices: int = 1) -> int:
        return max(1, math.ceil(rows / (self.batch_size * self.gradient_accumulation * devices)))

    @model_validator(mode="after")
    def _has_a_base_beside_it(self) -> TrainingSpec:
        if self.kl_weight and self.method != "lora":
            raise ValueError(
                f"kl_weight={self.kl_weight} needs method 'lora', whose adapter can be taken off; set it to 0, or use adapter_scale"
            )
        return self
