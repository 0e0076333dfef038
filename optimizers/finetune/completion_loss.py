"""SFTTrainer with a loss that a CPU can afford: logits at completion positions only, in one matrix product.

TRL 1.16 computes its loss by a tiled kernel made for GPU memory (`trl.kernels.chunked_logprob`); without Triton its
PyTorch twin takes several times as long as the rest of the step. Same loss; `benchmarks/training.py` compares the two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional
from trl import SFTTrainer

from optimizers.finetune.regularise import in_prompt, prompt_divergence
from optimizers.finetune.sampler import BucketSampler


class CompletionLossTrainer(SFTTrainer):
    """TRL's trainer with `completion_loss` in the place of its own loss, batches by length, and no token metrics."""

    kl_weight = 0.0
    """Weight of `prompt_divergence` in the training loss; dev losses leave it out."""
    microbatch_tokens = 0
    """Tokens that are computed at a time, padding included; 0 takes each batch at once."""
    _prompt_tokens: int | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> BucketSampler:
        rows = train_dataset if train_dataset is not None else self.train_dataset
        # Several processes take turns at the batches, so that those of one step are of similar length.
        together = self.args.per_device_train_batch_size * self.args.world_size
        return BucketSampler([len(ids) for ids in rows["input_ids"]], together, self.args.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """The batch in parts, whose gradients add up to its own: what is kept for the way back is that of a part, not of a batch."""
        if num_items_in_batch is None:  # a mean of each part is no mean of all
            return super().training_step(model, inputs, num_items_in_batch)
        # Of the whole batch, as each part is divided by it.
        self._prompt_tokens = int(in_prompt(inputs).sum())
        *first, last = self._parts(inputs)
        total = torch.zeros((), device=self.args.device)
        for part in first:
            # The processes may have different numbers of parts: they meet in the last one.
            with self.accelerator.no_sync(model):
                total += super().training_step(model, part, num_items_in_batch)
        return total + super().training_step(model, last, num_items_in_batch)

    def _parts(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        rows, width = inputs["input_ids"].shape
        together = max(1, self.microbatch_tokens // width) if self.microbatch_tokens else rows
        return [_rows_of(inputs, start, start + together) for start in range(0, rows, together)] if together < rows else [inputs]

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        plain = self.accelerator.unwrap_model(model)
        # accelerate computes in bfloat16 in the `forward` that it wraps, which is passed by here.
        with self.accelerator.autocast():
            if model is plain or not model.training:
                loss = self._loss(plain, inputs, num_items_in_batch)
            else:
                # Through the wrapper of several processes, which brings their gradients together.
                with forward_of(plain, lambda: self._loss(plain, inputs, num_items_in_batch)):
                    loss = model()
        return (loss, {"loss": loss}) if return_outputs else loss

    def _loss(self, plain: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> torch.Tensor:
        loss = completion_loss(plain, inputs, num_items_in_batch)
        # Gradients are averaged over the processes, the number of tokens is the sum of theirs.
        loss = loss if num_items_in_batch is None else loss * self.accelerator.num_processes
        if self.kl_weight and plain.training:
            # Where transformers has the loss divided by the tokens of all accumulated batches, a mean is divided here.
            batches = 1 if num_items_in_batch is None else self.current_gradient_accumulation_steps
            loss = loss + self.kl_weight * prompt_divergence(plain, inputs, self._prompt_tokens) / batches
        return loss

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        parts = self._parts(self._prepare_inputs(inputs))
        counts = [int((part["labels"][:, 1:] != -100).sum()) for part in parts]
        with torch.no_grad(), self.compute_loss_context_manager():
            losses = [self.compute_loss(model, part).detach() * count for part, count in zip(parts, counts, strict=True)]
        return torch.stack(losses).sum() / max(1, sum(counts)), None, None


def _rows_of(inputs: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    """Some rows of a batch, without the columns that are padding in all of them."""
    width = int(inputs["attention_mask"][start:end].sum(1).max())
    return {name: value[start:end, :width] for name, value in inputs.items() if isinstance(value, torch.Tensor)}


@contextlib.contextmanager
def forward_of(model: Any, forward: Callable[[], torch.Tensor]) -> Iterator[None]:
    """Let a module's call do something else."""
    usual = model.__dict__.get("forward")
    model.forward = forward
    try:
        yield
    finally:
        del model.forward
        if usual is not None:
            model.forward = usual


def completion_loss(model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
    """Mean cross entropy of the tokens that are not masked.

    Args:
        model: A causal LM of transformers, or peft's wrapper of one.
        inputs: `input_ids`, `attention_mask` and `labels` (-100 where masked), each of shape (rows, tokens).
        num_items_in_batch: Tokens to divide by, where gradients are accumulated; those of this batch, if None.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.get_decoder()(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    targets = inputs["labels"][:, 1:]
    kept = targets != -100
    logits = causal.get_output_embeddings()(hidden[:, :-1][kept]).float()
    total = functional.cross_entropy(logits, targets[kept], reduction="sum")
    return total / (kept.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)
