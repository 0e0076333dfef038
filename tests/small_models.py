"""Models of each architecture with random weights and a tokenizer of their own, for tests of files and backends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from programs.lms.artifacts import Artifact

_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = (
    "{{- bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
    "message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
TEXTS = [
    "Who is the king of Norway?",
    "I've 3 apples; you've 1234567 pears.",
    "It's SHE'LL'd they're we'Ve",
    "x",
    " a",
    "a ",
    "  two  blanks",
    "Grüße aus München, daß weiß ich",
    "L'été à Orléans, ça va ?",
    "¿Cuántos años tiene Ñandú?",
    "Привет, как дела? 2024 год",
    "Ελληνικά",
    "你好，世界。今天是2024年5月。",
    "日本語のテキスト、カタカナ",
    "한국어 문장입니다",
    "مرحبا بالعالم ١٢٣",
    "שלום עולם",
    "नमस्ते दुनिया",
    "ภาษาไทย",
    "def f(x):\n    return x ** 2\n\n\nprint(f(3))",
    "for (int i = 0; i < 10; ++i) { a[i] += 1; }",
    "<div class='x'>&nbsp;</div>",
    '{"a": [1, 2]}',
    "\n",
    "\n\n\n",
    "\t\ttabs\t",
    "a\r\nb\r\n",
    " \n \n",
    "1 2 3 12 123 1234",
    "3.14159, 1,000,000 and 50%",
    "$5.00 + €6,50 = ?",
    "\n\n1",
    "  12",
    "👍🏽 emoji 👨‍👩‍👧 🇩🇪",
    "e\u0301 and \u00e9",
    "\u00a0no-break\u3000wide",
    "…—–„“”",
    "~~--==++",
    "C++/C#",
    "don't DON'T",
    "a_b_c __init__",
    "http://x.org/?q=1",
    "<|im_end|>",
    "a<|im_start|>b <|endoftext|>",
    "<tool_call>x</tool_call>",
    "[PAD7]",
    "Ġ literal Ċ",
    "ÿþ\u0100",
    "\u200bzero width",
    "ﬁ ligature",
]


def tokenizer(kind: str, base: Path) -> object:
    """That of the embedded model, or a BPE trained here with the splits, special tokens and template of Qwen or Llama 3."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer

    if kind == "embedded":
        return AutoTokenizer.from_pretrained(base)
    if kind == "qwen":
        trained = json.loads(_trained("").to_str())["model"]
        specials = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
        made = Qwen2Tokenizer(vocab=trained["vocab"], merges=[tuple(pair) for pair in trained["merges"]], **specials)
        made.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
        made.add_tokens(["<tool_call>", "</tool_call>"])
        made.chat_template = CHATML
        return made
    return PreTrainedTokenizerFast(
        tokenizer_object=_llama3(_trained("{1,3}")), bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", chat_template=LLAMA3
    )


def _trained(digits: str):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(ignore_merges=bool(digits)))
    steps = [pre_tokenizers.Split(Regex(_SPLIT % digits), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    made.train_from_iterator(TEXTS * 3, trainer)
    return made


def _llama3(made):
    from tokenizers import processors

    made.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    bos = "<|begin_of_text|>"
    made.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))])
    return made


SHAPES = {
    "llama": ("embedded", {"model_type": "llama", "tie_word_embeddings": True, "head_dim": 16}),
    "llama-untied": ("llama3", {"model_type": "llama", "tie_word_embeddings": False, "head_dim": 32}),
    "qwen2": ("qwen", {"model_type": "qwen2", "tie_word_embeddings": True}),
    "qwen2-untied": ("qwen", {"model_type": "qwen2", "tie_word_embeddings": False}),
    "qwen3": ("qwen", {"model_type": "qwen3", "tie_word_embeddings": True, "head_dim": 128}),
    "qwen3-untied": ("qwen", {"model_type": "qwen3", "tie_word_embeddings": False, "head_dim": 32}),
}
"""Name -> tokenizer and config."""


def save(shape: str, base: Path, folder: Path, **settings: object) -> Path:
    """Write a plain Hugging Face folder, in several files and with more rows than tokens where the tokenizer is none of the embedded.

    Weights are wide, so that the likeliest token is ahead of the next by far more than a sum in another order rounds by, and
    biases and norms are random too, as fresh ones say nothing.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, values = SHAPES[shape]
    words = tokenizer(kind, base)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"max_position_embeddings": 512, "vocab_size": 49152 if kind == "embedded" else len(words) + 40, "initializer_range": 0.3}
    sizes |= {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id, "pad_token_id": words.pad_token_id}
    config = AutoConfig.for_model(**{**sizes, **values, **settings})
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.copy_(torch.randn_like(weight) * 0.3 + (0.0 if name.endswith("bias") else 1.0))
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="20MB" if kind == "embedded" else "60KB")
    words.save_pretrained(folder)
    return folder


def copy_with(folder: Path, target: Path, **config: object) -> Path:
    """The folder again, with other values in its config."""
    shutil.copytree(folder, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target


def as_model(folder: Path) -> Artifact:
    """What a backend loads, without publishing it."""
    files = {path.name: {"sha256": f"{folder}/{path.name}"} for path in folder.iterdir()}
    return Artifact(folder, {"namespace": "local", "name": folder.name, "files": files})
