"""Evaluation line by line, with scripted LMs: failures are counted, and a killed evaluation goes on."""

import json
import threading

import dspy
import pytest
from dspy.utils.exceptions import LMTransportError
from scripted import scripted_lm, two_stage_rule

from optimizers.evaluation.answers import answers, last_answers
from optimizers.evaluation.evaluate import Asking, UnansweredError, ask_all, evaluate
from optimizers.evaluation.program_hash import program_hash
from optimizers.evaluation.summary import summarise
from optimizers.jobs.jsonlines import line_of, read_lines, write_whole
from optimizers.labelling.collect import collect
from optimizers.labelling.journal import Journal
from optimizers.labelling.journaled_lm import journaled
from programs import TwoStage
from programs.adapter import TerseLineAdapter
from programs.tasks.base import Score, Task


class Capitals(Task):
    name = "capitals"
    summary = "for tests"

    def load(self, split, limit=None):
        return [
            dspy.Example(id=str(i), question=f"q{i}?", context="", answer="Rome").with_inputs("question", "context") for i in range(limit)
        ]

    def score(self, example, prediction):
        return Score.unscored("no gold") if example.id == "4" else super().score(example, prediction)


def program(rule=two_stage_rule):
    made = TwoStage()
    made.set_lm(scripted_lm(rule))
    return made


def test_a_line_a_question_in_order(tmp_path):
    task = Capitals()
    seen = []
    lines = evaluate(program(), task, task.load("test", 6), out=tmp_path / "a.jsonl", threads=3, progress=lambda *a: seen.append(a))
    assert [line["id"] for line in lines] == list("012345")
    assert sorted(line["id"] for line in read_lines(tmp_path / "a.jsonl")) == list("012345")
    assert seen[-1][:2] == (6, 6)
    summary = summarise(lines)
    assert (summary["n"], summary["scored"], summary["score"], summary["failed"]) == (6, 5, 1.0, 0)
    assert summary["states"]["ok"] == 6
    assert summary["decompose"]["calls"] == 6


def test_questions_of_one_passage_are_summed_up_as_such(tmp_path):
    task = Capitals()
    lines = evaluate(program(), task, task.load("test", 6), out=tmp_path / "a.jsonl")
    for at, line in enumerate(lines):
        line |= {"context": "" if at > 3 else f"passage {at // 2}", "score": float(at > 1)}
    summary, apart = summarise(lines), summarise([{**line, "context": ""} for line in lines])
    assert summary["passages"] == 4 and "passages" not in apart
    assert summary["ci95"][0] < apart["ci95"][0] and summary["score"] == apart["score"]


def test_a_server_that_answers_nothing_ends_a_job_and_one_answer_lets_it_go_on(tmp_path):
    task, asked = Capitals(), []

    def rule(prompt):
        asked.append(prompt)
        return two_stage_rule(prompt) if "q7?" in prompt and answered else LMTransportError("connection refused", model="m", provider="p")

    def askings(out):
        return [Asking(program(rule), task, task.load("test", 60), tmp_path / out)]

    answered = False
    with pytest.raises(UnansweredError, match=r"None of the 2\d questions .* connection refused.*the same command asks what is missing"):
        ask_all(askings("a.jsonl"), threads=2, stops=True)
    assert len(asked) < 30 and len(list(read_lines(tmp_path / "a.jsonl"))) >= 20
    with pytest.raises(UnansweredError, match="None of the 3 questions"):
        ask_all([Asking(program(rule), task, task.load("test", 3), tmp_path / "b.jsonl")], threads=2, stops=True)
    answered = True
    ask_all(askings("a.jsonl"), threads=2, stops=True)
    assert len(answers(tmp_path / "a.jsonl", task.load("test", 60))) == 60


