from __future__ import annotations

import json
import shutil

import pytest

from programs.lms import artifacts, backends, embedded, engine, lm
from programs.lms.gguf import export, gguf_of, write_gguf
from programs.lms.trained_prompts import plain_prompt, prompts_of
from programs.tasks.registry import load_task


@pytest.mark.slow
def test_round_trip_gives_the_same_weights(tiny, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    path = write_gguf(tiny.folder, tmp_path / "tiny.gguf")
    before = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32).state_dict()
    assert before.keys() == after.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=1e-3, atol=1e-6, msg=name)


def test_it_is_written_once_beside_the_artifact(tiny, home):
    path = gguf_of(tiny)
    assert path == home / "gguf" / f"{tiny.hash}.gguf"
    written = path.stat().st_mtime_ns
    assert gguf_of(tiny).stat().st_mtime_ns == written
    artifacts.open_artifact(tiny.folder)


def test_other_models_are_refused_and_run_on_transformers(tiny, tmp_path, home, monkeypatch):
    source = tmp_path / "source"
    shutil.copytree(tiny.folder, source, ignore=shutil.ignore_patterns("manifest.json"))
    config = json.loads((source / "config.json").read_text()) | {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    (source / "config.json").write_text(json.dumps(config))
    artifact = artifacts.publish(source, tmp_path / "other", name="other")
    with pytest.raises(ValueError, match="cannot be written as GGUF"):
        gguf_of(artifact)
    monkeypatch.delenv("DIVIDE_OR_CONQUER_BACKEND", raising=False)
    chosen = backends.choose_backend(artifact, device="cpu")
    assert chosen.name == "transformers"


def test_on_a_full_disk_transformers_takes_over(tiny, home, monkeypatch, caplog):
    import gguf

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    left = home / "gguf" / f".{tiny.hash}.gguf.1.partial"
    left.parent.mkdir(parents=True)
    left.write_text("of a process that was killed")
    monkeypatch.delenv("DIVIDE_OR_CONQUER_BACKEND", raising=False)
    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", full)
    monkeypatch.setattr(gguf.GGUFWriter, "close", full)
    assert backends.choose_backend(tiny, device="cpu").name == "transformers"
    assert "No space left on device" in caplog.text
    assert not list((home / "gguf").glob("*.gguf")) and not list((home / "gguf").glob(".*.partial"))
    with pytest.raises(OSError, match="No space left on device"):
        backends.choose_backend(tiny, "openvino", "cpu")


@pytest.mark.slow
def test_a_real_student_says_the_same_through_transformers_reading_the_exported_file(tmp_path, monkeypatch):
    """Weights, tokenizer, chat template and end tokens all come from the GGUF alone, as for whoever is given it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    questions = [example.question for example in load_task("multihop", schema="people", hops="2,3").load("test", 4)]
    artifact = embedded.teacher_artifact()
    prompt = plain_prompt(prompts_of(artifact))
    ours = lm("embedded/teacher", backend="transformers", device="cpu", max_tokens=64)
    expected = [ours(messages=prompt.chat(question))[0] for question in questions]
    engine.unload_all()
    target = export(artifact, tmp_path / "student.gguf")[0]
    place = {"pretrained_model_name_or_path": target.parent, "gguf_file": target.name}
    tokenizer, model = AutoTokenizer.from_pretrained(**place), AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    for question, text in zip(questions, expected, strict=True):
        asked = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt")
        written = model.generate(**asked, max_new_tokens=64, do_sample=False)[0, asked["input_ids"].shape[1] :]
        assert tokenizer.decode(written, skip_special_tokens=True).strip() == text.strip() and "?" in text
