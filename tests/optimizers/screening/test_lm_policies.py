"""Screening without reference answers, with scripted LMs: what is kept, what is asked, what is paid, what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter, defaultdict
from pathlib import Path

import dspy
import pytest
from scripted import scripted_lm

from optimizers import BootstrapDistill
from optimizers.jobs.jsonlines import read_lines
from optimizers.labelling.collect import collect
from optimizers.labelling.journal import Limits
from optimizers.screening import Agreement, Asking, Gain, Judge, SelfConsistency
from optimizers.screening.lm_policy import STAGE
from optimizers.screening.screen import screen
from optimizers.screening.votes import same_answer
from programs import TwoStage
from programs.lms.ledger import Ledger, Prices, recording
from programs.tasks import load_task
from programs.tasks.base import exact_match


def score(example, prediction):
    return exact_match(prediction.answer, [example.answer])


def examples(*questions):
    return [
        dspy.Example(id=q, question=f"{q}?", context="the passage", answer="GOLD").with_inputs("question", "context") for q in questions
    ]


class Script:
    """A teacher whose first solution of a question is its own, and whose further ones are the votes."""

    def __init__(self, own="Rome", votes=(), single=(), verdict="keep"):
        self.own, self.votes, self.single, self.verdict = own, votes, single, verdict
        self.asked = Counter()
        self.seen = defaultdict(int)
        self.lm = scripted_lm(self.rule)

    def rule(self, prompt):
        kind = self.kind(prompt)
        self.asked[kind] += 1
        if kind == "decompose":
            return "Who is it?\nWhere is #1?"
        replies = {"solve": [self.own, *self.votes], "single": self.single, "judge": [self.verdict]}[kind]
        reply = replies[self.seen[prompt] % len(replies)]
        self.seen[prompt] += 1
        if isinstance(reply, Exception):
            return reply
        return {"solve": f"Ann\n{reply}\nAnswer: {reply}", "single": reply, "judge": f"Reason: so.\nVerdict: {reply}"}[kind]

    def kind(self, prompt):
        if "Max subquestions" in prompt:
            return "decompose"
        return "single" if "Subquestions" not in prompt else "judge" if self.judging(prompt) else "solve"

    def judging(self, prompt):
        return False

    def teacher(self):
        program = TwoStage()
        program.set_lm(self.lm)
        return program


def run(script, policy, folder, questions=("q",), limits=None, threads=1, **options):
    """Label with one sample a question, then screen."""
    data, teacher = examples(*questions), script.teacher()
    collected = collect(teacher, data, folder=folder, threads=threads)
    asking = Asking(teacher, folder, threads=threads, limits=limits)
    return screen(collected, data, policy, score=score, asking=asking, **options)


def reasons(*args, **options):
    return [decision.reason for decision in run(*args, **options)]


@pytest.mark.parametrize(
    ("own", "votes", "share", "reason"),
    [
        ("Rome", ["Rome"] * 5, 1.0, None),
        ("Rome", ["Rome", "the ROME.", "Rome", "Oslo", "Bern"], 0.6, None),
        ("Rome", ["Rome", "Rome", "Rome", "Oslo", "Bern"], 0.8, "no_agreement"),
        ("Rome", ["Oslo"] * 4 + ["Rome"], 0.6, "disagrees_with_votes"),
        ("Rome", [" "] * 5, 0.6, "votes_unreadable"),
        ("Rome", ["Rome", "Rome", "Rome", " ", " "], 0.6, None),
        ("Rome", ["Rome", "Rome", " ", " ", " "], 0.6, "no_agreement"),
        ("Rome", [ConnectionError("down")] * 8, 0.6, "not_asked"),
        ("Rome", ["Rome"] * 3 + [ConnectionError("down")] * 2, 0.6, None),
        ("Rome", ["Rome"] * 2 + [ConnectionError("down")] * 4, 0.6, "not_asked"),
        ("Rome", ["Rome", "Oslo", ConnectionError("down"), "Bern", "Kiel", "Lund"], 0.6, "no_agreement"),
        ("Unknown.", ["unknown"] * 5, 0.6, "abstains"),
        ("Rome", ["unknown"] * 5, 0.6, "disagrees_with_votes"),
    ],
)
def test_self_consistency_keeps_what_the_votes_agree_on(tmp_path, own, votes, share, reason):
    assert reasons(Script(own, votes), SelfConsistency(5, share), tmp_path) == [reason]


EARLY = [
    (["Rome"] * 3, 3, None),
    (["Oslo"] * 3, 3, "disagrees_with_votes"),
    (["Oslo", "Bern", "Kiel"], 3, "no_agreement"),
    ([" "] * 3, 3, "votes_unreadable"),
    (["Rome", "Oslo", "Rome", "Rome", "Rome"], 5, None),
    (["Rome", "Oslo", "Bern", "Rome", "Bern"], 5, "no_agreement"),
]


@pytest.mark.parametrize(("votes", "asked", "reason"), EARLY)
def test_votes_that_could_not_change_the_outcome_are_not_paid_for(tmp_path, votes, asked, reason):
    script = Script("Rome", votes)
    for _ in range(2):
        assert reasons(script, SelfConsistency(5, 0.6), tmp_path) == [reason]
        assert script.asked["solve"] == 1 + asked


def test_each_decomposition_is_asked_about_as_often_as_it_takes(tmp_path):
    script = Script("Rome", ["Rome", "Rome", "Rome"])
    doubted = Script("Rome", ["Rome", "Oslo", "Rome", "Oslo", "Rome"])
    script.lm = scripted_lm(lambda prompt: (doubted if "second" in prompt else script).rule(prompt))
    policy = SelfConsistency(5, 0.6)
    assert reasons(script, policy, tmp_path, ("first", "second")) == [None, None]
    assert policy.asked.usage[STAGE].calls == 3 + 5 and policy.asked.done == 8


def test_a_majority_that_stands_ends_the_single_stage_votes(tmp_path):
    script = Script("Rome", single=["Rome", "rome", "Rome"])
    assert reasons(script, Agreement(5), tmp_path) == [None] and script.asked["single"] == 3


@pytest.mark.parametrize(
    ("own", "single", "reason"),
    [
        ("Rome", ["Rome", "rome", "Rome", "Oslo", "Bern"], None),
        ("Rome", ["Oslo", "Oslo", "Rome", "Bern", "Kiel"], "disagrees_with_single_stage"),
        ("Rome", ["Oslo", "Oslo", "Rome", "Rome", "Kiel"], "no_majority"),
        ("Rome", ["Answer:"] * 5, "votes_unreadable"),
        ("Rome", ["Rome", *["Answer:"] * 4], None),
        ("Rome", [ConnectionError("down"), "Rome", "Rome", ConnectionError("down"), "Rome", "Oslo"], None),
        ("Rome", [ConnectionError("down"), "Rome", "Rome", ConnectionError("down"), "Oslo", "Bern"], "not_asked"),
        ("Rome", [ConnectionError("down")] * 8, "not_asked"),
        ("Rome", ["unknown"] * 5, "disagrees_with_single_stage"),
    ],
)
def test_agreement_keeps_what_most_single_stage_answers_say(tmp_path, own, single, reason):
    script = Script(own, single=single)
    assert reasons(script, Agreement(5), tmp_path) == [reason]
    assert (script.asked["decompose"], script.asked["solve"]) == (1, 1)


@pytest.mark.parametrize(
    ("own", "alone", "reason", "asked"),
    [
        ("gold", "Answer: Oslo", None, 1),
        ("gold", "Answer: Gold.", "right_without", 1),
        ("Rome", "Answer: gold", "wrong_answer", 0),
        ("gold", "Answer:", "votes_unreadable", 1),
        ("gold", ConnectionError("down"), "not_asked", 1),
    ],
)
def test_gain_keeps_what_the_solver_needed(tmp_path, own, alone, reason, asked):
    script = Script(own, single=[alone])
    assert reasons(script, Gain(), tmp_path) == [reason]
    assert script.asked == Counter(decompose=1, solve=1, single=asked)


def test_samples_of_a_question_share_what_the_solver_says_without_one(tmp_path):
    script = Script("gold", ["gold"], ["Answer: Oslo"])
    data, teacher = examples("q"), script.teacher()
    collected = collect(teacher, data, folder=tmp_path, threads=1, samples=3, temperature=0.7)
    decisions = screen(collected, data, "gain", score=score, asking=Asking(teacher, tmp_path, threads=1), keep="all")
    assert [decision.reason for decision in decisions] == [None, "duplicate", "duplicate"]
    assert (script.asked["solve"], script.asked["single"]) == (3, 1)


def test_gain_wants_a_teacher_that_decomposes(tmp_path):
    with pytest.raises(ValueError, match="policy='gain' looks at a decomposition"):
        Gain().program(dspy.ChainOfThought("question -> answer"))


@pytest.mark.parametrize("policy", [SelfConsistency, Agreement])
def test_who_does_not_know_is_not_asked_again(tmp_path, policy):
    script = Script("I don't know", ["I don't know"] * 5, single=["I don't know"] * 5)
    assert reasons(script, policy(5), tmp_path / "dropped") == ["abstains"]
    assert script.asked == {"decompose": 1, "solve": 1}
    assert reasons(script, policy(5, abstentions=[]), tmp_path / "kept") == [None]


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        ("keep", None),
        ("**Keep.** All points hold.", None),
        ("DROP", "judged_bad"),
        ("keep or drop", "judge_unreadable"),
        ("do not keep", "judge_unreadable"),
        ("", "judge_unreadable"),
        (ConnectionError("down"), "not_asked"),
    ],
)
def test_a_judge_keeps_drops_or_decides_nothing(tmp_path, verdict, reason):
    judge = Script(verdict=verdict)
    judge.judging = lambda prompt: True
    script = Script("Rome")
    assert reasons(script, Judge(judge.lm), tmp_path) == [reason]
    assert judge.asked == {"judge": 1} and script.asked == {"decompose": 1, "solve": 1}


def test_the_judge_reads_the_rubric_whatever_its_model_was_trained_on_and_no_policy_sees_the_reference(tiny_model, tmp_path):
    from programs.lms.catalog import lm

    data, teacher = examples("q"), Script("Rome", ["Rome"], ["Rome"]).teacher()
    collected = collect(teacher, data, folder=tmp_path)
    judge = Judge(lm(tiny_model, max_tokens=8))
    program = judge.program(teacher)
    messages = program._adapters[STAGE].format(program.module.signature, [], judge.inputs(data[0], collected["q"][0]))
    text = "\n".join(message["content"] for message in messages)
    for point in ("Answerable in order", "Complete", "No answer given away", "References right", "Not redundant"):
        assert point in text
    for policy in (SelfConsistency(2), Agreement(2), judge):
        screen(collected, data, policy, score=score, asking=Asking(teacher, tmp_path))
    seen = teacher.solve.lm.script.prompts
    assert len(seen) == 2 + 2 + 2 and not any("GOLD" in prompt for prompt in [*seen, text])
    with pytest.raises(ValueError, match="leaves the rubric out"):
        Judge(adapter="line-terse")


def test_samples_with_the_same_decomposition_share_their_votes_and_a_labelling_call_is_one_of_them(tmp_path):
    script, data = Script("Rome", ["Rome"] * 9), examples("q")
    teacher = script.teacher()
    collected = collect(teacher, data, folder=tmp_path, samples=3, temperature=0.7, threads=1)
    policy = SelfConsistency(5, share=1.0, temperature=0.7)
    decisions = screen(collected, data, policy, score=score, asking=Asking(teacher, tmp_path, threads=1), keep="all")
    assert [d.reason for d in decisions] == [None, "duplicate", "duplicate"]
    assert script.asked["solve"] == 5
    spent = policy.asked.usage[STAGE]
    assert (spent.calls, spent.cache_hits) == (5, 3)


def test_nothing_is_asked_twice_and_more_votes_ask_for_the_rest(tmp_path):
    script = Script("Rome", ["Rome"] * 20)
    run(script, SelfConsistency(3), tmp_path, ["a", "b"])
    assert script.asked["solve"] == 2 * (1 + 2)
    for _ in range(2):
        run(script, SelfConsistency(3, share=1.0), tmp_path, ["a", "b"])
        assert script.asked["solve"] == 2 * (1 + 3)
    run(script, SelfConsistency(5, share=1.0), tmp_path, ["a", "b"])
    assert script.asked["solve"] == 2 * (1 + 5)


def test_a_failed_vote_is_asked_again_next_time(tmp_path):
    script = Script("Rome", ["Rome", ConnectionError("down"), ConnectionError("down"), "Rome", "Rome"])
    policy = SelfConsistency(3, share=1.0)
    assert reasons(script, policy, tmp_path) == ["not_asked"]
    assert reasons(script, policy, tmp_path) == [None]
    assert script.asked["solve"] == 1 + 3 + 2


def test_the_labelling_limits_stop_screening_and_it_goes_on_later(tmp_path):
    script, policy = Script("Rome", ["Rome"] * 9), SelfConsistency(3, share=1.0)
    found = reasons(script, policy, tmp_path, ["a", "b"], limits=Limits(calls=7))
    assert policy.asked.stopped == "limit of 7 calls reached"
    assert sum(script.asked.values()) == 7
    assert found == ["not_asked", "not_asked"]
    assert reasons(script, policy, tmp_path, ["a", "b"]) == [None, None]
    assert sum(script.asked.values()) == 2 * (2 + 3)


def test_many_failing_calls_stop_screening(tmp_path):
    policy, script = SelfConsistency(5), Script("Rome", [ConnectionError("down")] * 5)
    run(script, policy, tmp_path, list("abcdefgh"))
    assert "runs failed" in policy.asked.stopped
    assert script.asked["solve"] < 8 * 5


def test_the_cost_stands_under_the_stage_screen_over_all_runs(tmp_path):
    script, policy = Script("Rome", ["Rome"] * 9), SelfConsistency(2, share=1.0)
    with recording(Ledger(Prices(overrides={"openai/scripted": (1.0, 2.0)}))) as ledger:
        run(script, policy, tmp_path)
    spent = ledger.by_stage()[STAGE]
    assert spent.calls == 2 and spent.usd > 0
    run(script, policy, tmp_path)
    again = policy.asked.usage[STAGE]
    assert (again.calls, again.cache_hits, again.usd) == (2, 0, spent.usd)
    assert {line["stage"] for line in read_lines(tmp_path / "traces.jsonl")} == {"decompose", "solve", STAGE}


CHILD = """
    import sys, time
    sys.path[:0] = [{tests!r}, {here!r}]
    import test_lm_policies as t
    script = t.Script("Rome", ["Rome"] * 99)
    slow = script.lm.script.rule
    script.lm.script.rule = lambda prompt: (time.sleep(0.05), slow(prompt))[1]
    t.run(script, t.SelfConsistency(5, share=1.0), {folder!r}, [f"q{{i}}" for i in range(8)], threads=2)
