"""The grid of an experiment: what it spans, what it shares, what it refuses. Nothing is trained or asked here."""

from __future__ import annotations

import pytest

from optimizers.conditions import ALL_CONDITIONS, STUDENTS, expand_conditions, parse_condition
from optimizers.experiments.grid import Grid
from optimizers.experiments.plan import grid_steps
from optimizers.experiments.roles import Roles
from optimizers.experiments.variants import variants
from optimizers.settings.load import load_config
from optimizers.settings.run import RunConfig
from programs.tasks.registry import task_class


def config(tmp_path, **settings):
    small = {"out": str(tmp_path / "grid"), "experiment.data": {"people": {"train": 6, "test": 4}, "books": {"train": 6, "test": 4}}}
    small |= {"experiment.test": "people,books", **settings}
    return load_config("forgiving", small)


def test_all_conditions_have_a_meaning_and_a_file_of_their_own(tmp_path):
    grid = Grid(config(tmp_path))
    assert {condition.name for condition in grid.conditions} == set(ALL_CONDITIONS)
    paths = [cell.path for cell in grid.cells()]
    assert len(set(paths)) == len(paths)
    without = [cell for cell in grid.cells() if cell.train is None]
    assert all(not cell.condition.students for cell in without)
    transfer = {(cell.train, cell.test) for cell in grid.cells() if cell.condition.name == "S_D-R+teacher"}
    assert transfer == {("people", "people"), ("people", "books"), ("books", "people"), ("books", "books")}


def test_a_further_solver_joins_the_conditions(tmp_path):
    names = expand_conditions(["all"], ["gpt4"])
    assert {"S_D-R+gpt4", "teacher+gpt4", "single-stage@gpt4"} <= set(names)
    assert parse_condition("S_D-R+gpt4", ["gpt4"]).solver == "gpt4"
    with pytest.raises(ValueError, match=r"Unknown condition 'S_D-R\+gpt4'.*decomposer of"):
        parse_condition("S_D-R+gpt4")
    grid = Grid(config(tmp_path, **{"experiment.solvers.gpt4": "embedded/base"}))
    assert grid.roles("people", grid.variants[0]).model("gpt4").model.startswith("embedded/base@")


def test_every_ablation_makes_variants_with_settings_of_their_own(tmp_path):
    asked = {
        "experiment.ablations": "rows,limit,screening,method,format,few-shot",
        "experiment.rows": "3,5",
        "experiment.training_seeds": "1",
        "experiment.data_seeds": "1,2",
        "experiment.sampling_seeds": "0,1",
        "experiment.students.small": "embedded/base",
    }
    found = {variant.name: variant for variant in variants(config(tmp_path, **asked))}
    assert {"", "student=small", "rows=3", "rows=5", "limit=none", "limit=2", "method=full", "format=chat"} <= set(found)
    base = config(tmp_path)
    assert found["rows=3"].apply(base).screening.max_rows == 3
    assert found["limit=none"].apply(base).task.options()["max_subquestions"] is None
    assert found["method=full"].apply(base).training.method == "full"
    assert found["format=chat"].apply(base).student.adapter == "chat"
    seeds = [variant for variant in found.values() if variant.seeds]
    assert len(seeds) == 3 * 2 * 2
    assert {variant.settings["screening"]["max_rows"] for variant in seeds} == {3}  # half of the 6 questions of each task
    assert len({variant.students_name for variant in seeds}) == 3 * 2
    assert found["rows=3"].ablation == "rows=3" and found["student=small"].ablation is None


def test_other_domains_are_measured_by_the_conditions_named_for_them(tmp_path):
    settings = {
        "experiment.train": "people",
        "experiment.conditions": "single-stage,teacher+teacher,S_D-T+teacher,S_D-R+teacher",
        "experiment.students.small": "embedded/base",
        "experiment.student_conditions": "student0+teacher,S_D-R+teacher",
        "experiment.transfer_conditions": "single-stage,S_D-R+teacher",
        "experiment.ablations": "rows",
        "experiment.rows": "3",
        "experiment.rows_conditions": "S_D-T+teacher",
    }
    grid = Grid(config(tmp_path, **settings))
    measured = {(cell.test, cell.variant.name, cell.condition.name) for cell in grid.cells()}
    own = {("", name) for name in grid.config.experiment.conditions} | {("rows=3", "S_D-T+teacher")}
    own |= {("student=small", "student0+teacher"), ("student=small", "S_D-R+teacher")}
    assert {(variant, name) for test, variant, name in measured if test == "people"} == own
    assert {(variant, name) for test, variant, name in measured if test == "books"} == {
        ("", "single-stage"),
        ("", "S_D-R+teacher"),
        ("student=small", "S_D-R+teacher"),
    }
    calls = {step.name: step.calls for step in grid_steps(grid.config) if step.name.startswith("books, test")}
    assert len([name for name in calls if name.endswith("solve")]) == 2 and "books, test: single-stage" in calls


def test_a_transfer_condition_that_is_measured_nowhere_is_refused(tmp_path):
    settings = {"experiment.conditions": "single-stage,S_D-R+teacher", "experiment.transfer_conditions": "S_D-T+teacher"}
    with pytest.raises(ValueError, match=r"transfer_conditions: 'S_D-T\+teacher' is none of.*'single-stage', 'S_D-R\+teacher'\]"):
        Grid(config(tmp_path, **settings))


