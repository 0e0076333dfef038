"""DPO on pairs of decompositions of the same question, with TRL."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from optimizers.finetune.arguments import common_arguments
from optimizers.finetune.specs import PreferenceSpec
from programs.lms.chat import training_ids


class PairTrainer(DPOTrainer):
    """TRL's DPO trainer, for rows that are tokens already."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        # TRL would render the chats once more, by a rule of its own; these are the tokens of inference.
        return dataset


def preference_trainer(folder: Path, spec: PreferenceSpec, tokenizer: Any, model: Any, lora: Any, on_cpu: bool) -> PairTrainer:
    """The trainer of a job of kind `dpo`.

    Args:
        folder: The job's, with `rows.jsonl`: chats with `rejected`, the text that their last message is preferred to.
        spec: The job's settings.
        tokenizer: The model's.
        model: The policy; without its adapter, or as a copy, it is the reference too.
        lora: Settings of peft; None trains all weights.
        on_cpu: Whether to compute log-probabilities in the way that suits a CPU.

    Raises:
        ValueError: No pair is short enough.
    """
    arguments = DPOConfig(**common_arguments(folder, spec), beta=spec.beta, max_length=spec.max_length)
    pairs = pair_dataset(folder / "rows.jsonl", tokenizer, spec.max_length)
    arguments.warmup_steps = spec.warmup_of(spec.steps_of(len(pairs)))
    trainer = PairTrainer(model=model, args=arguments, train_dataset=pairs, processing_class=tokenizer, peft_config=lora)
    if on_cpu:
        from optimizers.finetune.completion_head import add_completion_head

        for causal in filter(None, (model, trainer.ref_model)):
            add_completion_head(causal)
    return trainer


def pair_dataset(path: Path, tokenizer: Any, max_length: int) -> Dataset:
    """Pairs as tokens: `prompt_ids`, `chosen_ids`, `rejected_ids`; those longer than `max_length` are left out and counted.

    Raises:
        ValueError: Nothing is left.
    """
    pairs = [_pair_ids(tokenizer, json.loads(line)) for line in path.read_text().splitlines()]
    fitting = [ids for ids in pairs if len(ids["prompt_ids"]) + max(len(ids["chosen_ids"]), len(ids["rejected_ids"])) <= max_length]
    if len(fitting) < len(pairs):
        print(f"{len(pairs) - len(fitting)} pairs left out: longer than max_length={max_length} tokens", file=sys.stderr, flush=True)
    if not fitting:
        raise ValueError(f"No pair of {path} fits max_length={max_length} tokens; raise training.max_length.")
    return Dataset.from_list(fitting)


def _pair_ids(tokenizer: Any, row: dict[str, Any]) -> dict[str, list[int]]:
    *prompt, chosen = row["messages"]
    ids, mask = training_ids(tokenizer, row["messages"])
    start = mask.index(1)
    rejected, _ = training_ids(tokenizer, [*prompt, {**chosen, "content": row["rejected"]}])
    return {"prompt_ids": ids[:start], "chosen_ids": ids[start:], "rejected_ids": rejected[start:]}
