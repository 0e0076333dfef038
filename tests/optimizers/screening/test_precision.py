"""Precision and recall of policies, and where they stand: in a run's folder, its report, its plan; on a scripted teacher."""

from __future__ import annotations

import io
import json
import random

import dspy
import pytest
from rich.console import Console
from scripted import scripted_lm

from optimizers.evaluation.statistics import mean_interval
from optimizers.experiments.grid import Grid
from optimizers.experiments.plan import grid_steps, plan_steps
from optimizers.experiments.plan_view import plan
from optimizers.experiments.run import run
from optimizers.experiments.run_folder import open_folder
from optimizers.experiments.run_job import MainJob
from optimizers.experiments.variants import variants
from optimizers.labelling.samples import Sample
from optimizers.reports.run_report import write_report
from optimizers.screening.precision import clustered_share, measure
from optimizers.settings.load import load_config
from programs.tasks.base import Score, exact_match


class Marked:
    """Keeps the samples whose subquestion says so."""

    name = "marked"

    def judge(self, example, sample, score):
        return (None if sample.prediction["subquestions"] == ["keep"] else "dropped"), None


def samples(*rows):
    """Samples from (question, whether it is kept, answer)."""
    made = {}
    for number, (question, kept, answer) in enumerate(rows):
        prediction = {"subquestions": ["keep" if kept else "drop"], "state": "ok", "answer": answer}
        made.setdefault(question, []).append(Sample(question, number, [], prediction, {}))
    return made


def examples(questions):
    return [dspy.Example(id=q, question=q, answer="Rome").with_inputs("question") for q in questions]


def score(example, prediction):
    return Score.unscored("?") if prediction.answer == "?" else exact_match(prediction.answer, [example.answer])


def test_precision_and_recall_are_those_of_the_kept_and_of_the_right():
    rows = [("a", True, "Rome"), ("b", True, "Rome"), ("c", True, "Oslo"), ("d", False, "Rome"), ("e", False, "Oslo"), ("f", True, "?")]
    collected = samples(*rows)
    collected["g"] = [Sample("g", 9, [], {}, {}, "error:LMError")]
    found = measure(Marked(), collected, examples("abcdefg"), score)
    assert {key: found[key] for key in ("samples", "scored", "right", "kept")} == {"samples": 6, "scored": 5, "right": 3, "kept": 4}
    wilson = mean_interval([1.0, 1.0, 0.0])
    for key in ("precision", "recall"):
        assert found[key] == {"estimate": pytest.approx(2 / 3), "ci95": [wilson.low, wilson.high], "n": 3}
    assert found["dropped"] == {"dropped": 2}


def test_without_references_there_is_no_precision_and_the_cost_and_the_rows_still_count():
    found = measure(Marked(), samples(("a", True, "?"), ("b", False, "?")), examples("ab"), score)
    assert (found["samples"], found["scored"], found["kept"]) == (2, 0, 1)
    assert found["precision"] == found["recall"] == {"estimate": None, "ci95": [None, None], "n": 0}
    json.dumps(found, allow_nan=False)


def test_min_score_is_the_oracles():
    half = measure(Marked(), samples(("a", True, "Rome")), examples("a"), lambda *_: Score(0.5), min_score=0.5)
    assert half["right"] == 1


def test_samples_of_one_question_do_not_count_as_so_many_questions():
    alike = {str(i): [i % 2 == 0] * 4 for i in range(20)}
    clustered, apart = clustered_share(alike), mean_interval([float(one) for found in alike.values() for one in found])
    assert clustered.estimate == apart.estimate == 0.5 and clustered.n == 80
    assert clustered.high - clustered.low > 1.5 * (apart.high - apart.low)
    assert clustered_share({str(i): [True] * 4 for i in range(20)})[:3] == mean_interval([1.0] * 20)[:3]


def test_questions_of_one_passage_do_not_count_as_so_many_passages():
    rows = [(f"q{n}", True, "Rome" if n < 30 else "Oslo") for n in range(60)]

    def precision(passage):
        asked = [example.copy(context=passage(n)) for n, example in enumerate(examples([question for question, *_ in rows]))]
        return measure(Marked(), samples(*rows), asked, score)["precision"]

    alone, shared = precision(lambda n: f"passage {n}"), precision(lambda n: f"passage {n // 10}")
    assert alone == precision(lambda n: "")
    assert shared["estimate"] == alone["estimate"] == 0.5 and shared["n"] == 60
    assert shared["ci95"][1] - shared["ci95"][0] > 1.5 * (alone["ci95"][1] - alone["ci95"][0])


@pytest.mark.parametrize("questions", [5, 20, 60])
def test_the_interval_of_a_share_covers_it_where_samples_hang_together(questions):
    rng, held = random.Random(questions), 0
    for _ in range(300):
        rates = [0.95 if rng.random() < 0.9 else 0.2 for _ in range(questions)]
        found = clustered_share({str(i): [rng.random() < rate for _ in range(rng.randint(1, 6))] for i, rate in enumerate(rates)})
        held += found.low <= 0.9 * 0.95 + 0.1 * 0.2 <= found.high
        assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert held / 300 >= 0.92


