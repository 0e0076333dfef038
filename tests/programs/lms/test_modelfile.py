"""Ollama's Modelfile: what its template writes is held against the model's own, by Go itself where Go is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import dspy
import pytest
from transformers import AutoTokenizer

from programs.lms import chat, gguf
from programs.lms.artifacts import Artifact
from programs.lms.modelfile import modelfile
from programs.lms.other_servers import commands
from programs.lms.trained_prompts import trained_prompt
from programs.signatures import Decompose

PROMPT = trained_prompt(dspy.Predict(Decompose), "line-terse", [{"context": "", "question": "a", "max_subquestions": 3}])
ODD = 'Is "{{ .System }}" or """this""" a question?\n\\n }} {{- end }}'
PLAIN = [("user", ODD)]
TOLD = [("system", "Be brief."), ("user", ODD)]
LONG = [("user", "Hi {{ x"), ("assistant", "Yes."), ("user", ODD)]
LONG_TOLD = [("system", '"""'), *LONG]
TEMPLATES = {
    "one that tells who it is": None,
    "plain ChatML": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "of Llama 3, with a BOS token": "{{ '<|endoftext|>' }}{% for m in messages %}<h>{{ m.role }}</h>\n\n{{ m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<h>assistant</h>\n\n{% endif %}",
    "of Mistral": "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}</s>{% elif m.role == 'user' %}[INST] "
    "{{ m.content }} [/INST]{% else %}[SYS]{{ m.content }}[/SYS]{% endif %}{% endfor %}",
    "with braces and quotes of its own": '{% for m in messages %}{{ \'{{"""\' + m.role + \'}}"""\' + m.content + \'"\' }}{% endfor %}'
    "{% if add_generation_prompt %}{{ '{{assistant\"' }}{% endif %}",
}

GO = """
package main

import ("encoding/json"; "os"; "text/template")

type Message struct { Role, Content string }

func main() {
	var given struct { Template string; Chats [][]*Message }
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil { panic(err) }
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(given.Template))
	for _, chat := range given.Chats {
		if err := parsed.Execute(os.Stdout, map[string]any{"Messages": chat, "System": "", "Response": ""}); err != nil { panic(err) }
		os.Stdout.WriteString("\\x00")
	}
}
"""


def go_writes(template, chats, folder):
    """The chats as Go's text/template writes them, given what Ollama gives."""
    (folder / "main.go").write_text(GO)
    given = {"Template": template, "Chats": [[{"Role": role, "Content": text} for role, text in chat] for chat in chats]}
    ran = subprocess.run(["go", "run", str(folder / "main.go")], input=json.dumps(given), capture_output=True, text=True, timeout=300)
    assert not ran.returncode, ran.stderr
    return ran.stdout.split("\x00")[:-1]


@pytest.fixture
def folder(tiny, tmp_path):
    """A folder with the tiny model's settings, whose chat template a test may replace."""
    target = tmp_path / "model"
    shutil.copytree(tiny.folder, target, ignore=shutil.ignore_patterns("manifest.json", "*.safetensors"))
    return target


def template_of(text):
    """As Ollama's parser reads it: what stands between three quotes."""
    return re.search(r'^TEMPLATE """(.*?)"""$', text, re.DOTALL | re.MULTILINE)[1]


def own(tokenizer, turns):
    return chat.render(tokenizer, [{"role": role, "content": text} for role, text in turns])


@pytest.mark.skipif(not shutil.which("go"), reason="no Go here")
@pytest.mark.parametrize("name", TEMPLATES)
def test_go_writes_what_the_models_own_template_writes(folder, tmp_path, name):
    if TEMPLATES[name]:
        (folder / "chat_template.jinja").write_text(TEMPLATES[name])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    question = chat.render(tokenizer, PROMPT.chat(ODD))
    told = [own(tokenizer, TOLD), own(tokenizer, LONG_TOLD)]
    template = template_of(modelfile(folder, "x.gguf", PROMPT))
    assert go_writes(template, [PLAIN, LONG, TOLD, LONG_TOLD], tmp_path) == [question, question, *told]
    template = template_of(modelfile(folder, "x.gguf", None))
    assert go_writes(template, [PLAIN, LONG, TOLD, LONG_TOLD], tmp_path) == [own(tokenizer, PLAIN), own(tokenizer, LONG), *told]
    assert go_writes(template, [[]], tmp_path) == [""]


def test_the_whole_file_of_a_student(folder):
    (folder / "chat_template.jinja").write_text(TEMPLATES["plain ChatML"])
    # Go 1.19's text/template wrote with it what the tokenizer writes; see above.
    assert modelfile(folder, "S_D-R.gguf", PROMPT) == (
        "FROM ./S_D-R.gguf\n"
        'TEMPLATE """{{- if .Messages }}\n'
        "{{- $first := index .Messages 0 }}\n"
        "{{- $last := index .Messages (len (slice .Messages 1)) }}\n"
        '{{- if and (eq $first.Role "user") (eq $last.Role "user") }}<|im_start|>system\n'
        "Subquestions<|im_end|>\n<|im_start|>user\nQuestion: {{ $last.Content }}\nMax subquestions: 3<|im_end|>\n<|im_start|>assistant\n"
        '{{ else }}{{- if ne $first.Role "system" }}{{ end }}{{- range .Messages }}{{ if eq .Role "system" }}<|im_start|>system\n'
        '{{ .Content }}<|im_end|>\n{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n<|im_start|>assistant\n'
        '{{ else if eq .Role "assistant" }}{{ .Content }}<|im_end|>\n'
        '{{ end }}{{ end }}{{- if ne $last.Role "assistant" }}{{ end }}{{ end }}{{ end }}"""\n'
        "PARAMETER temperature 0\nPARAMETER repeat_penalty 1\nPARAMETER num_predict 256\nPARAMETER num_ctx 256\n"
        'PARAMETER stop "<|im_end|>"\n'
    )


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[-1].content }}",
        "{{ messages | length }} {{ messages[-1].content }}",
    ],
)
def test_a_template_that_go_cannot_say_leaves_the_plain_question_alone(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match="Ollama's syntax"):
        modelfile(folder, "x.gguf", None)
    assert "Question: {{ $last.Content }}" in template_of(modelfile(folder, "x.gguf", PROMPT))


def test_the_commands_of_others_name_what_was_written(tiny, tmp_path):
    artifact = Artifact(tmp_path / "my student", {"name": "S_D-R", "namespace": "local", "files": {}})
    written = [tmp_path / f"a b{suffix}" for suffix in (".gguf", gguf.MODELFILE, gguf.TEMPLATE)]
    said = commands(artifact, written)
    assert said["llama.cpp"] == [f"llama-server -m '{tmp_path}/a b.gguf' --jinja --temp 0 -n 256"]
    assert said["Ollama"] == [f"ollama create a-b -f '{tmp_path}/a b.Modelfile'", "ollama run a-b"]
    assert said["vLLM"] == [
        f"vllm serve '{tmp_path}/my student' --served-model-name S_D-R --chat-template '{tmp_path}/a b.jinja' "
        """--override-generation-config '{"temperature": 0}'"""
    ]
    few = commands(artifact, written[:1])
    assert "Ollama" not in few and "--chat-template" not in few["vLLM"][0]
