"""A student that is saved as its adapter alone is the one that is saved merged, wherever a model is read."""

import json
import shutil

import pytest

from optimizers import TrainingSpec
from optimizers.finetune.provider import base_folder, check_base, check_lora_targets
from optimizers.finetune.train import train
from optimizers.sharing import bundles
from programs.lms import artifacts, merged
from programs.lms.artifacts import find, open_artifact, register
from programs.lms.catalog import lm
from programs.lms.gguf import export, gguf_of
from programs.lms.merged import adapter_of, merged_into, whole_folder, whole_for_now
from programs.lms.model_sizes import relative_size
from programs.lms.other_servers import commands

ROWS = [
    {"messages": [{"role": "user", "content": f"Where is {n}?"}, {"role": "assistant", "content": f"In Rome, house {n}."}]}
    for n in range(8)
]


@pytest.fixture
def start(tiny, home, tmp_path, monkeypatch):
    """A base of the test's own, which may be moved away."""
    monkeypatch.setenv("DIVIDE_OR_CONQUER_BACKEND", "transformers")
    shutil.copytree(tiny.folder, tmp_path / "base")
    return register(open_artifact(tmp_path / "base"))


def trained(base, folder, **settings):
    common = {"max_steps": 2, "threads": 1, "device": "cpu", "warmup_steps": 0, "learning_rate": 1e-2, "lora_rank": 2}
    spec = TrainingSpec(base=base_folder(base), **{**common, **settings})
    return train(ROWS, spec, folder, name="s", adapter="line", base=base)


@pytest.fixture
def student(start, tmp_path):
    return trained(start, tmp_path / "adapter", save_weights="adapter")


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(one, other):
    assert one.keys() == other.keys()
    return all((one[name] == other[name]).all() for name in one)


def tensors(file):
    import gguf

    return {tensor.name: bytes(tensor.data) for tensor in gguf.GGUFReader(file).tensors}


def bytes_of(folder):
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize("settings", [{}, {"adapter_scale": 0.5, "save_dtype": "float32"}], ids=["bfloat16", "scaled"])
def test_it_is_the_merged_student_bit_by_bit(start, tmp_path, settings):
    from programs.lms import engine

    whole = trained(start, tmp_path / "merged", **settings)
    alone = trained(start, tmp_path / "adapter", save_weights="adapter", **settings)
    assert same(weights(whole_folder(alone)), weights(whole.folder))
    assert not same(weights(whole.folder), weights(tmp_path / "base"))
    assert whole_folder(whole) == whole.folder and merged_into(whole) is None
    configs = [json.loads((folder / "config.json").read_text()) for folder in (whole_folder(alone), whole.folder)]
    # Training turns the cache off, and whoever answers turns it on.
    assert {**configs[0], "use_cache": None} == {**configs[1], "use_cache": None}
    assert bytes_of(alone.folder) < bytes_of(whole.folder) / 10 and not list(alone.folder.glob("model*"))
    answers = [lm(artifact.model_string, max_tokens=12, cache=False)("Where is 3?") for artifact in (whole, alone)]
    assert answers[0] == answers[1] and answers[0][0]
    engine.unload_all()