"""


def test_a_killed_screening_pays_for_no_call_twice(tmp_path):
    code = textwrap.dedent(CHILD).format(tests=str(Path(__file__).parents[2]), here=str(Path(__file__).parent), folder=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", code])
    traces = tmp_path / "traces.jsonl"
    while not traces.exists() or traces.read_bytes().count(b'"screen"') < 7:
        assert child.poll() is None
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = traces.read_bytes().count(b"\n")
    script = Script("Rome", ["Rome"] * 99)
    decisions = run(script, SelfConsistency(5, share=1.0), tmp_path, [f"q{i}" for i in range(8)], threads=2)
    assert all(decision.kept for decision in decisions)
    lines = list(read_lines(traces))
    assert len(lines) == len({line["key"] for line in lines}) == 8 * (2 + 5)
    assert sum(script.asked.values()) <= len(lines) - before + 1


def prediction_says(task, example, a, b):
    return same_answer(task.score, example, a, b)


def test_answers_are_compared_by_the_tasks_own_rule(benchmark_data):
    gsm8k = load_task("gsm8k", path="shipped")
    problem = dspy.Example(id="1", question="?", context="", answer="7").with_inputs("question", "context")
    assert prediction_says(gsm8k, problem, "1,200", "$1200")
    assert prediction_says(gsm8k, problem, "The answer is 12, as 3 * 4 = 12.", "12")
    assert not prediction_says(gsm8k, problem, "3.5", "35") and not prediction_says(gsm8k, problem, "-3", "3")
    drop = load_task("drop", path=benchmark_data)
    passage = dspy.Example(id="1", question="?", context="", answer="x", answers=[["Kansas City"], ["KC"]]).with_inputs(
        "question", "context"
    )
    assert prediction_says(drop, passage, "Kansas City", "the kansas city")
    assert not prediction_says(drop, passage, "Kansas City", "KC")  # two accepted answers are not thereby the same
    bamboogle = load_task("bamboogle", path="shipped")
    asked = dspy.Example(id="1", question="?", context="", answer="USA", aliases=["America"]).with_inputs("question", "context")
    assert not prediction_says(bamboogle, asked, "USA", "America")


def test_a_scorer_that_wants_more_than_an_answer_is_not_shown_the_reference():
    def looks(example, prediction):
        return exact_match(prediction.answer, [example.secret])

    example = dspy.Example(id="1", question="?", answer="x", secret="Rome").with_inputs("question")
    assert same_answer(looks, example, "Oslo", "the Oslo")
    assert not same_answer(looks, example, "Oslo", "Rome")
    assert not same_answer(None, example, "...", "!")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelfConsistency(share=0), "share=0 must be above 0 and at most 1"),
        (lambda: SelfConsistency(share=1.2), "share=1.2 must be"),
        (lambda: SelfConsistency(votes=0), "votes=0 must be at least 1"),
        (lambda: Agreement(temperature=0.0), "temperature=0.0 must be above 0"),
        (lambda: screen({}, [], "judge", score=score), "pass asking=Asking"),
        (lambda: BootstrapDistill(policy="self-consistency"), "Unknown screening policy 'self-consistency'; expected one of"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Pipeline(dspy.Module):
    def __init__(self):
        super().__init__()
        self.solve = dspy.Predict("question -> answer")

    def forward(self, question, context=""):
        return self.solve(question=question)


def test_another_kind_of_teacher_or_a_limit_without_a_price_is_refused_before_the_teacher_is_paid(tmp_path):
    script = Script("Rome", ["Rome"])
    pipeline = Pipeline()
    pipeline.set_lm(script.lm)
    for policy in ("self_consistency", "judge"):
        distiller = BootstrapDistill(targets=["solve"], policy=policy, folder=tmp_path)
        with pytest.raises(ValueError, match="teacher must be a TwoStage, not Pipeline"):
            distiller.prepare(pipeline, trainset=examples("q"))
    unpriced = Judge(scripted_lm(script.rule, model="hosted_vllm/unpriced"))
    distiller = BootstrapDistill(policy=unpriced, folder=tmp_path, limits=Limits(usd=1.0))
    with (
        recording(Ledger(Prices(overrides={"openai/scripted": (1.0, 1.0)}))),
        pytest.raises(ValueError, match="needs a price for what policy='judge' asks: hosted_vllm/unpriced"),
    ):
        distiller.prepare(script.teacher(), trainset=examples("q"))
    assert not script.asked and not (tmp_path / "traces.jsonl").exists()


def test_a_policy_by_its_name_from_python(tmp_path):
    script = Script("Rome", ["Rome"] * 3 + ["Oslo"] * 2, ["Oslo"] * 5)
    seen = []
    for name, kept in (("self_consistency", 1), ("agreement", 0)):
        distiller = BootstrapDistill(policy=name, folder=tmp_path, threads=1, progress=lambda *a: seen.append(a))
        distilled = distiller.prepare(script.teacher(), trainset=examples("q"))
        assert len(distilled.rows["decompose"]) == kept
        assert seen[-1] == ("screen train", 1, 1, f"{kept} kept")
        assert distilled.policy.asked.usage[STAGE].calls == 3
    assert {"label train", "screen train"} <= {stage for stage, *_ in seen}


def test_the_student_of_another_policy_is_not_passed_off_as_this_ones(tiny_model, tmp_path):
    from optimizers import TrainingSpec
    from programs.lms.catalog import lm

    script, quick = Script("Rome", ["Rome"] * 5, ["Oslo"] * 5), TrainingSpec(max_steps=1, max_length=200)
    student = script.teacher()
    student.decompose.set_lm(lm(tiny_model))
    options = {"folder": tmp_path, "min_rows": 1, "training": quick, "threads": 1}
    data = examples("a", "b")
    first = BootstrapDistill(policy="self_consistency", **options).compile(student, trainset=data, teacher=script.teacher())
    assert len(first.distilled.rows["decompose"]) == 2
    other = Script("Rome", ["Rome"] * 5)
    half = BootstrapDistill(policy=_OnlyA(), **options)
    with pytest.raises(ValueError, match="other rows or settings"):
        half.compile(student, trainset=data, teacher=other.teacher())


class _OnlyA:
    name = "only_a"

    def judge(self, example, sample, score):
        return (None if example.id == "a" else "not_a"), None


def test_what_the_judge_said_stands_on_file(tmp_path):
    judge = Script(verdict="drop")
    judge.judging = lambda prompt: True
    run(Script("Rome"), Judge(judge.lm), tmp_path)
    said = [line["prediction"] for line in map(json.loads, (tmp_path / "samples.jsonl").open()) if "verdict" in line["prediction"]]
    assert said == [{"reason": "so.", "verdict": "drop"}]
