"""One limit bounds all calls of a job, whatever makes them; a call whose price is unknown is never free."""

import json
import sys
from pathlib import Path

import pytest
from loopback import chat, serving
from scripted import two_stage_rule
from typer.testing import CliRunner

from optimizers.cli import app
from optimizers.jobs.jsonlines import read_lines
from optimizers.labelling.journal import JOURNALS, Budget, Journal, LimitReached, Limits
from optimizers.settings.load import load_config
from optimizers.studies.trial import TrialRun
from programs.lms.ledger import Ledger, Prices, recording

RECORDED = Path(__file__).parent / "recorded"
sys.path.insert(0, str(RECORDED))
from record import JOBS  # noqa: E402 - beside the archive that it made

ONE_AT_A_TIME = ["--labelling.threads", "1", "--evaluation.threads", "1", "--compile.threads", "1"]
PRICE = ["--cost.prices.openai/scripted", "100000,100000", "--cost.local_usd_per_hour", "0"]
"""A dollar for each call, as the server counts 10 tokens."""


@pytest.fixture
def server():
    def rule(body):
        prompt = body["messages"][-1]["content"]
        return chat("Verdict: yes" if "erdict" in prompt else two_stage_rule(prompt))

    with serving(rule) as found:
        yield found


def go(server, kind, *further, out="new"):
    words = [*JOBS[kind], *ONE_AT_A_TIME, "--teacher.api_base", server[0], *further, "--out", out]
    return CliRunner().invoke(app, words)


def said(result):
    return f"{result.output} {result.exception}"


def calls(folder):
    return [line for path in Path(folder).rglob("*.jsonl") if path.name in JOURNALS for line in read_lines(path)]


@pytest.mark.parametrize("policy", ["judge", "self_consistency", "agreement"])
def test_what_screening_asks_is_within_the_limit(here, server, policy):
    result = go(server, "run", "--screening.policy", policy, "--max_calls", "30")
    assert "limit of 30 calls reached, for the whole job" in said(result)
    assert len(server[1]) == len(calls("new")) == 30


def test_labels_tries_and_evaluation_of_improve_are_within_the_limit(here, server):
    on_file = len(calls("improve"))
    go(server, "improve", "--improve.rounds", "2", "--improve.patience", "2", "--improve.min_rows", "1", "--max_calls", str(on_file + 3),
       out="improve")  # fmt: skip
    assert len(calls("improve")) <= on_file + 3


def test_a_new_improve_stops_in_its_labels(here, server):
    result = go(server, "improve", "--max_calls", "10")
    assert "limit of 10 calls reached, for the whole job" in said(result)
    assert len(server[1]) == len(calls("new")) == 10


def test_a_compilation_is_within_the_limit(here, server):
    result = go(server, "compile", "--compile.dev", "0", "--max_calls", "14")
    assert result.exit_code == 0, said(result)
    assert 8 <= len(calls("new")) == len(server[1]) <= 14, "without a limit it makes 16"


def test_labels_and_trials_of_a_study_are_within_the_limit(here, server):
    on_file = len(calls("study"))
    result = go(server, "study", "--study.trials", "3", "--max_calls", str(on_file), out="study")
    assert f"limit of {on_file} calls reached" in said(result)
    assert len(calls("study")) == on_file and not server[1]


@pytest.mark.parametrize(("limit", "most"), [("max_calls", 3), ("max_tokens", 60), ("max_usd", 3.0)])
def test_a_trial_sees_what_other_workers_pay_meanwhile(tmp_path, limit, most):
    line = {"key": "00", "model": "openai/m", "input_tokens": 10, "output_tokens": 10, "seconds": 1.0, "usd": 1.0, "text": "x"}
    config = load_config(None, {"out": str(tmp_path), limit: most})
    mine, other = (tmp_path / "trials" / name / "calls.jsonl" for name in "ab")
    other.parent.mkdir(parents=True)
    with Journal(mine) as journal:
        budget = TrialRun(config, mine.parent, tmp_path / "labels").budget(journal)
        for _ in range(3):
            budget.take()
            budget.give_back()
            with other.open("a") as file:
                file.write(json.dumps(line) + "\n")
        with pytest.raises(LimitReached, match="reached, for the whole job"):
            budget.take()
        assert TrialRun(load_config(None, {"out": str(tmp_path)}), mine.parent, tmp_path / "labels").budget(journal) is None


def test_dollars_bound_labels_and_questions_together(here, server):
    result = go(server, "run", *PRICE, "--max_usd", "20")
    assert "limit of 20 dollars reached, for the whole job" in said(result)
    assert len(server[1]) == 20


@pytest.mark.parametrize("limit", ["--max_usd", "--labelling.max_usd"])
def test_dollars_without_a_price_are_refused_before_any_call(here, server, limit):
    result = go(server, "run", limit, "20")
    assert "needs a price for teacher openai/scripted: set cost.prices" in " ".join(said(result).split())
    assert not server[1] and not Path("new").exists()


def test_calls_on_file_count_by_a_price_that_was_set_later(here, server):
    assert all(line["usd"] is None for line in calls("run") if line["model"] == "openai/scripted")
    result = go(server, "run", *PRICE, "--max_usd", "20", "--data.test", "6", out="run")
    assert "limit of 20 dollars reached" in said(result) and not server[1]
    result = go(server, "run", *PRICE, "--max_usd", "2000", "--data.test", "6", out="run")
    assert result.exit_code == 0 and server[1], said(result)


def test_a_limit_in_dollars_stops_where_a_call_has_no_price(tmp_path):
    line = {"key": "00", "model": "openai/unlisted", "input_tokens": 10, "output_tokens": 10, "seconds": 1.0, "usd": None, "text": "x"}
    (tmp_path / "calls.jsonl").write_text(json.dumps(line) + "\n")
    with Journal(tmp_path / "calls.jsonl") as journal, pytest.raises(LimitReached, match=r"calls on file have no price: set cost.prices"):
        Budget(Limits(usd=5.0), journal).take()
    with recording(Ledger(Prices(overrides={"openai/unlisted": (1e5, 1e5)}))), Journal(tmp_path / "calls.jsonl") as journal:
        Budget(Limits(usd=5.0), journal).take()
        assert journal.paid.usd == 2.0
        with pytest.raises(LimitReached, match="limit of 2 dollars reached"):
            Budget(Limits(usd=2.0), journal).take()
