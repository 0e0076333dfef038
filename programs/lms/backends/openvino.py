"""The fast backend on CPUs: openvino-genai over a GGUF of the artifact, batched continuously."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from programs.lms.artifacts import Artifact
from programs.lms.backends.base import GenerateRequest, GenerateResult, cut_at_stop
from programs.lms.backends.joining import JoiningBackend, Running
from programs.lms.backends.transformers import cache_bytes, context_length
from programs.lms.chat import configured_ends, end_tokens
from programs.lms.devices import cpu_flags, device_and_dtype, float32_asked_for, room_for_cache, usable_whole_cores
from programs.lms.gguf_models import GGUFModel
from programs.lms.gguf_prepared import readable_gguf, settings_folder
from programs.lms.gguf_weights import Weights

CACHED_TOKENS = 2**15
"""32 rows of 1,024 tokens, prompts and answers together; what does not fit waits, and is computed again."""
MAX_BATCHED_TOKENS = 1024


def load(model: Artifact | GGUFModel | Path | str, device: str = "cpu", weights: Weights = "f16") -> OpenVinoBackend:
    """The backend on a model; `device` is always the CPU, and `weights` how those of a folder are kept.

    Raises:
        ValueError: A model that is neither on this machine nor of a shape that openvino reads (`programs.lms.gguf.write_gguf`).
        ImportError: openvino-genai or gguf is not installed.
    """
    if not isinstance(model, Artifact | GGUFModel):
        raise ValueError(
            f"openvino reads folders as local/<folder> and files as gguf/<file>, not {str(model)!r}; use backend 'transformers'."
        )
    if not all(importlib.util.find_spec(name) for name in ("openvino_genai", "gguf")):
        raise ImportError("Backend 'openvino' is not installed: pip install openvino-genai gguf, or use backend 'transformers'.")
    if isinstance(model, GGUFModel):
        return OpenVinoBackend(settings_folder(model), readable_gguf(model))
    from programs.lms.gguf import gguf_of

    return OpenVinoBackend(model.folder, gguf_of(model, weights), "openvino" if weights == "f16" else "openvino-int8")


def load_int8(model: Artifact | GGUFModel | Path | str, device: str = "cpu") -> OpenVinoBackend:
    """The backend on a model's weights in 8-bit integers (Q8_0): half the memory and faster; a text may differ where a choice was close.

    Those of a GGUF file stay as they are in it.

    Raises:
        ValueError, ImportError: As in `load`.
    """
    return load(model, device, "q8_0")


class OpenVinoBackend(JoiningBackend):
    """A plain Llama, Qwen2, Qwen2.5 or Qwen3 on the CPU.

    Args:
        folder: For its tokenizer and its config.
        gguf: The model's weights.
        name: Of the backend, as answers tell it.
    """

    name = "openvino"

    def __init__(self, folder: Path | str, gguf: Path, name: str = "openvino") -> None:
        import openvino_genai
        from transformers import AutoConfig, AutoTokenizer

        self.name = name
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        config = AutoConfig.from_pretrained(folder)
        self.context = context_length(config)
        self.ends = end_tokens(self.tokenizer, configured_ends(Path(folder)))
        scheduler = openvino_genai.SchedulerConfig()
        precision = precision_hint()
        scheduler.cache_size = cache_gb(config, 2 if precision == "bf16" else 4)
        scheduler.enable_prefix_caching = True
        scheduler.max_num_batched_tokens = MAX_BATCHED_TOKENS
        # The cache's default is 8 bits: then an answer would depend on what the cache held before it.
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "KV_CACHE_PRECISION": precision}
        if float32_asked_for():
            # Before weights of 4 and 8 bits openvino rounds activations to 8 bits, where the hardware multiplies those faster.
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        self.pipeline: Any = openvino_genai.ContinuousBatchingPipeline(str(gguf), scheduler, "CPU", properties)
        self._started = 0

    def close(self) -> None:
        """Drop the weights and the cache."""
        self.pipeline = None

    def _submit(self, prompt: list[int], request: GenerateRequest, budget: int) -> Any:
        import numpy
        import openvino

        self._started += 1
        ids = openvino.Tensor(numpy.array([prompt], dtype=numpy.int64))
        return self.pipeline.add_request(self._started, ids, self._settings(request, budget))

    def _advance(self, running: dict[int, Running]) -> list[int]:
        from openvino_genai.py_openvino_genai import GenerationStatus

        self.pipeline.step()
        return [index for index, row in running.items() if row.handle.get_status() != GenerationStatus.RUNNING]

    def _cancel(self, row: Running) -> None:
        # Its part of the cache is given back in the next step.
        row.handle.cancel()

    def _drop(self, rows: Sequence[Running]) -> None:
        super()._drop(rows)
        with suppress(RuntimeError):
            self.pipeline.step()

    def _settings(self, request: GenerateRequest, budget: int) -> Any:
        import openvino_genai

        settings = openvino_genai.GenerationConfig()
        settings.max_new_tokens = budget
        settings.stop_token_ids = self.ends
        settings.eos_token_id = min(self.ends)
        settings.stop_strings = set(request.stop)
        settings.include_stop_str_in_output = True
        settings.do_sample = request.temperature > 0
        if request.temperature > 0:
            settings.temperature = request.temperature
            settings.top_p = request.top_p
            settings.rng_seed = request.seed
            if request.top_k:
                settings.top_k = request.top_k
        return settings

    def _result(self, row: Running) -> GenerateResult:
        from openvino_genai.py_openvino_genai import GenerationFinishReason, GenerationStatus

        if row.handle.get_status() != GenerationStatus.FINISHED:
            error = f"openvino gave up on a prompt of {row.input_tokens} tokens ({row.handle.get_status().name.lower()})"
            return GenerateResult(input_tokens=row.input_tokens, error=error, seconds=row.seconds)
        output = row.handle.read_all()[0]
        text, cut = cut_at_stop(self.tokenizer.decode(output.generated_ids, skip_special_tokens=True), row.request.stop)
        result = GenerateResult(text, row.input_tokens, len(output.generated_ids), "length", row.seconds)
        stopped = cut or output.finish_reason == GenerationFinishReason.STOP
        return replace(result, finish_reason="stop") if stopped else result


def precision_hint() -> str:
    """The number format of openvino's products: `bf16` or `f32`.

    On a processor with AMX openvino 2026.4 shares the products of a layer among half its threads, one a whole core: with a single one it
    divides by zero, which ends the process by SIGFPE. It does not in float32.
    """
    if device_and_dtype("cpu")[1] != "bfloat16" or ("amx_bf16" in cpu_flags() and usable_whole_cores() < 2):
        return "f32"
    return "bf16"


def cache_gb(config: Any, bytes_a_number: int) -> int:
    """Size of the cache of keys and values in whole GB: room for `CACHED_TOKENS`, at least 1 and at most an eighth of the memory.

    Args:
        config: Of transformers.
        bytes_a_number: 2 in bfloat16, 4 in float32.
    """
    wanted = cache_bytes(config, bytes_a_number, CACHED_TOKENS)
    return max(1, min(math.ceil(wanted / 2**30), room_for_cache("cpu") // 2**30))
