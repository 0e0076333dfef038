"""The JSON schema: it passes what `load_config` takes, names what is wrong, and tells of every setting."""

import tomllib
from importlib import resources

import pytest
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from optimizers.cli import app
from optimizers.settings.load import load_config, recipe_names
from optimizers.settings.schema import configuration_schema


@pytest.fixture(scope="module")
def schema():
    return configuration_schema()


def faults(schema, text):
    return sorted(error.json_path for error in Draft7Validator(schema).iter_errors(tomllib.loads(text)))


def test_it_is_a_schema_and_a_small_one(schema):
    Draft7Validator.check_schema(schema)
    assert "null" not in str(schema), "TOML has no null"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_passes(schema, name):
    assert not faults(schema, (resources.files("optimizers.recipes") / f"{name}.toml").read_text())


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_job_writes_passes(schema, name):
    assert not faults(schema, load_config(name).to_toml(experiment=True))


def test_short_forms_pass(schema):
    text = """
    task = "gsm8k"
    teacher = "openai/gpt-4.1-mini"
    solver = "gguf/mine.gguf"
    student = { max_tokens = 64 }
    [evaluation]
    conditions = "single-stage,S_D-R+teacher"
    [cost.prices]
    "openai/mine" = [0.4, 1.6]
    [experiment]
    rows = "50,100"
    [experiment.solvers]
    small = "gguf/small.gguf"
    [study.space]
    "training.lora_rank" = { choices = [4, 8] }
    """
    assert not faults(schema, text)
    settings = tomllib.loads(text)
    load_config(None, {name: value for name, value in settings.items() if isinstance(value, str)})


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sed = 1", "$"),
        ("seed = -1", "$.seed"),
        ("out = 3", "$.out"),
        ("[training]\nepochs = 0", "$.training.epochs"),
        ("[training]\nlora_rang = 8", "$.training"),
        ("[training]\nbase = 'x'", "$.training"),
        ("[training]\nmethod = 'qlora'", "$.training.method"),
        ("[screening]\npolicy = 'orakel'", "$.screening.policy"),
        ("[screening]\nmeasure = ['oracle']", "$.screening.measure"),
        ("[teacher]\nmodel = 'a/b'\nadapter = 'xml'", "$.teacher"),
        ("[task]\nname = 'gsm9k'", "$.task"),
        ("[experiment.training]\nepoch = 1", "$.experiment.training"),
        ("[study.space]\n'training.epochs' = { lo = 1 }", "$.study.space['training.epochs']"),
    ],
)
def test_what_is_wrong_is_named(schema, text, path):
    assert faults(schema, text) == [path]


def test_every_setting_is_told_of_with_its_unit(schema):
    sections = [schema, *(inner.get("anyOf", [None, inner])[1] for name, inner in schema["$defs"].items() if name != "Dimension")]
    silent = [name for section in sections for name, made in section["properties"].items() if not made.get("description")]
    assert not silent and len(sections) > 15
    assert schema["properties"]["max_usd"]["description"].endswith("No limit, if not given. In US dollars.")
    assert schema["$defs"]["ScreeningConfig"]["properties"]["votes"]["unit"] == "replies"


def test_names_are_offered(schema):
    conditions = schema["$defs"]["EvaluationConfig"]["properties"]["conditions"]["anyOf"][0]["items"]["anyOf"][0]["enum"]
    task = schema["$defs"]["TaskConfig"]["anyOf"][1]["properties"]
    assert "S_D-R+teacher" in conditions and {"multihop", "jsonl"} <= set(task["name"]["enum"])
    assert task["columns"]["description"] == "An option of jsonl."


def test_the_command_prints_it_or_writes_it_over_an_older_one_alone(schema, tmp_path):
    import json

    assert json.loads(CliRunner().invoke(app, ["schema"]).stdout) == schema
    target = tmp_path / "mine.schema.json"
    for _ in range(2):
        assert "#:schema ./mine.schema.json" in CliRunner().invoke(app, ["schema", "--out", str(target)]).stdout
    assert json.loads(target.read_text()) == schema
    for text in ("seed = 1", "[1]", "{}"):
        target.write_text(text)
        refused = CliRunner().invoke(app, ["schema", "--out", str(target)])
        assert "no JSON schema" in str(refused.exception) and target.read_text() == text
    assert "There is no folder" in str(CliRunner().invoke(app, ["schema", "--out", str(tmp_path / "no" / "x.json")]).exception)
    assert "no JSON schema" in str(CliRunner().invoke(app, ["schema", "--out", str(tmp_path)]).exception)
