"""Prices of models that a job does not have: refused before any work, as the bill would be without them."""

import logging
import tomllib
from typing import get_args

import pytest

import optimizers
from optimizers.planning import Job, plan
from optimizers.settings.load import for_job, load_config
from programs.tasks.registry import TASKS, task_class

JOBS = {
    "run": optimizers.run,
    "experiment": optimizers.run_experiment,
    "compile": optimizers.compile_prompts,
    "study": optimizers.study,
    "improve": optimizers.improve,
}
NAMED = {
    "teacher": "openai/a",
    "solver": "openai/b",
    "screening.judge": "openai/c",
    "compile.prompt_model": "openai/d",
    "experiment.solvers.big": "openai/e",
    "study.space": {"teacher.model": {"choices": ["openai/a", "openai/f"]}},
}


def priced(*models, **settings):
    return load_config(None, {**settings, **{f"cost.prices.{model}": "1,2" for model in models}})


@pytest.mark.parametrize("job", get_args(Job))
def test_a_job_and_its_plan_refuse_a_slip_in_a_name(job, tmp_path):
    config = priced("openai/gpt-4.1-mimi", teacher="openai/gpt-4.1-mini", solver="embedded/teacher", out=str(tmp_path / "out"))
    for do in (JOBS[job], lambda config: plan(config, job)):
        with pytest.raises(ValueError, match=r"did you mean .openai/gpt-4") as refused:
            do(config)
        assert "'openai/gpt-4.1-mini' (teacher)" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_whatever_the_settings_name_may_have_a_price():
    models = [f"openai/{letter}" for letter in "abcdef"]
    assert len(for_job(priced(*models, **NAMED)).cost.prices) == 6
    # A local model's output tokens are counted by the price of its name with the hash.
    for_job(priced("local/S_D-R@0123456789ab"))


@pytest.mark.parametrize(("model", "message"), [("openai/*", "without wildcards"), ("embedded/teacher", "cost.local_usd_per_hour")])
def test_what_no_price_can_be_of_is_told(model, message):
    with pytest.raises(ValueError, match=message):
        for_job(priced(model, teacher="openai/a"))


def test_prices_of_a_file_are_dropped_by_the_empty_text(tmp_path):
    (tmp_path / "mine.toml").write_text('teacher = "openai/a"\n[cost.prices]\n"openai/a" = [1, 2]\n')
    given = {"teacher": "openai/b", "cost.prices": "", "cost.prices.openai/b": "3,4"}
    assert for_job(load_config(str(tmp_path / "mine.toml"), given)).cost.prices == {"openai/b": [3, 4]}


def test_what_is_kept_of_a_job_can_be_gone_on_with():
    config = for_job(priced("openai/a", "openai/d", "openai/e", **NAMED))
    for experiment, kept in ((False, ["openai/a"]), (True, ["openai/a", "openai/e"])):
        again = tomllib.loads(config.to_toml(experiment=experiment))
        assert list(for_job(again).cost.prices) == kept


def test_models_of_another_package_s_task_are_not_known(monkeypatch, caplog):
    monkeypatch.setitem(TASKS._added, "theirs", task_class("multihop"))
    with caplog.at_level(logging.WARNING, "divide_or_conquer"):
        for_job(priced("openai/judge", task="theirs"))
    assert "'openai/judge', and no model of this job is called so" in caplog.text


def test_a_scorer_of_ones_own_may_ask_any_model():
    settings = {"task": "jsonl", "task.scorer": "mine:judge", "teacher": "openai/a"}
    assert set(for_job(priced("openai/a", "openai/judge", **settings)).cost.prices) == {"openai/a", "openai/judge"}
