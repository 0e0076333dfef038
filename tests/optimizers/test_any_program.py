"""`BootstrapDistill` on programs and metrics as users have them. LMs are scripted; nothing is trained, rows are looked at."""

from __future__ import annotations

import datetime
import enum
import json
import math
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import dspy
import pytest
from pydantic import BaseModel
from scripted import scripted_lm, two_stage_rule

from optimizers import BootstrapDistill
from optimizers.distilled import TooFewRowsError
from programs import TwoStage
from programs.program_copy import all_predictors
from programs.tasks.base import ScaleError, Score


class Kind(enum.Enum):
    CITY = "city"
    RIVER = "river"


class Place(BaseModel):
    name: str
    founded: datetime.date
    kind: Kind


def chat(**fields: str) -> str:
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()) + "\n\n[[ ## completed ## ]]"


def questions(count: int, **more: Any) -> list[dspy.Example]:
    return [dspy.Example(id=f"e{i}", question=f"q{i}?", answer="a", **more).with_inputs("question", *more) for i in range(count)]


def answers(prompt: str) -> str:
    return chat(answer="a")


def prepared(folder, program, rule=answers, examples=None, student=None, **options):
    """Rows of `program`, with itself as the teacher's and the student's shape."""
    teacher = program if student is not None else program.deepcopy()
    teacher.set_lm(scripted_lm(rule))
    return BootstrapDistill(folder=folder, **options).prepare(student or program, trainset=examples or questions(2), teacher=teacher)


def replies(distilled, target):
    return [row["messages"][-1]["content"] for row in distilled.rows[target]]


TYPED = [
    (Kind, "city", Kind.CITY),
    (datetime.date, "2020-01-02", datetime.date(2020, 1, 2)),
    (Literal["yes", "no"], "yes", "yes"),
    (Place, '{"name": "Rome", "founded": "0753-04-21", "kind": "city"}', Place(name="Rome", founded="0753-04-21", kind="city")),
    (list[Place], '[{"name": "R", "founded": "0753-04-21", "kind": "city"}]', [Place(name="R", founded="0753-04-21", kind="city")]),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (list[int], "[1, 2]", [1, 2]),
    (float, "1.5", 1.5),
    (float, "inf", math.inf),
    (bool, "True", True),
    (str | None, "x", "x"),
]


@pytest.mark.parametrize(("annotation", "text", "value"), TYPED, ids=[str(case[0]) for case in TYPED])
def test_typed_outputs_are_learned_and_judged_as_what_they_are(tmp_path, annotation, text, value):
    seen = []

    def metric(example, prediction, trace=None):
        seen.append(prediction.answer)
        return prediction.answer == value

    program = dspy.Predict(dspy.Signature("question -> answer").with_updated_fields("answer", type_=annotation))
    for _ in range(2):
        distilled = prepared(tmp_path, program, lambda p: chat(answer=text), targets=["self"], metric=metric, policy="oracle")
        assert replies(distilled, "self") == [chat(answer=text) + "\n"] * 2
    assert seen == [value] * 4
    assert isinstance(seen[-1], type(value))


def test_answers_of_another_type_on_file_are_read_anew_without_a_call(tmp_path):
    for annotation, value in ((str, "3"), (int, 3), (float, 3.0), (Literal["3", "4"], "3")):
        program = dspy.Predict(dspy.Signature("question -> answer").with_updated_fields("answer", type_=annotation))
        sample = prepared(tmp_path, program, lambda p: chat(answer="3"), targets=["self"]).collected.get_sample("e0")
        assert sample.prediction["answer"] == value and type(sample.prediction["answer"]) is type(value)


def test_types_of_a_function_are_read_back(tmp_path):
    class Size(enum.Enum):
        BIG = "big"

    program = dspy.Predict(dspy.Signature({"question": (str, dspy.InputField()), "size": (Size, dspy.OutputField())}))
    for _ in range(2):
        distilled = prepared(
            tmp_path, program, lambda p: chat(size="big"), targets=["self"], metric=lambda e, p: p.size is Size.BIG, policy="oracle"
        )
        assert len(distilled.rows["self"]) == 2


