"""The backend on CUDA devices without vLLM: the continuous batching of transformers, over a paged cache of keys and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor
from transformers.generation.continuous_batching.requests import GenerationOutput

from programs.lms.artifacts import Artifact
from programs.lms.backends.base import GenerateRequest, GenerateResult, cut_at_stop
from programs.lms.backends.joining import CACHED_TOKENS, MAX_ROWS, JoiningBackend, Running
from programs.lms.backends.transformers import Sampler, TransformersBackend, cache_bytes, model_folder
from programs.lms.devices import room_for_cache
from programs.lms.gguf_models import GGUFModel

PAGE_TOKENS = 256
MAX_BATCHED_TOKENS = 2048


def load(model: Artifact | GGUFModel | Path | str, device: str = "auto") -> ContinuousBackend:
    """The backend on what the backend `transformers` reads.

    Raises:
        ValueError: A model that transformers does not batch continuously; it cannot write a token so.
    """
    backend = ContinuousBackend(model_folder(model), device)
    tried = backend.generate([GenerateRequest("a", max_tokens=1)])[0]
    if tried.error:
        raise ValueError(f"transformers does not batch this model continuously ({tried.error}); use backend 'transformers'.")
    return backend


class ContinuousBackend(JoiningBackend):
    """A model in this process, by its folder.

    transformers draws all requests of a batch from one stream of random numbers and knows no stop texts. Here each request is drawn
    by its own `Sampler`, and the text is looked at after each token, so that answers are those of `TransformersBackend`.

    Args:
        folder: safetensors, config and tokenizer.
        device: `auto`, `cpu`, `cuda` or `mps`.
    """

    name = "transformers-continuous"

    def __init__(self, folder: Path | str, device: str = "auto") -> None:
        self.plain = TransformersBackend(folder, device)
        self.tokenizer, self.ends = self.plain.tokenizer, self.plain.ends
        a_token = cache_bytes(self.plain.model.config, 2 if self.plain.dtype == "bfloat16" else 4, 1)
        wanted = max(CACHED_TOKENS, self.plain.context)
        pages = max(2, min(-(-wanted // PAGE_TOKENS), room_for_cache(self.plain.device) // a_token // PAGE_TOKENS))
        # A request that is longer than the cache would wait for ever.
        self.context = min(self.plain.context, (pages - 1) * PAGE_TOKENS)
        self.manager: Any = self._manager(pages)
        self._started = 0

    def close(self) -> None:
        """Drop the weights and the cache."""
        self.manager = None
        self.plain.close()

    def _manager(self, pages: int) -> Any:
        from transformers import GenerationConfig
        from transformers.generation import ContinuousBatchingConfig

        # Graphs and a second batch in flight would run without the samplers, which look at the scores in this process.
        config = ContinuousBatchingConfig(
            page_size=PAGE_TOKENS,
            num_blocks=pages,
            max_batch_tokens=MAX_BATCHED_TOKENS,
            max_requests_per_batch=MAX_ROWS,
            use_cuda_graph=False,
            use_async_batching=False,
            auto_switch_to_flash=self.plain.dtype == "bfloat16",
        )
        settings = GenerationConfig(do_sample=False, eos_token_id=sorted(self.ends))
        manager = self.plain.model.init_continuous_batching(settings, config)
        processors = manager.logit_processor
        processors.logits_processor.append(_Draw())
        processors.tensors_required, processors.do_processing = 1, True
        processors._retrieve_processors_kwargs()
        manager.warmup()
        return manager

    def _submit(self, prompt: list[int], request: GenerateRequest, budget: int) -> GenerationOutput:
        self._started += 1
        drawn = {"sampler": Sampler(request)} if request.temperature > 0 else {}
        self.manager.add_request(prompt, str(self._started), max_new_tokens=budget, streaming=bool(request.stop), **drawn)
        return GenerationOutput(str(self._started))

    def _advance(self, running: dict[int, Running]) -> list[int]:
        # In this thread and not in the manager's own, which would keep the process from ending, and where an error ends all requests.
        processor = self.manager.batch_processor
        if processor.prepare_next_batch():
            processor._generation_step(self.plain.model)
            processor.update_batch()
        elif running:
            raise RuntimeError("transformers finds no request that fits its cache")
        places = {row.handle.request_id: index for index, row in running.items()}
        done = []
        while (output := self.manager.get_result()) is not None:
            if output.request_id in places:
                row = running[places[output.request_id]]
                row.handle = output
                if self._is_done(row):
                    done.append(row.index)
        return done

    def _is_done(self, row: Running) -> bool:
        if row.handle.is_finished():
            return True
        stopped = cut_at_stop(self._text(row), row.request.stop)[1]
        if stopped:
            self._cancel(row)
        return stopped

    def _cancel(self, row: Running) -> None:
        self.manager.cancel_request(row.handle.request_id)

    def _text(self, row: Running) -> str:
        return str(self.tokenizer.decode(row.handle.generated_tokens, skip_special_tokens=True))

    def _result(self, row: Running) -> GenerateResult:
        written = row.handle.generated_tokens
        if row.handle.error:
            return GenerateResult("", row.input_tokens, len(written), seconds=row.seconds, error=row.handle.error)
        text, cut = cut_at_stop(self._text(row), row.request.stop)
        stopped = cut or written[-1] in self.ends
        return GenerateResult(text, row.input_tokens, len(written), "stop" if stopped else "length", row.seconds)


class _Draw(ContinuousBatchingLogitsProcessor):
    """Leaves each row that is sampled the one token that its sampler drew, since the likeliest is taken of what this gives back."""

    supported_kwargs = {"sampler": Sampler}  # noqa: RUF012
    ignored_kwargs = ()

    def __init__(self) -> None:
        self._samplers: list[Sampler | None] = []

    def fill_defaults(self, int32_tensor: Any) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> Any:
        import torch

        self._samplers = [request.state.logit_processor_kwargs.get("sampler") for request in requests_with_new_token]
        return torch.zeros(len(self._samplers), dtype=torch.int32)

    def __call__(self, scores: Any, tensor_arg: Any) -> Any:
        for place, sampler in enumerate(self._samplers):
            if sampler:
                token = sampler(scores[place])
                scores[place] = float("-inf")
                scores[place, token] = 0.0
        return scores
