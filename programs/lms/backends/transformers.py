"""The reference backend: any causal model of transformers, batched, in bfloat16 where the machine has it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from programs.lms.artifacts import Artifact
from programs.lms.backends.base import (
    UNWANTED,
    GenerateRequest,
    GenerateResult,
    Interruptible,
    More,
    OnResult,
    cut_at_stop,
    guarded,
    too_long,
)
from programs.lms.chat import end_tokens
from programs.lms.devices import device_and_dtype
from programs.lms.gguf_models import GGUFModel
from programs.lms.gguf_prepared import weights_folder
from programs.lms.merged import whole_folder

MAX_ROWS = 32
MAX_TOKENS = 8192
"""Tokens in a sub-batch at most, prompts and answers together: this bounds the cache of keys and values."""


def load(model: Artifact | GGUFModel | Path | str, device: str = "auto") -> TransformersBackend:
    """The backend on an artifact, a GGUF file, which is dequantized once, or the folder of a Hugging Face model."""
    return TransformersBackend(model_folder(model), device)


def model_folder(model: Artifact | GGUFModel | Path | str) -> Path | str:
    """The folder in the form of Hugging Face that holds a model's weights, adapters merged and GGUF dequantized."""
    if isinstance(model, GGUFModel):
        return weights_folder(model)
    return whole_folder(model) if isinstance(model, Artifact) else model


@dataclass
class _Row:
    index: int
    request: GenerateRequest
    prompt: list[int]
    budget: int
    sampler: Any = None
    written: list[int] = field(default_factory=list)
    finish: str = ""
    error: str = ""


