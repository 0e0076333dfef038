"""Traces from elsewhere: read in every form, laid beside questions, and taken in the teacher's place. Scripted LMs count who is asked."""

from __future__ import annotations

import csv
import json

import dspy
import pytest
from mlflow_traces import traced
from scripted import scripted_lm, two_stage_rule

from optimizers import BootstrapDistill, dataset_card, dataset_of, load_config, model_card, plan
from optimizers.experiments.plan import plan_steps
from optimizers.labelling.collect import collect
from optimizers.labelling.traces import read_traces, traces_of, with_traces
from optimizers.reports.cost_tables import cost_table, traced_words
from optimizers.reports.read import RunFiles
from programs import TwoStage
from programs.adapter import LineAdapter
from programs.tasks.base import Score

QUESTION = "Who was the mother of the director of Jaws?"
PARTS = ["Who directed Jaws?", "Who was the mother of #1?"]


def row(number: int, **fields):
    parts = [f"Who made film number {number}?", "Who was the mother of #1?"]
    return {"question": f"Who was the mother of the maker of film number {number}?", "subquestions": parts, **fields}


def written(path, rows):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows({**one, "subquestions": "\n".join(one["subquestions"])} for one in rows)
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_rows_of_files_of_every_kind_are_read(kind, tmp_path):
    found = read_traces(written(tmp_path / f"traces.{kind}", [row(n, answer=f"A{n}") for n in range(3)]))
    assert [(one.question, list(one.subquestions), one.answer) for one in found.found] == [
        (row(n)["question"], row(n)["subquestions"], f"A{n}") for n in range(3)
    ]
    assert found.found[1].place.startswith(f"{tmp_path / 'traces'}.{kind}, ") and not found.refused


@pytest.mark.parametrize(
    "made",
    [
        PARTS,
        "\n".join(PARTS),
        f"Sure! Here is the breakdown:\n1. {PARTS[0]}\n2. {PARTS[1]}",
        json.dumps(PARTS),
        f"```json\n{json.dumps({'subquestions': PARTS})}\n```",
        f"<think>Hm.</think>\n- **{PARTS[0]}**\n- **{PARTS[1]}**",
        f"[[ ## subquestions ## ]]\n{json.dumps(PARTS)}\n\n[[ ## completed ## ]]",
        [{"question": PARTS[0]}, {"question": PARTS[1]}],
        {"1": PARTS[0], "2": PARTS[1]},
    ],
    ids=range(9),
)
def test_a_decomposition_is_read_in_any_form_that_llms_write(made):
    assert list(read_traces([{"question": QUESTION, "decomposition": made}]).found[0].subquestions) == PARTS


def test_names_of_ones_own_and_halves_of_a_call_are_understood():
    found = read_traces([{"frage": QUESTION, "teile": PARTS, "text": "A film."}], "question=frage,subquestions=teile,context=text").found
    assert (found[0].context, list(found[0].subquestions)) == ("A film.", PARTS)
    nested = {"inputs": {"query": QUESTION}, "outputs": json.dumps({"sub_questions": PARTS, "answer": 3}), "reference": ["Leah", "Leah A."]}
    found = read_traces([nested]).found
    assert (found[0].question, found[0].answer, found[0].reference) == (QUESTION, "3", ["Leah", "Leah A."])
    with pytest.raises(ValueError, match="unknown name 'fragen'"):
        read_traces([row(1)], "fragen=x")
    with pytest.raises(ValueError, match="'frage' is no pair"):
        read_traces([row(1)], "frage")