def test_a_reply_without_an_answer_is_wrong_and_a_failed_call_is_neither(tmp_path):
    def rule(prompt):
        if "q1?" in prompt and "Subquestions" in prompt:
            return "I would rather not"
        if "q2?" in prompt:
            return RuntimeError("the line is dead")
        return two_stage_rule(prompt)

    lines = evaluate(program(rule), Capitals(), Capitals().load("test", 4), out=tmp_path / "a.jsonl")
    assert [line["score"] for line in lines] == [1.0, 0.0, None, 1.0]
    summary = summarise(lines)
    assert (summary["failed"], summary["unparsed"]) == (1, 1)
    assert (summary["scored"], summary["score"]) == (3, pytest.approx(2 / 3))


def test_finished_questions_are_not_asked_again_and_failed_ones_are(tmp_path):
    out = tmp_path / "a.jsonl"
    examples = Capitals().load("test", 4)
    evaluate(program(lambda prompt: RuntimeError() if "q2?" in prompt else two_stage_rule(prompt)), Capitals(), examples, out=out)
    second = program()
    lines = evaluate(second, Capitals(), examples, out=out)
    assert [line["score"] for line in lines] == [1.0] * 4
    assert {prompt.split("?")[0] for prompt in second.solve.lm.script.prompts} == {"Question: q2"}


def test_the_next_program_is_asked_while_the_slowest_answer_is_waited_for(tmp_path):
    task, second_asked = Capitals(), threading.Event()

    def slow(prompt):
        if "q2?" in prompt:
            assert second_asked.wait(30)
        return two_stage_rule(prompt)

    def second(prompt):
        second_asked.set()
        return two_stage_rule(prompt)

    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    askings = [Asking(program(rule), task, task.load("test", 3), out) for rule, out in zip((slow, second), files, strict=True)]
    ask_all(iter(askings), threads=2)
    assert [[line["score"] for line in answers(out, task.load("test", 3))] for out in files] == [[1.0] * 3] * 2
    assert all(asking.is_done for asking in askings)


def test_a_program_that_cannot_be_asked_gives_all_files_back(tmp_path):
    task = Capitals()

    def askings():
        yield Asking(program(), task, task.load("test", 3), tmp_path / "a.jsonl")
        raise ValueError("no such student")

    with pytest.raises(ValueError, match="no such student"):
        ask_all(askings(), threads=2)
    assert [line["score"] for line in evaluate(program(), task, task.load("test", 3), out=tmp_path / "a.jsonl")] == [1.0] * 3


def test_a_torn_last_line_is_asked_again(tmp_path):
    out = tmp_path / "a.jsonl"
    examples = Capitals().load("test", 3)
    evaluate(program(), Capitals(), examples, out=out, threads=1)
    out.write_text(out.read_text()[:-40])
    lines = evaluate(program(), Capitals(), examples, out=out)
    assert len(lines) == 3
    assert all(json.loads(line) for line in out.read_text().splitlines())


def test_garbage_in_the_middle_is_an_error_that_names_the_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1}\nnonsense\n{"id": 2}\n')
    with pytest.raises(ValueError, match="line 2"):
        list(read_lines(tmp_path / "a.jsonl"))


def questions(*rows):
    return [
        dspy.Example(id=name, question=question, context=context, answer=answer).with_inputs("question", "context")
        for name, question, context, answer in rows
    ]


def asked(made):
    return {prompt.split("Question: ")[-1].split("\n")[0] for prompt in made.solve.lm.script.prompts}


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        (("0", "New?", "", "Rome"), {"New?"}),
        (("0", "q0?", "A passage.", "Rome"), {"q0?"}),
        (("0", "q0?", "", "Oslo"), {"q0?"}),
        (("0", "q0?", "", ["Rome", "Roma"]), {"q0?"}),
        (("new", "q0?", "", "Rome"), {"q0?"}),
        (("0", "q0?", "", "Rome"), set()),
    ],
)
def test_an_answer_on_file_counts_for_its_question_context_and_reference_alone(tmp_path, changed, again):
    out = tmp_path / "a.jsonl"
    rows = [("0", "q0?", "", "Rome"), ("1", "q1?", "", "Rome")]
    evaluate(program(), Capitals(), questions(*rows), out=out)
    second, now = program(), questions(changed, rows[1])
    lines = evaluate(second, Capitals(), now, out=out)
    assert asked(second) == again
    assert [line["question"] for line in lines] == [example.question for example in now]
    assert lines == answers(out, now) and len(lines) == 2
    assert lines[0]["score"] == float(changed[3] == "Rome")