def test_a_history_and_a_pydantic_object_reach_the_teacher_and_the_row_as_they_are(tmp_path):
    class Chatty(dspy.Module):
        def __init__(self):
            super().__init__()
            self.reply = dspy.Predict("history: dspy.History, place, question -> answer")

        def forward(self, history, place, question):
            assert isinstance(history, dspy.History) and place.kind is Kind.CITY
            return self.reply(history=history, place=place, question=question)

    history = dspy.History(messages=[{"question": "Before?", "answer": "Yes, before."}])
    place = Place(name="Rome", founded="0753-04-21", kind="city")
    distilled = prepared(tmp_path, Chatty(), examples=questions(1, history=history, place=place), targets=["reply"])
    said = [(message["role"], message["content"]) for message in distilled.rows["reply"][0]["messages"]]
    assert [role for role, _ in said] == ["system", "user", "assistant", "user", "assistant"]
    assert "Before?" in said[1][1] and "Yes, before." in said[2][1] and '"kind": "city"' in said[3][1]


class Filling(dspy.Module):
    """Hands over a history and a list that it goes on to fill, and changes what it was given back."""

    def __init__(self):
        super().__init__()
        self.reply = dspy.Predict("history: dspy.History, notes: list[str], question -> steps: list[str]")

    def forward(self, question):
        history, notes = dspy.History(messages=[]), []
        for turn in range(2):
            said = self.reply(history=history, notes=notes, question=f"{question} {turn}")
            said.steps.append("changed")
            history.messages.append({"question": question, **said})
            notes.append(f"note {turn}")
        return said


class FillingLater(Filling):
    async def aforward(self, question):
        return await dspy.asyncify(self.forward)(question)


@pytest.mark.parametrize("program", [Filling(), FillingLater(), dspy.BestOfN(Filling(), N=1, reward_fn=lambda *_: 1.0, threshold=1.0)])
def test_rows_have_what_a_call_was_given_and_gave_and_not_what_the_program_made_of_it(tmp_path, program):
    target = "module.reply" if isinstance(program, dspy.BestOfN) else "reply"
    first, second = prepared(tmp_path, program, lambda p: chat(steps='["a"]'), examples=questions(1), targets=[target]).rows[target]
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant"]
    assert "note 0" not in first["messages"][1]["content"]
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert "note 0" in second["messages"][3]["content"] and "note 1" not in second["messages"][3]["content"]
    assert first["messages"][-1]["content"] == second["messages"][-1]["content"] == chat(steps='["a"]') + "\n"


def test_an_optional_output_is_left_out_of_the_reply_and_never_the_word_none(tmp_path):
    program = dspy.Predict(dspy.Signature("question -> answer, note").with_updated_fields("note", type_=str | None))
    assert replies(prepared(tmp_path, program, targets=["self"]), "self") == [chat(answer="a") + "\n"] * 2


def test_a_call_without_a_row_is_counted_with_its_example(tmp_path):
    def rewrite(outputs, example):
        return {"answer": None} if example.id == "e1" else {} if example.id == "e2" else outputs

    program = dspy.Predict("question -> answer")
    distilled = prepared(tmp_path, program, examples=questions(4), targets=["self"], rewrite=rewrite)
    assert [row["id"] for row in distilled.rows["self"]] == ["e0", "e3"]
    assert [(call.example_id, call.reason) for call in distilled.left_out] == [("e1", "'answer' is None"), ("e2", "'answer' is missing")]
    with pytest.raises(TooFewRowsError, match=r"2 calls give no row: 1 of 'self', as 'answer' is None \(first: example 'e1'\)"):
        BootstrapDistill(targets=["self"], folder=tmp_path).check_rows(distilled)


def test_calls_of_threads_that_nobody_sees_are_said_to_be_the_reason(tmp_path):
    class Pooled(dspy.Module):
        def __init__(self):
            super().__init__()
            self.p = dspy.Predict("question -> answer")

        def forward(self, question):
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(self.p, question=question).result()

    distilled = prepared(tmp_path, Pooled(), targets=["p"])
    with pytest.raises(TooFewRowsError, match=r"threads of its own are not seen\. Start them by dspy\.Parallel"):
        BootstrapDistill(targets=["p"], folder=tmp_path).check_rows(distilled)


def test_what_no_file_can_hold_is_named(tmp_path):
    class Locked(dspy.Module):
        def __init__(self):
            super().__init__()
            self.p = dspy.Predict("question -> answer")

        def forward(self, question):
            return dspy.Prediction(answer=self.p(question=question).answer, lock=threading.Lock())

    distilled = prepared(tmp_path, Locked(), targets=["p"])
    sample = distilled.collected.get_sample("e0")
    assert sample.prediction == {"answer": "a"} and sample.left_out == ["prediction.lock (lock)"]


