"""Record a folder of each kind of job, for the test that a later version goes on with it: `python tests/recorded/record.py ARCHIVE`.

The teacher is scripted, behind a server on loopback, and the student a byte-level model of a few thousand weights, so that the
archive is small. What is recorded is what the jobs leave on disk; their texts mean nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
PORT = 18765
"""Nobody answers there when a recorded folder is taken up again, so that a call that is asked twice fails."""
COMMON = [
    "--task", "jsonl", "--task.path", "questions.jsonl", "--teacher", "openai/scripted", "--teacher.api_base",
    f"http://127.0.0.1:{PORT}/v1", "--teacher.adapter", "line", "--student", "local/tiny", "--student.max_tokens", "64",
    "--data.train", "12", "--data.test", "4", "--screening.min_rows", "2", "--training.method", "full", "--training.max_steps", "150",
    "--training.learning_rate", "1e-2", "--training.warmup_steps", "0", "--training.max_length", "512", "--training.threads", "1",
]  # fmt: skip
CONDITIONS = "single-stage,teacher+teacher,student0+teacher,S_D-T+teacher,S_D-R+teacher"
JOBS = {
    "run": ["run", *COMMON, "--evaluation.conditions", CONDITIONS],
    "experiment": ["experiment", *COMMON, "--experiment.conditions", CONDITIONS, "--experiment.ablations", "rows",
                   "--experiment.rows", "6"],
    "improve": ["improve", *COMMON, "--improve.data.dev", "4", "--improve.data.train", "6", "--improve.samples", "2",
                "--improve.min_rows", "1", "--improve.rounds", "1"],
    "compile": ["compile", *COMMON, "--compile.optimizer", "BootstrapFewShot", "--compile.train", "4", "--compile.validation", "4",
                "--compile.dev", "4"],
    "study": ["study", "@", "study.toml", *COMMON, "--data.dev", "4", "--study.trials", "2"],
}  # fmt: skip
"""Folder -> the command that made it, without `--out`."""


class Teacher(BaseHTTPRequestHandler):
    """An OpenAI-compatible server with two replies."""

    def do_POST(self):
        from scripted import two_stage_rule

        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        message = {"role": "assistant", "content": two_stage_rule(asked)}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        reply = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "scripted", "choices": choices, "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply.encode())

    def log_message(self, *words):
        pass


def questions(path: Path) -> None:
    """Write questions whose answer is what the scripted teacher says, but for a few, and the space of the study."""
    rows = [{"question": f"Where does number {n} live?", "answer": "Rome" if n % 5 else "Oslo"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path.with_name("study.toml").write_text('[study.space]\n"training.learning_rate" = { low = 1e-3, high = 1e-2, log = true }\n')


def tiny(folder: Path) -> None:
    """Publish a model that reads and writes bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from programs.lms.artifacts import publish

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate([*special, *letters])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[2], pad_token=special[0], bos_token=special[1])
    fast.chat_template = (
        "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(fast), max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
                         pad_token_id=0, **sizes)  # fmt: skip
    source = folder.with_name(".tiny-source")
    LlamaForCausalLM(config).save_pretrained(source)
    fast.save_pretrained(source)
    publish(source, folder, name="tiny", adapter="line-terse", base="random")


def main(archive: Path) -> None:
    """Do every job in the working directory, and pack what they leave."""
    questions(Path("questions.jsonl"))
    tiny(Path("tiny"))
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Teacher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "OPENAI_API_KEY": "none", "DIVIDE_OR_CONQUER_BACKEND": "transformers"}
    for name, words in JOBS.items():
        subprocess.run([sys.executable, "-m", "optimizers.cli", *words, "--out", name], check=True, env=environment)
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for name in ("questions.jsonl", "study.toml", "tiny", *JOBS):
            packed.add(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