def test_a_line_inserted_at_the_top_mixes_nothing(tmp_path):
    out = tmp_path / "a.jsonl"
    texts = [f"Which is {n}?" for n in range(5)]
    evaluate(program(), Capitals(), questions(*((str(n), text, "", "Rome") for n, text in enumerate(texts))), out=out)
    now = questions(*((str(n), text, "", "Rome") for n, text in enumerate(["First?", *texts])))
    lines = evaluate(program(), Capitals(), now, out=out)
    assert [(line["id"], line["question"]) for line in lines] == [(example.id, example.question) for example in now]
    assert summarise(answers(out, now))["n"] == 6


def test_an_edit_that_is_taken_back_brings_the_first_answers_back(tmp_path):
    out = tmp_path / "a.jsonl"
    first, other = questions(("0", "q0?", "", "Rome")), questions(("0", "New?", "", "Rome"))
    for examples in (first, other, first):
        made = program()
        evaluate(made, Capitals(), examples, out=out)
    assert asked(made) == set()
    assert [line["question"] for line in last_answers(out)] == ["q0?"]
    assert answers(out, other) == []


def test_another_model_or_other_demos_or_reference_subquestions_are_asked_anew(tmp_path):
    out, examples = tmp_path / "a.jsonl", questions(("0", "q0?", "", "Rome"))
    evaluate(program(), Capitals(), examples, out=out)
    for change in (
        lambda made: made.set_lm(scripted_lm(two_stage_rule, "openai/other")),
        lambda made: setattr(made.decompose, "demos", [dspy.Example(question="d?", subquestions=["a?"])]),
        lambda made: made.fix_adapter("solve", TerseLineAdapter()),
        lambda made: setattr(examples[0], "subquestions", ["By hand?"]),
    ):
        made = program()
        change(made)
        evaluate(made, Capitals(), examples, out=out)
        assert made.solve.lm.script.prompts
        again = program()
        change(again)
        evaluate(again, Capitals(), examples, out=out)
        assert not again.solve.lm.script.prompts


def test_options_that_only_a_server_knows_shape_the_answers_too(tmp_path):
    made = []
    with Journal(tmp_path / "calls.jsonl") as journal:
        for body in ({}, {"top_k": 20}, {"top_k": 30}, {"top_k": 30}):
            inner = scripted_lm(two_stage_rule)
            inner.kwargs |= {"extra_body": body} if body else {}
            made.append(TwoStage())
            made[-1].set_lm(journaled(inner, journal))
        hashes = [program_hash(one) for one in made]
    assert len(set(hashes)) == 3 and hashes[2] == hashes[3]


class Hinted(dspy.Module):
    def __init__(self, **settings):
        super().__init__()
        self.solve = dspy.Predict("question, hints -> answer")
        vars(self).update(settings)

    def forward(self, question, context=""):
        return self.solve(question=question, hints=str([vars(self).get(name) for name in ("hints", "table", "k")]))


CHANGES = [{}, {"hints": ["a"]}, {"hints": ["b"]}, {"table": {"x": 1}}, {"table": {"x": 2}}, {"k": 3}, {"k": 4}, {"hints": {"b", "a"}}]


