"""A configuration of classes, put over a recipe: the same as by dotted names, with all else as the recipe has it."""

import inspect

import pytest
from pydantic import BaseModel

import optimizers
from optimizers import (
    CostConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    RunConfig,
    ScreeningConfig,
    StudyConfig,
    TaskConfig,
    TeacherConfig,
    TrainingSpec,
    load_config,
)
from optimizers.settings.load import recipe_names
from optimizers.settings.reference import docstrings, sections

SPACE = {"training.learning_rate": {"low": 1e-4, "high": 3e-3, "log": True}}

SAME = [
    ({"out": "x", "seed": 3, "max_usd": 2.5}, RunConfig(out="x", seed=3, max_usd=2.5)),
    ({"data.train": 8, "screening.max_rows": None}, RunConfig(data=DataConfig(train=8), screening=ScreeningConfig(max_rows=None))),
    ({"student.max_tokens": 64, "teacher.temperature": 1}, RunConfig(student={"max_tokens": 64}, teacher={"temperature": 1})),
    (
        {"teacher": "openai/x", "teacher.options.top_p": 0.5},
        RunConfig(teacher=TeacherConfig(model="openai/x", options={"top_p": 0.5})),
    ),
    ({"solver": "openai/y", "cost.prices.a.b/c": "1,2"}, RunConfig(solver="openai/y", cost=CostConfig(prices={"a.b/c": [1, 2]}))),
    ({"task": "gsm8k"}, RunConfig(task="gsm8k")),
    ({"task.hops": "4"}, RunConfig(task=TaskConfig(hops="4"))),
    ({"task": "mixture", "task.parts": "gsm8k,multihop"}, RunConfig(task=TaskConfig(name="mixture", parts="gsm8k,multihop"))),
    ({"study.space": SPACE, "study.trials": 2}, RunConfig(study=StudyConfig(space=SPACE, trials=2))),
    (
        {"experiment.students": {"b": {"model": "local/b"}}, "experiment.training": {"epochs": 1}, "experiment.train": "people"},
        RunConfig(experiment=ExperimentConfig(students={"b": ModelConfig(model="local/b")}, training={"epochs": 1}, train=["people"])),
    ),
]


@pytest.mark.parametrize("recipe", [None, *recipe_names()])
def test_it_is_what_dotted_names_give(recipe):
    usual = load_config(recipe).model_dump()
    for dotted, classes in SAME:
        if "experiment.train" in dotted and recipe not in ("forgiving", "embedded", "success"):
            continue
        assert load_config(recipe, classes).model_dump() == load_config(recipe, dotted).model_dump(), (recipe, dotted)
    assert load_config(recipe, RunConfig()).model_dump() == usual


def test_conditions_of_an_experiment_leave_out_a_recipes_transfers():
    names = ["single-stage", "S_D-R+teacher"]
    config = load_config("paper", RunConfig(experiment=ExperimentConfig(conditions=names)))
    assert config == load_config("paper", {"experiment.conditions": names})
    assert set(config.experiment.transfer_conditions) <= {*names, *config.experiment.variant_conditions}


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="trian"):
        DataConfig(trian=4)
    with pytest.raises(ValueError, match=r"training\.base='x' would have no effect"):
        load_config("embedded", RunConfig(training=TrainingSpec(base="x")))
    with pytest.raises(ValueError, match=r"experiment\.data\.nobody"):
        load_config("embedded", RunConfig(experiment=ExperimentConfig(data={"nobody": {"train": 3}})))


def test_every_section_can_be_imported_and_completes_its_settings():
    for name, section in sections():
        if name.count(".") == 0:
            assert section.__name__ in optimizers.__all__, section
        assert docstrings(section)
        completed = inspect.signature(section).parameters
        assert {*section.model_fields} <= {*completed} and issubclass(section, BaseModel) and section.__doc__


def test_paths_are_taken_as_python_has_them(tmp_path):
    """As a notebook has them: `Path("runs") / "mine"`."""
    config = load_config(None, {"out": tmp_path / "run", "task": "jsonl", "task.path": tmp_path / "d.jsonl"})
    assert config.out == str(tmp_path / "run") and config.task.model_dump()["path"] == str(tmp_path / "d.jsonl")
    assert RunConfig(out=tmp_path / "run").out == str(tmp_path / "run")
