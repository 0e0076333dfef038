"""What trainings are known by, which no later setting may change for those that were made before it."""

from __future__ import annotations

import pytest

from optimizers.finetune.identity import TrainingIdentity
from optimizers.finetune.provider import _digest
from optimizers.finetune.spec import WITHOUT_EFFECT, TrainingSpec, defaults_since

ROWS = [{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Eva."}]}]

FIRST = (
    "base method epochs max_steps learning_rate batch_size gradient_accumulation warmup_steps scheduler weight_decay lora_rank lora_alpha "
    "lora_dropout lora_targets max_length seed save_dtype"
).split()


def identity(**settings) -> TrainingIdentity:
    return TrainingIdentity(ROWS, [], TrainingSpec(base="folder", seed=0, **settings), "line-terse", "embedded/base")


def test_every_setting_is_one_of_the_first_version_or_without_effect_or_among_the_later_ones():
    assert set(TrainingSpec.model_fields) == {*FIRST, *WITHOUT_EFFECT, *defaults_since("adapter_scale")}


def test_what_was_trained_before_the_later_settings_came_is_known_as_it_was():
    assert identity().digest == "3ef89ba4576209f067eaccbe1fc0d5fb8ddc17b5eb3b2a9ae501f5b9787551eb"
    assert _digest(ROWS, TrainingSpec(base="folder", seed=0)) == "58dce747466e"


@pytest.mark.parametrize("setting", [{"dtype": "bfloat16"}, {"save_weights": "adapter"}, {"neftune_noise": 5.0}], ids=str)
def test_a_later_setting_counts_where_it_is_on(setting):
    assert identity(**setting).digest != identity().digest
    assert _digest(ROWS, TrainingSpec(**setting)) != _digest(ROWS, TrainingSpec())


def test_a_setting_without_effect_does_not_count():
    assert identity(threads=3, save_steps=7, microbatch_tokens=0).digests == identity().digests
