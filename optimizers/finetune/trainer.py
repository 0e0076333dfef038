"""Fine-tuning in a process of its own: `python -m optimizers.finetune.trainer JOB_DIR`.

It is a process of its own so that a training that is killed or out of memory never takes the caller along, and so that
it can be stopped and continued. `JOB_DIR/job.json` says what to do (see `TrainingSpec`, and `specs` for DPO and GRPO),
and `JOB_DIR/rows.jsonl` holds chats (`messages`, the last one the assistant's). It writes `progress.jsonl` line by
line, checkpoints, and at the end `model/` and `done.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from array import array
from pathlib import Path
from typing import Any

from filelock import FileLock

from optimizers.finetune.arguments import common_arguments
from optimizers.finetune.bases import base_model, lora_config, trained_model
from optimizers.finetune.job_folder import EXIT_LIMIT, EXIT_STOPPED, lock_of
from optimizers.finetune.several_processes import any_process, is_first, processes_here
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.specs import GroupRewardSpec, PreferenceSpec, spec_from_json
from optimizers.jobs.jsonlines import line_of, write_json
from optimizers.jobs.progress import end_with_parent
from optimizers.labelling.journal import LimitReached
from programs.lms.chat import training_ids
from programs.lms.lora import merge_adapter, save_adapter

_SMOOTHED_STEPS = 10

_LOGGED = ("loss", "eval_loss", "learning_rate", "rewards/accuracies", "reward")


def main(job_dir: str) -> int:
    """Train the job in `job_dir`, or continue it from its last checkpoint.

    Returns:
        0 when `done.json` stands, `EXIT_STOPPED` after SIGINT or SIGTERM with a checkpoint written, `EXIT_LIMIT` with the
        reason in `limit.json` where the solver's calls came to their limit; the last checkpoint stands.
    """
    folder = Path(job_dir)
    if (folder / "done.json").exists():
        return 0
    end_with_parent(signal.SIGTERM)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    spec = spec_from_json((folder / "job.json").read_text())
    # Of several processes the first one speaks for all.
    with FileLock(lock_of(folder)) if is_first() else contextlib.nullcontext():
        try:
            return _train(folder, spec)
        except LimitReached as limit:
            write_json(folder / "limit.json", {"reason": str(limit)})
            return EXIT_LIMIT


def _train(folder: Path, spec: TrainingSpec) -> int:
    import torch
    from transformers import AutoTokenizer

    from programs.lms.devices import device_and_dtype, usable_cores

    torch.set_num_threads(spec.threads or max(1, usable_cores() // processes_here()))
    random.seed(spec.seed)
    torch.manual_seed(spec.seed)
    tokenizer = AutoTokenizer.from_pretrained(spec.base)
    progress = _Progress(folder / "progress.jsonl")
    trainer = _built(folder, spec, tokenizer, progress)
    progress.stop_on_signals()
    started = time.monotonic()
    result = trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    if progress.stopped:
        return EXIT_STOPPED
    model = trained_model(trainer, spec)
    if not is_first():
        return 0
    _save(folder, spec, model, tokenizer)
    summary = {
        "rows": len(trainer.train_dataset),
        "too_long": 0 if isinstance(spec, PreferenceSpec | GroupRewardSpec) else _given(folder) - len(trainer.train_dataset),
        "tokens": _tokens(trainer),
        "seconds": progress.seconds_before + time.monotonic() - started,
        "steps": trainer.state.global_step,
        **_losses(trainer.state.log_history, result.training_loss),
        "dtype": device_and_dtype(spec.device)[1],
    }
    write_json(folder / "done.json", summary)
    return 0


def _given(folder: Path) -> int:
    """The rows of the job, with those that are too long to be trained on."""
    with (folder / "rows.jsonl").open(encoding="utf-8") as file:
        return sum(1 for _ in file)


def _losses(log: list[dict[str, Any]], mean: float) -> dict[str, float | None]:
    """What a training ended with, each under its own name; the mean over all steps is far above either.

    Args:
        log: `log_history` of the trainer's state, a record a step and a record a look at the dev rows.
        mean: Mean loss over all steps.

    Returns:
        `last_train_loss`, the mean of the last steps, as one step is a few rows alone; `last_dev_loss`, None without dev
        rows; and `mean_train_loss`.
    """
    steps, dev = ([record[key] for record in log if key in record] for key in ("loss", "eval_loss"))
    last = steps[-_SMOOTHED_STEPS:]
    return {
        "last_train_loss": sum(last) / len(last) if last else None,
        "last_dev_loss": dev[-1] if dev else None,
        "mean_train_loss": mean,
    }


def _built(folder: Path, spec: TrainingSpec, tokenizer: Any, progress: _Progress) -> Any:
    """The trainer of the job's kind."""
    if isinstance(spec, PreferenceSpec | GroupRewardSpec):
        return _success_trainer(folder, spec, tokenizer, progress)
    train = _dataset(folder / "rows.jsonl", tokenizer, spec.max_length)
    dev = _dataset(folder / "dev_rows.jsonl", tokenizer, spec.max_length) if (folder / "dev_rows.jsonl").exists() else None
    return _trainer(folder, spec, tokenizer, train, dev, progress)


