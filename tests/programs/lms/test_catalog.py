from __future__ import annotations

import shutil

import pytest
from fake_hub import Repository, in_place

from programs.lms import adapter_name_for, engine, lm
from programs.lms.catalog import missing_key
from programs.lms.model_strings import pinned, resolve


def test_a_folder_gets_its_hash(tiny, home):
    assert pinned(f"local/{tiny.folder}") == tiny.model_string
    assert resolve(tiny.model_string) == tiny
    model = lm(f"local/{tiny.folder}", max_tokens=9)
    assert (model.model, model.cache, model.num_retries) == (tiny.model_string, False, 0)
    assert model.kwargs["temperature"] == 0.0
    assert model.kwargs["max_tokens"] == 9


def test_a_hub_model_runs_out_of_the_cache(tiny, home, tmp_path, monkeypatch):
    import huggingface_hub.constants

    revision = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--org--name"
    shutil.copytree(tiny.folder, cached / "snapshots" / revision)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    model = lm("hf/org/name", max_tokens=4)
    assert model.model == f"hf/org/name@{revision}"
    assert resolve(model.model) is None
    assert adapter_name_for(model) == "line"
    assert model("hello")
    engine.unload_all()
    with pytest.raises(ValueError, match="Check the name and the network"):
        lm("hf/org/other")


def test_a_hub_that_does_not_answer_is_asked_once_and_the_cache_used_where_it_can_be(tmp_path, monkeypatch):
    with in_place(monkeypatch, tmp_path) as hub:
        hub.repositories["model", "me/small"] = Repository(False, {"config.json": b"{}"})
        found = pinned("hf/me/small")
        hub.refuse = lambda method, path: (503, "down")
        hub.calls.clear()
        with pytest.raises(ValueError, match="Cannot get 'hf/me/other' from the Hugging Face hub"):
            pinned("hf/me/other")
        assert [path for _, path in hub.calls] == ["/me/other/resolve/main/config.json"]
        assert pinned("hf/me/small") == found == f"hf/me/small@{hub.repositories['model', 'me/small'].sha}"


def test_missing_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert missing_key("openai/gpt-4o") == "OPENAI_API_KEY"
    assert missing_key("anthropic/claude-sonnet-4-5") == "ANTHROPIC_API_KEY"
    assert missing_key("groq/llama-3.3-70b-versatile") == "GROQ_API_KEY"
    assert missing_key("openai/anything", api_base="http://localhost:1/v1") is None
    for free in ("embedded/base", "ollama/llama3", "hosted_vllm/x"):
        assert missing_key(free) is None
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert missing_key("openai/gpt-4o") is None


def test_a_server_of_your_own_is_not_answered_from_dspys_cache(monkeypatch):
    """The cache's key has no address: two servers that call their models alike would share their answers."""
    assert not lm("openai/student", api_base="http://127.0.0.1:1/v1", api_key="none").cache
    assert lm("openai/student", api_base="http://127.0.0.1:1/v1", api_key="none", cache=True).cache
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://127.0.0.1:1/v1")
    assert not lm("hosted_vllm/student").cache and lm("openai/student", api_key="none").cache
    assert lm("openai/gpt-4.1-mini").cache
