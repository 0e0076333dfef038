"""What a scorer asks of an LM is no condition's cost, and is on file all the same."""

import dspy
import pytest
from scripted import scripted_lm

from optimizers.evaluation.evaluate import evaluate
from optimizers.jobs.scorer_costs import read_scorer_costs
from optimizers.jobs.work import do_stages
from optimizers.reports.cost_tables import scorer_text
from optimizers.screening.metric import MetricScorer
from programs import SingleStage
from programs.lms.ledger import Ledger, Prices
from programs.tasks.base import Task


class Judged(Task):
    """An LM says whether an answer is right, as a metric of DSPy's that gives a bare bool."""

    name = "judged"
    summary = "for tests"

    def __init__(self, judge):
        self.judge = judge

    def load(self, split, limit=None):
        return [dspy.Example(id=str(n), question=f"q{n}?", context="", answer="18").with_inputs("question", "context") for n in range(3)]

    def score(self, example, prediction):
        with dspy.context(lm=self.judge, adapter=dspy.ChatAdapter()):
            return dspy.Predict("question, answer -> right: bool")(question=example.question, answer=prediction.answer).right


class NoWatch:
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def stage_ended(self, stage):
        pass


@pytest.fixture
def judged():
    return Judged(scripted_lm(lambda prompt: "[[ ## right ## ]]\nTrue\n\n[[ ## completed ## ]]", "openai/judge"))


def job(folder, task, work):
    do_stages(folder, Ledger(Prices(overrides={"openai/judge": (1.0, 2.0)})), {"evaluate": work}, NoWatch())
    return read_scorer_costs(folder)


def test_what_a_judge_costs_is_on_file_and_in_no_line(tmp_path, judged):
    program = SingleStage()
    program.set_lm(scripted_lm(lambda prompt: "Answer: 18", "openai/solver"))

    def ask():
        lines = evaluate(program, judged, judged.load("test"), out=tmp_path / "a.jsonl", threads=2)
        assert [line["score"] for line in lines] == [1, 1, 1]
        assert all([used["calls"] for used in line["usage"].values()] == [1] and "scorer" not in line["usage"] for line in lines)

    first = job(tmp_path, judged, ask)
    assert set(first) == {"openai/judge"} and first["openai/judge"]["calls"] == 3
    paid = first["openai/judge"]
    assert paid["usd"] == pytest.approx((paid["input_tokens"] + 2 * paid["output_tokens"]) / 1e6) and paid["output_tokens"] > 0
    # The answers are on file; each is judged anew, and that is paid again where nothing caches it.
    again = job(tmp_path, judged, ask)
    assert again["openai/judge"]["calls"] == 6 and len(judged.judge.script.prompts) == 6


def test_a_stage_that_fails_loses_no_cost(tmp_path, judged):
    def fails():
        MetricScorer(judged.score)(judged.load("train")[0], dspy.Prediction(answer="18"))
        raise RuntimeError("down")

    with pytest.raises(RuntimeError, match="down"):
        job(tmp_path, judged, fails)
    assert read_scorer_costs(tmp_path)["openai/judge"]["calls"] == 1


def test_a_scorer_that_asks_nobody_leaves_no_file(tmp_path, judged):
    judged.score = lambda example, prediction: True
    assert job(tmp_path, judged, lambda: evaluate(SingleStage(), judged, [], out=tmp_path / "a.jsonl")) == {}
    assert not (tmp_path / "scorer_costs.json").exists()


def test_the_report_says_what_the_scorer_asked():
    usage = {"calls": 1200, "cache_hits": 3, "failed": 2, "input_tokens": 5000, "output_tokens": 10, "usd": 0.5}
    [text] = scorer_text({"openai/judge": usage})
    assert "openai/judge 1,200 times, of which a cache answered 3 and 2 failed (5,000 tokens read, 10 written, $0.5000)" in text.text
    assert scorer_text({}) == []