def _success_trainer(folder: Path, spec: PreferenceSpec | GroupRewardSpec, tokenizer: Any, progress: _Progress) -> Any:
    from programs.lms.devices import device_and_dtype

    further = tokenizer, base_model(spec), lora_config(spec) if spec.method == "lora" else None, device_and_dtype(spec.device)[0] == "cpu"
    if isinstance(spec, PreferenceSpec):
        from optimizers.finetune.dpo import preference_trainer

        return _reporting(preference_trainer(folder, spec, *further), progress)
    from optimizers.finetune.grpo import group_trainer

    return _reporting(group_trainer(folder, spec, *further), progress)


def _tokens(trainer: Any) -> int:
    """Tokens that were trained on."""
    if trainer.state.num_input_tokens_seen:
        return int(trainer.state.num_input_tokens_seen)
    rows = trainer.train_dataset
    # The prompt of a pair is read twice.
    names = [name for name in ("input_ids", "prompt_ids", "prompt_ids", "chosen_ids", "rejected_ids") if name in rows.column_names]
    once = sum(len(ids) for name in names for ids in rows[name])
    return int(once * trainer.state.num_train_epochs)


def _dataset(path: Path, tokenizer: Any, max_length: int) -> Any:
    from datasets import Dataset

    ids, mask, ends = array("i"), array("b"), array("i", [0])
    too_long = 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            row_ids, row_mask = training_ids(tokenizer, json.loads(line)["messages"])
            if len(row_ids) > max_length:
                too_long += 1
                continue
            ids.extend(row_ids)
            mask.extend(row_mask)
            ends.append(len(ids))
    if too_long:
        print(f"{too_long} of {path.name} left out: longer than max_length={max_length} tokens", file=sys.stderr, flush=True)
    if not ids:
        raise ValueError(f"No row of {path} fits max_length={max_length} tokens; raise training.max_length.")
    return Dataset.from_dict({"input_ids": _lists(ids, ends), "completion_mask": _lists(mask, ends)})


def _lists(values: array[int], ends: array[int]) -> Any:
    """A column of lists that share the memory of `values`: as Python's own, the tokens of many rows would take ten times as much."""
    import numpy as np
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(np.asarray(ends)), pa.array(np.asarray(values)))


def _trainer(folder: Path, spec: TrainingSpec, tokenizer: Any, train: Any, dev: Any, progress: _Progress) -> Any:
    from trl import SFTTrainer

    from optimizers.finetune.completion_loss import CompletionLossTrainer
    from optimizers.finetune.mixed_precision import attend_in_float32_where_short, hold_frozen_in_bfloat16
    from programs.lms.devices import device_and_dtype

    device, dtype = device_and_dtype(spec.device)
    on_cpu = device == "cpu"
    model = base_model(spec)
    model.config.use_cache = False
    trainer = (CompletionLossTrainer if on_cpu or spec.kl_weight else SFTTrainer)(
        model=model,
        args=_sft_config(folder, spec, len(train), dev is not None),
        train_dataset=train,
        eval_dataset=dev,
        processing_class=tokenizer,
        peft_config=lora_config(spec) if spec.method == "lora" else None,
    )
    if on_cpu and dtype == "bfloat16":
        attend_in_float32_where_short(model)
        if spec.method == "lora" and not spec.load_in_4bit:
            hold_frozen_in_bfloat16(trainer.model)
    trainer.kl_weight = spec.kl_weight
    trainer.microbatch_tokens = spec.microbatch_tokens if on_cpu else 0
    return _reporting(trainer, progress)