def test_what_cannot_be_read_is_counted_with_its_line_and_reason(tmp_path):
    path = tmp_path / "traces.jsonl"
    bad = ["{", "7", json.dumps({"question": QUESTION}), json.dumps({"question": " ", "subquestions": PARTS})]
    bad += [json.dumps({"question": QUESTION, "subquestions": "I do not know."}), json.dumps({"question": QUESTION, "subquestions": 5})]
    path.write_text("\n".join([json.dumps(row(1)), *bad, "", json.dumps(row(1)), json.dumps(row(2))]))
    found = read_traces(path)
    assert len(found.found) == 2 and found.passed_over == {"stands there twice": 1}
    reasons = dict(found.refused)
    assert [place.removeprefix(f"{path}, ") for place in reasons] == [f"line {n}" for n in range(2, 8)]
    for number, words in enumerate(["not JSON", "expected an object", "no decomposition", "no question", "no subquestion", "neither"], 2):
        assert words in reasons[f"{path}, line {number}"]
    assert "6 cannot be read" in found.summary() and "line 2: not JSON" in found.summary()
    path.write_text("\n".join(bad))
    with pytest.raises(ValueError, match=r"0 decompositions.*6 cannot be read.*line 2: expected an object"):
        read_traces(path)


@pytest.mark.parametrize("source", ["nothing.jsonl", "notes.txt"])
def test_files_that_are_none_are_refused(source, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"There is no|holds no file of traces"):
        read_traces(tmp_path / source)


REPLIES = {
    "ChatAdapter": f"[[ ## reasoning ## ]]\nhm\n\n[[ ## subquestions ## ]]\n{json.dumps(PARTS)}\n\n[[ ## completed ## ]]",
    "JSONAdapter": json.dumps({"reasoning": "hm", "subquestions": PARTS}),
    "XMLAdapter": f"<reasoning>\nhm\n</reasoning>\n<subquestions>\n{json.dumps(PARTS)}\n</subquestions>",
}


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter, dspy.JSONAdapter, dspy.XMLAdapter])
def test_the_history_of_dspy_is_read_in_each_of_its_formats(adapter, tmp_path):
    lm = scripted_lm(lambda prompt: REPLIES[adapter.__name__])
    program = dspy.ChainOfThought("context, question -> subquestions: list[str]")
    program.demos = [dspy.Example(context="", question="Demo?", reasoning="r", subquestions=["Demo one?", "Demo two?"])]
    program.set_lm(lm)
    with dspy.context(adapter=adapter()):
        program(question=QUESTION, context="A film.")
    (tmp_path / "history.json").write_text(json.dumps(lm.history, default=str))
    for source in (lm.history, tmp_path / "history.json"):
        found = read_traces(source).found
        assert [(one.question, one.context, list(one.subquestions)) for one in found] == [(QUESTION, "A film.", PARTS)]


def test_other_calls_of_a_history_are_passed_over_and_told():
    lm = scripted_lm(two_stage_rule)
    program = TwoStage(adapters={"decompose": LineAdapter(), "solve": LineAdapter()})
    program.set_lm(lm)
    program(question=QUESTION, context="A film.")
    found = read_traces(lm.history)
    assert [list(one.subquestions) for one in found.found] == [["Who is it?", "Where is #1?"]]
    assert found.passed_over == {"another call": 1} and not found.refused
    cut = [{**lm.history[0], "truncated": True}, {**lm.history[0], "messages": [{"role": "user", "content": "Tell me."}]}, lm.history[0]]
    assert [reason for _, reason in read_traces(cut).refused] == [
        "the reply was cut off at its limit of tokens",
        "the prompt has no field 'question' in one of DSPy's formats or this package's",
    ]


ADAPTERS = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": dspy.XMLAdapter, "line": LineAdapter}


def called(kind, signature, made, **inputs):
    """The history of one call that a scripted LM answers with the fields `made`, as the adapter wants them."""
    headed = "\n\n".join(f"[[ ## {name} ## ]]\n{json.dumps(value)}" for name, value in made.items())
    tagged = "".join(f"<{name}>{json.dumps(value)}</{name}>" for name, value in made.items())
    lines = "\n".join("\n".join(value) if isinstance(value, list) else value for value in made.values())
    lm = scripted_lm(
        lambda prompt: {"chat": f"{headed}\n\n[[ ## completed ## ]]", "json": json.dumps(made), "xml": tagged, "line": lines}[kind]
    )
    with dspy.context(lm=lm, adapter=ADAPTERS[kind]()):
        dspy.Predict(signature)(**inputs)
    return lm.history


