"""Several tasks as one: shares, ids, scoring by part, and the names of a configuration."""

import json
from collections import Counter

import dspy
import pytest

from optimizers.evaluation.leakage import find_leaks
from optimizers.experiments.grid import Grid
from optimizers.experiments.plan import grid_steps
from optimizers.experiments.run_job import MainJob
from optimizers.settings.load import load_config
from optimizers.settings.run import configured_for
from optimizers.settings.splits import task_options
from programs.tasks import load_task

PEOPLE, BOOKS = {"name": "multihop", "schema": "people"}, {"name": "multihop", "schema": "books"}


def mixture(**options):
    return load_task("mixture", **{"parts": {"people": PEOPLE, "books": BOOKS}, **options})


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_shares_follow_the_weights_at_every_place(seed):
    parts = [example.part for example in mixture(weights="people=2,books=1", seed=seed).load("train", 90)]
    assert Counter(parts) == {"people": 60, "books": 30}
    for place in range(91):
        assert abs(parts[:place].count("books") - place / 3) <= 1


def test_a_limit_only_cuts_and_the_seed_decides():
    ids = [[example.id for example in mixture(seed=seed).load("test", limit)] for seed, limit in ((3, 40), (3, 80), (4, 40))]
    assert ids[1][:40] == ids[0] != ids[2]
    assert len(set(ids[1])) == 80


def test_questions_are_those_of_the_parts_under_ids_of_their_own():
    found = mixture(seed=5).load("train", 20)
    own = {name: load_task(**part, seed=5).load("train", 10) for name, part in (("people", PEOPLE), ("books", BOOKS))}
    for name, examples in own.items():
        mine = [example for example in found if example.part == name]
        assert [(e.id, e.question) for e in mine] == [(f"{name}/{e.id}", e.question) for e in examples]
        assert mine[0].inputs().keys() == examples[0].inputs().keys()
    task = mixture(parts={"a": {**PEOPLE, "seed": 7}, "b": BOOKS}, seed=5)
    assert {example.question for example in task.load("train", 8)} >= {e.question for e in load_task(**PEOPLE, seed=7).load("train", 4)}


def test_without_a_limit_it_ends_where_a_part_does(tmp_path):
    for name, count in (("few", 3), ("many", 50)):
        (tmp_path / name).mkdir()
        lines = (json.dumps({"question": f"{name} {i}?", "answer": "1"}) for i in range(count))
        (tmp_path / name / "train.jsonl").write_text("\n".join(lines))
    parts = {name: {"name": "jsonl", "path": str(tmp_path / name)} for name in ("few", "many")}
    task = load_task("mixture", parts=parts, weights={"few": 1, "many": 4})
    counts = Counter(example.part for example in task.load("train"))
    assert counts["few"] == 3 and 10 <= counts["many"] <= 16
    with pytest.raises(ValueError, match=r"has 3 examples, and 10 were asked for"):
        task.load("train", 50)


def test_every_part_is_scored_by_its_own_rule(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "One or two?", "answer": ["one", "two"]}\n')
    parts = {"people": PEOPLE, "mine": {"name": "jsonl", "path": str(tmp_path / "q.jsonl"), "fractions": "0,0,1"}}
    task = load_task("mixture", parts=parts, max_subquestions=3, decomposer_sees_context="true")
    assert task.max_subquestions == 3 and task.decomposer_sees_context is True
    examples = {example.part: example for example in task.load("test", 2)}
    assert task.score(examples["mine"], dspy.Prediction(answer="Two")).value == 1.0
    assert task.score(examples["people"], dspy.Prediction(answer="two")).value == 0.0
    assert task.metric(examples["people"], dspy.Prediction(answer=examples["people"].answer)) == 1.0


def test_a_leak_between_mixtures_is_found():
    train = mixture().load("train", 20)
    assert [leak.test_id for leak in find_leaks(train, load_task(**PEOPLE).load("train", 3))]
    assert find_leaks(train, mixture().load("test", 50)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": {}}, "needs parts"),
        ({"parts": 5}, "parts=5"),
        ({"parts": "multihop,poems"}, "Unknown task 'poems'"),
        ({"parts": {"x": {"name": "multihop", "hops": 9}}}, "Part 'x' of task 'mixture': hops=9"),
        ({"parts": {"x": {"name": "mixture", "parts": "multihop"}}}, "mixture itself"),
        ({"weights": "people=2"}, r"one for each of \['people', 'books'\]"),
        ({"weights": "people=2,books=0"}, "above 0"),
        ({"weights": "people:2"}, "must be such as"),
        ({"parts": {"a": {**PEOPLE, "max_subquestions": 2}, "b": BOOKS}}, "different max_subquestions"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        mixture(**options)


BOTH = {"experiment.tasks.both": {"name": "mixture", "parts": ["people", "books"], "weights": {"people": 1, "books": 3}}}


def test_parts_may_be_tasks_of_the_experiment(tmp_path):
    settings = {"out": str(tmp_path / "grid"), "experiment.train": "people,books,both", "experiment.test": "people,both", **BOTH}
    settings |= {f"experiment.data.{name}": {"train": 8, "test": 4} for name in ("people", "books", "both")}
    grid = Grid(load_config("forgiving", settings))
    trained = grid.tasks["both"].splits["train"]
    assert Counter(example.part for example in trained) == {"people": 2, "books": 6}
    assert {example.schema for example in trained} == {"people", "books"}
    assert {step.name.split(",")[0] for step in grid_steps(load_config("forgiving", settings))} == {"people", "books", "both"}
    assert configured_for(grid.config, "both").task.options()["parts"]["people"]["hops"] == "2,3"


def test_a_run_on_a_mixture_keeps_the_parts_in_its_configuration(tmp_path):
    settings = {"out": str(tmp_path / "run"), "data.train": 6, "data.test": 4, "task": "mixture", "task.parts": "people,books"}
    config = load_config(None, {**settings, "experiment.tasks": {"people": PEOPLE, "books": BOOKS}})
    job = MainJob(config)
    assert {example.part for example in job.splits["test"]} == {"people", "books"}
    again = load_config(str(tmp_path / "run" / "config.toml"))
    assert task_options(again.task, 0)["parts"] == {"people": PEOPLE, "books": BOOKS}


def test_unknown_names_of_parts_are_named_before_any_work(tmp_path):
    settings = {
        "out": str(tmp_path / "grid"),
        "experiment.train": "both",
        "experiment.tasks.both": {"name": "mixture", "parts": "people,poems"},
    }
    with pytest.raises(ValueError, match=r"Unknown task 'poems'"):
        Grid(load_config("forgiving", settings))
    assert not (tmp_path / "grid").exists()
