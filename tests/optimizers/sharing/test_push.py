"""A run's student and data on the hub: what arrives, what is refused before anything does, and what can be done again."""

import json
import os
import sys
from pathlib import Path

import pytest

from optimizers import push_run
from optimizers.jobs.jsonlines import read_json
from programs.lms import lm
from programs.lms.artifacts import open_artifact, sha256
from programs.lms.gguf_models import open_gguf

sys.path.insert(0, str(Path(__file__).parents[2]))
from command_line import command, finish
from fake_hub import TOKEN, Repository, in_place


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with in_place(monkeypatch, tmp_path) as served:
        yield served


def below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def ours(repository):
    return {path: data for path, data in repository.files.items() if path != ".gitattributes"}


def student_of(hub, name="me/student"):
    return hub.repositories["model", name]


def nothing_sent(hub):
    return not [call for call in hub.calls if call[0] != "GET"] and not hub.objects


def test_what_arrives_is_what_the_dry_run_shows_byte_for_byte(here, hub):
    shown = push_run("run", "me/student", gguf=True, license="mit", folder="shown")
    assert not hub.calls
    pushed = push_run("run", "me/student", gguf=True, license="mit")
    assert ours(student_of(hub)) == below("shown/student") and ours(hub.repositories["dataset", "me/student-data"]) == below("shown/data")
    assert shown.student == "shown/student" and pushed.student == f"{hub.url}/me/student"
    assert pushed.data == f"{hub.url}/datasets/me/student-data"
    assert all(repository.private and len(repository.commits) == 1 for repository in hub.repositories.values())
    assert {"model.safetensors", "gguf/model.gguf", "README.md", "manifest.json"} <= student_of(hub).files.keys()


def test_the_download_is_the_same_model_and_answers_the_same(here, hub, tmp_path):
    from huggingface_hub import snapshot_download

    own = open_artifact("run/student/S_D-R")
    chat = [{"role": turn["role"], "content": turn["content"].replace("{question}", "Where does number 3 live?")}
            for turn in own.manifest["prompts"]["decompose"]["messages"]]  # fmt: skip
    push_run("run", "me/student", what="student", gguf=True)
    for place in (snapshot_download("me/student"), snapshot_download("me/student", local_dir=tmp_path / "downloaded")):
        found = open_artifact(place)
        assert found.model_string == own.model_string and "rows.jsonl" not in found.manifest["files"]
        assert lm(f"local/{place}")(messages=chat) == lm("local/run/student/S_D-R")(messages=chat)
    assert open_gguf(tmp_path / "downloaded" / "gguf" / "model.gguf")


def test_the_snippet_for_transformers_says_what_the_student_says(here, hub, capsys):
    push_run("run", "me/student", what="student", folder="shown")
    card = Path("shown/student/README.md").read_text()
    code = next(part for part in card.split("```python\n")[1:] if part.startswith("from transformers")).split("```")[0]
    exec(code.replace("me/student", "shown/student").replace("max_new_tokens=256", "max_new_tokens=32"), {})
    said = capsys.readouterr().out
    chat = open_artifact("run/student/S_D-R").manifest["prompts"]["decompose"]["messages"]
    question = code.split('question = "')[1].split('"')[0]
    asked = [{**turn, "content": turn["content"].replace("{question}", question)} for turn in chat]
    assert said.strip() == lm("local/run/student/S_D-R", max_tokens=32)(messages=asked)[0].strip()


def test_the_command_line_takes_the_token_and_the_address_of_the_environment_and_prints_no_token(here, hub):
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HOME": str(here / "hf")}
    said = finish(command("push", "run", "--repo", "me/student", "--data-license", "mit", **environment))
    assert f"{hub.url}/me/student" in said and TOKEN not in said
    assert "The card of the student has no licence yet: --license" in said and "data set has no licence" not in said
    assert "Whether replies of openai/scripted may be shared" in said
    assert hub.repositories["dataset", "me/student-data"].card["license"] == "mit" and "license" not in student_of(hub).card
    hub.refuse = lambda method, path: (403, f"the token {TOKEN} may not") if path == "/api/whoami-v2" else None
    process = command("push", "run", "--repo", "me/student", **environment)
    said = process.communicate()[0]
    assert process.returncode == 2 and TOKEN not in said and "hf auth login" in said and "Traceback" not in said