@pytest.mark.parametrize("kind", ADAPTERS)
def test_only_calls_for_subquestions_alone_are_decompositions(kind):
    others = [
        ("question -> search_query", {"search_query": "What did Jaws earn?"}),
        ("question -> queries: list[str]", {"queries": PARTS}),
        ("question -> answer", {"answer": "What is 3+9? It is 12."}),
        ("question -> subquestions: list[str], tool", {"subquestions": PARTS, "tool": "search"}),
        ("question -> answer, followup_questions: list[str]", {"answer": "12", "followup_questions": PARTS}),
        ("question -> reasoning, answer", {"reasoning": "Who is it? Where is it?", "answer": "12"}),
    ]
    if kind == "line":
        others = others[:3]
    history = [one for signature, made in others for one in called(kind, signature, made, question=QUESTION)]
    with pytest.raises(ValueError, match=rf"{len(others)} are passed over \(another call\)"):
        read_traces(history)
    own = called(kind, "question -> subquestions: list[str]", {"subquestions": PARTS}, question=QUESTION)
    found = read_traces([*history, *own])
    assert [list(one.subquestions) for one in found.found] == [PARTS] and found.passed_over == {"another call": len(others)}


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("output", ["subquestions", "sub_questions", "decomposition", "steps"])
def test_every_name_holds_for_histories(kind, output):
    asks, columns = ("user_query", "question=user_query,subquestions=steps") if output == "steps" else ("query", "")
    history = [
        one
        for passage in ("Of 1975.", "Of 1987.")
        for one in called(kind, f"{asks}, passage -> {output}: list[str]", {output: PARTS}, **{asks: QUESTION, "passage": passage})
    ]
    found = read_traces(history, columns).found
    assert [(one.question, one.context, list(one.subquestions)) for one in found] == [
        (QUESTION, passage, PARTS) for passage in ("Of 1975.", "Of 1987.")
    ]


def test_names_of_ones_own_hold_for_spans_and_passages_of_a_list_are_kept():
    def span(passages):
        return {"inputs": {"user_query": QUESTION, "passage": passages}, "outputs": {"steps": PARTS}}

    found = read_traces([{"spans": [span(["One.", "Two."]), span("Three.")]}], "question=user_query,subquestions=steps").found
    assert [(one.context, list(one.subquestions)) for one in found] == [("One.\nTwo.", PARTS), ("Three.", PARTS)]


def test_traces_that_mlflow_wrote_are_read(tmp_path):
    program = TwoStage(adapters={"decompose": LineAdapter(), "solve": LineAdapter()})
    program.set_lm(scripted_lm(two_stage_rule))
    with traced(tmp_path) as traces:
        program(question=QUESTION, context="A film.")
        frame, listed = traces(), traces(return_type="list")
    (tmp_path / "whole.json").write_text(listed[0].to_json())
    (tmp_path / "frame.json").write_text(frame.to_json(orient="records"))
    for source in (tmp_path / "whole.json", tmp_path / "frame.json", frame.to_dict("records")):
        found = read_traces(source)
        assert [(one.question, one.context, list(one.subquestions), one.answer) for one in found.found] == [
            (QUESTION, "A film.", ["Who is it?", "Where is #1?"], "Rome")
        ]
    spans = json.loads(listed[0].to_json())
    none = {"attributes": {"mlflow.spanInputs": {"question": QUESTION}, "mlflow.spanOutputs": {"subquestions": [], "state": "none_needed"}}}
    assert read_traces([{"data": {"spans": [none]}}]).found[0].subquestions == ()
    for span in spans["data"]["spans"]:
        span["status"] = {"code": "STATUS_CODE_ERROR"}
    with pytest.raises(ValueError, match="spans has a question and its subquestions"):
        read_traces([spans])