def teacher_rule(prompt):
    """Decomposes, and solves half of the questions steadily; alone it always says Rome."""
    if "Max subquestions" in prompt:
        return "Who is it?\nWhere is #1?"
    if "Subquestions" not in prompt:
        return "Rome"
    return "Ann\nRome\nAnswer: Rome" if "number 0" in prompt or "number 2" in prompt else "Ann\nOslo\nAnswer: Oslo"


@pytest.fixture
def scripted_teacher(monkeypatch):
    """`openai/scripted` as a teacher that asks nobody."""
    from optimizers.experiments import roles as roles

    made = scripted_lm(teacher_rule)
    real = roles.make_lm
    monkeypatch.setattr(roles, "make_lm", lambda model, **options: made if model == "openai/scripted" else real(model, **options))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    return made.script


@pytest.fixture
def settings(tmp_path, tiny_model):
    """A file of four questions in one split, and a run on it."""
    path = tmp_path / "questions"
    path.mkdir()
    for split, count in (("train", 4), ("test", 2)):
        lines = [json.dumps({"question": f"Where is {split} number {i}?", "answer": "Rome"}) for i in range(count)]
        (path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return {"task": "jsonl", "task.path": str(path), "out": str(tmp_path / "run"), "teacher": "openai/scripted", "student": tiny_model,
            "data.train": 4, "data.test": 2, "labelling.threads": 2, "screening.min_rows": 1,
            "evaluation.conditions": "S_D-R+teacher", "training.max_steps": 1, "training.max_length": 200}  # fmt: skip


def test_a_run_screens_by_the_policy_of_the_section_and_measures_it(settings, scripted_teacher, tmp_path):
    config = load_config(None, {**settings, "screening.policy": "agreement", "screening.votes": 3, "screening.measure": "self_consistency"})
    run(config, stages=("label", "screen"))
    MainJob(config).distillation.distill()
    done = run(config, stages=("report",))
    rows = done.rows()
    assert set(rows["policy"]) == {"agreement"}
    assert list(rows["reason"].fillna("kept")) == ["kept", "disagrees_with_single_stage"] * 2
    found = {record["policy"]: record for record in done.metrics["screening"]}
    assert list(found) == ["none", "agreement", "self_consistency"]
    assert found["none"]["precision"]["estimate"] == 0.5 and found["none"]["cost"]["calls"] == 0
    assert found["agreement"]["precision"]["estimate"] == found["agreement"]["recall"]["estimate"] == 1.0
    assert (found["agreement"]["cost"]["calls"], found["self_consistency"]["cost"]["calls"]) == (4 * 2, 4 * 2)
    assert found["self_consistency"]["precision"]["estimate"] == 0.5  # it is steady where it is wrong, too
    assert len(scripted_teacher.prompts) == 4 * (2 + 2 + 2)
    assert done.metrics["labelling"]["kept"] == 2 and done.metrics["students"]["S_D-R"]["rows"] == 2
    report = (done.folder / "report.md").read_text()
    assert "## Screening without reference answers" in report
    assert "| agreement | 4 | 2 | 100.0% |" in report and "disagrees with single stage 2" in report
    run(config, stages=("label", "screen", "report"))
    assert len(scripted_teacher.prompts) == 4 * (2 + 2 + 2)


def test_a_folder_of_another_seed_is_refused_and_measuring_more_is_not(settings, tmp_path):
    open_folder(load_config(None, {**settings, "screening.policy": "judge"}))
    open_folder(load_config(None, {**settings, "screening.policy": "judge", "screening.measure": "agreement"}))
    with pytest.raises(ValueError, match=r"seed: 0 there, 1 now"):
        open_folder(load_config(None, {**settings, "screening.policy": "judge", "seed": 1}))


def test_a_limit_ends_screening_with_what_to_do_and_partial_goes_on(settings, scripted_teacher):
    from optimizers.experiments.distillation import LabellingStoppedError

    asked = {**settings, "screening.policy": "self_consistency", "screening.votes": 3, "labelling.max_calls": 13}
    with pytest.raises(LabellingStoppedError, match=r"Screening stopped: limit of 13 calls reached.*--labelling.partial true"):
        run(load_config(None, asked), stages=("label", "screen"))
    done = run(load_config(None, {**asked, "labelling.partial": "true"}), stages=("label", "screen", "report"))
    assert len(scripted_teacher.prompts) == 13
    assert {"not_asked"} <= set(done.rows()["reason"].fillna("kept")) <= {"kept", "not_asked"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("policy", "majority", r"screening.policy='majority'.*'none', 'oracle', 'self_consistency', 'agreement', 'judge'"),
        ("votes", "0", "screening.votes='0'.*greater than or equal to 1"),
        ("share", "1.5", "screening.share='1.5'.*less than or equal to 1"),
        ("share", "0", "screening.share='0'.*greater than 0"),
        ("temperature", "0", "screening.temperature='0'.*greater than 0"),
        ("min_score", "2", "screening.min_score='2'.*less than or equal to 1"),
        ("measure", "judge,oracle", "'self_consistency', 'agreement', 'judge'"),
        ("keep", "shortest", "'first', 'all' or 'fewest'"),
        ("single_stage", "one", "'single-stage'"),
    ],
)
def test_wrong_settings_are_named_with_what_was_expected(key, value, message):
    with pytest.raises(ValueError, match=message):
        load_config(None, {f"screening.{key}": value})


