"""What the cards say of a run, and what they keep to themselves."""

import json
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard

from optimizers import dataset_card, model_card
from optimizers.sharing.origins import model_origin
from optimizers.sharing.public import public_command, public_settings


def metrics_of(folder="run"):
    return json.loads(Path(folder, "metrics.json").read_text())


def change(folder="run", **parts):
    Path(folder, "metrics.json").write_text(json.dumps({**metrics_of(folder), **parts}))


def reread(card, path):
    card.save(path)
    return type(card).load(path)


def test_the_figures_in_the_index_of_the_hub_are_those_of_the_run(here):
    card = reread(model_card("run", repo="me/student", license="mit", data_repo="me/data", base_model="org/base"), here / "README.md")
    assert isinstance(card, ModelCard)
    [result], condition = card.data.eval_results, metrics_of()["conditions"]["S_D-R+teacher"]
    assert (result.metric_type, result.metric_value) == ("accuracy", condition["score"])
    assert result.metric_args["ci95"] == condition["ci95"] and result.metric_args["questions"] == condition["n"]
    assert result.dataset_name == "jsonl, 4 questions" and result.dataset_split == "test"
    data = card.data
    assert (data.license, data.base_model, data.datasets, data.library_name) == ("mit", "org/base", ["me/data"], "transformers")
    assert "| S_D-R+teacher ★ | 4 | 100.0% | 51.0% to 100.0% |" in card.text and "| single-stage | 4 |" in card.text
    assert "10 rows, from questions of task jsonl" in card.text and "policy oracle: 10 kept; dropped: wrong answer 2" in card.text
    assert "vllm serve me/student" in card.text and 'snapshot_download("me/student")' in card.text


def test_a_licence_that_nobody_gave_is_left_out_and_said_to_be_missing(here):
    card = model_card("run", repo="me/student")
    assert card.data.license is None and "license:" not in str(card).split("---")[1]
    assert "This model: not given yet. To give one, push again with --license" in card.text
    assert "The teacher openai/scripted: not known here; see its terms" in card.text and "forbid training other models" in card.text
    data = dataset_card("run")
    assert data.data.license is None and "This data set: not given yet" in data.text and "--data-license" in data.text


def test_students_of_an_experiment_are_told_apart(here):
    card, other = model_card("experiment"), model_card("experiment", "rows=6/S_D-R")
    assert "jsonl/main/S_D-R" in card.text and "jsonl/rows=6/S_D-R" in other.text and "6 rows, from questions" in other.text
    stars = [line for line in other.text.splitlines() if "★" in line and line.startswith("|")]
    assert len(stars) == 1 and len(other.data.eval_results) == 1
    with pytest.raises(ValueError, match=r"experiment holds no student 'S_E-T'; it has jsonl/main/S_D-R, .*: --student NAME"):
        model_card("experiment", "S_E-T")


def test_a_figure_that_is_not_there_is_not_made_up(here):
    conditions = metrics_of()["conditions"]
    change(conditions={name: value for name, value in conditions.items() if name != "S_D-R+teacher"})
    card = model_card("run")
    assert card.data.eval_results is None and "No test question was asked of this student." in card.text
    change(conditions={**conditions, "S_D-R+teacher": {**conditions["S_D-R+teacher"], "score": None, "ci95": None}}, command=None)
    card = reread(model_card("run"), here / "README.md")
    assert card.data.eval_results is None and "| S_D-R+teacher ★ | 4 | n/a | n/a |" in card.text
    assert "The run was made from Python." in card.text


def test_questions_in_training_and_test_and_an_incomplete_run_are_said(here):
    change(overlap=2, incomplete="labelling stopped: limit of 5 calls reached")
    card = model_card("run").text
    assert "2 questions stand both in training and in test data" in card and "The run is not complete: labelling stopped" in card


