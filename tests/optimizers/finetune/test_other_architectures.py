"""A student of another architecture than the embedded one's: trained, merged, and read by the fast backend."""

import pytest
import small_models

from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import train
from programs.lms import artifacts, backends
from programs.lms.backends.base import GenerateRequest
from programs.lms.chat import render
from programs.lms.gguf import export


@pytest.mark.parametrize("shape", ["qwen2", "llama-untied"])
def test_a_trained_student_runs_in_openvino_and_is_exported(base, home, tmp_path, monkeypatch, shape):
    pytest.importorskip("openvino_genai")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    source = small_models.save(shape, base.folder, tmp_path / "source")
    start = artifacts.publish(source, tmp_path / "start", name="start")
    rows = [{"messages": [{"role": "user", "content": f"Q {i}"}, {"role": "assistant", "content": f"A {i}"}]} for i in range(8)]
    spec = TrainingSpec(base=str(start.folder), max_steps=2, threads=1, device="cpu", seed=0, warmup_steps=0)
    student = train(rows, spec, tmp_path / "student", name="s", adapter="line", base=artifacts.register(start))
    fast, reference = (backends.choose_backend(student, name, "cpu") for name in ("openvino", "transformers"))
    asked = [GenerateRequest(render(reference.tokenizer, row["messages"][:1]), max_tokens=8) for row in rows]
    assert [result.text for result in fast.generate(asked)] == [result.text for result in reference.generate(asked)]
    assert [path.name for path in export(student, tmp_path / "s.gguf")] == ["s.gguf", "s.Modelfile"]