def test_an_unknown_judge_is_refused_before_any_work(settings, scripted_teacher, monkeypatch):
    with pytest.raises(ValueError, match="Unknown model 'nobody/judge'"):
        run(load_config(None, {**settings, "screening.policy": "judge", "screening.judge": "nobody/judge"}))
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ValueError, match=r"screening.judge 'anthropic/claude.*' needs the environment variable ANTHROPIC_API_KEY"):
        run(load_config(None, {**settings, "screening.policy": "judge", "screening.judge": "anthropic/claude-sonnet-4-5"}))
    assert not scripted_teacher.prompts


def test_a_plan_counts_the_calls_of_the_policies():
    asked = {"screening.policy": "self_consistency", "screening.measure": "judge,agreement", "screening.judge": "openai/gpt-4.1-mini",
             "labelling.samples": 2, "labelling.temperature": 0.7, "data.train": 10, "data.dev": 5, "screening.min_rows": 2}  # fmt: skip
    steps = {step.name: step for step in plan_steps(load_config("forgiving", asked)) if step.name.startswith("screen")}
    assert {name: step.calls for name, step in steps.items()} == {
        "screen: self_consistency": 15 * 2 * 5,
        "screen: judge": 15 * 2,
        "screen: agreement": 15 * 5,
    }
    assert steps["screen: judge"].model == "openai/gpt-4.1-mini" and steps["screen: judge"].usd > 0
    console = Console(width=200, file=io.StringIO())
    console.print(plan(load_config("forgiving", asked)))
    assert "screen: judge" in console.file.getvalue()
    assert not [step for step in plan_steps(load_config("forgiving")) if step.name.startswith("screen")]


def test_the_ablation_of_screening_has_the_policies_and_plans_them_once(tmp_path):
    config = load_config("forgiving", {"out": str(tmp_path / "grid"), "experiment.ablations": "screening", "experiment.train": "people",
                                      "experiment.test": "people", "experiment.data": {"people": {"train": 6, "test": 4}}})  # fmt: skip
    found = {variant.name: variant for variant in variants(config)}
    assert {"screening=fewest of 4", "screening=self_consistency", "screening=agreement", "screening=judge"} <= set(found)
    assert "screening=oracle" not in found
    assert found["screening=judge"].apply(config).screening.policy == "judge"
    calls = {}
    for step in grid_steps(config):
        calls[step.name] = calls.get(step.name, 0) + step.calls
    assert calls["people, screen: self_consistency"] == 6 * 5 and calls["people, screen: judge"] == 6
    assert calls["people, label: decompose"] == 6 + 6 * 4
    assert Grid(config).distillation("people", found["screening=agreement"]).policy_of("S_D-R") == "agreement"


def test_the_ablation_of_screening_tries_what_it_is_told_to():
    asked = {"experiment.ablations": "screening", "experiment.train": "people", "experiment.screenings": "self_consistency,first,gain"}
    found = [variant.name for variant in variants(load_config("forgiving", asked)) if variant.ablation]
    assert found == ["screening=self_consistency", "screening=first of 4", "screening=gain"]
    with pytest.raises(ValueError, match=r"'best' is none of .*'first', 'all', 'fewest', 'self_consistency'"):
        variants(load_config("forgiving", {**asked, "experiment.screenings": "best"}))


def test_an_experiments_report_tells_variants_apart(tmp_path):
    from optimizers.reports.experiment_report import write_experiment_report

    record = {"variant": "screening=judge", "train": "people", "policy": "judge", "samples": 9, "kept": 4, "dropped": {"judged_bad": 5},
              "precision": {"estimate": 0.75, "ci95": [0.3, 0.95], "n": 4}, "recall": {"estimate": None, "ci95": [None, None], "n": 0},
              "cost": {"calls": 9, "input_tokens": 90, "output_tokens": 9, "seconds": 1.0, "usd": None}}  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps({"schema": 1, "kind": "experiment", "screening": [record]}))
    write_experiment_report(tmp_path)
    line = next(line for line in (tmp_path / "report.md").read_text().splitlines() if "screening=judge" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:8] == ["people", "screening=judge", "judge", "9", "4", "75.0%", "30.0% to 95.0%", "4"]
    assert cells[8:11] == ["n/a", "n/a", "0"] and cells[-1] == "judged bad 5"


def test_a_report_without_such_policies_has_no_such_section(tmp_path):
    (tmp_path / "metrics.json").write_text('{"schema": 1}')
    write_report(tmp_path)
    assert "Screening without" not in (tmp_path / "report.md").read_text()
