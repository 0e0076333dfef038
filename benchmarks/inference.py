"""How much faster is the engine under many DSPy threads than plain `transformers` generate, on the same prompts in one run?

    python benchmarks/inference.py --model embedded/base --n 96 --json inference.json

Prints a table: seconds, prompts a second, speed against one by one, and the share of equal texts. `--json` keeps its figures.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
from frame import Arguments

from optimizers.jobs.jsonlines import write_json
from programs.adapter import adapter_by_name
from programs.lms import adapter_name_for, catalog, engine
from programs.lms.chat import render
from programs.lms.model_strings import source
from programs.signatures import Decompose
from programs.tasks import load_task


def main() -> None:
    options = _options()
    model = catalog.lm(options.model)
    chats = _chats(options.n, adapter_name_for(model))
    rows = {"transformers, one by one": _measured(_generate(model.model, chats, options, 1))}
    rows[f"transformers, batches of {options.batch}"] = _measured(_generate(model.model, chats, options, options.batch))
    for backend in options.backends.split(","):
        rows[f"engine, {backend}, {options.threads} threads"] = _measured(_engine(options.model, backend, chats, options))
    report = _report(rows, options)
    _print(report)
    if options.json:
        write_json(options.json, report)


def _options() -> argparse.Namespace:
    parser = Arguments(__doc__)
    parser.add_argument("--model", default="embedded/base")
    parser.add_argument("--n", type=int, default=96, help="prompts")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--backends", default="transformers,openvino", help="of the engine, joined by commas")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


def _chats(count: int, adapter: str) -> list[list[dict[str, str]]]:
    task = load_task("multihop")
    inputs = [{"context": "", "question": e.question, "max_subquestions": task.max_subquestions} for e in task.load("test", count)]
    return [adapter_by_name(adapter).format(Decompose, [], one) for one in inputs]


def _generate(model_string: str, chats: list[list[dict[str, str]]], options: argparse.Namespace, batch: int) -> tuple[list[str], float]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from programs.lms.devices import device_and_dtype

    found = source(model_string)
    folder = getattr(found, "folder", found)
    device, dtype = device_and_dtype()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
    prompts = [render(tokenizer, chat) for chat in chats]
    texts: list[str] = []
    started = time.monotonic()
    for first in range(0, len(prompts), batch):
        encoded = tokenizer(prompts[first : first + batch], add_special_tokens=False, padding=True, return_tensors="pt").to(device)
        with torch.inference_mode():
            written = model.generate(**encoded, do_sample=False, max_new_tokens=options.max_tokens)
        texts += tokenizer.batch_decode(written[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts, time.monotonic() - started


def _engine(model: str, backend: str, chats: list[list[dict[str, str]]], options: argparse.Namespace) -> tuple[list[str], float]:
    local = catalog.lm(model, backend=backend, max_tokens=options.max_tokens)
    local("Load.", max_tokens=1)
    with ThreadPoolExecutor(options.threads) as pool:
        started = time.monotonic()
        texts = list(pool.map(lambda chat: _ask(local, chat), chats))
        seconds = time.monotonic() - started
    engine.unload_all()
    return texts, seconds


def _ask(model: dspy.LM, chat: list[dict[str, str]]) -> str:
    return str(model(messages=chat)[0])


def _measured(found: tuple[list[str], float]) -> dict[str, Any]:
    return dict(zip(("texts", "seconds"), found, strict=True))


def _report(rows: dict[str, dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    reference = next(iter(rows.values()))
    conditions = {
        name: {
            "seconds": round(row["seconds"], 2),
            "per_second": round(len(row["texts"]) / row["seconds"], 3),
            "speed": round(reference["seconds"] / row["seconds"], 2),
            "same_text": sum(a == b for a, b in zip(row["texts"], reference["texts"], strict=True)) / len(row["texts"]),
        }
        for name, row in rows.items()
    }
    settings = {key: value for key, value in vars(options).items() if key != "json"}
    return {"settings": settings, "conditions": conditions}


def _print(report: dict[str, Any]) -> None:
    print(f"{'':36} {'seconds':>9} {'prompts/s':>10} {'speed':>7} {'same text':>10}")
    for name, row in report["conditions"].items():
        print(f"{name:36} {row['seconds']:9.2f} {row['per_second']:10.2f} {row['speed']:6.2f}x {row['same_text']:10.1%}")


if __name__ == "__main__":
    main()