def _cache_name(model: Any) -> str:
    """What a model calls its cache of keys and values: from 5.24 on transformers warns of the older name."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


class TransformersBackend(Interruptible):
    """A model in this process, by its folder.

    Args:
        folder: safetensors, config and tokenizer.
        device: `auto`, `cpu`, `cuda` or `mps`.
    """

    name = "transformers"

    def __init__(self, folder: Path | str, device: str = "auto") -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        self.device, self.dtype = device_and_dtype(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        transformers_logging.disable_progress_bar()
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, self.dtype), use_safetensors=True)
        self.model: Any = model.to(self.device).eval()
        self.context = context_length(self.model.config)
        self.ends = end_tokens(self.tokenizer, self.model.generation_config.eos_token_id)

    def generate(
        self, requests: Sequence[GenerateRequest], on_result: OnResult | None = None, more: More | None = None
    ) -> list[GenerateResult]:
        """See `Backend.generate`; requests that `more` brings join between sub-batches."""
        results: dict[int, GenerateResult] = {}
        waiting: list[_Row] = []
        added = list(requests)
        while added or waiting:
            for request in added:
                index = len(results) + len(waiting)
                row = guarded(self._row, index, request)
                if isinstance(row, _Row):
                    waiting.append(row)
                else:
                    self._give({index: row}, results, on_result)
            if waiting:
                batch, waiting = _next_batch(waiting)
                self._give(self._run_or_split(batch), results, on_result)
            added = list(more()) if more else []
        return [results[index] for index in sorted(results)]

    def close(self) -> None:
        """Drop the weights."""
        import gc

        self.model = None
        gc.collect()
        if self.device == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _give(self, new: dict[int, GenerateResult], results: dict[int, GenerateResult], on_result: OnResult | None) -> None:
        results |= new
        for index, result in new.items():
            if on_result:
                on_result(index, result)

    def _row(self, index: int, request: GenerateRequest) -> _Row | GenerateResult:
        prompt = prompt_tokens(self.tokenizer, request.prompt)
        if len(prompt) >= self.context:
            return too_long(len(prompt), self.context)
        sampler = Sampler(request) if request.temperature > 0 else None
        return _Row(index, request, prompt, min(request.max_tokens, self.context - len(prompt)), sampler)

    def _run_or_split(self, rows: list[_Row]) -> dict[int, GenerateResult]:
        """Run a batch; where memory runs out, its two halves one after the other."""
        import torch

        try:
            return self._run(rows)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(rows) == 1:
                return {rows[0].index: GenerateResult(error=f"out of memory on a single prompt of {len(rows[0].prompt)} tokens ({error})")}
        if self.device == "cuda":
            torch.cuda.empty_cache()
        fresh = [replace(row, written=[], finish="", error="", sampler=Sampler(row.request) if row.sampler else None) for row in rows]
        middle = len(fresh) // 2
        return self._run_or_split(fresh[:middle]) | self._run_or_split(fresh[middle:])

    def _run(self, rows: list[_Row]) -> dict[int, GenerateResult]:
        import torch

        started = time.monotonic()
        with torch.inference_mode():
            self._decode(rows)
        seconds = time.monotonic() - started
        total = sum(len(row.written) for row in rows) or 1
        return {row.index: guarded(self._result, row, seconds * len(row.written) / total) for row in rows}

    def _decode(self, rows: list[_Row]) -> None:
        """Write every row's tokens; rows that are done leave the batch, so that none pays for the slowest."""
        import torch

        width = max(len(row.prompt) for row in rows)
        pad = self.tokenizer.pad_token_id or 0
        tokens = torch.tensor([[pad] * (width - len(row.prompt)) + row.prompt for row in rows], device=self.device)
        mask = torch.tensor([[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows], device=self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        active, cache = list(rows), None
        while True:
            self.check_interrupted()
            known = {_cache_name(self.model): cache}
            output = self.model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1, **known)
            cache = getattr(output, _cache_name(self.model))
            keep = self._write_tokens(active, output.logits[:, -1].float())
            if not keep:
                return
            if len(keep) < len(active):
                chosen = torch.tensor(keep, device=self.device)
                cache.batch_select_indices(chosen)
                active, mask, positions = [active[i] for i in keep], mask[chosen], positions[chosen]
            tokens = torch.tensor([[row.written[-1]] for row in active], device=self.device)
            mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
            positions = positions[:, -1:] + 1

    def _write_tokens(self, rows: list[_Row], logits: Any) -> list[int]:
        """Append a token to each row; the places of those that go on."""
        likeliest = logits.argmax(-1).tolist()
        for row, scores, best in zip(rows, logits, likeliest, strict=True):
            try:
                row.written.append(row.sampler(scores) if row.sampler else best)
                row.finish = self._finish(row)
            except Exception as error:
                row.finish, row.error = "error", repr(error)
        return [place for place, row in enumerate(rows) if not row.finish]

    def _finish(self, row: _Row) -> str:
        if not row.request.wanted():
            row.error = UNWANTED.error
            return "error"
        if row.written[-1] in self.ends:
            return "stop"
        if row.request.stop and cut_at_stop(self._text(row), row.request.stop)[1]:
            return "stop"
        return "length" if len(row.written) >= row.budget else ""

    def _text(self, row: _Row) -> str:
        return str(self.tokenizer.decode(row.written, skip_special_tokens=True))

    def _result(self, row: _Row, seconds: float) -> GenerateResult:
        if row.error:
            return GenerateResult(input_tokens=len(row.prompt), output_tokens=len(row.written), seconds=seconds, error=row.error)
        text, _ = cut_at_stop(self._text(row), row.request.stop)
        finish = "stop" if row.finish == "stop" else "length"
        return GenerateResult(text, len(row.prompt), len(row.written), finish, seconds)  # type: ignore[arg-type]


class Sampler:
    """Draws one row's tokens from its own random numbers, so that they do not depend on the rest of the batch."""

    def __init__(self, request: GenerateRequest) -> None:
        import torch

        self.request = request
        self.generator = torch.Generator().manual_seed(request.seed)

    def __call__(self, scores: Any) -> int:
        """The token drawn from one row of logits."""
        import torch

        probabilities, tokens = (scores.cpu().double() / self.request.temperature).softmax(-1).sort(descending=True, stable=True)
        if self.request.top_k:
            probabilities[self.request.top_k :] = 0
        before = probabilities.cumsum(-1) - probabilities
        probabilities[before >= self.request.top_p] = 0
        cumulative = probabilities.cumsum(-1)
        drawn = torch.rand((), generator=self.generator, dtype=torch.float64) * cumulative[-1]
        return int(tokens[int((cumulative <= drawn).sum().clamp(max=int((probabilities > 0).sum()) - 1))])


def prompt_tokens(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt; the template wrote every special token itself."""
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def context_length(config: Any) -> int:
    """Positions that a model was made for."""
    config = config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 1 << 30)


def cache_bytes(config: Any, bytes_a_number: int, tokens: int) -> int:
    """What the keys and values of so many tokens take in a cache.

    Args:
        config: Of transformers.
        bytes_a_number: 2 in bfloat16, 4 in float32.
        tokens: Prompts and answers together.
    """
    config = config.get_text_config()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * int(config.num_hidden_layers) * heads * head * bytes_a_number * tokens


def _next_batch(waiting: list[_Row]) -> tuple[list[_Row], list[_Row]]:
    """The longest prompts that fit a sub-batch together, and the rest; alike lengths need little padding."""
    waiting = sorted(waiting, key=lambda row: (len(row.prompt), row.budget), reverse=True)
    widest, count, budget = len(waiting[0].prompt), 0, 0
    while count < min(len(waiting), MAX_ROWS):
        budget = max(budget, waiting[count].budget)
        if count and (count + 1) * (widest + budget) > MAX_TOKENS:
            break
        count += 1
    return waiting[:count], waiting[count:]


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in text or "can't allocate memory" in text
