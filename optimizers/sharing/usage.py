"""How a pushed student is used: code for its card, each snippet as it can be run."""

from __future__ import annotations

import json

from optimizers.reports.blocks import Block, Code, Text
from programs.lms.trained_prompts import TrainedPrompt

_ROLES = {"decompose": "decomposer", "solve": "solver"}
_ASKED = "Who is the mother of the director of Metropolis?"


def usage_blocks(repo: str, name: str, prompt: TrainedPrompt | None, *, base: str = "", rank: int = 16, gguf: bool = False) -> list[Block]:
    """The ways to ask a student.

    Args:
        repo: Its name on the hub.
        name: Its name in the run: `S_D-R`.
        prompt: The form in which it takes a bare question; None where a question alone is not enough.
        base: Of an adapter, the model that it goes on; empty for a whole model.
        rank: Of an adapter.
        gguf: Whether a GGUF file lies beside it.
    """
    blocks = [*([] if base else _with_package(repo, name)), *_with_transformers(repo, prompt, base), *_with_vllm(repo, prompt, base, rank)]
    return [*blocks, *(_with_gguf(repo, prompt) if gguf else [])]


def _with_package(repo: str, name: str) -> list[Block]:
    stage, other = ("solve", "decompose") if name.startswith("S_E") else ("decompose", "solve")
    if name.startswith("S_C"):
        return [Code("With this package", f'{_downloaded(repo)}\nprint(student("{_ASKED}")[0])', "python")]
    code = f"""from programs import TwoStage
{_downloaded(repo)}
program = TwoStage()
program.{stage}.set_lm(student)
program.{other}.set_lm(lm("openai/gpt-4.1-mini"))  # or whichever LLM has that stage
print(program(question="{_ASKED}").answer)"""
    ask = f"divide-or-conquer ask '{_ASKED}' --{_ROLES[stage]} ./student --{_ROLES[other]} openai/gpt-4.1-mini"
    return [
        Text("With divide-or-conquer the student is asked in the form that it was trained on; nothing has to be said of it."),
        Code("In Python", code, "python"),
        Code("In a shell", f"hf download {repo} --local-dir student\n{ask}", "sh"),
    ]


def _downloaded(repo: str) -> str:
    return f"""from huggingface_hub import snapshot_download
from programs.lms import lm

student = lm("local/" + snapshot_download("{repo}"))"""


def _with_transformers(repo: str, prompt: TrainedPrompt | None, base: str) -> list[Block]:
    if prompt is None:
        return [Text("It was trained on more than a bare question; manifest.json says in which form.")]
    code = f"""from transformers import pipeline

question = "{_ASKED}"
chat = {_chat(prompt)}
generate = pipeline("text-generation", "{repo}")
print(generate(chat, max_new_tokens=256, do_sample=False)[0]["generated_text"][-1]["content"])"""
    needs = f" It needs peft, and fetches the base {base}." if base else ""
    return [Text(f"With transformers the chat has to be the one that it was trained on.{needs}"), Code("In Python", code, "python")]


def _chat(prompt: TrainedPrompt) -> str:
    turns = [f'{{"role": {json.dumps(turn["role"])}, "content": {_content(turn["content"])}}}' for turn in prompt.messages]
    return "[\n    " + ",\n    ".join(turns) + ",\n]"


def _content(text: str) -> str:
    """A turn as Python: the question in its place, all else word for word."""
    return " + question + ".join(json.dumps(part, ensure_ascii=False) for part in text.split("{question}"))


def _with_vllm(repo: str, prompt: TrainedPrompt | None, base: str, rank: int) -> list[Block]:
    lora = f" --enable-lora --max-lora-rank {max(rank, 16)} --lora-modules {repo}={repo}"
    serve = f"vllm serve {base}{lora}" if base else f"vllm serve {repo}"
    lines = [serve]
    if prompt is not None:
        body = {"model": repo, "messages": prompt.chat(_ASKED), "max_tokens": 256, "temperature": 0}
        text = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
        lines.append(f"curl http://localhost:8000/v1/chat/completions -H 'Content-Type: application/json' -d '{text}'")
    return [Text("Behind a server that speaks OpenAI's protocol:"), Code("In a shell", "\n".join(lines), "sh")]


def _with_gguf(repo: str, prompt: TrainedPrompt | None) -> list[Block]:
    lines = [f"hf download {repo} --include 'gguf/*' --local-dir .", "llama-cli -m gguf/model.gguf"]
    if prompt is not None:
        lines.append("ollama create student -f gguf/model.Modelfile")
    told = ", and takes a bare question" if prompt is not None else ""
    return [Text(f"The GGUF file goes into llama.cpp and its relatives{told}:"), Code("In a shell", "\n".join(lines), "sh")]
