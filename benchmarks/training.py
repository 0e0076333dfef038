"""How much faster is our trainer than TRL's SFTTrainer: same rows, same loss, in one run? And how far is it from the machine's limit?

    python benchmarks/training.py --steps 4

All train a LoRA on embedded/base with decompositions and solutions of the embedded task: ours; TRL with its defaults, but for what a CPU
refuses; and TRL with the best flags that it has for one. Prints, as JSON, the loss of each on the same rows before training (they must
agree), its rows' tokens a second, and of ours the share of the machine's matrix multiplications that its rows need. `--json` keeps it.

    python benchmarks/training.py --profile --steps 4

Where the seconds of our steps go instead: each operator's share, by torch's profiler.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from frame import Arguments

from optimizers.embedded.teacher import rows
from optimizers.finetune import trainer as ours
from optimizers.finetune.bases import lora_config
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import ENVIRONMENT
from optimizers.jobs.jsonlines import line_of, write_json, write_whole
from programs.lms.embedded import base_artifact

WAYS = ("trl", "trl, best flags", "ours")


def main() -> None:
    """Run all in processes of their own, so that none inherits another's memory, and compare."""
    parser = Arguments(__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--profile", action="store_true", help="operators of our steps by their share of the time, and nothing else")
    parser.add_argument("--only", choices=[*WAYS, "profile"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.profile:
        print(_alone("profile", options))
    elif options.only == "profile":
        print(profiled(options.steps, options.batch_size))
    elif options.only:
        print(json.dumps(measure(options.only, options.steps, options.batch_size)))
    else:
        _compare(options)


def _compare(options: argparse.Namespace) -> None:
    found = {way: json.loads(_alone(way, options).splitlines()[-1]) for way in WAYS}
    difference = max(abs(found["ours"]["loss_before"] - found[way]["loss_before"]) for way in WAYS)
    report = {"ways": found, "difference_in_loss": difference}
    print(json.dumps(report, indent=1))
    if options.json:
        write_json(options.json, report)


def _alone(way: str, options: argparse.Namespace) -> str:
    environment = {**({} if way.startswith("trl") else ENVIRONMENT), **os.environ}
    words = [sys.executable, __file__, "--only", way, "--steps", str(options.steps), "--batch-size", str(options.batch_size)]
    return subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def measure(way: str, steps: int, batch_size: int) -> dict[str, float]:
    """Loss on the rows before training, and tokens a second over all steps."""
    spec = _spec(steps, batch_size)
    with tempfile.TemporaryDirectory() as folder:
        trainer, marks = build(way, Path(folder), spec, rows(steps * batch_size, 0)[0])
        data = trainer.train_dataset
        # It also brings the weights and the kernels to where they are used.
        loss = trainer.evaluate(data)["eval_loss"]
        trainer.train()
        seconds = marks[-1] - marks[0]
        found = {"loss_before": loss, "seconds_per_step": seconds / steps, "tokens_per_second": sum(map(len, data["input_ids"])) / seconds}
        if way == "ours":
            found["operations_per_second"] = _operations(trainer) / seconds
            found["peak_operations_per_second"] = _peak(spec)
    return found


def profiled(steps: int, batch_size: int) -> str:
    """A table of the operators that take longest in our steps, themselves and with what they call, after a pass that warms up."""
    from torch.profiler import ProfilerActivity, profile

    spec = _spec(steps, batch_size)
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = build("ours", Path(folder), spec, rows(steps * batch_size, 0)[0])
        trainer.evaluate(trainer.train_dataset)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
            trainer.train()
    return str(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=25))


def _spec(steps: int, batch_size: int) -> TrainingSpec:
    return TrainingSpec(base=str(base_artifact().folder), batch_size=batch_size, max_steps=steps, save_steps=10_000, max_length=512)


def build(way: str, folder: Path, spec: TrainingSpec, chats: list[dict[str, Any]]) -> tuple[Any, list[float]]:
    """A trainer of either kind on the same tokens, with the times at which its steps begin and end."""
    from transformers import AutoTokenizer, TrainerCallback

    write_whole(folder / "rows.jsonl", map(line_of, chats))
    tokenizer = AutoTokenizer.from_pretrained(spec.base)
    data = ours._dataset(folder / "rows.jsonl", tokenizer, spec.max_length)
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            marks.append(time.monotonic())

        on_step_end = on_step_begin

    if way == "ours":
        made = ours._trainer(folder, spec, tokenizer, data, None, ours._Progress(folder / "progress.jsonl"))
    else:
        made = stock(folder, spec, tokenizer, data, best=way != "trl")
    made.add_callback(Clock())
    return made, marks


def stock(folder: Path, spec: TrainingSpec, tokenizer: Any, data: Any, best: bool) -> Any:
    """SFTTrainer as TRL has it, but for what a CPU refuses; with `best`, also with all flags that make it faster on one."""
    import torch
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from programs.lms.devices import device_and_dtype

    bfloat16 = best and device_and_dtype("cpu")[1] == "bfloat16"
    flags = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"} if best else {}
    arguments = SFTConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=bfloat16,
        max_steps=spec.max_steps,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=spec.batch_size,
        max_length=spec.max_length,
        completion_only_loss=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        seed=spec.seed or 0,
        **flags,
    )
    model = AutoModelForCausalLM.from_pretrained(spec.base, dtype=torch.float32)
    return SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer, peft_config=lora_config(spec))


def _operations(trainer: Any) -> int:
    """Floating-point operations of the matrix products that the rows need, each alone: without padding, and nothing twice."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from optimizers.finetune.completion_loss import completion_loss

    with FlopCounterMode(display=False) as counter:
        for row in trainer.train_dataset:
            batch = {name: value.to(trainer.model.device) for name, value in trainer.data_collator([row]).items()}
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=trainer.args.bf16):
                completion_loss(trainer.model, batch).backward()
    return int(counter.get_total_flops())


def _peak(spec: TrainingSpec) -> float:
    """Floating-point operations a second of a large matrix product, in the training's type: the best of several."""
    import torch

    from programs.lms.devices import device_and_dtype

    size, dtype = 2048, getattr(torch, device_and_dtype(spec.device)[1])
    first, second = torch.rand(size, size).to(dtype), torch.rand(size, size).to(dtype)
    best = float("inf")
    for _ in range(12):
        started = time.monotonic()
        torch.mm(first, second)
        best = min(best, time.monotonic() - started)
    return float(2 * size**3 / best)


if __name__ == "__main__":
    main()