def _reporting(trainer: Any, progress: _Progress) -> Any:
    """The trainer with our progress lines in the place of its own display, and trackers that cannot end it."""
    from optimizers.finetune.tracker_callbacks import guard_callbacks

    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in {"PrinterCallback", "ProgressCallback", "RichProgressCallback"}:
            trainer.remove_callback(callback)
    guard_callbacks(trainer, progress.path.parent)
    trainer.add_callback(progress.callback())
    return trainer


def _sft_config(folder: Path, spec: TrainingSpec, rows: int, evaluate: bool) -> Any:
    from trl import SFTConfig

    arguments = SFTConfig(
        **common_arguments(folder, spec),
        per_device_eval_batch_size=spec.batch_size,
        max_length=spec.max_length,
        completion_only_loss=True,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=spec.save_steps,
        load_best_model_at_end=evaluate,
        metric_for_best_model="eval_loss" if evaluate else None,
        greater_is_better=False if evaluate else None,
        neftune_noise_alpha=spec.neftune_noise or None,
        eos_token=None,
    )
    devices = arguments.world_size * arguments.train_batch_size // spec.batch_size
    arguments.num_train_epochs = spec.epochs_of(rows, devices)
    arguments.warmup_steps = spec.warmup_of(spec.steps_of(rows, devices))
    return arguments


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint to go on from.

    A half-written one (a process killed while saving) is passed over, and so is that of the last step: transformers
    would train one step more before it looks at the count.
    """
    found = [path for path in (folder / "checkpoints").glob("checkpoint-*") if _is_unfinished(path / "trainer_state.json")]
    return str(max(found, key=lambda path: int(path.name.split("-")[1]))) if found else None


def _is_unfinished(state: Path) -> bool:
    try:
        steps = json.loads(state.read_text())
    except (OSError, ValueError):
        return False
    return steps["global_step"] < steps["max_steps"]


def _save(folder: Path, spec: TrainingSpec, model: Any, tokenizer: Any) -> None:
    """Write the merged model, and for LoRA the adapter beside it, so that no reader needs peft or half the speed; or the adapter alone."""
    import torch

    from optimizers.finetune.regularise import scale_towards_base

    for left in ("adapter", "model", "model.partial"):  # of a process that was killed right here
        shutil.rmtree(folder / left, ignore_errors=True)
    scale_towards_base(model, spec)
    dtype = torch.bfloat16 if spec.save_dtype == "bfloat16" else torch.float32
    if spec.save_weights == "adapter":
        save_adapter(model, folder / "model.partial", dtype)
    else:
        if spec.method == "lora":
            model.save_pretrained(folder / "adapter")
            model = merge_adapter(model)
        model.to(dtype).save_pretrained(folder / "model.partial")
    tokenizer.save_pretrained(folder / "model.partial")
    os.replace(folder / "model.partial", folder / "model")


class _Progress:
    """Writes a line a step, and turns a signal into a checkpoint and a clean end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stopped = False
        lines = path.read_text().splitlines() if path.exists() else []
        self.seconds_before = json.loads(lines[-1])["seconds"] if lines else 0.0
        self._started = time.monotonic()

    def stop_on_signals(self) -> None:
        def stop(signum: int, frame: Any) -> None:
            self.stopped = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)

    def callback(self) -> Any:
        from transformers import TrainerCallback

        progress = self

        class Callback(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
                progress.stopped = any_process(progress.stopped)
                if progress.stopped:
                    control.should_save = control.should_training_stop = True
                return control

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                progress.write(state, logs or {})

        return Callback()

    def write(self, state: Any, logs: dict[str, float]) -> None:
        if not is_first():
            return
        record = {"step": state.global_step, "steps": state.max_steps}
        record["seconds"] = round(self.seconds_before + time.monotonic() - self._started, 3)
        record |= {key: logs[key] for key in _LOGGED if key in logs}
        with self.path.open("a") as file:
            file.write(line_of(record))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