def test_names_with_markup_stay_text(here):
    change(task="<b>x</b>|y", models={"teacher": "openai/<script>alert(1)</script>", "solver": "`x`"}, command="divide-or-conquer ```\n# x")
    for card in (reread(model_card("run"), here / "a.md"), reread(dataset_card("run"), here / "b.md")):
        assert "<script>" not in card.text and "<b>" not in card.text and "````sh" in card.text
        assert isinstance(card, ModelCard | DatasetCard)


def test_nothing_of_the_machine_and_no_key_is_in_a_card(here):
    """A stranger's run: an address with a password, a key among the options, files in his home."""
    key = "sk-proj-0123456789abcdefghijkl"
    config = Path("run/config.toml")
    config.write_text(
        config.read_text()
        .replace("[teacher.options]", f'[teacher.options]\nextra_headers = {{ "X-Org" = "acme", Authorization = "Bearer {key}" }}')
        .replace('path = "questions.jsonl"', 'path = "/home/zoeblum/secret project/questions.jsonl"')
        .replace('model = "local/tiny"', 'model = "local//home/zoeblum/tiny"')
        .replace('out = "run"', 'out = "~/acme/run"')
    )
    options = f'{{"api_key": "{key}", "top_k": 20}}'
    change(
        command="divide-or-conquer run --task.path '/home/zoeblum/secret project/questions.jsonl' "
        f"--teacher.api_base=https://zoeblum:pw@10.0.0.7/v1 "
        f"--teacher.options.extra_body '{options}' --student.max_tokens 64 --out /srv/acme/run",
        task_options={"path": "/home/zoeblum/secret project/questions.jsonl", "seed": 0},
    )
    for card in (str(model_card("run")), str(dataset_card("run"))):
        assert not [secret for secret in (key, "zoeblum", "10.0.0.7", "pw@", "/srv", "acme") if secret in card]
        assert "questions.jsonl" in card and "max_tokens = 64" in card and "top_k" in card and "LEFT-OUT" in card


@pytest.mark.parametrize(("typed", "shown"), [
    ("run --max_tokens 5 --training.lora_rank 4", "run --max_tokens 5 --training.lora_rank 4"),
    ("run --teacher.api_base http://h:1/v1", "run --teacher.api_base ADDRESS"),
    ("run --task.path a/b.jsonl --out runs/x", "run --task.path a/b.jsonl --out runs/x"),
    ("run --task.path /a/b.jsonl,/c/d.jsonl", "run --task.path b.jsonl,d.jsonl"),
    ("run --teacher gguf//home/x/y.gguf", "run --teacher gguf/y.gguf"),
    ("run --student C:\\\\models\\\\tiny", "run --student tiny"),
    ("run --x.api_key=abc --y hf_abcdefghijklmnopqrstuvwx", "run --x.api_key=LEFT-OUT --y LEFT-OUT"),
    ("run --teacher.options.prefix '/think'", "run --teacher.options.prefix /think"),
    ("run --broken 'quote /home/zoeblum/x", "run --broken 'quote /home/zoeblum/x"),
])  # fmt: skip
def test_what_is_left_out_of_a_command(typed, shown):
    assert public_command(typed) == shown


def test_settings_keep_their_shape():
    assert public_settings('a = 1\nempty_list = []\n[t]\nkey = "x"\n[t.none]\n') == 'a = 1\nempty_list = []\n\n[t]\nkey = "LEFT-OUT"\n'


@pytest.mark.parametrize(("model", "hub", "license"), [
    ("hf/Qwen/Qwen2.5-0.5B@0123abc", "Qwen/Qwen2.5-0.5B", ""),
    ("embedded/base@9f4cb25afcd5", "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
    ("gguf/qwen2.5-coder-0.5b-instruct-q4_k_m@1d9614638d18", "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "apache-2.0"),
    ("gguf/other@1d9614638d19", "", ""),
    ("openai/gpt-4.1-mini", "", ""),
    ("local/tiny@312c8a46f61f", "", ""),
])  # fmt: skip
def test_what_is_known_of_a_model(model, hub, license):
    found = model_origin(model)
    assert (found.hub, found.license) == (hub, license) and "@" not in found.shown