# Beside the questions
def example(number: int, **fields):
    made = dspy.Example(id=f"e{number}", context="", question=row(number)["question"], answer="Rome", **fields)
    return made.with_inputs("context", "question")


def test_traces_lie_beside_their_questions_and_tested_ones_are_kept_out():
    train, dev = [example(0), example(1)], [example(2)]
    traces = read_traces([row(1), row(1, subquestions=PARTS), row(2), row(3), row(4, reference="Leah")])
    found = with_traces({"train": train, "dev": dev}, traces, lambda one: one.question == row(3)["question"])
    assert [len(traces_of(one)) for one in found["train"]] == [0, 2, 1] and len(traces_of(found["dev"][0])) == 1
    assert [question for _, question in traces.kept_out] == [row(3)["question"]] and len(traces.found) == 4
    added = found["train"][-1]
    assert (added.question, added.answer, added.id.startswith("trace-")) == (row(4)["question"], "Leah", True)
    assert "1 are kept out" in traces.summary() and set(added.inputs().keys()) == {"context", "question"}


def test_the_same_question_of_another_passage_is_another_one():
    train = [dspy.Example(id=f"g{n}", context=f"Game {n}.", question="How many?", answer="1").with_inputs("context") for n in range(2)]
    traces = read_traces([{"question": "How many?", "context": context, "subquestions": PARTS} for context in ("Game 1.", "Game 2.", "")])
    found = with_traces({"train": train}, traces, lambda one: False)["train"]
    assert [len(traces_of(one)) for one in found] == [0, 1, 1, 1] and [one.context for one in found[2:]] == ["Game 2.", ""]


# In the teacher's place
def program() -> TwoStage:
    made = TwoStage(adapters={"decompose": LineAdapter(), "solve": LineAdapter()})
    made.set_lm(scripted_lm(two_stage_rule))
    return made


def asked(teacher: TwoStage) -> tuple[int, int]:
    """Calls of the decomposer, and of the solver."""
    prompts = teacher.decompose.lm.script.prompts
    decomposed = sum("Max subquestions" in prompt for prompt in prompts)
    return decomposed, len(prompts) - decomposed


def is_right(example, prediction, trace=None):
    return Score(float(prediction.answer == example.answer)) if example.answer else Score.unscored("no reference")


def prepared(folder, teacher, **options):
    optimizer = BootstrapDistill(metric=is_right, folder=folder, min_rows=1, **options)
    return optimizer.prepare(TwoStage(), trainset=[example(n) for n in range(4)], teacher=teacher)


TRACES = [row(0, answer="Rome"), row(1, answer="Oslo"), row(2), row(9)]


def test_no_decomposer_is_asked_of_a_question_with_a_trace(tmp_path):
    teacher = program()
    found = prepared(tmp_path, teacher, traces=TRACES, policy="none")
    assert asked(teacher) == (1, 1)
    assert (found.collected.done, found.collected.traced) == (5, 4) and len(found.rows["decompose"]) == 5
    rows = {one["id"]: one["messages"] for one in found.rows["decompose"]}
    assert rows["e1"][-1]["content"] == "\n".join(row(1)["subquestions"]) and rows["e3"][-1]["content"] == "Who is it?\nWhere is #1?"
    assert row(9)["question"] in rows[next(key for key in rows if key.startswith("trace-"))][-2]["content"]
    assert "From traces: 4 of these samples" in found._repr_html_()
    assert [one.place for one in found.collected.samples] == ["row 1", "row 2", "row 3", "", "row 4"]


