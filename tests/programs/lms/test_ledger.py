"""Who is billed for a call, whichever thread makes it. Scripted LMs: what is tested is the bookkeeping."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from scripted import scripted_lm, two_stage_rule

from optimizers.labelling.collect import collect
from programs import TwoStage
from programs.lms.ledger import Ledger, Prices, Usage, current_ledger, recording

COUNT = 8


def program() -> TwoStage:
    made = TwoStage()
    made.set_lm(scripted_lm(two_stage_rule))
    return made


def examples() -> list[dspy.Example]:
    return [dspy.Example(id=f"e{i}", question=f"q{i}?", context="").with_inputs("question", "context") for i in range(COUNT)]


def in_evaluate(asked):
    dspy.Evaluate(devset=examples(), metric=lambda *_: 1.0, num_threads=8, display_progress=False)(asked)


def in_parallel(asked):
    dspy.Parallel(num_threads=8, disable_progress_bar=True)([(asked, example) for example in examples()])


def in_batch(asked):
    asked.batch(examples(), num_threads=8, disable_progress_bar=True)


def in_a_pool(asked):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: asked(**one.inputs()), examples()))


def in_a_pool_with_context(asked):
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(contextvars.copy_context().run, lambda one=one: asked(**one.inputs())) for one in examples()]
        [future.result() for future in futures]


def in_tasks(asked):
    async def ask():
        await asyncio.gather(*(asked.acall(**one.inputs()) for one in examples()))

    asyncio.run(ask())


def in_a_thread_of_asyncio(asked):
    async def ask():
        await asyncio.gather(*(asyncio.to_thread(asked, **one.inputs()) for one in examples()))

    asyncio.run(ask())


WAYS = [in_evaluate, in_parallel, in_batch, in_a_pool, in_a_pool_with_context, in_tasks, in_a_thread_of_asyncio]


def calls(ledger: Ledger) -> dict[str, int]:
    return {stage: usage.calls for stage, usage in ledger.by_stage().items()}


@pytest.mark.parametrize("way", WAYS)
def test_calls_in_threads_and_tasks_are_recorded(way):
    outside = calls(current_ledger())
    with recording(Ledger()) as ledger:
        way(program())
    assert calls(ledger) == {"decompose": COUNT, "solve": COUNT}
    assert ledger.by_stage()["solve"].output_tokens == 4 * COUNT
    assert calls(current_ledger()) == outside


@pytest.mark.parametrize("way", [way for way in WAYS if way is not in_a_pool])
def test_two_recordings_at_the_same_time_are_not_mixed(way):
    ledgers, start, asked = [Ledger(), Ledger()], threading.Barrier(2), program()

    def record(ledger: Ledger, times: int) -> None:
        with recording(ledger):
            start.wait()
            for _ in range(times):
                way(asked)
            start.wait()

    threads = [threading.Thread(target=record, args=(ledger, times)) for ledger, times in zip(ledgers, (1, 3), strict=True)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [calls(ledger) for ledger in ledgers] == [{"decompose": n * COUNT, "solve": n * COUNT} for n in (1, 3)]


def test_a_pool_beside_two_recordings_is_counted_for_neither_and_said(caplog):
    with recording(Ledger()) as outer, recording(Ledger()) as inner:
        in_a_pool(program())
        assert calls(inner) == {"decompose": COUNT, "solve": COUNT} and not calls(outer)
    ready, done = threading.Barrier(2), threading.Event()
    other = Ledger()

    def hold():
        with recording(other):
            ready.wait()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    with caplog.at_level(logging.WARNING), recording(Ledger()) as mine:
        in_a_pool(program())
    done.set()
    thread.join()
    assert not calls(mine) and not calls(other)
    assert "cannot be told" in caplog.text


class InParallel(dspy.Module):
    """A decomposer that asks in threads of DSPy's own."""

    def __init__(self, batch: bool):
        super().__init__()
        self.ask, self.in_batch = dspy.Predict("question -> subquestion"), batch

    def forward(self, question, **_):
        asked = [dspy.Example(question=f"{question} {n}").with_inputs("question") for n in range(3)]
        if self.in_batch:
            found = self.ask.batch(asked, num_threads=3, disable_progress_bar=True)
        else:
            found = dspy.Parallel(num_threads=3, disable_progress_bar=True)([(self.ask, one) for one in asked])
        return dspy.Prediction(subquestions=[one.subquestion for one in found])


@pytest.mark.parametrize("batch", [True, False])
def test_a_stage_may_ask_in_threads_and_its_usage_is_counted(batch, tmp_path):
    asked = TwoStage(decompose=InParallel(batch))
    asked.set_lm(scripted_lm(lambda prompt: "Answer: Rome" if "Subquestions:" in prompt else f"{prompt.split()[1]} why?"))
    with recording(Ledger(Prices(overrides={"openai/scripted": (1.0, 10.0)}))) as ledger:
        found = asked(question="q?")
    assert found.state == "ok" and Usage.from_dict(found.usage["decompose"]).calls == 3
    assert calls(ledger) == {"decompose": 3, "solve": 1}
    collected = collect(asked, examples(), folder=tmp_path)
    assert not collected.failed
    assert {stage: usage.calls for stage, usage in collected.usage.items()} == {"decompose": 3 * COUNT, "solve": COUNT}


def test_a_meter_is_shared_by_copies_of_the_settings():
    seen = []

    class Spy(dspy.Module):
        def forward(self, **_):
            seen.append(dspy.settings.usage_tracker)
            return dspy.Prediction(subquestions=["a?"])

    asked = TwoStage(decompose=Spy())
    asked.set_lm(scripted_lm(two_stage_rule))
    asked(question="q?")
    assert copy.deepcopy(seen[0]) is seen[0]


def test_a_price_may_be_given_and_the_advice_fits_the_model():
    with pytest.raises(ValueError, match=r"set cost\.prices.*\[cost\.prices\] \"openai/mine\""):
        Prices().check("A limit of 1 dollars", "openai/mine")
    with pytest.raises(ValueError, match=r"set cost\.local_usd_per_hour"):
        Prices().check("A limit of 1 dollars", "local/mine")
    Prices(overrides={"openai/mine": (0.4, 1.6)}).check("A limit of 1 dollars", "openai/mine")