def test_what_a_program_of_ones_own_works_with_decides_which_answers_and_labels_are_its_own(tmp_path):
    examples = questions(("0", "q0?", "", "Rome"))
    for number, settings in enumerate(CHANGES):
        made = Hinted(**settings)
        made.set_lm(scripted_lm(lambda prompt: "[[ ## answer ## ]]\nRome"))
        for _ in range(2):
            evaluate(made, Capitals(), examples, out=tmp_path / "a.jsonl")
            collect(made, [one.with_inputs("question") for one in examples], folder=tmp_path / "labels")
            assert len(made.solve.lm.script.prompts) == 2, settings
        assert len((tmp_path / "labels" / "samples.jsonl").read_text().splitlines()) == number + 1


def test_lines_of_an_earlier_version_are_known_by_their_question(tmp_path):
    out, examples = tmp_path / "a.jsonl", questions(("0", "q0?", "", ["Rome"]))
    line = evaluate(program(), Capitals(), examples, out=out)[0]
    del line["program"]
    out.write_text(json.dumps(line) + "\n")
    again = program()
    assert evaluate(again, Capitals(), examples, out=out) == [line]
    assert not again.solve.lm.script.prompts


def test_a_failed_line_and_its_retry_count_once_with_all_calls(tmp_path):
    out, examples = tmp_path / "a.jsonl", Capitals().load("test", 4)
    for rule in (lambda prompt: RuntimeError("down") if "q2?" in prompt else two_stage_rule(prompt), two_stage_rule):
        lines = evaluate(program(rule), Capitals(), examples, out=out)
    summary = summarise(answers(out, examples))
    assert (summary["n"], summary["failed"], summary["scored"]) == (4, 0, 4)
    assert len(list(read_lines(out))) == 5 and lines == answers(out, examples)


def test_failed_calls_of_earlier_tries_stay_in_the_bill(tmp_path):
    call = {"calls": 1, "cache_hits": 0, "failed": 0, "input_tokens": 5, "output_tokens": 5, "seconds": 0.0, "usd": 0.1}
    failed = {**call, "failed": 1, "input_tokens": 0, "output_tokens": 0, "usd": 0.0}
    common = {"id": "1", "question": "q?", "context": "", "gold": "a"}
    tries = [
        {**common, "score": None, "error": "x: y", "usage": {"decompose": call, "solve": failed}},
        {**common, "score": None, "error": "x: y", "usage": {"decompose": call, "solve": failed}},
        {**common, "score": 1.0, "error": None, "usage": {"decompose": call, "solve": call}},
    ]
    out = tmp_path / "a.jsonl"
    write_whole(out, map(line_of, tries))
    (line,) = last_answers(out)
    assert (line["usage"]["decompose"]["calls"], line["usage"]["decompose"]["usd"]) == (1, 0.1)
    assert (line["usage"]["solve"]["calls"], line["usage"]["solve"]["failed"], line["usage"]["solve"]["input_tokens"]) == (3, 2, 5)


def test_a_full_disk_leaves_nothing_that_counts_twice(tmp_path, monkeypatch):
    from optimizers.jobs import jsonlines

    out, examples = tmp_path / "a.jsonl", Capitals().load("test", 3)
    whole = jsonlines.Lines._write
    monkeypatch.setattr(jsonlines.Lines, "_write", lambda self, data: _full(self, data))

    def _full(lines, data):
        lines._file.write(data[:30])
        lines._file.truncate(lines._end)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        evaluate(program(), Capitals(), examples, out=out, threads=1)
    monkeypatch.setattr(jsonlines.Lines, "_write", whole)
    evaluate(program(), Capitals(), examples, out=out)
    assert summarise(answers(out, examples))["n"] == 3 and len(list(read_lines(out))) == 3


def test_a_foreign_line_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl.*(use another folder|Move the file away)"):
        evaluate(program(), Capitals(), Capitals().load("test", 1), out=tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match=r"a\.jsonl has a line that is no answer"):
        answers(tmp_path / "a.jsonl", Capitals().load("test", 1))
