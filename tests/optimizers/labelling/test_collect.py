"""The labelling layer under faults. The LMs here are scripted: what is tested is the bookkeeping, not the texts."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.utils import DummyLM
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizers.labelling.collect import TRACES, collect
from optimizers.labelling.journal import Budget, Journal, LimitReached, Limits
from optimizers.labelling.journaled_lm import journaled
from optimizers.labelling.samples import SAMPLES, Collected
from programs.adapter import LineAdapter
from programs.lms.ledger import Ledger, Prices, Usage, metered, recording
from programs.modules import TwoStage

MODEL = "local/scripted@1"


class ScriptedEngine:
    """Decomposes into two questions and answers by rule; `faults` maps a word of the prompt to what happens instead."""

    def __init__(self, faults: dict[str, Any] | None = None, seconds: float = 0.0) -> None:
        self.faults, self.seconds = faults or {}, seconds
        self.requests: list[lm15.Request] = []
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptedEngine:
        return self

    def complete(self, request: lm15.Request) -> lm15.Response:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        time.sleep(self.seconds)
        prompt = request.messages[-1].text
        fault = next((fault for word, fault in self.faults.items() if word in prompt), None)
        if isinstance(fault, BaseException):
            raise fault
        text = f"Who {number}?\nWhere is #1?" if "Max subquestions" in prompt else "Ann\nRome\nAnswer: Rome"
        return _response(request.model, text if fault is None else fault)


class AsyncScriptedEngine:
    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        await asyncio.sleep(0.01)
        return self.engine.complete(request)


def _response(model: str, text: str, finish: str = "stop") -> lm15.Response:
    message = lm15.Message.assistant([lm15.TextPart(text)])
    return lm15.Response(id=None, model=model, message=message, finish_reason=finish, usage=lm15.Usage(input_tokens=7, output_tokens=3))


def scripted(engine: Any, **options: Any) -> dspy.LM:
    return dspy.LM(MODEL, engine=engine, **{"temperature": 0.0, "cache": False, "num_retries": 0, **options})


def teacher(engine: Any, **options: Any) -> TwoStage:
    program = TwoStage(adapters={"decompose": LineAdapter(), "solve": LineAdapter()})
    program.set_lm(scripted(engine, **options))
    return program


def examples(count: int) -> list[dspy.Example]:
    return [dspy.Example(id=f"e{i}", context="c", question=f"q{i}x?").with_inputs("context", "question") for i in range(count)]


def totals(collected: Collected) -> dict[str, tuple[int, ...]]:
    return {s: (u.calls, u.cache_hits, u.failed, u.input_tokens, u.output_tokens) for s, u in sorted(collected.usage.items())}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_collects_each_predictors_part_and_leaves_the_program_alone(tmp_path: Path) -> None:
    program = teacher(engine := ScriptedEngine())
    before = program.decompose.lm
    seen: list[tuple[int, int, int, float | None]] = []
    collected = collect(program, examples(12), folder=tmp_path, progress=lambda *report: seen.append(report))
    sample = collected.get_sample("e3")
    assert [call.predictor for call in sample.calls] == ["decompose", "solve"]
    assert sample.calls[1].inputs["subquestions"] == sample.prediction["subquestions"]
    assert sample.prediction["answer"] == "Rome"
    assert sample.error is None
    assert list(collected) == [f"e{i}" for i in range(12)]
    assert [s.example_id for s in collected.samples] == list(collected)
    assert totals(collected) == {"decompose": (12, 0, 0, 84, 36), "solve": (12, 0, 0, 84, 36)}
    assert program.decompose.lm is before
    assert before.history == []
    assert len(engine.requests) == 24
    assert collected.stopped is None
    assert seen[-1][:3] == (12, 12, 0)
    line = lines(tmp_path / TRACES)[0]
    assert {"key", "example", "sample", "stage", "model", "prompt", "text", "finish", "input_tokens", "seconds", "usd", "time"} <= set(line)
    assert line["stage"] in ("decompose", "solve")
    assert line["model"] == MODEL


@pytest.mark.parametrize("lost", [SAMPLES, None])
def test_the_same_call_again_asks_nothing_and_has_the_same_totals(tmp_path: Path, lost: str | None) -> None:
    engine = ScriptedEngine()
    first = collect(teacher(engine, temperature=0.8), examples(10), folder=tmp_path, samples=2)
    predictions = [s.prediction for s in first.samples]
    if lost:
        (tmp_path / lost).unlink()
    again = collect(teacher(engine, temperature=0.8), examples(10), folder=tmp_path, samples=2)
    assert len(engine.requests) == 40
    assert totals(again) == totals(first)
    # Sums of many floats, added in another order.
    assert {s: u.seconds for s, u in again.usage.items()} == pytest.approx({s: u.seconds for s, u in first.usage.items()})
    assert [s.prediction for s in again.samples] == predictions


def test_another_program_or_another_question_is_not_taken_from_the_file(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    collect(teacher(engine), examples(4), folder=tmp_path)
    program = teacher(engine)
    program.decompose.signature = program.decompose.signature.with_instructions("Other words.")
    collect(program, examples(4), folder=tmp_path)
    assert len(engine.requests) == 16
    changed = examples(4)
    changed[0] = dspy.Example(id="e0", context="c", question="new?").with_inputs("context", "question")
    collected = collect(program, changed, folder=tmp_path)
    assert len(engine.requests) == 18
    assert collected.get_sample("e0").calls[0].inputs["question"] == "new?"


@pytest.mark.parametrize("name", [TRACES, SAMPLES])
def test_a_truncated_last_line_is_cut_off_and_redone(tmp_path: Path, name: str) -> None:
    engine = ScriptedEngine()
    first = collect(teacher(engine), examples(5), folder=tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-20])
    if name == TRACES:
        (tmp_path / SAMPLES).unlink()
    again = collect(teacher(engine), examples(5), folder=tmp_path)
    assert len(engine.requests) == (11 if name == TRACES else 10)
    assert totals(again) == totals(first)
    assert len(lines(tmp_path / name)) == len(whole.splitlines())


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(min_value=0, max_value=2000))
def test_a_journal_cut_anywhere_opens_with_its_whole_lines(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "t.jsonl"
    records = [{"key": f"{i:064x}", "seconds": 1.0, "text": "é" * i, "input_tokens": 1, "output_tokens": 1, "usd": 0.5} for i in range(8)]
    with Journal(path) as journal:
        for record in records:
            assert journal.begin(record["key"]) is None
            journal.end(record)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    whole = data[:cut].count(b"\n")
    with Journal(path) as journal:
        assert len(journal) == whole
        assert journal.paid.calls == whole
        assert journal.paid.usd == whole * 0.5
        assert [journal.begin(record["key"]) for record in records[:whole]] == records[:whole]
    assert path.read_bytes() == b"".join(data.splitlines(keepends=True)[:whole])


def test_garbage_in_the_middle_is_named_by_line(tmp_path: Path) -> None:
    collect(teacher(ScriptedEngine()), examples(3), folder=tmp_path)
    for name in (TRACES, SAMPLES):
        rows = (tmp_path / name).read_bytes().splitlines(keepends=True)
        for garbage in (b"\x00\x00oops\n", b"[1]\n", b"{}\n"):
            (tmp_path / name).write_bytes(b"".join([rows[0], garbage, *rows[1:]]))
            with pytest.raises(ValueError, match=rf"{name}, line 2"):
                collect(teacher(ScriptedEngine()), examples(3), folder=tmp_path)
        (tmp_path / name).write_bytes(b"".join(rows))


def test_a_second_job_in_the_folder_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / TRACES), pytest.raises(RuntimeError, match="another job"):
        collect(teacher(ScriptedEngine()), examples(1), folder=tmp_path)


FAULTS = {
    "q1x": (lm15.ServerError("down"), "error:LMServerError"),
    "q2x": (lm15.TimeoutError("slow"), "timeout"),
    "q3x": (ZeroDivisionError("bug"), "error:LMUnexpectedError"),
    "q4x": ("   ", "unparseable"),
}


@pytest.mark.parametrize(("word", "fault", "reason"), [(word, fault, reason) for word, (fault, reason) in FAULTS.items()])
def test_a_bad_row_costs_that_row_alone(tmp_path: Path, word: str, fault: Any, reason: str) -> None:
    engine = ScriptedEngine({word: fault})
    collected = collect(teacher(engine), examples(8), folder=tmp_path)
    bad = [s for s in collected.samples if s.failure]
    assert [(s.failure, s.calls and s.calls[0].inputs["question"]) for s in bad] == [(reason, [])]
    assert collected.done == 8
    assert collected.failed == {reason: 1}
    assert collected.stopped is None
    engine.faults = {}
    before = len(engine.requests)
    again = collect(teacher(engine), examples(8), folder=tmp_path)
    # A reply is never paid for twice, however bad; a call that failed is made again.
    assert (again.failed.total(), len(engine.requests) - before) == ((1, 0) if reason == "unparseable" else (0, 2))
    assert sum("error" in line for line in lines(tmp_path / TRACES)) == int(reason != "unparseable")


def test_a_decomposition_that_cannot_be_read_is_a_failure_though_the_program_goes_on(tmp_path: Path) -> None:
    engine = ScriptedEngine({"Max subquestions": "no idea"})
    collected = collect(teacher(engine), examples(20), folder=tmp_path, threads=1)
    assert collected.stopped == "5 of 5 runs failed (5 unparseable, the first at example 'e0': the reply 'no idea' cannot be read)"
    assert all(s.error is None and s.prediction["answer"] == "Rome" for s in collected.samples)


def test_stops_at_the_share_of_failures_with_what_it_has(tmp_path: Path) -> None:
    engine = ScriptedEngine({f"q{i}x": lm15.ServerError("down") for i in range(0, 100, 3)})
    collected = collect(teacher(engine), examples(100), folder=tmp_path, threads=4, limits=Limits(failure_share=0.3, min_failures=4))
    assert "runs failed" in (collected.stopped or "")
    assert 8 <= collected.done < 30
    assert len(list(collected.samples)) == collected.done
    kept_going = collect(teacher(engine), examples(100), folder=tmp_path, limits=Limits(failure_share=1.0))
    assert kept_going.done == 100
    assert kept_going.stopped is None
    assert kept_going.failed == {"error:LMServerError": 34}


@pytest.mark.parametrize(("limits", "most"), [(Limits(calls=15), 15), (Limits(tokens=100), 17), (Limits(usd=0.1), 17)])
def test_limits_stop_and_a_higher_limit_continues(tmp_path: Path, limits: Limits, most: int) -> None:
    engine = ScriptedEngine(seconds=0.002)
    # 36,000 dollars an hour: a call of 2 ms costs at least 2 cents, so that all three limits bind after 5 to 15 calls.
    with recording(Ledger(Prices(local_usd_per_hour=36000.0))):
        stopped = collect(teacher(engine), examples(40), folder=tmp_path, threads=8, limits=limits)
        assert "limit of" in (stopped.stopped or "")
        assert len(engine.requests) <= most
        collect(teacher(engine), examples(40), folder=tmp_path, threads=8, limits=limits)
        assert len(engine.requests) <= most
        assert limits.calls is None or len(engine.requests) == 15
        done = collect(teacher(engine), examples(40), folder=tmp_path)
    assert done.stopped is None
    assert len(engine.requests) == 80
    assert totals(done)["solve"][0] == 40


def test_a_limit_in_dollars_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a price for local/scripted@1"):
        collect(teacher(ScriptedEngine()), examples(1), folder=tmp_path, limits=Limits(usd=1.0))


@pytest.mark.parametrize("wrong", [{"calls": -1}, {"usd": -0.1}, {"failure_share": 1.5}])
def test_impossible_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)


def test_samples_need_a_temperature_and_differ(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would be the same text 3 times"):
        collect(teacher(ScriptedEngine()), examples(1), folder=tmp_path / "a", samples=3)
    engine = ScriptedEngine()
    collected = collect(teacher(engine, seed=5), examples(4), folder=tmp_path / "b", samples=3, temperature={"decompose": 0.9})
    texts = [tuple(s.prediction["subquestions"]) for s in collected["e2"]]
    assert len(set(texts)) == 3
    assert [s.sample for s in collected["e2"]] == [0, 1, 2]
    asked = [r.config for r in engine.requests if "Max subquestions" in r.messages[-1].text]
    assert {(c.temperature, c.seed) for c in asked} == {(0.9, 5), (0.9, 6), (0.9, 7)}
    assert {r.config.temperature for r in engine.requests if "Max subquestions" not in r.messages[-1].text} == {0.0}
    with pytest.raises(ValueError, match="Unknown predictor 'judge'"):
        collect(teacher(engine), examples(1), folder=tmp_path / "c", temperature={"judge": 1.0})


def test_samples_go_past_dspys_cache(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    try:
        program = teacher(engine, cache=True, temperature=0.5)
        collected = collect(program, examples(2), folder=tmp_path / "a", samples=2)
        assert len(engine.requests) == 8
        assert totals(collected)["decompose"] == (4, 0, 0, 28, 12)
        # Another folder: DSPy's cache answers, and nothing is counted as paid.
        other = collect(program, examples(2), folder=tmp_path / "b", samples=2)
        assert len(engine.requests) == 8
        assert totals(other)["decompose"] == (4, 4, 0, 0, 0)
    finally:
        dspy.configure_cache(enable_disk_cache=True, enable_memory_cache=True)


def test_an_lm_that_is_no_client_of_dspys_own_is_journaled_too(tmp_path: Path) -> None:
    program = TwoStage()
    # Its answers would be at an end if one were asked for twice.
    program.set_lm(DummyLM([{"subquestions": "Who is it?"}, {"answer": "Rome"}] * 2))
    for _ in range(2):
        collected = collect(program, examples(2), folder=tmp_path, threads=1)
        assert [sample.error for sample in collected.samples] == [None, None] and totals(collected)["solve"][0] == 2


def test_duplicate_ids_missing_inputs_and_missing_lms_are_named(tmp_path: Path) -> None:
    twice = examples(2) + examples(1)
    with pytest.raises(ValueError, match="Two examples have the id 'e0'"):
        collect(teacher(ScriptedEngine()), twice, folder=tmp_path)
    without = [dspy.Example(question=question).with_inputs("question") for question in ("Who?", "Where?", "Who?")]
    with pytest.raises(ValueError, match=r"Examples 0 and 2 are the same, .*'Who\?'.*; leave one of them out"):
        collect(teacher(ScriptedEngine()), without, folder=tmp_path)
    with pytest.raises(ValueError, match="Example 0 has no inputs"):
        collect(teacher(ScriptedEngine()), [dspy.Example(question="q")], folder=tmp_path)
    with dspy.context(lm=None), pytest.raises(ValueError, match="Predictor 'decompose' of the teacher has no LM"):
        collect(TwoStage(adapters={"decompose": "line", "solve": "line"}), examples(1), folder=tmp_path)
    with pytest.raises(ValueError, match="extra_body"):
        journaled(dspy.LM("openai/x", extra_body={"a": object()}), Journal(tmp_path / "j.jsonl"))


def test_examples_without_ids_keep_theirs_over_runs(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    nameless = [dspy.Example(context="", question=f"n{i}?").with_inputs("context", "question") for i in range(3)]
    first = collect(teacher(engine), nameless, folder=tmp_path)
    again = collect(teacher(engine), nameless[::-1], folder=tmp_path)
    assert sorted(first) == sorted(again)
    assert len(engine.requests) == 6


def test_identical_calls_in_flight_run_once_and_count_once(tmp_path: Path) -> None:
    engine = ScriptedEngine(seconds=0.1)
    same = [dspy.Example(id=f"d{i}", context="c", question="same?").with_inputs("context", "question") for i in range(8)]
    collected = collect(teacher(engine), same, folder=tmp_path, threads=8)
    assert len(engine.requests) == 2
    assert totals(collected) == {"decompose": (8, 7, 0, 7, 3), "solve": (8, 7, 0, 7, 3)}
    (tmp_path / SAMPLES).unlink()
    assert totals(collect(teacher(engine), same, folder=tmp_path, threads=3)) == totals(collected)


def test_a_failure_in_flight_reaches_all_who_wait_and_is_no_answer_later(tmp_path: Path) -> None:
    engine = ScriptedEngine({"hard": lm15.ServerError("down")}, seconds=0.1)
    with Journal(tmp_path / "j.jsonl") as journal:
        lm = journaled(scripted(engine), journal)
        with ThreadPoolExecutor(4) as pool:
            outcomes = [pool.submit(lm, "hard") for _ in range(4)]
            assert {type(one.exception()).__name__ for one in outcomes} == {"LMServerError"}
        assert len(engine.requests) == 1
        assert len(journal) == 0
        engine.faults = {}
        assert lm("hard")
        assert len(engine.requests) == 2


def test_an_answer_that_cannot_be_noted_holds_nobody_up(tmp_path: Path) -> None:
    class Unknown(Prices):
        def usd(self, *call: Any, **further: Any) -> float | None:
            raise ArithmeticError("no such price")

    with recording(Ledger(Unknown())), Journal(tmp_path / "j.jsonl") as journal, ThreadPoolExecutor(4) as pool:
        lm = journaled(scripted(ScriptedEngine(seconds=0.1)), journal)
        outcomes = [pool.submit(contextvars.copy_context().run, lm, "one") for _ in range(4)]
        assert all("no such price" in str(one.exception(timeout=20)) for one in outcomes)


def test_the_meter_counts_a_journaled_call_once_under_threads(tmp_path: Path) -> None:
    engine = ScriptedEngine(seconds=0.02)

    def ask(number: int) -> Usage:
        with metered("outer") as outer, metered("inner") as inner:
            lm(f"question {number}")
        assert outer.total == inner.total
        return inner.total

    with Journal(tmp_path / "j.jsonl") as journal:
        lm = journaled(scripted(engine), journal)
        runs = []
        for _ in range(2):
            with recording(Ledger(Prices(local_usd_per_hour=3600.0))) as ledger, ThreadPoolExecutor(8) as pool:
                context = [contextvars.copy_context() for _ in range(40)]
                used = list(pool.map(lambda pair: pair[0].run(ask, pair[1]), zip(context, range(40), strict=True)))
            assert set(ledger.by_stage()) == {"inner"}
            total = ledger.by_stage()["inner"]
            assert (total.calls, total.cache_hits, total.input_tokens, total.output_tokens) == (40, 0, 280, 120)
            assert sum(u.seconds for u in used) == pytest.approx(total.seconds)
            assert total.usd == pytest.approx(total.seconds, rel=1e-3)
            runs.append(total)
    assert len(engine.requests) == 40
    # The second run is answered from the journal in no time, and still reports what the calls took.
    assert runs[0].seconds >= 0.8
    assert runs[1].seconds == pytest.approx(runs[0].seconds)
    assert runs[1].usd == pytest.approx(runs[0].usd)


def test_calls_of_one_stage_at_a_time_do_not_mix_up_their_tokens() -> None:
    engine = ScriptedEngine(seconds=0.02)
    lm = scripted(engine)
    with metered("s") as meter, ThreadPoolExecutor(8) as pool:
        contexts = [contextvars.copy_context() for _ in range(24)]
        list(pool.map(lambda pair: pair[0].run(lm, f"q {pair[1]}"), zip(contexts, range(24), strict=True)))
    assert (meter.total.calls, meter.total.cache_hits, meter.total.input_tokens) == (24, 0, 168)


def test_a_journaled_lm_keeps_options_finish_reason_candidates_and_rollouts(tmp_path: Path) -> None:
    class Cut(ScriptedEngine):
        def complete(self, request: lm15.Request) -> lm15.Response:
            super().complete(request)
            return _response(request.model, f"cut {len(self.requests)}", "length")

    engine = Cut()
    with Journal(tmp_path / "j.jsonl") as journal:
        lm = journaled(scripted(engine, temperature=0.3, max_tokens=50, top_p=0.9, seed=3), journal)
        assert (lm.model, lm.kwargs["temperature"], lm.kwargs["max_tokens"]) == (MODEL, 0.3, 50)
        request = lm15.Request(model=MODEL, messages=(lm15.Message.user("hi"),), config=lm15.Config(temperature=0.3))
        assert [lm(request=request).finish_reason for _ in range(2)] == ["length", "length"]
        assert len(engine.requests) == 1
        assert lm("a", n=3) == lm("a", n=3) == ["cut 2", "cut 3", "cut 4"]
        assert lm.copy(rollout_id=1)("a") != lm.copy(rollout_id=2)("a")
        assert lm.copy(rollout_id=1)("a") == ["cut 5"]
        assert lm("a", max_tokens=9) == ["cut 7"]
        assert engine.requests[-1].config.max_tokens == 9
        assert dict(engine.requests[1].config.__class__.__dict__)
        assert engine.requests[1].config.top_p == 0.9


def test_tool_calls_and_thinking_survive_the_journal(tmp_path: Path) -> None:
    class Rich:
        def complete(self, request: lm15.Request) -> lm15.Response:
            parts = [lm15.ThinkingPart("hm"), lm15.TextPart("yes")]
            message = lm15.Message.assistant(parts)
            return lm15.Response(id="1", model=request.model, message=message, finish_reason="stop", usage=lm15.Usage())

    with Journal(tmp_path / "j.jsonl") as journal:
        first = journaled(scripted(Rich()), journal)("hi")
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journaled(scripted(ScriptedEngine()), journal)("hi") == first == [{"text": "yes", "reasoning_content": "hm"}]


def test_async_calls_share_the_journal_and_the_flight(tmp_path: Path) -> None:
    engine = ScriptedEngine()

    async def ask(lm: dspy.LM) -> list[Any]:
        with metered("s") as meter:
            answers = await asyncio.gather(*(lm.acall("same") for _ in range(5)), lm.acall("other"))
        assert meter.total.calls == 6
        assert meter.total.input_tokens == 42
        return list(answers)

    with Journal(tmp_path / "j.jsonl") as journal:
        lm = journaled(scripted(engine, async_engine=AsyncScriptedEngine(engine)), journal)
        answers = asyncio.run(ask(lm))
        assert len(engine.requests) == 2
        assert lm("same") == answers[0]


def test_a_budget_refuses_before_the_call_is_made(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    with Journal(tmp_path / "j.jsonl") as journal:
        lm = journaled(scripted(engine), journal, limits=Budget(Limits(calls=1), journal))
        assert lm("one") == lm("one")
        with pytest.raises(LimitReached, match="limit of 1 calls"):
            lm("two")
        assert len(engine.requests) == 1
        assert len(lines(journal.path)) == 1


def test_a_full_disk_stops_the_job_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optimizers.labelling import collect as traces

    written = traces.Lines._write

    def full(self: Any, data: bytes) -> None:
        if self._end + len(data) > 3000:
            self._file.write(data[:10])
            self._file.truncate(self._end)
            raise OSError(28, "No space left on device")
        written(self, data)

    engine = ScriptedEngine()
    monkeypatch.setattr(traces.Lines, "_write", full)
    with pytest.raises(OSError, match="No space"):
        collect(teacher(engine), examples(30), folder=tmp_path, threads=4, limits=Limits(failure_share=1.0))
    monkeypatch.undo()
    assert lines(tmp_path / TRACES)
    assert len(engine.requests) < 60
    assert collect(teacher(engine), examples(30), folder=tmp_path).done == 30


WORKER = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}, {here!r}]
import test_collect as t

class Counting(t.ScriptedEngine):
    def complete(self, request):
        response = super().complete(request)
        time.sleep(0.01)
        with open({calls!r}, "a") as file:
            file.write(t.lines.__name__ and request.messages[-1].text.replace(chr(10), " ") + chr(10))
        return t._response(request.model, t._stable(request))

t.collect(t.teacher(Counting()), t.examples(40), folder={folder!r}, threads=4)
print("complete")
"""