@pytest.mark.parametrize("broken", ["/store/", "/commit/", "objects/batch", "/preupload/"])
def test_a_push_that_failed_leaves_nothing_and_can_be_done_again(here, hub, broken):
    hub.refuse = lambda method, path: (400, "no room") if broken in path else None
    with pytest.raises(ValueError, match=r"me/student was not uploaded at .*no room.*the same command goes on"):
        push_run("run", "me/student", what="student")
    assert not ours(student_of(hub))
    hub.refuse = lambda method, path: None
    push_run("run", "me/student", what="student", folder="shown")
    push_run("run", "me/student", what="student")
    assert ours(student_of(hub)) == below("shown/student") and len(student_of(hub).commits) == 1


def test_the_same_push_again_sends_nothing_again(here, hub):
    push_run("run", "me/student")
    stored = len(hub.called("/store/"))
    before = {key: dict(repository.files) for key, repository in hub.repositories.items()}
    push_run("run", "me/student")
    assert len(hub.called("/store/")) == stored
    assert {key: repository.files for key, repository in hub.repositories.items()} == before
    assert [len(repository.commits) for repository in hub.repositories.values()] == [1, 1]


def test_another_form_takes_the_place_of_the_earlier_one_and_what_the_owner_added_stays(here, hub):
    push_run("run", "me/student", gguf=True, format="parquet")
    student_of(hub).files["NOTES.md"] = b"mine"
    push_run("run", "me/student", student="S_D-T", format="jsonl")
    push_run("run", "me/student", student="S_D-T", format="jsonl", folder="shown")
    assert ours(student_of(hub)) == {**below("shown/student"), "NOTES.md": b"mine"}
    assert ours(hub.repositories["dataset", "me/student-data"]) == below("shown/data")


def test_a_licence_that_was_filled_in_on_the_hub_is_kept(here, hub):
    push_run("run", "me/student", what="student")
    files = student_of(hub).files
    files["README.md"] = files["README.md"].replace(b"---\n", b"---\nlicense: cc-by-4.0\n", 1)
    assert not [said for said in push_run("run", "me/student", what="student").warnings if "licence" in said]
    assert student_of(hub).card["license"] == "cc-by-4.0"
    push_run("run", "me/student", what="student", license="mit")
    assert student_of(hub).card["license"] == "mit"


def test_a_repository_of_something_else_or_a_public_one_is_refused(here, hub):
    hub.repositories["model", "me/student"] = Repository(True, {"model.safetensors": b"a week of training", "README.md": b"mine"})
    hub.repositories["model", "me/open"] = Repository(False, {".gitattributes": b""})
    with pytest.raises(ValueError, match=r"me/student holds something else \(model.safetensors, README.md\); choose another name: --repo"):
        push_run("run", "me/student")
    with pytest.raises(ValueError, match=r"me/open is there already, and public.*add --public"):
        push_run("run", "me/open")
    assert nothing_sent(hub) and student_of(hub).files["model.safetensors"] == b"a week of training"
    push_run("run", "me/open", public=True)
    assert not hub.repositories["dataset", "me/open-data"].private and student_of(hub, "me/open").files["model.safetensors"]


def damaged(student):
    weights = student / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")


def of_another_student(student):
    metrics = read_json(student.parents[1] / "metrics.json")
    metrics["students"]["S_D-R"]["model"] = "local/S_D-R@0123456789ab"
    (student.parents[1] / "metrics.json").write_text(json.dumps(metrics))


def without_students(student):
    metrics = read_json(student.parents[1] / "metrics.json")
    (student.parents[1] / "metrics.json").write_text(json.dumps({**metrics, "students": {}}))


@pytest.mark.parametrize(("change", "said"), [
    (damaged, r"Student S_D-R is damaged: .*model.safetensors differs.*--redo S_D-R"),
    (of_another_student, r"are of local/S_D-R@0123456789ab, and run/student/S_D-R holds local/S_D-R@\w+. Give the run's command again"),
    (without_students, "run holds no trained student. Do a run with one"),
    (lambda student: (student.parents[1] / "metrics.json").unlink(), "The run in run is not finished: it has no metrics.json"),
    (lambda student: (student.parents[1] / "metrics.json").write_text("{"), "metrics.json is not valid JSON"),
    (lambda student: (student.parents[1] / "config.toml").unlink(), "run holds no run: it has no config.toml"),
    (lambda student: (student.parents[1] / "rows.jsonl").write_text("[]\n{}\n"), "rows.jsonl, line 1, is no JSON object"),
])  # fmt: skip
def test_what_cannot_be_shared_is_refused_before_the_hub_hears_of_it(here, hub, change, said):
    change(here / "run" / "student" / "S_D-R")
    with pytest.raises(ValueError, match=said):
        push_run("run", "me/student", folder="shown")
    with pytest.raises(ValueError, match=said):
        push_run("run", "me/student")
    assert nothing_sent(hub)