def test_the_same_screening_holds_and_the_solver_is_asked_for_answers_that_are_not_there(tmp_path):
    teacher = program()
    found = prepared(tmp_path, teacher, traces=TRACES, policy="oracle")
    # One question is asked in both stages; two traces have no answer of their own.
    assert asked(teacher) == (1, 3)
    assert {one.example_id[:5]: one.reason for one in found.decisions} == {
        "e0": None, "e1": "wrong_answer", "e2": None, "e3": None, "trace": "unscored"}  # fmt: skip
    again = program()
    assert len(prepared(tmp_path, again, traces=TRACES, policy="none").rows["decompose"]) == 5 and asked(again) == (0, 0)


def test_a_later_policy_asks_only_what_is_missing_and_without_traces_the_teacher_is_asked(tmp_path):
    for policy, options, expected in (("none", {"traces": TRACES}, (1, 1)), ("oracle", {"traces": TRACES}, (0, 2)), ("none", {}, (3, 3))):
        teacher = program()
        found = prepared(tmp_path, teacher, policy=policy, **options)
        assert asked(teacher) == expected
        assert found.collected.traced == (4 if options else 0)
    assert found.rows["decompose"][0]["messages"][-1]["content"] == "Who is it?\nWhere is #1?"


def test_nobody_is_asked_for_an_answer_that_no_reference_judges(tmp_path):
    traces = read_traces([row(0), row(9), row(8, reference="Rome")])
    questions = with_traces({"train": [example(0)]}, traces, lambda one: False)["train"]
    for folder, answers, expected in (("a", "referenced", (0, 2)), ("b", "skip", (0, 0)), ("a", "take", (0, 1)), ("b", "ask", (0, 3))):
        teacher = program()
        found = collect(teacher, questions, folder=tmp_path / folder, answers=answers)
        assert asked(teacher) == expected and found.traced == found.done == 3


def test_several_traces_of_a_question_are_its_samples(tmp_path):
    teacher = program()
    both = [row(0), row(0, subquestions=PARTS), row(1)]
    found = prepared(tmp_path, teacher, traces=both, policy="none", samples=3, temperature=0.7, keep="all")
    assert found.collected.traced == 3 and found.collected.done == 3 + 2 * 3 and asked(teacher)[0] == 6
    assert [one.sample for one in found.collected["e0"]] == [0, 1]


def test_a_question_that_needs_no_decomposition_is_taken_as_that(tmp_path):
    found = prepared(tmp_path, program(), traces=[{**row(0), "subquestions": "No decomposition"}], policy="none")
    assert found.collected.get_sample("e0").prediction["state"] == "none_needed"
    assert found.rows["decompose"][0]["messages"][-1]["content"] == "No decomposition"


ROME = {"question": "Which river flows through the capital of Italy?", "subquestions": ["What is the capital?", "Which river flows there?"]}


def test_questions_that_are_reported_are_kept_out_of_the_rows(tmp_path):
    optimizer = BootstrapDistill(folder=tmp_path, min_rows=1, traces=[ROME, row(8), row(9)], reported=[example(9)])
    found = optimizer.prepare(TwoStage(), trainset=[], teacher=program())
    # One number apart is nearly the same question.
    assert [question for _, question in optimizer.traces.kept_out] == [row(8)["question"], row(9)["question"]]
    assert len(found.rows["decompose"]) == 1 and ROME["question"] in found.rows["decompose"][0]["messages"][-2]["content"]


def test_a_program_without_such_a_predictor_is_refused(tmp_path):
    other = dspy.Predict("question -> answer")
    with pytest.raises(ValueError, match="traces= needs a teacher with one predictor of question -> subquestions"):
        BootstrapDistill(folder=tmp_path, targets=["self"], traces=[row(0)]).prepare(other, trainset=[example(0)], teacher=other)