def _stable(request: lm15.Request) -> str:
    """The same text in every process, as a greedy model's would be."""
    return "Who?\nWhere is #1?" if "Max subquestions" in request.messages[-1].text else "Ann\nRome\nAnswer: Rome"


def _spawn(tmp_path: Path, folder: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[3])
    code = WORKER.format(root=root + "/tests", here=str(Path(__file__).parent), calls=str(folder.with_suffix(".calls")), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)


def test_sigkill_in_the_middle_and_the_same_command_repeats_no_call(tmp_path: Path) -> None:
    folder, calls = tmp_path / "killed", tmp_path / "killed.calls"
    for already in (12, 45):
        process = _spawn(tmp_path, folder)
        deadline = time.monotonic() + 120
        while (calls.read_text().count("\n") if calls.exists() else 0) < already and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert b"complete" in _spawn(tmp_path, folder).communicate(timeout=120)[0]
    asked = calls.read_text().splitlines()
    # At most the calls under way in each of 4 threads at each of 2 kills have no line: those alone may be asked twice.
    assert 80 <= len(asked) <= 88
    assert len(set(asked)) == 80
    recorded = [line["key"] for line in lines(folder / TRACES)]
    assert len(recorded) == len(set(recorded)) == 80
    engine = ScriptedEngine()
    resumed = collect(teacher(engine), examples(40), folder=folder)
    assert engine.requests == []
    assert totals(resumed) == {"decompose": (40, 0, 0, 280, 120), "solve": (40, 0, 0, 280, 120)}