@pytest.mark.parametrize(("arguments", "said"), [
    ({"repo": "student"}, "--repo 'student' is no name of a repository: give it as OWNER/NAME"),
    ({"repo": "me/a--b"}, r"--repo 'me/a--b' is no name of a repository \(Cannot have -- or"),
    ({"repo": "datasets/me/x"}, "no name of a repository"),
    ({"repo": ""}, "--repo '' is no name"),
    ({"repo": "me/x", "data_repo": "me/x"}, "cannot both be me/x"),
    ({"repo": "me/x", "what": "model"}, r"what='model' must be one of \['all', 'student', 'data'\]"),
    ({"repo": "me/x", "weights": "gguf"}, "weights='gguf' must be one of"),
    ({"repo": "me/x", "format": "csv"}, "Unknown format 'csv'"),
    ({"repo": "me/x", "license": "Apache 2.0"}, "--license 'Apache 2.0' is no licence as the hub writes them, such as apache-2.0"),
    ({"repo": "me/x", "student": "S_E-T"}, "run holds no student 'S_E-T'; it has S_D-R, S_D-T"),
    ({"repo": "me/x", "weights": "adapter"}, "has no LoRA adapter: it was trained whole"),
    ({"repo": "me/x", "folder": "run"}, "run is there already and not an empty folder"),
])  # fmt: skip
def test_wrong_arguments(here, hub, arguments, said):
    with pytest.raises(ValueError, match=said):
        push_run("run", **arguments)
    assert nothing_sent(hub)


@pytest.mark.parametrize(("folder", "said"), [
    ("improve", "improve holds an improvement; what can be shared is a run"),
    ("compile", "compile holds a compilation"),
    ("study", "study holds a study"),
    ("nosuch", "nosuch holds no run"),
])  # fmt: skip
def test_other_folders(here, hub, folder, said):
    with pytest.raises(ValueError, match=said):
        push_run(folder, "me/student")
    assert not hub.calls


def test_without_a_token_or_with_a_wrong_one_nothing_is_sent(here, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_anotherOnesTokenThatIsLong")
    with pytest.raises(ValueError, match=r"The hub does not know you at http://127.*hf auth login") as raised:
        push_run("run", "me/student")
    assert os.environ["HF_TOKEN"] not in str(raised.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match=r"There is no token for the hub: 'hf auth login' keeps one, or set HF_TOKEN.*--dry-run FOLDER"):
        push_run("run", "me/student")
    assert nothing_sent(hub)


def test_somebody_elses_name_is_refused_with_the_next_step(here, hub):
    with pytest.raises(ValueError, match=r"you/student-data was not uploaded.*The token may not do that: 'hf auth login'"):
        push_run("run", "you/student")
    assert not hub.repositories


def test_no_network_is_one_sentence(here, hub, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"The hub does not know you at http://127.0.0.1:9: ConnectError"):
        push_run("run", "me/student")


def test_an_adapter_goes_with_the_name_of_its_base_and_without_the_folder_it_lay_in(here, hub):
    student = here / "run" / "student" / "S_D-R"
    (student / "adapter").mkdir()
    (student / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/home/ann/base", "r": 4}))
    (student / "adapter" / "adapter_model.safetensors").write_bytes(b"low rank")
    manifest = read_json(student / "manifest.json")
    for path in (student / "adapter").iterdir():
        manifest["files"][f"adapter/{path.name}"] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    (student / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"base local/tiny is not known on the hub.*--base-model OWNER/NAME"):
        push_run("run", "me/student", what="student", weights="adapter")
    assert nothing_sent(hub)
    push_run("run", "me/student", what="student")
    push_run("run", "me/student", what="student", weights="adapter", base_model="org/tiny")
    files = ours(student_of(hub))
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "org/tiny"
    assert files["adapter_model.safetensors"] == b"low rank" and "model.safetensors" not in files and "config.json" not in files
    assert student_of(hub).card["base_model"] == "org/tiny" and student_of(hub).card["library_name"] == "peft"
    assert b"/home/ann" not in b"".join(files.values())
