"""A user's own callbacks of DSPy see every call of a job's stages, once, through threads, journals and local models."""

import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from loopback import chat, serving
from mlflow_traces import traced
from scripted import scripted_lm, two_stage_rule

from optimizers import BootstrapDistill, Limits, compile_prompts, load_config, run
from optimizers.arguments import parse_settings
from optimizers.jobs.jsonlines import read_lines
from optimizers.labelling.collect import collect
from programs import TwoStage
from programs.lms.catalog import lm

sys.path.insert(0, str(Path(__file__).parents[2] / "recorded"))
from record import JOBS


class Seen(BaseCallback):
    """Counts what begins, and what ends."""

    def __init__(self):
        self.begun, self.ended, self.open = Counter(), Counter(), set()
        self._lock = threading.Lock()

    def __deepcopy__(self, memo):
        return self

    def _begin(self, kind, call_id, what):
        with self._lock:
            self.open.add((kind, call_id))
            self.begun[kind, what] += 1

    def _end(self, kind, call_id):
        with self._lock:
            self.open.remove((kind, call_id))
            self.ended[kind] += 1

    def on_module_start(self, call_id, instance, inputs):
        self._begin("module", call_id, type(instance).__name__)

    def on_module_end(self, call_id, outputs, exception=None):
        self._end("module", call_id)

    def on_lm_start(self, call_id, instance, inputs):
        self._begin("lm", call_id, instance.model)

    def on_lm_end(self, call_id, outputs, exception=None):
        self._end("lm", call_id)

    def of(self, kind):
        return {what: count for (one, what), count in self.begun.items() if one == kind}


def on(decomposer, solver):
    program = TwoStage()
    program.decompose.lm, program.solve.lm = decomposer, solver
    return program


@pytest.fixture
def seen():
    with dspy.context(callbacks=[*dspy.settings.callbacks, found := Seen()]):
        yield found


@pytest.fixture
def configured(here):
    """The configuration of a recorded job, whose teacher answers."""
    with serving(lambda body: chat(two_stage_rule(body["messages"][-1]["content"]))) as (address, bodies):
        yield lambda kind, *further: load_config(*parse_settings([*JOBS[kind][1:], "--teacher.api_base", address, *further])), bodies


def test_every_call_of_a_run_is_seen(configured, seen):
    config, bodies = configured
    conditions = "single-stage,teacher+teacher,student0+teacher,S_D-R+teacher"
    run(config("run", "--out", "new", "--training.max_steps", "2", "--evaluation.conditions", conditions))
    lines = [line for name in conditions.split(",") for line in read_lines(Path(f"new/predictions/{name}.jsonl"))]
    stages = Counter(stage for line in lines for stage, usage in line["usage"].items() for _ in range(usage["calls"]))
    labels = Counter(line["stage"] for line in read_lines(Path("new/traces.jsonl")))
    assert labels == {"decompose": 12, "solve": 12} and stages["decompose"] == 12 and stages["answer"] == 4
    called = seen.of("lm")
    # Of the teacher's calls those that a journal answers are seen too.
    assert called["openai/scripted"] == 24 + stages["answer"] + stages["solve"] + 4 >= len(bodies)
    local = [count for model, count in called.items() if model.startswith("local/")]
    assert sorted(local) == [4, 4] and sum(called.values()) == 24 + stages.total()
    assert seen.of("module")["TwoStage"] == 12 + 3 * 4 and seen.of("module")["Predict"] == sum(called.values())
    assert not seen.open and seen.ended["lm"] == sum(called.values())


def test_every_call_of_a_compilation_is_seen(configured, seen):
    config, bodies = configured
    compile_prompts(config("compile", "--out", "new"))
    assert seen.of("lm")["openai/scripted"] >= len(bodies) > 0 and not seen.open


@pytest.mark.parametrize("how", ["one by one", "dspy.Parallel", "batch", "threads of the user"])
def test_every_call_of_both_stages_is_seen(tiny_model, seen, how):
    program = on(lm(tiny_model, max_tokens=8), scripted_lm(two_stage_rule))
    examples = [dspy.Example(question=f"Where does number {n} live?").with_inputs("question") for n in range(6)]
    if how == "dspy.Parallel":
        dspy.Parallel(num_threads=3, disable_progress_bar=True)([(program, example) for example in examples])
    elif how == "batch":
        program.batch(examples, num_threads=3, disable_progress_bar=True)
    else:
        with ThreadPoolExecutor(1 if how == "one by one" else 3) as pool:
            list(pool.map(lambda example: example[0].run(program, **example[1].inputs()), [(copy_context(), one) for one in examples]))
    assert seen.of("lm") == {tiny_model: 6, "openai/scripted": 6} and not seen.open
    assert seen.of("module")["TwoStage"] == 6 and seen.of("module")["Predict"] == 12


async def test_asynchronous_calls_are_seen(tiny_model, seen):
    program = on(lm(tiny_model, max_tokens=8), scripted_lm(two_stage_rule))
    await program.acall(question="Where does Ann live?")
    assert seen.of("lm") == {tiny_model: 1, "openai/scripted": 1} and not seen.open


def test_a_call_that_fails_is_seen_to_end(tmp_path, seen):
    teacher = on(scripted_lm(lambda prompt: ValueError("down")), scripted_lm(two_stage_rule))
    examples = [dspy.Example(question=f"{n}?").with_inputs("question") for n in range(3)]
    collect(teacher, examples, folder=tmp_path, limits=Limits(failure_share=1.0))
    assert seen.of("lm") == {"openai/scripted": 3} and not seen.open


def test_callbacks_of_a_predictor_and_of_an_lm_are_called(tmp_path):
    on_predictor, on_lm = Seen(), Seen()
    decomposer = scripted_lm(two_stage_rule)
    decomposer.callbacks.append(on_lm)
    teacher = on(decomposer, scripted_lm(two_stage_rule))
    teacher.decompose.callbacks.append(on_predictor)
    examples = [dspy.Example(question=f"{n}?").with_inputs("question") for n in range(3)]
    student = on(lm("embedded/base"), scripted_lm(two_stage_rule))
    BootstrapDistill(policy="none", folder=tmp_path, min_rows=1).prepare(student, trainset=examples, teacher=teacher)
    assert on_predictor.of("module") == {"Predict": 3} and not on_predictor.open
    assert on_lm.of("lm") == {"openai/scripted": 3} and not on_lm.open


def test_mlflow_traces_every_question(tiny_model, tmp_path):
    examples = [dspy.Example(id=str(n), question=f"Where does number {n} live?").with_inputs("question") for n in range(3)]
    with traced(tmp_path) as found:
        teacher = on(lm(tiny_model, max_tokens=8), scripted_lm(two_stage_rule))
        collect(teacher, examples, folder=tmp_path / "labels", threads=3, limits=Limits(failure_share=1.0))
        traces = found(return_type="list")
    assert len(traces) == 3
    for trace in traces:
        kinds = Counter(span.span_type for span in trace.data.spans)
        assert kinds["CHAT_MODEL"] == 2 and trace.data.spans[0].name == "TwoStage.forward"
