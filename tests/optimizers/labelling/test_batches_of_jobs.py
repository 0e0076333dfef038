"""Jobs whose teacher answers in batches: the same rows as at once, for half the price, and nothing is paid for twice."""

from __future__ import annotations

import json
import signal
import time

import dspy
import pytest
from command_line import command
from loopback import chat, serving
from loopback_batches import serving_batches
from scripted import two_stage_rule
from typer.testing import CliRunner

from optimizers.cli import app
from optimizers.evaluation.evaluate import evaluate
from optimizers.jobs.jsonlines import read_lines
from optimizers.labelling.collect import collect
from optimizers.labelling.journal import Journal
from optimizers.labelling.journaled_lm import journaled
from programs import TwoStage
from programs.lms import lm
from programs.lms.batches import desk
from programs.lms.ledger import Ledger, Prices, recording
from programs.tasks.base import Score

QUESTIONS = [
    dspy.Example(id=str(n), question=f"Where is {n}?", context="", answer="Rome").with_inputs("question", "context") for n in range(30)
]


def rule(body):
    return chat(two_stage_rule(body["messages"][-1]["content"]))


@pytest.fixture
def quick(home, monkeypatch):
    monkeypatch.setattr(desk, "GATHER_SECONDS", 0.5)
    monkeypatch.setattr(desk, "FIRST_POLL", 0.05)


def model(address, **options):
    return lm("openai/m", api_base=address, api_key="k", num_retries=0, **options)


def predictions(folder):
    return {line["example"]: line["prediction"] for line in read_lines(folder / "samples.jsonl")}


class Anything:
    name = "anything"

    def score(self, example, prediction):
        return Score(float(prediction.answer == example.answer))


def test_the_samples_are_those_of_calls_at_once_and_cost_half(quick, tmp_path):
    prices = Prices(overrides={"openai/m": (10.0, 20.0)})
    with serving(rule) as (address, bodies), recording(Ledger(prices)) as once:
        direct = collect(TwoStage(), QUESTIONS, folder=tmp_path / "direct", lm=model(address))
    with serving_batches(rule) as server, recording(Ledger(prices)) as batched:
        found = collect(TwoStage(), QUESTIONS, folder=tmp_path / "batches", lm=model(server.address, batch=True), threads=2)
        assert len(server.batches) == 2, "one of all decompositions, one of all solutions"
        assert len(server.bodies) == len(bodies) == 60
        assert collect(TwoStage(), QUESTIONS, folder=tmp_path / "direct", lm=model(server.address, batch=True)).done == 30
        assert len(server.bodies) == 60, "labels that were paid for at once are not asked for again"
    assert predictions(tmp_path / "batches") == predictions(tmp_path / "direct")
    assert found.done == direct.done == 30
    paid = [sum(usage.usd for usage in ledger.by_stage().values()) for ledger in (once, batched)]
    assert paid[1] == pytest.approx(paid[0] / 2)


def test_an_evaluation_is_a_batch_a_stage(quick, tmp_path):
    with serving_batches(rule) as server, Journal(tmp_path / "calls.jsonl") as journal:
        program = TwoStage()
        program.set_lm(journaled(model(server.address, batch=True), journal))
        lines = evaluate(program, Anything(), QUESTIONS, out=tmp_path / "answers.jsonl", threads=30)
        assert len(server.batches) == 2
    assert [line["score"] for line in lines] == [1.0] * 30
    assert all(call["batch"] for call in read_lines(tmp_path / "calls.jsonl"))


def words(tmp_path, address):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": f"Which is city number {i}?", "answer": f"Rome {i}"}) + "\n" for i in range(20)))
    data = ["--task", "jsonl", "--task.path", str(path), "--data.train", "8", "--data.test", "4", "--task.fractions", "0.5,0,0.5"]
    return [*data, "--teacher", "openai/m", "--teacher.api_base", address, "--teacher.batch", "true", "--out", str(tmp_path / "run")]


@pytest.mark.parametrize(
    "ending", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_what_stands_in_a_batch_is_taken_up_by_the_same_command(home, tmp_path, ending):
    with serving_batches(rule) as server:
        server.polls = 10**9
        process = command("label", *words(tmp_path, server.address), OPENAI_API_KEY="k")
        while not server.batches and process.poll() is None:
            time.sleep(0.2)
        time.sleep(1.0)
        process.send_signal(ending)
        output = process.communicate(timeout=20)[0]
        if ending == signal.SIGINT:
            assert process.returncode == 130, output
            assert "8 answers are to come in batches" in output and "the same command" in output
        server.polls = 0
        again = command("label", *words(tmp_path, server.address), OPENAI_API_KEY="k")
        output = again.communicate(timeout=90)[0]
        assert again.returncode == 0, output
        assert len(server.batches) == 2
        assert len(server.bodies) == 16
    calls = list(read_lines(tmp_path / "run/traces.jsonl"))
    assert len(calls) == 16 and not any("error" in call for call in calls), "nothing failed, it was left alone"


def test_a_plan_tells_of_batches_and_halves_the_dollars(home, tmp_path):
    def planned(*further):
        result = CliRunner().invoke(app, ["run", *words(tmp_path, "http://127.0.0.1:1/v1"), "--dry-run", *further])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    price = ["--cost.prices.openai/m", "1000,1000", "--screening.min_rows", "1"]
    batched, once = planned(*price), planned(*price, "--teacher.batch", "false")
    assert "openai/m: asked in batches" in batched and "asked in batches" not in once
    assert batched != once


@pytest.mark.parametrize("flag", ["--teacher.batch", "--student.batch"])
def test_a_model_of_this_process_has_no_batches(flag):
    named = ["--teacher", "embedded/teacher", "--student", "HuggingFaceTB/SmolLM2-135M-Instruct"]
    result = CliRunner().invoke(app, ["run", *named, flag, "true", "--dry-run"])
    assert result.exit_code != 0
    assert "batch=true is of API models" in str(result.exception)