def test_ctrl_c_finishes_what_is_under_way_and_keeps_it(tmp_path: Path) -> None:
    engine = ScriptedEngine(seconds=0.02)

    def interrupt(done: int, total: int, failed: int, left: float | None) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(teacher(engine), examples(100), folder=tmp_path, threads=4, progress=interrupt)
    made = len(engine.requests)
    assert made < 200
    assert len(lines(tmp_path / TRACES)) == made
    assert len(lines(tmp_path / SAMPLES)) * 2 == made
    collect(teacher(engine), examples(100), folder=tmp_path, threads=16)
    assert len(engine.requests) == 200


def test_any_program_and_the_configured_lm(tmp_path: Path) -> None:
    engine = ScriptedEngine({"w": "Ann\nRome"})
    with dspy.context(lm=scripted(engine), adapter=LineAdapter()):
        collected = collect(dspy.ChainOfThought("question -> answer"), _questions(3), folder=tmp_path, limits=Limits(failure_share=1.0))
    assert [s.error for s in collected.samples] == ["unparseable"] * 3
    engine.faults = {"w": "Reasoning: so\nAnswer: 4"}
    with dspy.context(lm=scripted(engine), adapter=LineAdapter()):
        collected = collect(dspy.ChainOfThought("question -> answer"), _questions(3), folder=tmp_path / "b")
    sample = collected.get_sample("w1")
    assert sample.calls[0].predictor == "predict"
    assert sample.calls[0].outputs == {"reasoning": "so", "answer": "4"}
    assert totals(collected) == {"teacher": (3, 0, 0, 21, 9)}


def _questions(count: int) -> list[dspy.Example]:
    return [dspy.Example(id=f"w{i}", question=f"w{i}").with_inputs("question") for i in range(count)]
