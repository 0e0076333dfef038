from __future__ import annotations

import json
import shutil

import pytest

from programs.lms import artifacts, backends
from programs.lms.gguf import gguf_of, write_gguf


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