def test_fewer_conditions_than_a_recipe_has_need_no_second_list():
    measured = "teacher+teacher,single-stage-cot,S_E-T+teacher"
    assert load_config("gsm8k", {"experiment.conditions": measured}).experiment.transfer_conditions == [
        "single-stage-cot", "teacher+teacher", "student0+teacher", "S_D-R+teacher",
    ]  # fmt: skip
    alone = {"experiment.conditions": measured, "experiment.students": "", "experiment.ablations": ""}
    assert load_config("gsm8k", alone).experiment.transfer_conditions == [
        "single-stage-cot", "teacher+teacher",
    ]  # fmt: skip
    # Of the recipe's two lists for variants the learning curve has its own, in which S_D-R is not.
    curve = load_config("gsm8k", {**alone, "experiment.ablations": "rows", "experiment.rows_conditions": "S_D-T+teacher"})
    assert curve.experiment.transfer_conditions == ["single-stage-cot", "teacher+teacher"]
    assert load_config("gsm8k").experiment.transfer_conditions[2] == "none+teacher"


def test_test_questions_that_stand_in_train_are_kept_out(tmp_path):
    train, test = tmp_path / "mine_train.jsonl", tmp_path / "mine_test.jsonl"
    question = "How many of the {} apples that the old farmer sold on the market in May were red in the end?"
    train.write_text("".join(f'{{"question": "{question.format(n)}", "answer": "#### {n}"}}\n' for n in range(40, 50)))
    test.write_text(
        f'{{"question": "{question.format(44).upper()}", "answer": "#### 44"}}\n{{"question": "Who is it, and why?", "answer": "#### 1"}}\n'
    )
    settings = {"out": str(tmp_path / "grid"), "task": "gsm8k", "task.path": f"{train},{test}", "data.train": 5, "data.test": 2}
    grid = Grid(load_config(None, settings))
    assert [example.question for example in grid.tasks["gsm8k"].splits["test"]] == ["Who is it, and why?"]
    assert [leak.test_question for leak in grid.tasks["gsm8k"].leaks["gsm8k"]] == [question.format(44).upper()]


def test_training_on_a_task_without_a_training_split_is_refused(tmp_path):
    settings = {"out": str(tmp_path / "grid"), "task": "bamboogle", "task.path": "shipped", "data.train": 5, "data.test": 5}
    with pytest.raises(ValueError, match=r"training split.*fractions"):
        Grid(load_config(None, settings))
    Grid(load_config(None, {**settings, "task.fractions": "0.5,0,0.5"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experiment.train": "poems"}, r"Unknown task 'poems'.*\[experiment.tasks.<name>\]"),
        ({"experiment.conditions": "all,S_X+teacher"}, r"Unknown condition 'S_X\+teacher'"),
        ({"experiment.ablations": "size"}, "unknown ablation 'size'; expected some of"),
        ({"experiment.limits": "3,many"}, "limit 'many' must be 'none' or a number"),
        ({"experiment.training.epoch": 3}, "epoch"),
        ({"experiment.solvers.teacher": "embedded/base"}, "solver name 'teacher' must be"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        Grid(config(tmp_path, **settings))
    assert not (tmp_path / "grid").exists()


def test_an_experiment_grows_in_its_folder_and_a_run_is_kept_apart(tmp_path):
    Grid(config(tmp_path, **{"experiment.conditions": "teacher+teacher"}))
    Grid(
        config(
            tmp_path,
            **{"experiment.ablations": "rows", "experiment.tasks.far": {"name": "multihop", "hops": "4"}, "experiment.test": "far"},
        )
    )
    Grid(config(tmp_path, **{"experiment.data.people.test": 9, "experiment.conditions": "teacher+teacher"}))
    Grid(config(tmp_path, **{"experiment.data.people.train": 9}))
    with pytest.raises(ValueError, match=r"experiment\.tasks\.people\.hops"):
        Grid(config(tmp_path, **{"experiment.tasks.people.hops": "2"}))
    from optimizers.experiments.run_job import MainJob

    with pytest.raises(ValueError, match="holds an experiment, not a run"):
        MainJob(config(tmp_path))


def test_a_plan_asks_a_decomposer_once_whatever_the_number_of_solvers():
    plain = load_config("forgiving", {"experiment.conditions": "S_D-T+teacher"})
    more = load_config("forgiving", {"experiment.conditions": "S_D-T+teacher,S_D-T+student0"})
    asked = [
        sum(step.calls for step in grid_steps(one) if step.name.endswith("decompose") and "test" in step.name) for one in (plain, more)
    ]
    assert asked[0] == asked[1] > 0


def test_the_papers_recipe_plans_all_students_without_a_download():
    steps = grid_steps(load_config("paper"))
    trained = {step.name.split("train ")[1] for step in steps if "train " in step.name}
    assert set(STUDENTS) <= trained and any(step.usd for step in steps)
    assert {step.name.split(",")[0] for step in steps} == {"gsm8k", "drop", "bamboogle"}


@pytest.mark.parametrize("condition", ["teacher+student0", "single-stage-cot@student0", "student0+student0", "interactive@student0"])
def test_a_student_that_solves_may_write_as_much_as_the_llm_in_whose_place_it_is(tmp_path, condition):
    """A limit that was chosen for subquestions cut off 165 of 200 solutions on GSM8K, which made the solver student worse than it is."""
    config = RunConfig.model_validate({"teacher": {"model": "openai/m", "max_tokens": 300, "api_base": "x"}, "student": {"max_tokens": 40}})
    program = Roles(config, tmp_path).program(parse_condition(condition), task_class("multihop")(), [])
    limits = {name: predictor.lm.kwargs["max_tokens"] for name, predictor in program.named_predictors()}
    decomposer = 40 if condition.startswith("student0") else 300
    assert limits.pop("decompose.predict", limits.pop("decompose", decomposer)) == decomposer
    assert set(limits.values()) == {300}
