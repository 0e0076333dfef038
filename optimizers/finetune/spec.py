"""The settings of a training job: DSPy's provider writes them, the trainer's process reads them, and the artifact's hash includes them."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Scheduler = Literal["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"]
"""Schedulers of transformers that need no arguments of their own."""

WITHOUT_EFFECT = frozenset({"threads", "save_steps", "device", "gradient_checkpointing", "microbatch_tokens"})
"""Settings that change how a training is done, not what comes out of it."""

_LATER = (
    "adapter_scale", "neftune_noise", "kl_weight", "min_steps", "processes", "dtype", "load_in_4bit", "accelerate_config", "save_weights",
)  # fmt: skip
"""Settings with an effect that came after the first version, in the order in which they came; a new one goes to the end."""


def defaults_since(first: str) -> dict[str, Any]:
    """The defaults of `first`, one of `_LATER`, and of all settings that came after it.

    What a training or a trial is known by leaves out those of them that stand at their default, `first` being the one that came next
    after it began to be known so: what was made before they came stays what it is.
    """
    return {name: TrainingSpec.model_fields[name].default for name in _LATER[_LATER.index(first) :]}


class TrainingSpec(BaseModel):
    """Settings of one supervised fine-tuning."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    base: str = ""
    """Folder or Hugging Face id of the model to start from; a run fills it in from `student`."""
    method: Literal["lora", "full"] = "lora"
    """`lora` trains LoRA adapters (Hu et al. 2021), which are merged at the end; `full` trains all weights."""
    epochs: float = Field(4.0, gt=0, json_schema_extra={"unit": "passes"})
    """Passes over the rows."""
    max_steps: int = Field(-1, ge=-1, json_schema_extra={"unit": "optimizer steps"})
    """Optimizer steps in all, in place of `epochs`; -1 leaves it to `epochs`."""
    min_steps: int = Field(0, ge=0, json_schema_extra={"unit": "optimizer steps"})
    """Optimizer steps at least: few rows are repeated beyond `epochs` to reach it. `max_steps` overrides it; 0 sets no least number."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate. 1e-3 suits LoRA on a 135M model; the paper's 2e-5 is for all weights of a 13B one."""
    batch_size: int = Field(8, ge=1, json_schema_extra={"unit": "rows"})
    """Rows in each batch on each device, and in each of several processes."""
    gradient_accumulation: int = Field(1, ge=1, json_schema_extra={"unit": "batches"})
    """Batches that together make one optimizer step; with 1 each batch is a step."""
    warmup_steps: int = Field(10, ge=0, json_schema_extra={"unit": "optimizer steps"})
    """Optimizer steps in which the learning rate rises from 0 to its peak; at most half of all steps, as a short training would not
    come to its peak, and one of a single step would change nothing."""
    scheduler: Scheduler = "linear"
    """How the learning rate goes on after the warm-up, by transformers' name of the scheduler. `linear` falls to 0 at the end."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of AdamW; 0 is none."""
    lora_rank: int = Field(16, ge=1)
    """Rank of the LoRA matrices: the higher it is, the more weights are trained."""
    lora_alpha: int = Field(32, ge=1)
    """LoRA's alpha: an adapter's output is multiplied by `lora_alpha` / `lora_rank`, which is 2 by default."""
    lora_dropout: float = Field(0.0, ge=0, lt=1, json_schema_extra={"unit": "share of the inputs"})
    """Share of an adapter's inputs that is set to 0 at random while training; 0 is no dropout."""
    lora_targets: str = "all-linear"
    """Which modules get an adapter: `all-linear`, or names of modules joined by commas."""
    adapter_scale: float = Field(1.0, gt=0, le=1, json_schema_extra={"unit": "share of the change"})
    """The share of what was learned that is kept at the end: base + scale * (trained - base). Dev losses are measured without it; 1 keeps
    all."""
    neftune_noise: float = Field(0.0, ge=0)
    """Noise on the embeddings while training (NEFTune's alpha, Jain et al. 2023); 5 is usual, 0 is none."""
    kl_weight: float = Field(0.0, ge=0)
    """Weight of the KL divergence from the base on the rows' prompts, which takes a second forward pass; with LoRA only, and 0 is none.
"""
    max_length: int = Field(1024, ge=16, json_schema_extra={"unit": "tokens"})
    """Length of a row in tokens, at most; longer rows are left out and counted."""
    seed: int | None = Field(None, ge=0, lt=2**32)
    """Seed of the order of the rows, of new adapters and of dropout; by default the run's own, 0 outside of a run."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train: `auto` takes a CUDA GPU if there is one, else Apple's MPS, else the CPU."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format that the weights are held in while training. `bfloat16` halves the memory of a base that LoRA leaves as it is; with
    `full`, steps smaller than its rounding are lost. Products are computed in bfloat16 wherever the machine has it, with either."""
    load_in_4bit: bool = False
    """Hold the base in 4 bits while training (QLoRA, Dettmers et al. 2023, arXiv 2305.14314: NF4, double quantization); needs
    `bitsandbytes`, and `method` `lora`. What was learned is merged into the base's own weights."""
    gradient_checkpointing: bool = False
    """Compute activations again on the way back, in place of keeping them: a fraction of their memory, for about a third more time."""
    microbatch_tokens: int = Field(512, ge=0, json_schema_extra={"unit": "tokens"})
    """Tokens that supervised fine-tuning on a CPU computes at a time, padding included: a batch of more is done in parts, at least a row
    each, whose gradients are added up. The step is the same, its memory that of a part. 0 computes each batch at once, as GPUs do."""
    processes: int = Field(1, ge=1, json_schema_extra={"unit": "processes"})
    """Processes of the training on this machine, by `torchrun` and accelerate: each takes a batch of its own, on a GPU of its own or on its
    share of the cores, and an optimizer step is made of all of them. DPO and GRPO train in one."""
    accelerate_config: str | None = None
    """File of `accelerate config` that the training is launched with, in place of `processes`: FSDP, DeepSpeed or several GPUs of this
    machine. Without one accelerate's own default file is not read. DPO and GRPO take none."""
    threads: int = Field(0, ge=0, json_schema_extra={"unit": "CPU threads"})
    """CPU threads of each process of the training; 0 takes all usable cores."""
    save_steps: int = Field(25, ge=1, json_schema_extra={"unit": "optimizer steps"})
    """Optimizer steps between two checkpoints, each with a dev loss: as many can be lost when a training is killed."""
    save_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the merged model on disk."""
    save_weights: Literal["merged", "adapter"] = "merged"
    """What a student trained by LoRA is saved as: `merged` is a whole model that needs nothing else; `adapter` its adapter alone, a tenth
    of that or less, which is merged into its base where it is loaded, so that the base must stay."""

    def epochs_of(self, rows: int, devices: int = 1) -> float:
        """Passes over so many rows, as `epochs` and `min_steps` ask for."""
        return max(self.epochs, self.min_steps / self._steps_a_pass(rows, devices))

    def steps_of(self, rows: int, devices: int = 1) -> int:
        """Optimizer steps on so many rows."""
        return self.max_steps if self.max_steps > 0 else math.ceil(self._steps_a_pass(rows, devices) * self.epochs_of(rows, devices))

    def seeded(self, seed: int) -> Self:
        """The same settings with a seed for those that have none of their own."""
        return self if self.seed is not None else self.model_copy(update={"seed": seed})

    def at_default_since(self, first: str) -> set[str]:
        """Names of the settings of `defaults_since` that stand at their default."""
        return {name for name, default in defaults_since(first).items() if getattr(self, name) == default}

    def warmup_of(self, steps: int) -> int:
        """Steps of the warm-up in a training of so many."""
        return min(self.warmup_steps, steps // 2)

    def _steps_a_pass(self, rows: int, devices: int = 1) -> int:
        return max(1, math.ceil(rows / (self.batch_size * self.gradient_accumulation * devices)))

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, steps: int) -> int:
        if steps == 0:
            raise ValueError("max_steps=0 would train nothing; give a number from 1, or -1 to go by epochs")
        return steps

    @field_validator("lora_targets")
    @classmethod
    def _named_targets(cls, targets: str) -> str:
        if not all(part.strip() for part in targets.split(",")):
            raise ValueError(f"lora_targets={targets!r} has an empty name; give 'all-linear' or names of modules such as 'q_proj,v_proj'")
        return targets

    @model_validator(mode="after")
    def _has_an_adapter(self) -> TrainingSpec:
        if self.method == "lora":
            return self
        if self.load_in_4bit:
            raise ValueError("load_in_4bit=true needs method 'lora': weights in 4 bits cannot be trained, only an adapter on them")
        if self.save_weights == "adapter":
            raise ValueError("save_weights='adapter' needs method 'lora': with 'full' there is no adapter; use 'merged'")
        return self

    @model_validator(mode="after")
    def _launched_in_one_way(self) -> TrainingSpec:
        if self.accelerate_config and self.processes > 1:
            raise ValueError(
                f"processes={self.processes} and accelerate_config={self.accelerate_config!r} both say in how many processes to train; "
                "leave out processes, and set num_processes in the file"
            )
        return self

    @model_validator(mode="after")
    def _has_a_base_beside_it(self) -> TrainingSpec:
        if self.kl_weight and self.method != "lora":
            raise ValueError(
                f"kl_weight={self.kl_weight} needs method 'lora', whose adapter can be taken off; set it to 0, or use adapter_scale"
            )
        return self