async def test_a_program_that_is_asynchronous_takes_traces_too(tmp_path):
    class Own(dspy.Module):
        def __init__(self):
            super().__init__()
            self.decompose = dspy.Predict("question -> subquestions: list[str]")

        async def aforward(self, question):
            return await self.decompose.acall(question=question)

    teacher = Own()
    teacher.set_lm(scripted_lm(lambda prompt: "none"))
    questions = [example(0).with_inputs("question")]
    found = BootstrapDistill(folder=tmp_path, min_rows=1, traces=[row(0)], adapter="line").prepare(teacher, trainset=questions)
    assert not teacher.decompose.lm.script.prompts and found.collected.get_sample("e0").prediction["subquestions"] == row(0)["subquestions"]


# What is said of them
def test_what_traces_cost_others_is_not_told_as_nothing():
    once = {"labelling_usd": 1.5, "training_usd": 0.25, "labelling_seconds": 120.0, "training_seconds": 161.0}
    even = {"questions_usd": 719, "questions_seconds": None, "questions_input_tokens": 60, "reason": None}
    record = {"condition": "S_D-R+teacher", "per_question": {"usd": 0.5}, "one_off": once, "break_even": even}
    run = RunFiles(metrics={}, config="", predictions={}, rows=[], progress={})
    assert "at least" not in str(cost_table(run, [record]).rows) and traced_words([record]) == ""
    record["one_off"] = {**once, "traced": 15}
    [line] = cost_table(run, [record]).rows
    assert line[-6:] == ["at least $1.75", "at least 281", "at least 719", "n/a", "at least 60", "-"]
    assert "15 labels came with traces: what others paid for these is not known" in traced_words([record])


@pytest.mark.parametrize(("samples", "calls"), [(12, 5), (9, 0)])
def test_the_cards_do_not_say_that_the_teacher_wrote_what_traces_have(here, samples, calls):
    path = here / "run" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["labelling"] |= {"traced": 9, "samples": samples, "calls": calls, "traces": {"file": "private/traces.jsonl"}}
    path.write_text(json.dumps(metrics))
    rows = [json.loads(line) for line in (here / "run" / "rows.jsonl").open()]
    marked = [{**one, "traced": "private/traces.jsonl, line 1"} if number < 2 else one for number, one in enumerate(rows)]
    written(here / "run" / "rows.jsonl", marked)
    own, data = model_card("run").text, dataset_card("run")
    for card in (own, data.text):
        assert f"9 from traces of elsewhere, {samples - 9} from the teacher" in card
        assert f"from which 9 of {samples} decompositions come" in card and "has to know under which terms" in card
        assert "from what the teacher wrote" not in card and "What an LLM wrote as the teacher" not in card and "private" not in card
        assert ("The teacher openai/scripted: not known here" in card) == bool(calls)
    assert data.data["annotations_creators"] == (["machine-generated", "found"] if calls else ["found"])
    assert ("was asked for none" in own) == (not calls)
    exported = dataset_of("run")["rows"]
    assert exported["traced"][:3] == [True, True, False] and sum(exported["traced"]) == 2


def test_a_plan_counts_no_call_for_what_traces_have(tmp_path):
    films = [f"Who was the mother of the director of {word}?" for word in ("Alien", "Brazil", "Casablanca", "Dracula", "Evita", "Fargo")]
    for split, kept in (("train", films[:3]), ("dev", films[3:4]), ("test", films[4:5])):
        written(tmp_path / f"{split}.jsonl", [{"id": one, "question": one, "answer": "Ann"} for one in kept])
    traced = [films[0], films[1], films[3], films[4], films[5]]
    rows = [{"question": one, "subquestions": PARTS, **({"answer": "Ann"} if one == films[1] else {})} for one in traced]
    settings = {"task": "jsonl", "task.path": str(tmp_path), "task.scorer": "exact", "data.train": 3, "data.dev": 1, "data.test": 1,
                "labelling.samples": 2, "labelling.temperature": 0.7, "evaluation.conditions": ["S_D-T+teacher"],
                "screening.min_rows": 1}  # fmt: skip
    plain = load_config("", settings)
    own = load_config("", {**settings, "labelling.traces": str(written(tmp_path / "of" / "t.jsonl", rows))})
    before, after = ({step.name: step for step in plan_steps(config)} for config in (plain, own))
    assert before["label: decompose"].calls == before["label: solve"].calls == 8
    # One of three questions of train has no trace; the one that is tested is kept out, and the last is a further one.
    assert after["label: decompose"].calls == after["label: solve"].calls == 2
    assert after["label: solve, of traces"].calls == 3 and after["train S_D-T"].minutes > before["train S_D-T"].minutes
    assert "1 are kept out, as their questions are tested" in " ".join(str(plan(own)).split())