class Client:
    def __init__(self):
        self.lock, self.database = threading.RLock(), sqlite3.connect(":memory:", check_same_thread=False)


class Holding(dspy.Module):
    def __init__(self):
        super().__init__()
        self.client = Client()
        self.tools = [self.look, Client()]
        self.parts = [dspy.ChainOfThought("question -> answer"), {"deep": dspy.Predict("question -> answer")}]

    def look(self, word):
        return word

    def forward(self, question):
        self.client.database.execute("select 1")
        return self.parts[0](question=question)


def test_a_program_with_locks_and_connections_is_copied_and_left_alone(tmp_path):
    student = Holding()
    before = {name: predictor.lm for name, predictor in all_predictors(student)}
    optimizer = BootstrapDistill(targets=["parts[0].predict"], folder=tmp_path)
    with dspy.context(lm=scripted_lm(lambda p: chat(reasoning="r", answer="a"))):
        distilled = optimizer.prepare(student, trainset=questions(2), teacher=Holding())
    assert len(distilled.rows["parts[0].predict"]) == 2
    assert {name: predictor.lm for name, predictor in all_predictors(student)} == before
    assert list(before) == ["parts[0].predict", "parts[1]['deep']"]


class Loop(dspy.Module):
    def __init__(self):
        super().__init__()
        self.p = dspy.Predict("question -> answer")

    def forward(self, question):
        for turn in range(2):
            said = self.p(question=f"{question} {turn}")
        return said


@pytest.mark.parametrize("most", [1, 8, 15, 16, 99])
def test_max_rows_counts_the_calls_of_a_loop(tmp_path, most):
    fewer = prepared(tmp_path, Loop(), examples=questions(8), targets=["p"], max_rows=most).rows["p"]
    assert len(fewer) == min(most, 16)
    more = prepared(tmp_path, Loop(), examples=questions(8), targets=["p"], max_rows=most + 1).rows["p"]
    assert all(row in more for row in fewer)


@pytest.mark.parametrize("wrap", [dspy.BestOfN, dspy.Refine])
def test_rows_of_the_attempt_that_best_of_n_chose(tmp_path, wrap):
    def reward(inputs, prediction):
        return float(prediction.answer == "a")

    program = wrap(module=dspy.ChainOfThought("question -> answer"), N=2, reward_fn=reward, threshold=1.0)
    distilled = prepared(tmp_path, program, lambda p: chat(reasoning="r", answer="a"), targets=["module.predict"])
    assert len(distilled.rows["module.predict"]) == 2


def test_react_and_its_tools(tmp_path):
    def rule(prompt: str) -> str:
        if "next_thought" in prompt:
            return chat(next_thought="t", next_tool_name="finish", next_tool_args="{}")
        return chat(reasoning="r", answer="a")

    program = dspy.ReAct("question -> answer", tools=[Holding().look])
    distilled = prepared(tmp_path, program, rule, targets=["react", "extract.predict"])
    assert {name: len(rows) for name, rows in distilled.rows.items()} == {"react": 2, "extract.predict": 2}


class Nested(dspy.Module):
    def __init__(self, frozen=False):
        super().__init__()
        self.subs = {"x": Loop(), "y": [Loop()]}
        self.inner = dspy.ChainOfThought("question -> answer")
        self.inner._compiled = frozen

    def forward(self, question):
        self.subs["x"](question=question)
        self.subs["y"][0](question=question)
        return self.inner(question=question)


@pytest.mark.parametrize("target", ["subs['x'].p", "subs['y'][0].p", "inner.predict"])
def test_predictors_in_dicts_lists_and_compiled_submodules_become_artifacts(tmp_path, tiny_model, monkeypatch, target):
    from programs.lms.artifacts import NAME, open_artifact
    from programs.lms.catalog import lm
    from programs.lms.model_strings import resolve

    trained = []

    def train(rows, spec, folder, *, name, **options):
        trained.append((name, len(rows)))
        return open_artifact(resolve(tiny_model).folder)

    monkeypatch.setattr("optimizers.distill.train", train)
    student, teacher = Nested(frozen=True), Nested(frozen=True)
    for _, predictor in all_predictors(teacher):
        predictor.lm = scripted_lm(lambda p: chat(reasoning="r", answer="a") if "reasoning" in p else chat(answer="a"))
    for _, predictor in all_predictors(student):
        predictor.lm = lm(tiny_model)
    compiled = BootstrapDistill(targets=[target], min_rows=2, folder=tmp_path).compile(student, trainset=questions(2), teacher=teacher)
    assert NAME.fullmatch(trained[0][0]) and trained[0][1] >= 2
    assert dict(all_predictors(compiled))[target].lm.provider is not None
    assert dict(all_predictors(compiled))[target].lm is not dict(all_predictors(student))[target].lm


