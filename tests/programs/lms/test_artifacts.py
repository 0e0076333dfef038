from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from programs.lms import artifacts, embedded
from programs.lms.artifacts import find, open_artifact, publish, register
from programs.lms.model_strings import resolve


def make_source(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text(json.dumps({"dtype": "bfloat16"}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def test_publish_moves_the_folder_and_records_what_is_in_it(tmp_path):
    source = make_source(tmp_path / "source")
    artifact = publish(source, tmp_path / "models" / "a", name="student", adapter="line-terse", rows_hash="abc")
    assert not source.exists()
    assert artifact.model_string == f"local/student@{artifact.hash}"
    assert len(artifact.hash) == 12
    assert artifact.adapter == "line-terse"
    assert artifact.manifest["dtype"] == "bfloat16"
    assert artifact.manifest["rows_hash"] == "abc"
    assert artifact.manifest["files"]["model.safetensors"]["bytes"] == 7
    assert open_artifact(tmp_path / "models" / "a") == artifact


def test_the_hash_covers_weights_and_adapter_but_not_metrics(tmp_path):
    def hash_of(name: str, weights: bytes = b"weights", **manifest) -> str:
        return publish(make_source(tmp_path / name, weights), tmp_path / "to" / name, name="m", **manifest).hash

    plain = hash_of("a")
    assert hash_of("b", metrics={"loss": 1.0}) == plain
    assert hash_of("c", adapter="line") != plain
    assert hash_of("d", weights=b"others") != plain


def test_publishing_the_same_again_keeps_it_and_another_is_refused(tmp_path):
    target = tmp_path / "target"
    first = publish(make_source(tmp_path / "a"), target, name="m")
    assert publish(make_source(tmp_path / "b"), target, name="m").hash == first.hash
    with pytest.raises(ValueError, match="already holds another model"):
        publish(make_source(tmp_path / "c", b"other"), target, name="m")
    assert open_artifact(target).hash == first.hash


@pytest.mark.parametrize("damage", ["changed", "same size", "missing", "extra weights", "extra template", "no manifest"])
def test_a_damaged_artifact_is_refused_by_the_name_of_the_file(tmp_path, damage):
    folder = publish(make_source(tmp_path / "a"), tmp_path / "t", name="m").folder
    name = "model.safetensors"
    if damage == "changed":
        (folder / name).write_bytes(b"longer weights")
    elif damage == "same size":
        (folder / name).write_bytes(b"weighty")
        os.utime(folder / name, (1, 1))
    elif damage == "missing":
        (folder / name).unlink()
    elif damage == "no manifest":
        name = "manifest.json"
        (folder / name).unlink()
    else:
        name = "more.safetensors" if damage == "extra weights" else "tokenizer.json"
        (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=name):
        open_artifact(folder)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".pkl", ".ckpt"])
def test_pickles_are_refused(tmp_path, suffix):
    source = make_source(tmp_path / "a")
    (source / f"weights{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match=f"weights{suffix} is a pickle"):
        publish(source, tmp_path / "t", name="m")
    folder = publish(make_source(tmp_path / "b"), tmp_path / "t", name="m").folder
    (folder / f"weights{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match=f"weights{suffix} is a pickle"):
        open_artifact(folder)


def test_files_are_hashed_once_a_process(tmp_path, monkeypatch):
    folder = publish(make_source(tmp_path / "a"), tmp_path / "t", name="m").folder
    monkeypatch.setattr(artifacts, "sha256", lambda path: pytest.fail("hashed again"))
    open_artifact(folder)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a@b"])
def test_bad_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="Bad artifact name"):
        publish(make_source(tmp_path / "a"), tmp_path / "t", name=name)


def test_a_fresh_process_finds_what_was_registered(tmp_path, home):
    artifact = publish(make_source(tmp_path / "a"), tmp_path / "t", name="m")
    register(artifact)
    code = f"from programs.lms.artifacts import find; print(find({artifact.model_string!r}).folder)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(artifact.folder)


def test_registering_keeps_what_others_registered(tmp_path, home):
    first, second = (publish(make_source(tmp_path / x, x.encode()), tmp_path / "t" / x, name=x) for x in "ab")
    register(first)
    register(second)
    assert set(json.loads((home / "artifacts.json").read_text())) == {first.model_string, second.model_string}


def test_an_unknown_string_says_what_to_do(home):
    with pytest.raises(ValueError, match=r"Unknown model 'local/x@0123456789ab'.*local/<folder>"):
        find("local/x@0123456789ab")


def test_a_folder_with_other_content_is_not_passed_off_as_the_old(tmp_path, home):
    artifact = publish(make_source(tmp_path / "a"), tmp_path / "t", name="m")
    string = register(artifact)
    os.rename(artifact.folder, tmp_path / "away")
    publish(make_source(tmp_path / "b", b"other"), tmp_path / "t", name="m")
    with pytest.raises(ValueError, match="by now"):
        find(string)


@pytest.mark.parametrize(
    ("name", "namespace"),
    [("embedded/base", "local"), ("../../evil", "local"), ("x", "openai"), ("", "local"), (None, "local"), ("x", None)],
)
def test_a_foreign_manifest_cannot_take_any_name(tmp_path, name, namespace):
    folder = publish(make_source(tmp_path / "a"), tmp_path / "t", name="m").folder
    manifest = json.loads((folder / "manifest.json").read_text()) | {"name": name, "namespace": namespace}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="Bad artifact name"):
        open_artifact(folder)


@pytest.mark.parametrize(
    "change", [{"files": {"model.safetensors": {}}}, {"files": {"a": {"sha256": 1, "bytes": 1}}}, {"files": []}, {"adapter": {"x": 1}}]
)
def test_a_malformed_manifest_is_named(tmp_path, change):
    folder = publish(make_source(tmp_path / "a"), tmp_path / "t", name="m").folder
    manifest = json.loads((folder / "manifest.json").read_text()) | change
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"manifest\.json is unreadable"):
        open_artifact(folder)
    for content in (b"[]", b"\xff\xfe{", b""):
        (folder / "manifest.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"manifest\.json is unreadable"):
            open_artifact(folder)


def test_no_folder_passes_itself_off_as_an_embedded_model(tmp_path, home):
    folder = publish(make_source(tmp_path / "a"), tmp_path / "t", name="base", namespace="embedded").folder
    with pytest.raises(ValueError, match="a name kept for the models that come with the package"):
        resolve(f"local/{folder}")
    kept = publish(make_source(tmp_path / "b"), home / "embedded" / "base", name="base", namespace="embedded")
    assert resolve(f"local/{kept.folder}") == kept


def test_weights_can_be_read_by_whom_the_manifest_can(tmp_path):
    source = make_source(tmp_path / "a")
    (source / "model.safetensors").chmod(0o600)
    folder = publish(source, tmp_path / "t", name="m").folder
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {(folder / "manifest.json").stat().st_mode & 0o777}


def test_a_home_that_cannot_be_written_is_no_obstacle_to_a_model_that_is_there(tmp_path, home, monkeypatch):
    kept = publish(make_source(tmp_path / "a"), home / "embedded" / "base", name="base", namespace="embedded")

    def locked(path, *_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(artifacts, "folder_lock", locked)
    assert embedded.base_artifact() == kept
    assert find(kept.model_string) == kept
    monkeypatch.setenv("DIVIDE_OR_CONQUER_HOME", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"Read-only file system.*DIVIDE_OR_CONQUER_HOME"):
        embedded.base_artifact()


def test_what_a_killed_preparation_left_is_in_nobodys_way(home, monkeypatch):
    for process in (os.getpid(), 1):
        make_source(home / "embedded" / f".base-{process}.partial")
    monkeypatch.setattr(embedded, "_write_base", lambda target: shutil.copytree(make_source(home / "made"), target, dirs_exist_ok=True))
    assert embedded.base_artifact().name == "base"
    assert not list((home / "embedded").glob(".*.partial"))