def test_a_repetition_gives_what_the_first_lacks():
    found = read_traces([row(1), row(1, answer="Oslo"), row(1, answer="Rome", reference="Rome"), row(2)])
    assert [(one.answer, one.reference, one.place) for one in found.found] == [("Oslo", "Rome", "row 1"), (None, None, "row 4")]
    assert found.passed_over == {"stands there twice": 2}


@pytest.mark.parametrize(
    "made",
    [
        " | ".join(PARTS),
        " ; ".join(PARTS),
        " ".join(PARTS),
        f"①{PARTS[0]}②{PARTS[1]}",
        [[PARTS[0]], [[PARTS[1]]]],
        [{"text": PARTS[0], "children": [{"text": PARTS[1]}]}],
        {"text": PARTS[0], "children": [PARTS[1]]},
        json.dumps([[PARTS[0]], [PARTS[1]]]),
        [f"1. {PARTS[0]}", f"2. {PARTS[1]}"],
    ],
    ids=range(9),
)
def test_questions_on_one_line_and_below_each_other_are_told_apart(made):
    assert list(read_traces([{"question": QUESTION, "subquestions": made}]).found[0].subquestions) == PARTS


def test_questions_of_chinese_on_one_line_are_told_apart_and_quoted_ones_are_left():
    def read(made):
        return list(read_traces([{"question": QUESTION, "subquestions": made}]).found[0].subquestions)

    assert read("谁导演了《大白鲨》？他的母亲是谁？") == ["谁导演了《大白鲨》？", "他的母亲是谁？"]
    for whole in ('Who said "Who goes there? Is it you?" in Hamlet?', "Which is larger: a | b?", "Who sang Why? in 1990?"):
        assert read([whole]) == read(whole) == [whole]
    refused = read_traces([row(1), row(2, subquestions=[PARTS[0], 7]), row(3, subquestions=[{"n": 1}])]).refused
    assert refused == [("row 2", "the subquestion 7 is no text"), ("row 3", 'the subquestion {"n": 1} is no text')]


def test_rows_of_other_kinds_are_read_and_what_is_none_is_told(tmp_path):
    import pandas

    frame = pandas.DataFrame([row(1), row(2)])
    parquet = pandas.read_parquet(written(tmp_path / "t.parquet", [row(1), row(2)]))
    examples = [dspy.Example(**row(n)).with_inputs("question") for n in (1, 2)]
    for source in (frame, parquet, examples, {"rows": [row(1), row(2)]}):
        assert [list(one.subquestions) for one in read_traces(source).found] == [row(n)["subquestions"] for n in (1, 2)]
    for nothing in (None, 5):
        with pytest.raises(ValueError, match=f"traces={nothing}: expected a file, a folder, or rows"):
            read_traces(nothing)
    (tmp_path / "empty.jsonl").write_text("\n")
    for empty in (tmp_path / "empty.jsonl", [], frame[:0]):
        with pytest.raises(ValueError, match="is empty: there is no row in it"):
            read_traces(empty)
    (tmp_path / "list.jsonl").write_text(json.dumps([row(1)]))
    with pytest.raises(ValueError, match=r"a list of rows is read from a file that ends in \.json"):
        read_traces(tmp_path / "list.jsonl")