def test_a_program_with_aforward_alone(tmp_path):
    class Later(dspy.Module):
        def __init__(self):
            super().__init__()
            self.p = dspy.Predict("question -> answer")

        async def aforward(self, question):
            return await self.p.acall(question=question)

    assert len(prepared(tmp_path, Later(), targets=["p"]).rows["p"]) == 2


def test_a_predictor_that_is_never_called_is_said(tmp_path):
    class Fresh(Loop):
        def forward(self, question):
            return dspy.Predict("question -> answer")(question=question)

    with dspy.context(lm=scripted_lm(answers)):
        distilled = prepared(tmp_path, Fresh(), targets=["p"])
    with pytest.raises(TooFewRowsError, match=r"never called 'p', only \['\?'\]"):
        BootstrapDistill(targets=["p"], folder=tmp_path).check_rows(distilled)


def gepa(gold, pred, trace, pred_name, pred_trace):
    return dspy.Prediction(score=1.0, feedback="good")


METRICS = [
    (lambda e, p: True, 2, "2 rows"),
    (lambda e, p, trace: 1, 2, "2 rows"),
    (gepa, 2, "2 rows"),
    (lambda e, p, *, trace: 1.0, 2, "2 rows"),
    (lambda e, p: Score(1.0), 2, "2 rows"),
    (lambda *args: len(args) == 2, 2, "2 rows"),
    (lambda e, p: None, 0, "2 times the metric returned None, the first at example 'e0'"),
    (lambda e, p: e.missing, 0, "2 times the metric raised AttributeError, the first at example 'e0': .*missing"),
    (lambda e, p: "good", 0, "the metric returned 'good'; expected a bool"),
    (lambda e, p: None if e.id == "e0" else True, 1, "1 times the metric returned None"),
]


@pytest.mark.parametrize(("metric", "rows", "said"), METRICS)
def test_metrics_of_every_kind(tmp_path, metric, rows, said):
    optimizer = {"targets": ["self"], "metric": metric, "policy": "oracle"}
    distilled = prepared(tmp_path, dspy.Predict("question -> answer"), **optimizer)
    assert len(distilled.rows["self"]) == rows
    assert [decision.reason for decision in distilled.decisions].count("unscored") == 2 - rows
    with pytest.raises(TooFewRowsError, match=said):
        BootstrapDistill(folder=tmp_path, min_rows=3, **optimizer).check_rows(distilled)


@pytest.mark.parametrize("given", [87, -1, dspy.Prediction(score=5, feedback="good")])
def test_a_metric_of_another_scale_ends_the_job_and_the_labels_stay(tmp_path, given):
    # Of a scale from 1 to 5 the worst answers alone would be right.
    metric = lambda e, p: given if e.id == "e1" else 1  # noqa: E731
    with pytest.raises(
        ScaleError,
        match=r"the metric returned (87|-1|5)\. A score is a number from 0 to 1, .* Bring the metric's scale there",
    ):
        prepared(tmp_path, dspy.Predict("question -> answer"), targets=["self"], metric=metric, policy="oracle")
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 2


def test_a_class_is_no_metric(tmp_path):
    with pytest.raises(ValueError, match="metric=dict is a class; make one of its objects first"):
        prepared(tmp_path, dspy.Predict("question -> answer"), targets=["self"], metric=dict, policy="oracle")


