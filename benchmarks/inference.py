"""How much faster is the engine under many DSPy threads than `transformers` and openvino-genai, on the same prompts in one run?

    python benchmarks/inference.py --model embedded/base --n 48
    python benchmarks/inference.py --model gguf/qwen2.5-coder-0.5b --weights --peers batches --n 32

Prints seconds, prompts a second and the share of equal texts of each. `--json` keeps its figures for `benchmarks/bench.py`.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
from frame import Arguments

from optimizers.jobs.jsonlines import write_json
from programs.adapter import adapter_by_name
from programs.lms import adapter_name_for, catalog, engine
from programs.lms.backends import openvino
from programs.lms.backends.base import GenerateRequest
from programs.lms.chat import render
from programs.lms.devices import device_and_dtype
from programs.lms.gguf_models import GGUFModel
from programs.lms.gguf_prepared import weights_folder
from programs.lms.model_strings import source
from programs.signatures import Decompose
from programs.tasks import load_task

Chat = list[dict[str, str]]


@dataclass(frozen=True)
class Written:
    """What one way of asking wrote, and in how many seconds."""

    texts: list[str]
    seconds: float


def main() -> None:
    options = _options()
    if options.weights:
        found = source(options.model)
        assert isinstance(found, GGUFModel), "--weights is of gguf/..."
        options.model = f"local/{weights_folder(found)}"
    model = catalog.lm(options.model)
    chats = _chats(options.n, adapter_name_for(model))
    ways = _peers(model.model, chats, options) | _ours(options.model, chats, options)
    report = _report({name: way() for name, way in ways.items()}, options)
    _print(report)
    if options.json:
        write_json(options.json, report)


def _options() -> argparse.Namespace:
    parser = Arguments(__doc__)
    parser.add_argument("--model", default="embedded/base")
    parser.add_argument("--weights", action="store_true", help="of gguf/...: all of them in bfloat16 for every way, as a student's are")
    parser.add_argument("--n", type=int, default=48, help="prompts")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument(
        "--peers",
        default="one,batches,openvino",
        help="joined by commas: one (by one), batches, openvino (as many in flight as there are threads)",
    )
    parser.add_argument("--alone", action="store_true", help="also ask the engine one question after the other")
    parser.add_argument("--backends", default="openvino", help="of the engine, joined by commas")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


def _chats(count: int, adapter: str) -> list[Chat]:
    task = load_task("multihop")
    inputs = [{"context": "", "question": e.question, "max_subquestions": task.max_subquestions} for e in task.load("test", count)]
    return [adapter_by_name(adapter).format(Decompose, [], one) for one in inputs]


def _peers(model: str, chats: list[Chat], options: argparse.Namespace) -> dict[str, Callable[[], Written]]:
    ways: dict[str, Callable[[], Written]] = {
        "one": lambda: _generate(model, chats, options.max_tokens, 1),
        "batches": lambda: _generate(model, chats, options.max_tokens, options.batch),
        "openvino": lambda: _pipeline(model, chats, options.max_tokens, options.threads),
    }
    return {name: ways[name] for name in options.peers.split(",")}


def _ours(model: str, chats: list[Chat], options: argparse.Namespace) -> dict[str, Callable[[], Written]]:
    ways: dict[str, Callable[[], Written]] = {}
    for backend in options.backends.split(","):
        for name, threads in {"threads": options.threads, **({"alone": 1} if options.alone else {})}.items():
            ways[f"{backend} engine, {name}"] = functools.partial(_engine, model, backend, chats, options.max_tokens, threads)
    return ways


def _generate(model_string: str, chats: list[Chat], max_tokens: int, batch: int) -> Written:
    """As transformers' documentation does it: a padded batch after the other."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = source(model_string)
    folder = getattr(found, "folder", found)
    device, dtype = device_and_dtype()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
    prompts = [render(tokenizer, chat) for chat in chats]

    def write(some: list[str]) -> list[str]:
        encoded = tokenizer(some, add_special_tokens=False, padding=True, return_tensors="pt").to(device)
        with torch.inference_mode():
            written = model.generate(**encoded, do_sample=False, max_new_tokens=max_tokens)
        return list(tokenizer.batch_decode(written[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True))

    write(prompts[:1])
    return _timed(lambda: [text for first in range(0, len(prompts), batch) for text in write(prompts[first : first + batch])])


def _pipeline(model_string: str, chats: list[Chat], max_tokens: int, in_flight: int) -> Written:
    """openvino-genai's continuous batching with nothing of ours around it: where a request ends, the next one is added."""
    import numpy
    from openvino import Tensor
    from openvino_genai.py_openvino_genai import GenerationStatus

    backend = openvino.load(source(model_string))
    pipeline, settings = backend.pipeline, backend._settings(GenerateRequest("", max_tokens=max_tokens), max_tokens)
    prompts = [backend.tokenizer(render(backend.tokenizer, chat), add_special_tokens=False)["input_ids"] for chat in chats]

    def write(some: list[list[int]]) -> list[str]:
        texts: dict[int, str] = {}
        running: dict[int, Any] = {}
        while len(texts) < len(some):
            for number in range(len(texts) + len(running), min(len(some), len(texts) + in_flight)):
                running[number] = pipeline.add_request(number, Tensor(numpy.array([some[number]], dtype=numpy.int64)), settings)
            pipeline.step()
            for number, handle in list(running.items()):
                if handle.get_status() != GenerationStatus.RUNNING:
                    texts[number] = backend.tokenizer.decode(handle.read_all()[0].generated_ids, skip_special_tokens=True)
                    del running[number]
        return [texts[number] for number in range(len(some))]

    write(prompts[:1])
    written = _timed(lambda: write(prompts))
    backend.close()
    return written


def _engine(model: str, backend: str, chats: list[Chat], max_tokens: int, threads: int) -> Written:
    local = catalog.lm(model, backend=backend, max_tokens=max_tokens, cache=False)
    _ask(local, chats[0])
    with ThreadPoolExecutor(threads) as pool:
        written = _timed(lambda: list(pool.map(lambda chat: _ask(local, chat), chats)))
    engine.unload_all()
    return written


def _ask(model: dspy.LM, chat: Chat) -> str:
    return str(model(messages=chat)[0])


def _timed(write: Callable[[], list[str]]) -> Written:
    started = time.monotonic()
    return Written(write(), time.monotonic() - started)


def _report(written: dict[str, Written], options: argparse.Namespace) -> dict[str, Any]:
    reference = next(iter(written.values())).texts
    ways = {
        name: {
            "seconds": round(way.seconds, 3),
            "per_second": round(len(way.texts) / way.seconds, 4),
            "each": round(way.seconds / len(way.texts), 4),
            "same_text": sum(a == b for a, b in zip(way.texts, reference, strict=True)) / len(way.texts),
        }
        for name, way in written.items()
    }
    return {"settings": {key: value for key, value in vars(options).items() if key != "json"}, "ways": ways}


def _print(report: dict[str, Any]) -> None:
    print(f"{'':36} {'seconds':>9} {'prompts/s':>10} {'same text':>10}")
    for name, way in report["ways"].items():
        print(f"{name:36} {way['seconds']:9.2f} {way['per_second']:10.2f} {way['same_text']:10.1%}")


if __name__ == "__main__":
    main()
