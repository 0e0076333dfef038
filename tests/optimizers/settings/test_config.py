"""Recipes, files, dotted overrides, and the messages for what cannot work."""

import tomllib

import pytest

from optimizers.arguments import parse_settings
from optimizers.experiments.run_folder import open_folder
from optimizers.settings.load import load_config, recipe_names, setting_names
from optimizers.settings.run import RunConfig


def test_every_recipe_loads_and_survives_a_round_trip(tmp_path):
    for name in recipe_names():
        config = load_config(name)
        (tmp_path / "config.toml").write_text(config.to_toml(experiment=True))
        others = {name: type(getattr(config, name))() for name in ("study", "improve", "compile")}
        assert load_config(str(tmp_path / "config.toml")) == config.model_copy(update=others)


def test_overrides_reach_every_section():
    config = load_config(
        "embedded",
        {"teacher": "openai/gpt-4.1-mini", "teacher.api_base": "http://x", "data.train": "7", "task": "jsonl", "task.path": "a.jsonl",
         "evaluation.conditions": "single-stage,teacher+teacher", "seed": "3"},
    )  # fmt: skip
    assert (config.teacher.model, config.teacher.lm_options()["api_base"]) == ("openai/gpt-4.1-mini", "http://x")
    assert (config.data.train, config.seed, config.task.name, config.task.options()["path"]) == (7, 3, "jsonl", "a.jsonl")
    assert config.evaluation.conditions == ["single-stage", "teacher+teacher"]


def test_another_task_than_the_recipes_takes_none_of_its_options(tmp_path):
    assert load_config("embedded").task.options() == {"schema": "people", "hops": "2,3", "branches": 1}
    for words in ({"task.path": "a.jsonl", "task": "jsonl"}, {"task.path": "a.jsonl", "task.name": "jsonl"}):
        assert load_config("embedded", words).task.options() == {"path": "a.jsonl"}
    assert load_config("embedded", {"task": "multihop", "task.hops": "4"}).task.options() == {
        "schema": "people",
        "hops": "4",
        "branches": 1,
    }
    assert load_config("study", {"task": "gsm8k"}).task.options() == {}


def test_names_of_a_file_may_be_followed_by_options(tmp_path):
    (tmp_path / "mine.toml").write_text('task = "jsonl"\nteacher = "openai/x"\n')
    config = load_config(str(tmp_path / "mine.toml"), {"task.path": "a.jsonl", "teacher.max_tokens": "9"})
    assert (config.task.name, config.task.options(), config.teacher.model, config.teacher.max_tokens) == (
        "jsonl",
        {"path": "a.jsonl"},
        "openai/x",
        9,
    )


def test_the_folder_of_a_job_stands_for_its_settings(tmp_path):
    folder = tmp_path / "mine"
    config = load_config("forgiving", {"out": "elsewhere", "data.train": "7"})
    folder.mkdir()
    (folder / "config.toml").write_text(config.to_toml())
    found = load_config(*parse_settings([str(folder), "--data.test", "9"]))
    assert (found.out, found.data.train, found.data.test, found.task) == (str(folder), 7, 9, config.task)
    with pytest.raises(ValueError, match="Two recipes are given"):
        parse_settings(["@", "embedded", str(folder)])


def test_a_solver_may_be_added():
    config = load_config(None, {"solver": "hosted_vllm/x"})
    assert config.solver.model == "hosted_vllm/x"
    assert config.conditions() == [
        *("single-stage", "single-stage-cot", "teacher+teacher", "teacher+solver", "student0+solver", "S_D-T+solver", "S_D-R+solver")
    ]
    chosen = load_config(None, {"solver": "hosted_vllm/x", "evaluation.conditions": "teacher+solver"})
    assert chosen.conditions() == ["teacher+solver"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.epoch", "1", "Unknown setting 'training.epoch'; did you mean --training.epochs"),
        ("data.train", "many", "data.train='many'.*integer"),
        ("data.train", "0", "data.train=0 should be greater than or equal to 1"),
        ("training.method", "qlora", "training.method='qlora'.*'lora' or 'full'"),
    ],
)
def test_wrong_settings_are_named_with_what_was_expected(key, value, message):
    with pytest.raises(ValueError, match=message):
        load_config(None, {key: value})


def test_unknown_recipes_and_broken_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"No recipe and no file 'embeded'; recipes: \['embedded"):
        load_config("embeded")
    broken = tmp_path / "broken.toml"
    broken.write_text("[data\n")
    with pytest.raises(ValueError, match="no valid TOML"):
        load_config(str(broken))


def test_setting_names_lists_every_leaf():
    assert {"training.epochs", "labelling.max_usd", "seed", "solver.model"} <= set(setting_names())


def test_command_line_words_become_settings():
    assert parse_settings(["@", "embedded", "--a.b", "1", "--c=2"]) == ("embedded", {"a.b": "1", "c": "2"})
    assert parse_settings(["@mine.toml"]) == ("mine.toml", {})
    for words, message in ((["--out"], "needs a value"), (["loose"], "belongs to no setting"), (["@"], "name of a recipe")):
        with pytest.raises(ValueError, match=message):
            parse_settings(words)


def test_a_folder_of_another_configuration_is_refused_with_the_difference(tmp_path):
    out = str(tmp_path / "run")
    open_folder(RunConfig(out=out))
    open_folder(load_config(None, {"out": out, "labelling.threads": "3"}))
    with pytest.raises(ValueError, match=r"seed: 0 there, 3 now\n.*--out .*run-2"):
        open_folder(load_config(None, {"out": out, "seed": "3"}))


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="holds no run"):
        open_folder(RunConfig(out=str(tmp_path)))


def test_options_of_a_model_and_prices_come_from_the_command_line_and_stand_in_the_toml():
    given = {
        "teacher": "openai/m-4.1",
        "teacher.options.min_p": "0.05",
        "teacher.options.num_retries": "5",
        "teacher.options.extra_body": '{"top_k": 20}',
        "teacher.options.chat_template_kwargs.enable_thinking": "false",
        "cost.prices.openai/m-4.1": "0.4,1.6",
    }
    config = load_config(None, given)
    options = {"min_p": 0.05, "num_retries": 5, "extra_body": {"top_k": 20}, "chat_template_kwargs": {"enable_thinking": False}}
    assert config.teacher.lm_options() == options
    assert config.cost.prices == {"openai/m-4.1": [0.4, 1.6]}
    assert RunConfig.model_validate(tomllib.loads(config.to_toml())) == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("teacher.options.temperature", "0.5", "'temperature' has a setting of its own"),
        ("teacher.options.api_key", "k", "keys come from the environment"),
        ("cost.prices.openai/m", "0.4", "at least"),
    ],
)
def test_options_that_are_not_for_the_configuration_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        load_config(None, {key: value})


@pytest.mark.parametrize("table", ["students", "solvers", "tasks", "data", "training"])
def test_a_recipe_s_entries_are_dropped_by_the_empty_text(table):
    overrides = {"experiment.data": ""} if table == "tasks" else {}
    assert getattr(load_config("gsm8k").experiment, table)
    assert getattr(load_config("gsm8k", {f"experiment.{table}": "", **overrides}).experiment, table) == {}
