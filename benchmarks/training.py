"""How much faster is our trainer than TRL's SFTTrainer with its defaults made legal on a CPU: same rows, same loss, in one run?

    python benchmarks/training.py --steps 4

Both train a LoRA on embedded/base with decompositions and solutions of the embedded task. Prints, as JSON, the loss of
each on the same rows before training (they must agree), seconds a step, and their ratio; writes nothing.
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
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import ENVIRONMENT
from optimizers.jobs.jsonlines import line_of, write_whole
from programs.lms.embedded import base_artifact


def main() -> None:
    """Run both in processes of their own, so that neither inherits the other's memory, and compare."""
    parser = Arguments(__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--only", choices=["ours", "trl"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.steps, arguments.batch_size)))
        return
    found = {}
    for which in ("trl", "ours"):
        environment = {**(ENVIRONMENT if which == "ours" else {}), **os.environ}
        words = [sys.executable, __file__, "--only", which, "--steps", str(arguments.steps), "--batch-size", str(arguments.batch_size)]
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found[which] = json.loads(done.stdout.splitlines()[-1])
    ratio = found["trl"]["seconds_per_step"] / found["ours"]["seconds_per_step"]
    difference = abs(found["trl"]["loss_before"] - found["ours"]["loss_before"])
    print(json.dumps({**found, "times_as_fast": round(ratio, 2), "difference_in_loss": difference}, indent=1))


def measure(which: str, steps: int, batch_size: int) -> dict[str, Any]:
    """Loss on the rows before training, and seconds a step after the first."""
    spec = TrainingSpec(base=str(base_artifact().folder), batch_size=batch_size, max_steps=steps, save_steps=10_000, max_length=512)
    with tempfile.TemporaryDirectory() as folder:
        trainer, marks = build(which, Path(folder), spec, rows(steps * batch_size, 0)[0])
        loss = trainer.evaluate(trainer.train_dataset)["eval_loss"]
        trainer.train()
    return {"loss_before": loss, "seconds_per_step": (marks[-1] - marks[0]) / (len(marks) - 1)}


def build(which: str, folder: Path, spec: TrainingSpec, chats: list[dict[str, Any]]) -> tuple[Any, list[float]]:
    """A trainer of either kind on the same tokens, with the times at which its steps end."""
    from transformers import AutoTokenizer, TrainerCallback

    write_whole(folder / "rows.jsonl", map(line_of, chats))
    tokenizer = AutoTokenizer.from_pretrained(spec.base)
    data = ours._dataset(folder / "rows.jsonl", tokenizer, spec.max_length)
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            marks.append(time.monotonic())

    made = ours._trainer(folder, spec, tokenizer, data, None, ours._Progress(folder / "progress.jsonl"))
    if which == "trl":
        made = stock(folder, spec, tokenizer, data)
    made.add_callback(Clock())
    return made, marks


def stock(folder: Path, spec: TrainingSpec, tokenizer: Any, data: Any) -> Any:
    """SFTTrainer as TRL has it, but for what a CPU refuses."""
    import torch
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=False,
        max_steps=spec.max_steps,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=spec.batch_size,
        max_length=spec.max_length,
        completion_only_loss=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        seed=spec.seed,
    )
    model = AutoModelForCausalLM.from_pretrained(spec.base, dtype=torch.float32)
    return SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer, peft_config=ours._lora(spec))


if __name__ == "__main__":
    main()
