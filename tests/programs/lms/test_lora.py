from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from programs.lms.lora import merge_adapter

IDS = torch.tensor([[1, 50, 60, 70]])
LLAMA = LlamaConfig(
    vocab_size=100,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    initializer_range=0.5,
)
GPT2 = GPT2Config(vocab_size=100, n_embd=32, n_layer=1, n_head=4, n_positions=16)


def adapted(config, targets, tied: bool) -> PeftModel:
    torch.manual_seed(0)
    config.tie_word_embeddings = tied
    lora = LoraConfig(r=2, lora_alpha=4, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    return get_peft_model(AutoModelForCausalLM.from_config(config), lora).eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("config", "targets"),
    [
        (LLAMA, ["embed_tokens"]),
        (LLAMA, ["lm_head"]),
        (LLAMA, ["embed_tokens", "lm_head", "q_proj"]),
        (LLAMA, "all-linear"),
        (GPT2, ["wte"]),
        (GPT2, ["wte", "c_attn"]),
    ],
)
def test_the_merged_model_on_disk_answers_as_the_one_that_was_trained(config, targets, tied, tmp_path):
    model = adapted(config, targets, tied)
    with torch.inference_mode():
        trained = model(IDS).logits
    merged = merge_adapter(model)
    merged.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(merged(IDS).logits, trained, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(loaded(IDS).logits, trained, rtol=1e-4, atol=1e-4)
    # What the adapter leaves alone stays as small as it was.
    assert loaded.config.tie_word_embeddings is (tied and targets == "all-linear")
