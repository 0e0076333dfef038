"""A cascade as a condition: its threshold from dev questions, its bill, its gain over both parts. Two scripted LMs on loopback."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest
from loopback import chat, is_decomposition, serving

from optimizers.experiments.cascades import choose, path_of
from optimizers.experiments.experiment import run_experiment
from optimizers.experiments.plan import plan_steps
from optimizers.experiments.run import run
from optimizers.jobs.jsonlines import read_lines
from optimizers.settings.load import load_config

NAME = "single-stage-then-teacher+teacher"
TOWNS = [f"Town{number}" for number in range(40)]
WRONG = itertools.count()


def settings(folder, address, **given):
    path = folder / "questions.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"Where does the story of {town} begin?", "answer": town}) for town in TOWNS))
    common = {
        "task": "jsonl", "task.path": str(path), "task.fractions": "0.1,0.4,0.5", "task.scorer": "exact",
        "data.train": 4, "data.dev": 16, "data.test": 20, "out": str(folder / "run"),
        "teacher": "hosted_vllm/dear", "teacher.api_base": address, "solver": "hosted_vllm/cheap", "solver.api_base": address,
        "evaluation.conditions": NAME,
    }  # fmt: skip
    return load_config(None, common | given)


def number_in(text):
    return next(number for number, town in reversed(list(enumerate(TOWNS))) if f"story of {town} " in text)


def scripted(body):
    """The cheap LM knows the even towns, and guesses anew each time at the odd ones; the dear one errs at each fourth of the even."""
    if is_decomposition(body):
        return chat("1. Which story is it?\n2. Where does it begin?")
    number = number_in(body["messages"][-1]["content"])
    if body["model"] == "cheap":
        return chat(f"Answer: {TOWNS[number]}" if number % 2 == 0 else f"Answer: nowhere {next(WRONG)}")
    return chat(f"Answer: {'elsewhere' if number % 4 == 0 else TOWNS[number]}")


def asked_of(bodies, numbers, model):
    """How often each question was put to a model."""
    found = (number_in(body["messages"][-1]["content"]) for body in bodies if body["model"] == model)
    return Counter(number for number in found if number in numbers)


def test_run_chooses_the_threshold_on_dev_bills_both_parts_and_reports_the_gain(tmp_path):
    with serving(scripted) as (address, bodies):
        config = settings(tmp_path, address)
        found = run(config, progress=False, stages=("evaluate", "report"))
        predictions = tmp_path / "run" / "predictions"
        lines = list(read_lines(predictions / f"{NAME}.jsonl"))
        tested = {number_in(line["question"]): line for line in lines}
        dev = {number_in(line["question"]) for line in read_lines(path_of(predictions, NAME))}
        assert len(tested) == 20 and len(dev) == 16 and not dev & set(tested)

        choice = found.metrics["cascades"][0]
        assert (choice["threshold"], choice["chosen_on"], choice["questions"]) == (2 / 3, "dev", 16)
        odd = sum(number % 2 for number in dev) / 16
        assert [(point["score"], point["escalated"]) for point in choice["curve"]] == [(1 - odd, 0), (1, odd), (1, odd)]
        assert choice["parts"]["second"] == sum(number % 4 != 0 for number in dev) / 16

        assert all((line["route"] == "second") == bool(number % 2) for number, line in tested.items())
        assert all(line["score"] == 1 and line["agreement"] == (1 / 3 if number % 2 else 1) for number, line in tested.items())
        summary, up = found.metrics["conditions"][NAME], sum(number % 2 for number in tested)
        assert summary["routes"] == {"first": 20 - up, "second": up, "reasons": {"votes disagree": up}, "with_failed_votes": 0}
        calls = {stage: summary[stage]["calls"] for stage in ("first_answer", "second_decompose", "second_solve")}
        assert calls == {"first_answer": 60, "second_decompose": up, "second_solve": up}
        assert summary["models"]["first_answer"] == "hosted_vllm/cheap" and summary["models"]["second_solve"] == "hosted_vllm/dear"
        cost = {row["condition"]: row["per_question"]["output_tokens"] for row in found.metrics["cost"]}
        # All three votes, and the whole of the dear part for those that went on.
        parts = found.metrics["conditions"]
        dear = sum(parts["teacher+teacher"][stage]["output_tokens"] for stage in ("decompose", "solve"))
        assert cost[NAME] * 20 > parts["single-stage"]["answer"]["output_tokens"] + 0.8 * dear * up / 20

        # The parts came with it, and their calls were made once: one answer as it is, and two further votes.
        assert list(found.metrics["conditions"]) == ["single-stage", "teacher+teacher", NAME]
        assert set(asked_of(bodies, tested, "cheap").values()) == {3}
        assert set(asked_of(bodies, tested, "dear").values()) == {2}
        against = {record["a"]: record["delta"] for record in found.metrics["comparisons"] if record["b"] == NAME}
        assert against == {"single-stage": -up / 20, "teacher+teacher": -sum(number % 4 == 0 for number in tested) / 20}

        report = (tmp_path / "run" / "report.md").read_text().replace("\\", "")
        assert "Cascades" in report and "chosen" in report and "votes disagree" in report
        assert (tmp_path / "run" / "figures" / "cascade-costs.png").exists()
        assert found.program(NAME).threshold == 2 / 3
        # The dev answers are none of the test's.
        assert len(found.predictions(NAME)) == 20 and "test" not in found.predictions()

        before = len(bodies)
        run(config, progress=False, stages=("evaluate", "report"))
        assert len(bodies) == before
        # One of one's own: no dev question, and the calls are on file.
        run(settings(tmp_path, address, **{"evaluation.cascade_threshold": 1.0}), progress=False, stages=("evaluate", "report"))
        assert len(bodies) == before
        assert (found.metrics["cascades"][0]["chosen_on"], found.metrics["cascades"][0]["threshold"]) == ("given", 1.0)
        assert "The threshold was given" in (tmp_path / "run" / "report.md").read_text()


def test_experiment_chooses_once_for_all_test_tasks(tmp_path):
    with serving(scripted) as (address, _):
        config = settings(tmp_path, address, **{"experiment.conditions": NAME, "experiment.solvers.cheap": "hosted_vllm/cheap"})
        found = run_experiment(config, progress=False, stages=("label", "distill", "evaluate", "report"))
        assert [cell["condition"] for cell in found.metrics["cells"]] == ["single-stage", "teacher+teacher", NAME]
        assert [record["threshold"] for record in found.metrics["cascades"]] == [2 / 3]
        pairs = {frozenset((record["a"], record["b"])) for record in found.metrics["comparisons"]}
        assert {frozenset((NAME, part)) for part in ("single-stage", "teacher+teacher")} <= pairs
        assert found.metrics["cells"][-1]["score"] == 1
        report = (tmp_path / "run" / "report.md").read_text()
        assert "To the dear part" in report
        # In tokens of the teacher's model the votes of the other one would be free.
        assert "cost in seconds" in report


def test_without_dev_questions_or_a_threshold_it_is_refused_before_any_work(tmp_path):
    config = settings(tmp_path, "http://127.0.0.1:9/v1", **{"data.dev": 0})
    for job in (plan_steps, lambda config: run(config, progress=False)):
        with pytest.raises(ValueError, match=r"--data\.dev 50.*--evaluation\.cascade_threshold"):
            job(config)
    with pytest.raises(ValueError, match="two different parts"):
        plan_steps(settings(tmp_path, "", **{"evaluation.conditions": f"{NAME}-then-teacher+teacher"}))


def test_a_plan_has_all_votes_and_the_dev_questions(tmp_path):
    steps = {step.name: step.calls for step in plan_steps(settings(tmp_path, "http://127.0.0.1:9/v1"))}
    assert steps[f"test: {NAME}, first answer"] == 3 * 36
    assert steps[f"test: {NAME}, second decompose"] == steps[f"test: {NAME}, second solve"] == 36


def test_a_tolerance_asks_the_dear_part_less_often(tmp_path):
    config = settings(tmp_path, "")
    from optimizers.conditions import parse_condition
    from optimizers.settings.splits import configured_task, load_splits

    task = configured_task(config.task, 0)
    dev = load_splits(task, config.data)["dev"]
    condition, path = parse_condition(NAME), path_of(tmp_path, NAME)
    path.parent.mkdir(parents=True)
    # The cheap part is wrong once, with 1 of 3 votes; unanimous everywhere else. One question failed, and one has no cheap answer.
    with path.open("w") as file:
        for place, example in enumerate(dev[:-1]):
            answer, agreement = ("nowhere", 1 / 3) if place == 0 else (None, 0.0) if place == 1 else (example.answer, 1.0)
            line = {"id": example.id, "question": example.question, "context": "", "gold": example.answer, "error": None}
            usage = {"first_answer": {"calls": 3, "seconds": 1.0}, "second_solve": {"calls": 1, "seconds": 10.0}}
            file.write(json.dumps({**line, "score": 1.0, "first_answer": answer, "agreement": agreement, "usage": usage}) + "\n")
    strict = choose(condition, config.evaluation, task, dev, tmp_path)
    assert (strict["threshold"], strict["questions"]) == (2 / 3, 15)
    assert [point["escalated"] for point in strict["curve"]] == pytest.approx([1 / 15, 2 / 15, 2 / 15])
    assert strict["curve"][0]["per_question"]["seconds"] == pytest.approx((15 + 10) / 15)
    assert strict["parts"] == {"first": 13 / 15, "second": 1.0}
    loose = choose(condition, config.evaluation.model_copy(update={"cascade_tolerance": 0.1}), task, dev, tmp_path)
    assert loose["threshold"] == 1 / 3
