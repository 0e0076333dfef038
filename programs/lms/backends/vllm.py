"""The fast backend on CUDA devices: an engine of vLLM, which batches continuously in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from programs.lms.artifacts import Artifact
from programs.lms.backends.base import GenerateRequest, GenerateResult, cut_at_stop
from programs.lms.backends.joining import CACHED_TOKENS, MAX_ROWS, JoiningBackend, Running
from programs.lms.backends.transformers import cache_bytes, context_length, model_folder
from programs.lms.chat import configured_ends, end_tokens
from programs.lms.devices import device_and_dtype, room_for_cache
from programs.lms.gguf_models import GGUFModel

_ENVIRONMENT = {
    # Threads and a CUDA context, which this process has, do not survive a fork.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
_PATIENCE = 0.5
_starting = threading.Lock()


def load(model: Artifact | GGUFModel | Path | str, device: str = "auto") -> VllmBackend:
    """The backend on an artifact, a GGUF file, which is dequantized once, or the folder of a Hugging Face model.

    Raises:
        ValueError: vLLM is built for another device, or cannot run the model.
        ImportError: vLLM is not installed.
        RuntimeError: vLLM's process did not start.
    """
    if not importlib.util.find_spec("vllm"):
        raise ImportError("Backend 'vllm' is not installed: pip install 'divide-or-conquer[vllm]', or use backend 'transformers'.")
    return VllmBackend(model_folder(model), device)


class VllmBackend(JoiningBackend):
    """A model that vLLM runs.

    Args:
        folder: safetensors, config and tokenizer.
        device: `auto`, `cpu` or `cuda`; the one that the installed vLLM is built for.
    """

    name = "vllm"

    def __init__(self, folder: Path | str, device: str = "auto") -> None:
        from transformers import AutoTokenizer

        self.folder = folder
        self.device, self.dtype = device_and_dtype(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.ends = end_tokens(self.tokenizer, configured_ends(Path(folder)))
        self._started = 0
        self.engine: Any = self._start_engine()
        self.context = int(self.engine.model_config.max_model_len)

    def generate(self, *args: Any, **kwargs: Any) -> list[GenerateResult]:
        """See `Backend.generate`. Where vLLM's process has died, as it does for want of memory, the next call starts another one."""
        from vllm.v1.engine.exceptions import EngineDeadError

        self.engine = self.engine or self._start_engine()
        try:
            return super().generate(*args, **kwargs)
        except EngineDeadError:
            self.close()
            raise

    def close(self) -> None:
        """End vLLM's process, which gives the memory back."""
        if self.engine:
            self.engine.engine_core.shutdown()
        self.engine = None

    def _start_engine(self) -> Any:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from vllm.engine.arg_utils import EngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.llm_engine import LLMEngine

        if current_platform.device_type != self.device:
            raise ValueError(
                f"The installed vllm runs on {current_platform.device_type}, not on {self.device}; use backend 'transformers'."
            )
        with _starting, _without_main():
            return LLMEngine.from_engine_args(EngineArgs(**self._settings()), enable_multiprocessing=True)

    def _settings(self) -> dict[str, Any]:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self.folder)
        tokens = max(CACHED_TOKENS, min(context_length(config), 2**20))
        wanted = cache_bytes(config, 2 if self.dtype == "bfloat16" else 4, tokens)
        return {
            "model": str(self.folder),
            "dtype": self.dtype,
            "max_num_seqs": MAX_ROWS,
            # As long as the model's context, or as the cache has room for.
            "max_model_len": -1,
            "kv_cache_memory_bytes": min(wanted, room_for_cache(self.device)),
            # Else vLLM wants nearly all of the device for itself, whatever the size of the cache.
            "gpu_memory_utilization": 0.01,
            # On a CPU, where it is for tests, nothing is compiled.
            "enforce_eager": self.device == "cpu",
            "use_tqdm_on_load": False,
            "disable_log_stats": True,
        }

    def _submit(self, prompt: list[int], request: GenerateRequest, budget: int) -> str:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._started += 1
        settings = SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            seed=request.seed,
            max_tokens=budget,
            stop=list(request.stop),
            stop_token_ids=sorted(self.ends),
            detokenize=bool(request.stop),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        (rendered,) = self.engine.renderer.render_cmpl([{"prompt_token_ids": prompt}])
        self.engine.add_request(str(self._started), rendered, settings)
        return str(self._started)

    def _advance(self, running: dict[int, Running]) -> list[int]:
        places = {row.handle: index for index, row in running.items()}
        if not places or not self._has_output():
            return []
        done = [output for output in self.engine.step() if output.finished and output.request_id in places]
        for output in done:
            running[places[output.request_id]].handle = output.outputs[0]
        return [places[output.request_id] for output in done]

    def _has_output(self) -> bool:
        """Wait for output for a moment, since `step` waits for ever once vLLM's process was killed.

        Raises:
            EngineDeadError: It was.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        client = self.engine.engine_core
        outputs = client.outputs_queue
        with outputs.not_empty:
            found = bool(outputs.not_empty.wait_for(lambda: outputs.queue, timeout=_PATIENCE))
        if not found and client.resources.engine_dead:
            raise EngineDeadError
        return found

    def _cancel(self, row: Running) -> None:
        self.engine.abort_request([row.handle])

    def _result(self, row: Running) -> GenerateResult:
        written = row.handle
        result = GenerateResult("", row.input_tokens, len(written.token_ids), "stop", row.seconds)
        if written.finish_reason not in ("stop", "length"):
            return replace(result, error=f"vllm gave up on a prompt of {row.input_tokens} tokens ({written.finish_reason})")
        text, cut = cut_at_stop(self.tokenizer.decode(written.token_ids, skip_special_tokens=True), row.request.stop)
        return replace(result, text=text, finish_reason="stop" if cut else written.finish_reason)


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a process that is spawned from running the user's script again, which has no `if __name__ == "__main__"` as a rule."""
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    try:
        main.__spec__ = None
        vars(main).pop("__file__", None)
        yield
    finally:
        vars(main).update(kept)
