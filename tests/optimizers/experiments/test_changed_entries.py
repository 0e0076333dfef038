"""Entries of an experiment's tables in a folder: added ones leave all as it is, changed ones do not."""

import pytest

from optimizers.experiments.run_folder import open_folder
from optimizers.settings.load import load_config

ANSWERS = ["single-stage", "teacher+gpt4", "single-stage@gpt4.1", "S_D-R+teacher-then-teacher+gpt4"]


@pytest.fixture
def opened(tmp_path):
    """Opens an experiment's folder with answers in it under some more settings, and gives the conditions whose answers stay."""
    answers = [tmp_path / "run" / "predictions" / "multihop" / f"{name}.jsonl" for name in ANSWERS]

    def opened(**further):
        open_folder(load_config(None, {"out": str(tmp_path / "run"), **{"experiment.solvers": {
            "gpt4": {"model": "openai/a"}, "gpt4.1": {"model": "openai/b"}}}, **further}), experiment=True)  # fmt: skip
        return [path.stem for path in answers if path.exists()]

    opened()
    answers[0].parent.mkdir(parents=True)
    [path.write_text("") for path in answers]
    assert opened() == ANSWERS
    return opened


def solvers(**other):
    return {"experiment.solvers": {"gpt4": {"model": "openai/a"}, "gpt4.1": {"model": "openai/b"}, **other}}


@pytest.mark.parametrize("key", [{"timeout": 3}, {"api_base": "http://x/v1"}, {"requests_per_minute": 7}, {"batch": True}])
def test_how_a_solver_is_reached_says_nothing_of_its_answers(opened, key):
    assert opened(**solvers(gpt4={"model": "openai/a", **key})) == ANSWERS


@pytest.mark.parametrize("other", [{"model": "openai/c"}, {"max_tokens": 9}, {"options": {"x": 1}}])
def test_another_solver_of_the_same_name_is_asked_again_alone(opened, other):
    assert opened(**solvers(gpt4={"model": "openai/a", **other})) == ["single-stage", "single-stage@gpt4.1"]


def test_a_solver_more_or_less_leaves_the_others_answers(opened):
    assert opened(**solvers(third={"model": "openai/c", "max_tokens": 9})) == ANSWERS
    assert opened(**{"experiment.solvers": {"gpt4": {"model": "openai/a"}}}) == ANSWERS


def test_a_setting_of_the_training_more_makes_all_again(opened):
    assert opened(**{"experiment.training": {"epochs": 1}}) == []


def test_an_option_of_a_task_more_is_another_experiment(opened):
    assert opened(**{"experiment.tasks": {"people": {"name": "multihop"}}}) == ANSWERS
    with pytest.raises(ValueError, match=r"experiment\.tasks\.people\.hops"):
        opened(**{"experiment.tasks": {"people": {"name": "multihop", "hops": 3}}})