async def later(example, prediction):
    return 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_rows": 0}, "max_rows=0 must be at least 1; None takes all"),
        ({"max_rows": -1}, "max_rows=-1"),
        ({"min_rows": 0}, "min_rows=0"),
        ({"samples": 0}, "samples=0"),
        ({"keep": "best"}, "Unknown keep='best'"),
        ({"min_score": 80}, "min_score=80"),
        ({"metric": later}, "asynchronous"),
        ({"metric": lambda one: 1}, "takes 1 arguments"),
        ({"metric": "em"}, "cannot be called"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        BootstrapDistill(folder=tmp_path, **options)


def unpaid(folder, said, teacher, student, examples=None, error=ValueError, **options):
    """Compile is refused, and the teacher was not asked."""
    model = scripted_lm(two_stage_rule)
    teacher.set_lm(model)
    with pytest.raises(error, match=said):
        BootstrapDistill(folder=folder, **{"min_rows": 1, **options}).compile(student, trainset=examples or questions(3), teacher=teacher)
    assert model.script.prompts == []


@pytest.fixture
def on_tiny(tiny_model):
    from programs.lms.catalog import lm

    def make(program):
        program.set_lm(lm(tiny_model))
        return program

    return make


@pytest.mark.parametrize(
    ("teachers", "students", "said"),
    [
        ("question -> reply", "question -> answer", "teacher's predictor 'self' .* has no 'answer'"),
        ("question -> answer", "question, hint -> answer", "has no 'hint'"),
        ("question -> answer: float", "question -> answer: int", "'answer' of predictor 'self' is <class 'int'>"),
        ("picture: dspy.Image -> answer", "picture: dspy.Image -> answer", "'picture' of predictor 'self' is a dspy.Image"),
    ],
)
def test_signatures_that_give_no_rows_are_refused_unpaid(tmp_path, on_tiny, teachers, students, said):
    unpaid(tmp_path, said, dspy.Predict(teachers), on_tiny(dspy.Predict(students)), targets=["self"])


def test_formats_that_cannot_be_trained_are_refused_unpaid(tmp_path, on_tiny):
    def pair(signature="question -> answer"):
        return dspy.Predict(signature), on_tiny(dspy.Predict(signature))

    with dspy.context(adapter=dspy.XMLAdapter()):
        unpaid(tmp_path, "prompt format 'XMLAdapter'", *pair(), targets=["self"])
    unpaid(tmp_path, "prompt format 'xml'", *pair(), targets=["self"], adapter="xml")
    unpaid(tmp_path, "reads a list as lines", *pair("question -> answer: list[int]"), targets=["self"], adapter="line")
    unpaid(tmp_path, "would train another", TwoStage(), on_tiny(TwoStage(adapters={"decompose": "chat"})), adapter="line")


def test_a_format_that_the_program_fixes_is_what_its_student_learns(tmp_path, on_tiny):
    teacher = TwoStage()
    teacher.set_lm(scripted_lm(two_stage_rule))
    student = on_tiny(TwoStage(adapters={"decompose": "chat"}))
    rows = BootstrapDistill(folder=tmp_path).prepare(student, trainset=questions(1), teacher=teacher).rows["decompose"]
    assert "[[ ## subquestions ## ]]" in rows[0]["messages"][-1]["content"]


def test_numbers_names_and_examples_that_cannot_work_are_refused_unpaid(tmp_path, on_tiny):
    student = on_tiny(TwoStage())
    unpaid(tmp_path, "max_rows=3 is below min_rows=20", TwoStage(), student, min_rows=20, max_rows=3)
    unpaid(tmp_path, "3 questions give 3 rows at most", TwoStage(), student, min_rows=4, error=TooFewRowsError)
    unpaid(tmp_path, "Two examples have the id 'e0'", TwoStage(), student, questions(1) * 2)
    unpaid(tmp_path, "Artifact name '../x'", TwoStage(), student, artifact_names={"decompose": "../x"})
    mixed = on_tiny(TwoStage())
    mixed.solve.set_lm(dspy.LM("hf/nobody/nothing"))
    unpaid(tmp_path, "joint=True trains one model", TwoStage(), mixed, joint=True, targets=["decompose", "solve"])
    unpaid(tmp_path, "held by an object that is no dspy.Module", TwoStage(), student, targets=["other"])


def test_a_student_without_a_chat_template_is_refused_unpaid(tmp_path, tiny, home):
    import shutil

    from programs.lms.artifacts import publish
    from programs.lms.catalog import lm

    shutil.copytree(tiny.folder, tmp_path / "source")
    for name in ("manifest.json", "chat_template.jinja"):
        (tmp_path / "source" / name).unlink()
    settings = tmp_path / "source" / "tokenizer_config.json"
    settings.write_text(json.dumps({k: v for k, v in json.loads(settings.read_text()).items() if k != "chat_template"}))
    bare = publish(tmp_path / "source", tmp_path / "bare", name="bare", adapter="line", base="random")
    student = TwoStage()
    student.set_lm(lm(f"local/{bare.folder}"))
    unpaid(tmp_path / "run", "has no chat template", TwoStage(), student)


def test_an_openai_model_without_a_key_is_refused_before_the_other_model_is_paid(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    teacher, paid = TwoStage(), scripted_lm(two_stage_rule)
    teacher.decompose.set_lm(paid)
    teacher.solve.set_lm(dspy.LM("openai/mine", api_base="http://127.0.0.1:9/v1"))
    with pytest.raises(ValueError, match=r"'openai/mine' needs a key.*hosted_vllm/NAME"):
        BootstrapDistill(folder=tmp_path).prepare(TwoStage(), trainset=questions(2), teacher=teacher)
    assert paid.script.prompts == []


def test_a_dead_address_is_named_with_what_it_said(tmp_path):
    teacher = TwoStage()
    teacher.set_lm(dspy.LM("openai/mine", api_base="http://127.0.0.1:9/v1", api_key="x", num_retries=0))
    reports = []
    optimizer = BootstrapDistill(folder=tmp_path, progress=lambda *report: reports.append(report))
    distilled = optimizer.prepare(TwoStage(), trainset=questions(30), teacher=teacher)
    stopped, failed = distilled.collected.stopped, distilled.collected.failed.total()
    assert stopped.startswith(f"{failed} of {distilled.collected.done} runs failed ({failed} error:LMTransportError, the first at example")
    assert "Connection refused (at http://127.0.0.1:9/v1)" in stopped
    assert next(report for report in reversed(reports) if report[0] == "label train")[3] == f"{failed} unusable"
    with pytest.raises(TooFewRowsError, match="Connection refused"):
        optimizer.check_rows(distilled)


def test_a_login_in_an_address_is_not_shown(tmp_path):
    teacher = dspy.Predict("question -> answer")
    teacher.set_lm(dspy.LM("openai/mine", api_base="http://user:secret@127.0.0.1:9/v1", api_key="x", num_retries=0))
    distilled = BootstrapDistill(targets=["self"], folder=tmp_path).prepare(teacher, trainset=questions(1))
    said = distilled.collected.first_failures["error:LMTransportError"]
    assert "127.0.0.1:9" in said and "secret" not in said


def test_an_unparseable_reply_is_shown(tmp_path):
    distilled = prepared(tmp_path, dspy.Predict("question -> answer"), lambda p: "x" * 999, targets=["self"])
    said = distilled.collected.first_failures["unparseable"]
    assert said.startswith("example 'e") and "the reply 'xxx" in said and "xxx...' cannot be read" in said and len(said) < 450


def test_what_is_no_prediction_and_what_a_program_wraps_are_said(tmp_path):
    class Wrong(Loop):
        def forward(self, question):
            if question == "q0?":
                return "a"
            try:
                self.p(question=question, nothing=json.loads("{"))
            except ValueError as error:
                raise RuntimeError("it failed") from error

    first = prepared(tmp_path, Wrong(), targets=["p"]).collected.first_failures
    assert "returned str, where a dspy.Prediction is expected" in first["error:NoPrediction"]
    assert "it failed; because of Expecting property name" in first["error:RuntimeError"]


class AsksInJson(dspy.Module):
    """Sets its own format while it runs, as many programs do."""

    def __init__(self, adapter=None):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.adapter = adapter or dspy.JSONAdapter

    def forward(self, question):
        with dspy.context(adapter=self.adapter()):
            return self.answer(question=question)


def test_a_program_that_sets_its_own_format_trains_no_student_in_another(tmp_path):
    calls = []

    def rule(prompt):
        calls.append(prompt)
        return '{"answer": "a"}'

    options = {"targets": ["answer"], "threads": 1}
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"asks 'answer' in the format 'json', which it sets itself.*would learn 'chat'. Pass adapter='json'"
        ):
            prepared(tmp_path, AsksInJson(), rule, **options)
    distilled = prepared(tmp_path, AsksInJson(), rule, adapter="json", **options)
    assert replies(distilled, "answer") == ['{\n  "answer": "a"\n}'] * 2 and len(calls) == 2


def test_a_format_of_a_programs_own_that_no_student_can_learn_is_refused(tmp_path):
    program = AsksInJson(dspy.XMLAdapter)
    with pytest.raises(ValueError, match=r"format 'XMLAdapter'.*No student can be trained in it: let the program set one of"):
        prepared(tmp_path, program, lambda prompt: "<answer>a</answer>", targets=["answer"])


def test_a_teacher_of_another_kind_may_ask_in_its_own_format(tmp_path):
    class Student(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question):
            return self.answer(question=question)

    distilled = prepared(tmp_path, AsksInJson(), lambda prompt: '{"answer": "a"}', student=Student(), targets=["answer"])
    assert replies(distilled, "answer") == [chat(answer="a") + "\n"] * 2