def test_it_names_its_base_by_content(start, student):
    assert student.manifest["merge_into"] == start
    config = json.loads((student.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == start and str(student.folder.parent) not in json.dumps(config)
    assert find(student.model_string).hash == student.hash
    manifest = json.loads((student.folder / "manifest.json").read_text())
    (student.folder / "manifest.json").write_text(json.dumps({**manifest, "merge_into": "local/other@000000000000"}))
    with pytest.raises(ValueError, match="by now"):
        find(student.model_string)


def test_a_base_that_is_gone_is_named_with_what_helps(start, student, tmp_path):
    (tmp_path / "base").rename(tmp_path / "away")
    with pytest.raises(ValueError, match="is an adapter alone, and its base") as refused:
        whole_folder(student)
    said = str(refused.value)
    assert student.model_string in said and start in said and "its folder is gone" in said and "training.save_weights 'merged'" in said
    with pytest.raises(Exception, match="is an adapter alone"):
        lm(student.model_string, max_tokens=3)("Where?")
    # Named once at its new place, it is found by its content.
    register(open_artifact(tmp_path / "away"))
    assert whole_folder(student).is_dir()


def test_a_base_of_another_content_is_no_base(start, student, tmp_path):
    other = trained(start, tmp_path / "other")
    shutil.rmtree(tmp_path / "base")
    shutil.move(other.folder, tmp_path / "base")
    artifacts._registered.clear()
    with pytest.raises(ValueError, match="by now, not"):
        whole_folder(student)
    with pytest.raises(ValueError, match="is an adapter alone"), whole_for_now(student):
        pass
    assert not list(artifacts.home().glob(".merged-*"))


def test_a_base_that_cannot_be_found_again_is_refused_before_training(start, tmp_path):
    spec = TrainingSpec(base=base_folder(start), save_weights="adapter", max_steps=1)
    with pytest.raises(ValueError, match="'tiny' is none of"):
        train(ROWS, spec, tmp_path / "s", name="s", adapter="line", base="tiny")
    assert not list(tmp_path.glob("s*"))


def test_the_fast_engine_and_other_servers_get_the_whole_model(start, student, tmp_path):
    whole = trained(start, tmp_path / "merged")
    found = gguf_of(student)
    assert not (artifacts.home() / "merged").exists() and not list(artifacts.home().glob(".merged-*"))
    wanted = gguf_of(whole)
    assert found != wanted and tensors(found) == tensors(wanted)
    written = export(student, tmp_path / "s.gguf")
    assert tensors(written[0]) == tensors(wanted)
    assert str(whole_folder(student)) in commands(student, written)["vLLM"][0]
    assert relative_size(student.model_string) == relative_size(whole.model_string) == relative_size(start)


def test_a_student_of_the_student_learns_on(start, student, tmp_path):
    check_base(student.model_string)
    check_lora_targets(TrainingSpec(lora_targets="q_proj,v_proj"), student.model_string)
    with pytest.raises(ValueError, match="has no module 'nosuch'"):
        check_lora_targets(TrainingSpec(lora_targets="nosuch"), student.model_string)
    second = trained(student.model_string, tmp_path / "second", save_weights="adapter")
    assert merged_into(second) == student.model_string
    assert not same(weights(whole_folder(second)), weights(whole_folder(student)))
    shutil.rmtree(artifacts.home() / "merged")
    assert whole_folder(second).is_dir()


def test_what_is_pushed_is_whole_or_an_adapter_as_asked(start, student, tmp_path):
    whole = trained(start, tmp_path / "merged")
    assert adapter_of(whole) == whole.folder / "adapter" and adapter_of(student) == student.folder
    (tmp_path / "work").mkdir()
    pushed = bundles._whole(student, tmp_path / "work")
    assert same(weights(pushed.folder), weights(whole.folder)) and merged_into(pushed) is None
    assert pushed.adapter == student.adapter and pushed.manifest["base"] == start
    assert open_artifact(pushed.folder).hash == pushed.hash == json_hash(pushed)
    files = [bundles._adapter_files(artifact, "org/base") for artifact in (student, whole)]
    assert files[0].keys() == files[1].keys()
    assert [json.loads(one["adapter_config.json"])["base_model_name_or_path"] for one in files] == ["org/base"] * 2
    revisions = [json.loads(one["adapter_config.json"]).get("revision") for one in files]
    assert revisions == [None, None]


def json_hash(artifact):
    return artifacts._content_hash(json.loads((artifact.folder / "manifest.json").read_text()))


def test_the_same_training_is_found_again_and_the_other_is_not(start, student, tmp_path):
    assert trained(start, tmp_path / "adapter", save_weights="adapter").hash == student.hash
    with pytest.raises(ValueError, match="other rows or settings"):
        trained(start, tmp_path / "adapter")


def test_a_plain_folder_of_peft_is_still_told_from_a_model(student, tmp_path):
    shutil.copytree(student.folder, tmp_path / "plain", ignore=shutil.ignore_patterns("manifest.json"))
    with pytest.raises(ValueError, match="holds a PEFT adapter"):
        lm(f"local/{tmp_path / 'plain'}")
    assert merged._ADAPTER[0] in {path.name for path in student.folder.iterdir()}
